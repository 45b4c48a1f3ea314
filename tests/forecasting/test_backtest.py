from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from glasslstm.errors import ArgumentError, DataError
from glasslstm.forecasting import metrics
from glasslstm.forecasting.backtest import Answer, Backtest

NAN = np.nan
LEVELS = (0.1, 0.5, 0.9)
EVERY = ["mae", "rmse", "mase", "rmsse", "smape", "weighted_quantile_loss", "coverage_80"]


@pytest.fixture
def found() -> Backtest:
    """Seven windows of 4 steps: three series of different sizes, 2, 4 and 1 windows; c has no scale, a gap in b."""
    random = np.random.default_rng(5)
    ids = np.array(["b", "b", "a", "a", "a", "a", "c"])
    sizes = np.array([1.0, 1.0, 1000.0, 1000.0, 1000.0, 1000.0, 10.0])[:, None]
    truth = random.normal(5, 1, (7, 4)) * sizes
    truth[0, 2], truth[3] = NAN, NAN
    answers = {}
    for name, noise in (("lstm", 0.5), ("seasonal_naive", 1.0), ("theta", 0.8)):
        point = np.nan_to_num(truth, nan=5.0) + random.normal(0, noise, (7, 4)) * sizes
        answers[name] = Answer(point, point[..., None] + sizes[..., None] * np.array([-0.7, 0.0, 0.7]))
    scales = np.column_stack([0.9 * sizes[:, 0], 1.1 * sizes[:, 0] ** 2])
    scales[6] = 0
    cutoffs = np.array([6, 7, 4, 5, 6, 7, 9])
    return Backtest(ids, cutoffs, cutoffs[:, None] + np.arange(1, 5), truth, answers, LEVELS, scales, 12)


def by_hand(found: Backtest, method: str, rows: np.ndarray, steps: np.ndarray) -> list[float]:
    """The metrics of some windows and steps, by loops over windows."""
    truth, point, quantiles = (part[np.ix_(rows, steps)] for part in (found.truth, *found.answers[method]))
    known = ~np.isnan(truth)
    error = np.abs(truth - point)
    windows = [k for k in range(len(rows)) if known[k].any() and found.scales[rows[k], 0] > 0]
    scaled = [error[k][known[k]].mean() / found.scales[rows[k], 0] for k in windows]
    squared = [np.sqrt((error[k][known[k]] ** 2).mean() / found.scales[rows[k], 1]) for k in windows]
    y, f, q = truth[known], point[known], quantiles[known]
    pinball = np.where(
        y[:, None] >= q, np.multiply(LEVELS, y[:, None] - q), np.subtract(1, LEVELS) * (q - y[:, None])
    )
    return [
        error[known].mean(),
        np.sqrt((error[known] ** 2).mean()),
        np.mean(scaled) if scaled else NAN,
        np.mean(squared) if squared else NAN,
        np.mean(200 * error[known] / (np.abs(y) + np.abs(f))),
        np.mean(2 * pinball.sum(axis=0) / np.abs(y).sum()),
        np.mean((q[:, 0] <= y) & (y <= q[:, 2])),
    ]


GROUPS = {
    None: [(None, range(7), range(4))],
    "step": [(step + 1, range(7), [step]) for step in range(4)],
    "series": [("a", [2, 3, 4, 5], range(4)), ("b", [0, 1], range(4)), ("c", [6], range(4))],
    "cutoff": [(4, [2], range(4)), (6, [0, 4], range(4)), (7, [1, 5], range(4)), (9, [6], range(4))],
}


@pytest.mark.parametrize("by", GROUPS)
def test_metrics_of_each_group_are_those_by_hand(found, by):
    if by == "cutoff":  # a window without a truth is in a group of its own: tested below
        found = replace(found, cutoffs=np.where(found.cutoffs == 5, 4, found.cutoffs))
        groups = [(4, [2, 3], range(4)), *GROUPS[by][1:]]
    else:
        groups = GROUPS[by]
    table = found.metrics(by)
    key = {None: [], "step": ["step"], "series": ["unique_id"], "cutoff": ["cutoff"]}[by]
    assert list(table) == ["method", *key, *EVERY, "n_windows", "n_scaled"]
    assert table["method"].tolist() == [name for name in found.answers for _ in groups]
    if by:
        assert table[key[0]].tolist() == [name for name, *_ in groups] * 3
    expected = [
        by_hand(found, method, np.array(rows), np.array(steps))
        for method in found.answers
        for _, rows, steps in groups
    ]
    np.testing.assert_allclose(np.column_stack([table[name] for name in EVERY]), expected)


def test_what_mase_leaves_out_is_counted(found):
    table = found.metrics()
    assert (table["n_windows"].tolist(), table["n_scaled"].tolist()) == ([6] * 3, [5] * 3)
    table = found.metrics("series")
    assert table["n_windows"].tolist() == [3, 2, 1] * 3
    assert table["n_scaled"].tolist() == [3, 2, 0] * 3
    assert np.isnan(table["mase"]).tolist() == [False, False, True] * 3
    assert found.metrics("step")["n_windows"].tolist() == [6, 6, 5, 6] * 3


def test_a_group_without_a_truth_has_no_metrics(found):
    table = found.metrics("cutoff")
    row = list(table["cutoff"]).index(5)
    assert all(np.isnan(table[name][row]) for name in EVERY)
    assert table["n_windows"][row] == 0


def test_a_large_series_counts_in_mase_as_much_as_a_small_one(found):
    larger = replace(
        found,
        truth=found.truth * 50,
        answers={name: Answer(50 * one.point, 50 * one.quantiles) for name, one in found.answers.items()},
        scales=found.scales * [50, 2500],
    )
    for name in ("mase", "rmsse", "smape", "weighted_quantile_loss", "coverage_80"):
        np.testing.assert_allclose(larger.metrics()[name], found.metrics()[name])


def test_another_grouping_is_refused(found):
    with pytest.raises(ArgumentError, match="by: expected None, 'series', 'step' or 'cutoff', got 'month'"):
        found.metrics("month")


def test_coverage_is_the_share_at_or_below_each_level(found):
    table = found.coverage()
    assert table["method"].tolist() == [name for name in found.answers for _ in LEVELS]
    assert table["nominal"].tolist() == list(LEVELS) * 3
    assert set(table["n"].tolist()) == {23}
    known = ~np.isnan(found.truth)
    expected = [
        np.mean(found.truth[known] <= answer.quantiles[..., q][known])
        for answer in found.answers.values()
        for q in range(3)
    ]
    np.testing.assert_allclose(table["observed"], expected)


def test_the_table_has_a_row_for_each_step_of_each_window(found):
    table = found.table()
    names = [
        f"prediction_{method}{tail}" for method in found.answers for tail in ("", "_q10", "_q50", "_q90")
    ]
    assert list(table) == ["unique_id", "cutoff", "ds", "step", "truth", *names]
    row = 5 * 4 + 2  # the third step of the sixth window
    assert [table[name][row] for name in ("unique_id", "cutoff", "ds", "step")] == ["a", 7, 10, 3]
    assert table["truth"][row] == found.truth[5, 2]
    assert table["prediction_theta_q90"][row] == found.answers["theta"].quantiles[5, 2, 2]
    assert isinstance(found.to_frame(), pd.DataFrame)
    assert found.to_frame("polars").columns == list(table)


@pytest.mark.parametrize("taken", ["cutoff", "step", "prediction_lstm_q10"])
def test_columns_of_the_user_hide_none_of_the_table(found, taken):
    with pytest.raises(DataError, match=f"a column '{taken}' of its own beside the user's"):
        replace(found, columns=("unique_id", taken)).table()


def test_without_levels_there_is_nothing_of_quantiles(found):
    answers = {name: Answer(one.point, np.empty((7, 4, 0))) for name, one in found.answers.items()}
    plain = replace(found, answers=answers, levels=())
    assert list(plain.metrics()) == ["method", *EVERY[:5], "n_windows", "n_scaled"]
    assert len(plain.coverage()["method"]) == 0
    assert list(plain.table())[5:] == ["prediction_lstm", "prediction_seasonal_naive", "prediction_theta"]


def test_the_summary_sets_every_mase_beside_the_naive_one(found):
    head, names, *rows, unknown, left_out = str(found).splitlines()
    assert head == "7 windows of 3 series, 4 steps each; a season has 12 steps"
    assert names.split("  ")[0] == "method"
    assert names.endswith("mase / seasonal_naive")
    table = found.metrics()
    for k, (row, method) in enumerate(zip(rows, found.answers, strict=True)):
        cells = row.split()
        assert cells[0] == method
        assert cells[1:-1] == [f"{table[name][k]:.4g}" for name in EVERY]
        assert cells[-1] == f"{table['mase'][k] / table['mase'][1]:.4g}"
    assert len({len(row) for row in (names, *rows)}) == 1
    assert unknown == "1 of the windows have no known truth and count nowhere"
    assert left_out == "1 of the windows have a history without change over a season: not in mase and rmsse"


def test_the_summary_says_nothing_of_what_is_not_there(found):
    whole = replace(found, truth=np.nan_to_num(found.truth), scales=np.ones((7, 2)))
    assert len(str(whole).splitlines()) == 5
    alone = replace(whole, answers={"lstm": whole.answers["lstm"]})
    assert "seasonal_naive" not in str(alone)


def test_a_naive_forecast_without_error_has_no_ratio(found):
    perfect = np.nan_to_num(found.truth)
    exact = replace(
        found, answers=found.answers | {"seasonal_naive": Answer(perfect, found.answers["lstm"].quantiles)}
    )
    assert [row.split()[-1] for row in str(exact).splitlines()[2:5]] == ["nan"] * 3


def test_answers_have_the_shape_of_the_truth(found):
    point, quantiles = found.answers["lstm"]
    with pytest.raises(
        ArgumentError,
        match=r"of 'x', the points are \(7, 1\).*expected \(7, 4\) as the truth, and \(7, 4, 3\)",
    ):
        replace(found, answers={"x": Answer(point[:, :1], quantiles)})
    with pytest.raises(ArgumentError, match=r"the quantiles \(7, 4, 2\)"):
        replace(found, answers={"x": Answer(point, quantiles[..., :2])})
    with pytest.raises(ArgumentError, match="answers: there are none"):
        replace(found, answers={})


def test_a_backtest_of_one_window_is_that_window(found):
    one = replace(
        found,
        **{name: getattr(found, name)[:1] for name in ("ids", "cutoffs", "times", "truth", "scales")},
        answers={"lstm": Answer(*(part[:1] for part in found.answers["lstm"]))},
    )
    expected = metrics.mase(found.truth[:1], found.answers["lstm"].point[:1], found.scales[:1, 0])
    assert one.metrics()["mase"].item() == expected
    assert len(one) == 1
