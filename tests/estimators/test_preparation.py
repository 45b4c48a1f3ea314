"""What the network reads: standardised, gaps filled and told, categories, static features, durations."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from glasslstm import LSTMClassifier, LSTMRegressor
from glasslstm.data import Sequences
from glasslstm.errors import DataError
from glasslstm.estimators.preparation import Preparation


def gappy(n: int = 9, channels: int = 3, seed: int = 0) -> Sequences:
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(5, 3, size=(int(k), channels)) for k in rng.integers(1, 8, n)]
    for x in arrays:
        x[rng.random(x.shape) < 0.4] = np.nan
        x[:, -1] = np.arange(len(x))  # the last channel has no gaps
    return Sequences.from_arrays(arrays, missing="mask")


def test_mean_and_scale_are_those_of_the_values_that_are_there() -> None:
    series = gappy()
    values = np.concatenate(list(series)).astype(float)
    preparation = Preparation.of(series)
    np.testing.assert_allclose(preparation.mean, np.nanmean(values, axis=0), rtol=1e-6)
    np.testing.assert_allclose(preparation.scale, np.nanstd(values, axis=0), rtol=1e-6)
    assert preparation.gaps.tolist() == [True, True, False]
    assert preparation.inputs == 5


def test_gaps_are_filled_forward_then_with_the_mean_and_told() -> None:
    series = gappy()
    preparation = Preparation.of(series)
    rows = np.array([5, 0, 8, 2])
    found = preparation.batch(series, rows)
    for b, row in enumerate(rows):
        x = series[int(row)]
        for t in range(len(found)):
            for k in range(3):
                if t >= len(x):
                    expected, gap = 0.0, 0.0
                else:
                    seen = [x[s, k] for s in range(t + 1) if not np.isnan(x[s, k])]
                    expected = (seen[-1] - preparation.mean[k]) / preparation.scale[k] if seen else 0.0
                    gap = float(np.isnan(x[t, k]))
                assert found[t, b, k] == pytest.approx(expected, rel=1e-5, abs=1e-6)
                if k < 2:
                    assert found[t, b, 3 + k] == gap


def test_the_company_of_a_batch_changes_nothing() -> None:
    series = gappy()
    preparation = Preparation.of(series)
    together = preparation.batch(series, np.arange(9))
    for row in range(9):
        alone = preparation.batch(series, np.array([row]))
        np.testing.assert_array_equal(together[: len(alone), row], alone[:, 0])
        assert not together[len(alone) :, row].any()


def test_a_channel_without_a_value_says_nothing_but_that() -> None:
    series = Sequences.from_arrays([np.array([[1.0, np.nan], [3.0, np.nan]])], missing="mask")
    preparation = Preparation.of(series)
    assert preparation.mean.tolist() == [2.0, 0.0]
    assert preparation.scale.tolist() == [1.0, 1.0]
    assert preparation.batch(series, np.array([0]))[:, 0].tolist() == [[-1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    preparation = Preparation.of(Sequences.from_arrays([np.full((5, 1), 0.1)]))
    assert preparation.scale.tolist() == [1.0]


def categorical(codes: list[list[float]], texts: tuple[str, ...], **beside: Any) -> Sequences:
    arrays = [np.column_stack([np.arange(len(c)), c]) for c in codes]
    series = Sequences.from_arrays(arrays, channel_names=["level", "mode"], **beside)
    return replace(series, categories={"mode": texts})


def test_categories_are_one_hot_by_their_text_and_unknown_ones_have_a_place() -> None:
    preparation = Preparation.of(categorical([[0, 1, 1], [2]], ("off", "on", "wait")))
    assert preparation.input_names == [
        "level", "mode = off", "mode = on", "mode = wait", "mode = (unknown)",
    ]  # fmt: skip
    assert preparation.augmented.tolist() == [True, False, False, False, False]
    other = categorical([[0, 1, 2]], ("on", "broken", "off"))  # other codes for the same texts
    found = preparation.batch(other, np.array([0]))[:, 0, 1:]
    assert found.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]]


def test_a_missing_category_is_the_one_before_it_or_none() -> None:
    series = categorical([[np.nan, 1, np.nan]], ("off", "on"), missing="mask")
    preparation = Preparation.of(series)
    assert preparation.input_names[-1] == "mode is missing"
    found = preparation.batch(series, np.array([0]))[:, 0, 1:]
    assert found.tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1]]


def test_categories_of_which_there_is_none_are_gaps() -> None:
    def of(codes: list[float], texts: tuple[str, ...]) -> Sequences:
        made = Sequences.from_arrays([[[code] for code in codes]], missing="mask", channel_names=["mode"])
        return replace(made, categories={"mode": texts})

    preparation = Preparation.of(of([0, np.nan, 1], ("off", "on")))
    found = preparation.batch(of([np.nan, np.nan], ()), np.array([0]))[:, 0]
    assert found.tolist() == [[0, 0, 0, 1]] * 2


def test_unknown_categories_and_new_gaps_are_warned_of() -> None:
    preparation = Preparation.of(categorical([[0, 1, 1], [0]], ("off", "on")))
    with pytest.warns(
        UserWarning, match=r"X: 'mode' has categories that training did not have: 'broken'.*unknown"
    ):
        preparation.check(categorical([[0, 1]], ("broken", "on")), "LSTMClassifier")
    gaps = categorical([[0, np.nan]], ("off", "on"), missing="mask")
    with pytest.warns(UserWarning, match=r"X: 'mode' had no missing values in training .* not told where"):
        preparation.check(gaps, "LSTMClassifier")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        preparation.check(categorical([[0, 1]], ("on", "off")), "LSTMClassifier")


def test_the_warning_points_at_the_users_line() -> None:
    series = categorical([[0, 1], [1, 0]] * 10, ("off", "on"))
    clf = LSTMClassifier(hidden_size=2, max_epochs=1, validation_fraction=0, verbose=False).fit(
        series, [0, 1] * 10
    )
    other = categorical([[0, 1]], ("broken", "on"))
    with pytest.warns(UserWarning, match="'broken'") as caught:
        clf.predict(other)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, categories={}), "X: 'mode' held categories in training, and does not now"),
        (lambda s: replace(s, channel_names=("mode", "level")), "X has the channels mode, level, and Some was"),
        (lambda s: Sequences.from_arrays([np.zeros((2, 3))]), "X has 3 features, but Some is expecting 2 .*level"),
        (lambda s: s.with_static([[1.0]]), "X has 1 static features, and Some is expecting 0"),
        (lambda s: Sequences.from_arrays([np.zeros((2, 2))]), "held categories in training, and does not now"),
    ],
)  # fmt: skip
def test_refuses_other_columns(change: Any, message: str) -> None:
    series = categorical([[0, 1, 1]], ("off", "on"))
    with pytest.raises(DataError, match=message):
        Preparation.of(series).check(change(series), "Some")


def test_static_features_stand_at_every_step() -> None:
    arrays = [np.arange(3.0)[:, None], np.arange(2.0)[:, None]]
    series = Sequences.from_arrays(arrays).with_static([[10.0], [20.0]], ["age"])
    preparation = Preparation.of(series)
    assert preparation.augmented.tolist() == [True, False]
    mean, spread = np.mean([10, 10, 10, 20, 20]), np.std([10, 10, 10, 20, 20])
    found = preparation.batch(series, np.array([1, 0]))[..., 1]
    expected = [[(20 - mean) / spread, (10 - mean) / spread]] * 2 + [[0, (10 - mean) / spread]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("dates", [False, True])
def test_step_durations_come_from_the_time_stamps(dates: bool) -> None:
    times: list[Any] = [np.array([3.0, 4.0, 9.0]), np.array([100.0, 102.0])]
    if dates:
        times = [np.datetime64("2024-03-01") + (1e3 * t).astype("timedelta64[ms]") for t in times]
    series = Sequences.from_arrays([np.zeros((3, 1)), np.zeros((2, 1))], times=times)
    preparation = Preparation.of(series, duration=True)
    gaps = np.array([0.0, 1, 5, 0, 2])
    found = preparation.batch(series, np.array([0, 1]))[..., 1]
    standard = (gaps - gaps.mean()) / gaps.std()
    np.testing.assert_allclose(found[:, 0], standard[:3], atol=1e-5)
    np.testing.assert_allclose(found[:2, 1], standard[3:], atol=1e-5)
    assert found[2, 1] == 0
    again = preparation.batch(series.select([1]), np.array([0]))[:, 0, 1]
    np.testing.assert_allclose(again, standard[3:], atol=1e-5)
    with pytest.raises(
        DataError, match="step_duration: the series have no time stamps; give them, or leave it out"
    ):
        preparation.check(Sequences.from_arrays([np.zeros((3, 1))]), "Some")


def test_values_out_of_all_proportion_are_refused_with_their_place() -> None:
    preparation = Preparation.of(Sequences.from_arrays([np.arange(4.0)[:, None]]))
    far = Sequences.from_arrays([np.zeros((2, 1)), np.array([[0.0], [1e300]])])
    with pytest.raises(DataError, match=r"X: series 1 has 1e\+300 at step 1, channel 0, .* check its unit"):
        preparation.check(far, "Some")
    with pytest.raises(DataError, match=r"X: channel 0 has values up to 1e\+300, too large to standardise"):
        Preparation.of(far)


def test_missing_values_are_refused_unless_asked_for(trends: Any) -> None:
    X, y = trends
    X = [x.copy() for x in X]
    X[3][2:, 0] = np.nan
    quick = {"hidden_size": 4, "max_epochs": 8, "learning_rate": 0.02, "random_state": 0, "verbose": False}
    with pytest.raises(DataError, match=r"X: series 3 has NaN at step 2, channel 0 .*set missing='mask'"):
        LSTMClassifier(**quick).fit(X, y)
    clf = LSTMClassifier(**quick, missing="mask").fit(X, y)
    assert clf.network_.lstm.input_size == 2
    assert clf.score(X, y) > 0.9
    filled = [*X[:3], np.where(np.isnan(X[3]), X[3][1], X[3]), *X[4:]]
    assert not np.array_equal(clf.predict_proba(filled)[3], clf.predict_proba(X)[3])  # it is told


def test_static_features_and_durations_are_learned_from() -> None:
    rng = np.random.default_rng(0)
    arrays, age = [rng.normal(size=(4, 1)) for _ in range(80)], rng.normal(size=80)
    steps = rng.exponential(size=80)
    times = [np.arange(4) * step for step in steps]
    series = Sequences.from_arrays(arrays, times=times).with_static(age[:, None])
    quick = {"hidden_size": 8, "max_epochs": 30, "learning_rate": 0.02, "random_state": 0, "verbose": False}
    assert LSTMRegressor(**quick).fit(series, age).score(series, age) > 0.8
    bare = Sequences.from_arrays(arrays, times=times)
    assert LSTMRegressor(**quick, step_duration=True).fit(bare, steps).score(bare, steps) > 0.8
    assert LSTMRegressor(**quick).fit(bare, steps).score(bare, steps) < 0.5
