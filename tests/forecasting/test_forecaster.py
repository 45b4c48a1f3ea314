"""The forecaster: no look into the future, the same numbers whichever way they are asked for, clear refusals."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import glasslstm as gl
from glasslstm import LSTMForecaster
from glasslstm.data import Sequences, read_series
from glasslstm.errors import ArgumentError, DataError, GlassLSTMError
from glasslstm.forecasting import Forecast
from glasslstm.forecasting.network import ForecastNetwork
from glasslstm.forecasting.problem import Problem

L, H = 10, 4
DAY = pd.Timedelta("1D")
NAN = np.nan


def make(**given: Any) -> LSTMForecaster:
    chosen = {
        "horizon": H,
        "context": L,
        "hidden_size": 4,
        "max_updates": 4,
        "random_state": 0,
        "verbose": False,
    }
    return LSTMForecaster(**(chosen | given))


def table(lengths: Sequence[int] = (60, 55, 50), seed: int = 0, start: str = "2020-01-01") -> pd.DataFrame:
    """Return series s0, s1, ... of different lengths and starts, whose target follows a price and a weekday."""
    rng = np.random.default_rng(seed)
    parts = []
    for k, steps in enumerate(lengths):
        ds = pd.date_range(pd.Timestamp(start) + 2 * k * DAY, periods=steps)
        price, seen = rng.normal(size=(2, steps))
        y = 20 + 5 * k + price + np.sin(2 * np.pi * np.arange(steps) / 7) + 0.3 * rng.normal(size=steps)
        parts.append(pd.DataFrame({"unique_id": f"s{k}", "ds": ds, "y": y, "price": price, "seen": seen}))
    return pd.concat(parts, ignore_index=True)


def before(frame: pd.DataFrame, steps: int) -> pd.DataFrame:
    """Leave the last steps of each series out."""
    return frame[frame.groupby("unique_id").cumcount(ascending=False) >= steps]


def last(frame: pd.DataFrame, steps: int) -> pd.DataFrame:
    return frame[frame.groupby("unique_id").cumcount(ascending=False) < steps]


def edited(frame: pd.DataFrame, where: Any, **columns: Any) -> pd.DataFrame:
    frame = frame.copy()
    for name, value in columns.items():
        frame.loc[where, name] = value
    return frame


def same(one: Forecast, other: Forecast) -> None:
    """Hold two forecasts to be the same to the bit."""
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.times, other.times)
    np.testing.assert_array_equal(one.point, other.point)
    assert (one.quantiles is None) == (other.quantiles is None)
    if one.quantiles is not None and other.quantiles is not None:
        np.testing.assert_array_equal(one.quantiles, other.quantiles)


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    return table()


@pytest.fixture(scope="module")
def known(whole: pd.DataFrame) -> pd.DataFrame:
    """What is trained on: all but the last twelve steps."""
    return before(whole, 12)


@pytest.fixture(scope="module")
def model(known: pd.DataFrame) -> LSTMForecaster:
    """A model of the past of three channels."""
    return make().fit(known)


@pytest.fixture(scope="module")
def priced(known: pd.DataFrame) -> LSTMForecaster:
    """A model that knows the prices ahead."""
    return make(future_covariates=("price",)).fit(known)


@pytest.fixture(scope="module")
def prices(whole: pd.DataFrame) -> pd.DataFrame:
    return whole[["unique_id", "ds", "price"]]


class TestPredict:
    def test_what_comes_back(self, model: LSTMForecaster, known: pd.DataFrame) -> None:
        found = model.predict()
        ends = known.groupby("unique_id")["ds"].max()
        assert found.ids.tolist() == ["s0", "s1", "s2"]
        for times, end in zip(found.times, ends, strict=True):
            assert [pd.Timestamp(time) for time in times] == [end + k * DAY for k in range(1, H + 1)]
        assert (found.point.shape, found.point.dtype) == ((3, H), np.float64)
        assert found.levels == (0.1, 0.5, 0.9)
        assert found.quantiles is not None
        assert (np.diff(found.quantiles, axis=-1) > 0).all()
        np.testing.assert_array_equal(found.point, found.quantiles[..., 1])
        assert (np.abs(found.point - [[20], [25], [30]]) < 6).all()

    def test_of_the_training_series_again_and_of_their_last_steps(
        self, model: LSTMForecaster, known: pd.DataFrame
    ) -> None:
        same(model.predict(known), model.predict())
        same(model.predict(last(known, L)), model.predict())

    @pytest.mark.parametrize("steps", range(1, H + 1))
    def test_a_shorter_horizon_is_the_start_of_the_whole(
        self, model: LSTMForecaster, known: pd.DataFrame, steps: int
    ) -> None:
        found = model.predict()
        assert found.quantiles is not None
        start = replace(
            found,
            times=found.times[:, :steps],
            point=found.point[:, :steps],
            quantiles=found.quantiles[:, :steps],
        )
        for one in (
            model.predict(steps),
            model.predict(horizon=np.int64(steps)),
            model.predict(known, steps),
        ):
            same(one, start)

    @pytest.mark.parametrize("horizon", [0, -1, H + 1, 2.0, "2", True])
    def test_a_horizon_that_cannot_be(self, model: LSTMForecaster, horizon: Any) -> None:
        with pytest.raises(
            ArgumentError, match=f"horizon: expected a whole number from 1 to {H}, .*, got {horizon!r}"
        ):
            model.predict(horizon=horizon)

    def test_the_order_of_the_columns_does_not_matter(
        self, priced: LSTMForecaster, known: pd.DataFrame, prices: pd.DataFrame
    ) -> None:
        turned = known[["seen", "ds", "price", "y", "unique_id"]]
        same(priced.predict(turned, future=prices), priced.predict(future=prices))

    @pytest.mark.parametrize("library", ["polars", "pyarrow", "Sequences"])
    def test_every_table_says_the_same(
        self, priced: LSTMForecaster, known: pd.DataFrame, prices: pd.DataFrame, library: str
    ) -> None:
        change: Any = {
            "polars": pl.from_pandas,
            "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
            "Sequences": lambda frame: read_series(frame, id="unique_id", time="ds"),
        }[library]
        expected = priced.predict(future=prices)
        same(priced.predict(change(known), future=change(prices)), expected)
        same(make(future_covariates=["price"]).fit(change(known)).predict(future=change(prices)), expected)

    def test_series_that_it_never_saw(self, model: LSTMForecaster) -> None:
        other = table((L, 30), seed=5, start="1999-12-30")
        found = model.predict(other.assign(unique_id=other["unique_id"] + " (new)"))
        assert found.ids.tolist() == ["s0 (new)", "s1 (new)"]
        assert found.times[0, 0].astype("M8[D]") == np.datetime64("2000-01-09")

    def test_series_of_their_own_stay_apart(self, model: LSTMForecaster, known: pd.DataFrame) -> None:
        expected = model.predict().point
        for name, row in zip(("s0", "s1", "s2"), expected, strict=True):
            alone = model.predict(known[known["unique_id"] == name])
            assert alone.ids.tolist() == [name]
            np.testing.assert_allclose(alone.point[0], row, rtol=1e-6)

    def test_the_order_of_the_series_is_that_of_the_answer(
        self, model: LSTMForecaster, known: pd.DataFrame
    ) -> None:
        turned = model.predict(read_series(known, id="unique_id", time="ds")[[2, 0, 1]])
        assert turned.ids.tolist() == ["s2", "s0", "s1"]
        # Not to the bit: a product of matrices rounds by where a row stands in its batch.
        np.testing.assert_allclose(turned.point[[1, 2, 0]], model.predict().point, rtol=1e-6)

    def test_missing_steps_are_missing_values(self, known: pd.DataFrame) -> None:
        rows = known.index[[5, 6, 20, -2]]
        gone, blank = known.drop(index=rows), edited(known, rows, y=NAN, price=NAN, seen=NAN)
        fitted = make().fit(gone)
        same(fitted.predict(), make().fit(blank).predict())
        same(fitted.predict(gone), fitted.predict(blank))
        assert not np.array_equal(fitted.predict().point, make().fit(known).predict().point)

    def test_arrays_lists_and_pandas_series_are_one(self) -> None:
        y = np.random.default_rng(0).normal(size=50)
        expected = make().fit(y).predict()
        assert expected.times.tolist() == [[50, 51, 52, 53]]
        for X in ([y], [y[:, None]], y[None, :, None], pd.Series(y), pl.Series(y), [y.tolist()]):
            same(make().fit(X).predict(), expected)
        dated = (
            make(calendar=False)
            .fit(pd.Series(y, index=pd.date_range("2024", periods=50, freq="2D")))
            .predict()
        )
        np.testing.assert_array_equal(dated.times[0], np.datetime64("2024-04-10") + 2 * np.arange(H))

    def test_periods_are_months(self) -> None:
        y = np.random.default_rng(0).normal(size=50)
        fitted = make(context=24).fit(pd.Series(y, index=pd.period_range("2020-01", periods=50, freq="M")))
        assert (fitted.frequency_.alias, fitted.preparation_.season_length) == ("MS", 12)
        assert fitted.predict().times[0, 0].astype("M8[D]") == np.datetime64("2024-03-01")

    def test_business_days_jump_over_the_weekend(self) -> None:
        y = pd.Series(np.arange(45.0) % 5, index=pd.bdate_range("2024-01-01", periods=45))
        times = make().fit(y).predict().times[0].astype("M8[D]")
        assert np.is_busday(times).all()
        assert times[0] == np.datetime64("2024-03-04")

    def test_before_fit(self) -> None:
        for ask in ("predict", "update", "backtest", "trace"):
            with pytest.raises(NotFittedError):
                getattr(make(), ask)(*([] if ask == "predict" else [np.ones(50)]))


class TestNoLookIntoTheFuture:
    """A backtest knows of each window what stood before its origin, and what is known ahead."""

    @pytest.mark.parametrize("column", ["y", "seen"])
    def test_what_comes_after_the_origin_changes_nothing(
        self, priced: LSTMForecaster, whole: pd.DataFrame, column: str
    ) -> None:
        expected = priced.backtest(whole, baselines=()).answers["lstm"]
        rows = last(whole, H).index
        for value in (1e3, 1e9, NAN):
            found = priced.backtest(edited(whole, rows, **{column: value}), baselines=()).answers["lstm"]
            np.testing.assert_array_equal(found.point, expected.point)
            np.testing.assert_array_equal(found.quantiles, expected.quantiles)

    def test_what_is_known_ahead_does(self, priced: LSTMForecaster, whole: pd.DataFrame) -> None:
        expected = priced.backtest(whole, baselines=()).answers["lstm"].point
        for ahead in range(H):
            row = whole.groupby("unique_id").nth(ahead - H).index
            found = priced.backtest(edited(whole, row, price=9.0), baselines=()).answers["lstm"].point
            changed = (found != expected).any(axis=0).tolist()
            assert changed == [step >= ahead for step in range(H)]

    def test_windows_are_forecasts_of_the_history_cut_by_hand(
        self, priced: LSTMForecaster, whole: pd.DataFrame
    ) -> None:
        found = priced.backtest(whole, windows=5, stride=2, baselines=())
        assert len(found) == 15
        histories, futures = [], []
        for w, (name, cutoff) in enumerate(zip(found.ids, found.cutoffs, strict=True)):
            own = whole[whole["unique_id"] == name].assign(unique_id=f"{w:02d}")
            histories.append(own[own["ds"] <= cutoff])
            futures.append(own[own["ds"] > cutoff].head(H)[["unique_id", "ds", "price"]])
            alone = priced.predict(histories[-1], future=futures[-1])
            np.testing.assert_array_equal(alone.times[0], found.times[w])
            np.testing.assert_allclose(alone.point[0], found.answers["lstm"].point[w], rtol=1e-6)
            truth = own[own["ds"] > cutoff]["y"].head(H)
            np.testing.assert_allclose(found.truth[w], truth, rtol=1e-6)
        together = priced.predict(pd.concat(histories), future=pd.concat(futures))
        np.testing.assert_array_equal(together.point, found.answers["lstm"].point)
        np.testing.assert_array_equal(together.quantiles, found.answers["lstm"].quantiles)

    def test_a_truth_that_the_transform_does_not_take_is_a_truth(self, whole: pd.DataFrame) -> None:
        fitted = make(transform="log").fit(before(whole, 12))
        expected = fitted.backtest(whole, baselines=()).answers["lstm"].point
        found = fitted.backtest(edited(whole, last(whole, 1).index, y=0.0), baselines=())
        np.testing.assert_array_equal(found.answers["lstm"].point, expected)
        assert (found.truth[:, -1] == 0).all()

    def test_training_windows_end_with_the_data(self, monkeypatch: pytest.MonkeyPatch) -> None:
        y = [np.random.default_rng(k).normal(size=n) for k, n in enumerate((40, 25))]
        seen: list[Any] = []
        examples = LSTMForecaster._examples

        def noted(self: Any, series: Any, *rest: Any) -> Any:
            seen.append(series)
            return examples(self, series, *rest)

        monkeypatch.setattr(LSTMForecaster, "_examples", noted)
        for stride, counts in ((1, [27, 12]), (3, [9, 4]), (50, [1, 1])):
            make(stride=stride).fit(y)
            windows = seen.pop()
            assert windows.lengths.tolist() == [L + H] * sum(counts)
            assert np.bincount(windows.ids).tolist() == counts
            ends = np.array([40, 65])[windows.ids]
            starts = np.array([0, 40])[windows.ids]
            assert (windows.starts >= starts).all()
            assert (windows.stops <= ends).all()
            if stride == 1:
                assert windows.stops.max() == 65

    def test_a_window_that_says_nothing_is_left_out(self) -> None:
        y = np.random.default_rng(0).normal(size=60)
        y[20:35] = NAN
        fitted = make().fit(y)  # windows with a past, or a future, of NaN alone
        assert np.isfinite([row["train_loss"] for row in fitted.history_]).all()
        y[1:] = NAN
        y[-1] = 2.0
        with pytest.raises(
            DataError, match="no window of 14 steps has a known value of the target both in its first"
        ):
            make().fit(y)


class TestRefit:
    def test_it_is_a_fit_on_what_stood_before_each_origin(self, whole: pd.DataFrame) -> None:
        fitted = make(max_updates=2).fit(whole)
        found = fitted.backtest(whole, windows=2, stride=3, baselines=(), refit=True)
        for nth, left in enumerate((H + 3, H)):
            past = before(whole, left)
            expected = clone(fitted).fit(past).predict()
            np.testing.assert_array_equal(found.answers["lstm"].point[nth::2], expected.point)
            assert expected.quantiles is not None
            np.testing.assert_array_equal(found.answers["lstm"].quantiles[nth::2], expected.quantiles)
        np.testing.assert_array_equal(found.ids, np.repeat(["s0", "s1", "s2"], 2))

    def test_it_knows_nothing_of_what_comes_after(self, whole: pd.DataFrame) -> None:
        fitted = make(max_updates=2, transform="auto").fit(whole)
        last_steps = last(whole, H).index
        expected = fitted.backtest(whole, baselines=(), refit=True).answers["lstm"]
        # Also not by the transform, which a value below 0 would forbid, nor by what is measured.
        for other in (edited(whole, last_steps, y=-1e3, seen=1e3), edited(whole, last_steps, y=NAN)):
            found = fitted.backtest(other, baselines=(), refit=True).answers["lstm"]
            np.testing.assert_array_equal(found.point, expected.point)

    @pytest.mark.parametrize("since", [{"horizon": 6}, {"quantiles": None}, {"horizon": 2}, {"context": 5}])
    def test_it_has_the_parameters_of_the_training(self, known: pd.DataFrame, since: dict[str, Any]) -> None:
        fitted = make(max_updates=1).fit(known)
        expected = fitted.backtest(known, baselines=(), refit=True).answers["lstm"]
        found = (
            copy.deepcopy(fitted)
            .set_params(**since)
            .backtest(known, baselines=(), refit=True)
            .answers["lstm"]
        )
        np.testing.assert_array_equal(found.point, expected.point)

    def test_it_leaves_the_model_alone(self, whole: pd.DataFrame, model: LSTMForecaster) -> None:
        before_it = model.predict()
        model.backtest(whole, baselines=(), refit=True)
        same(model.predict(), before_it)


class TestOverlap:
    def test_windows_that_were_trained_on_are_refused_and_named(
        self, model: LSTMForecaster, whole: pd.DataFrame, known: pd.DataFrame
    ) -> None:
        with pytest.raises(
            DataError, match="X: 3 windows of 3 series overlap what the model knows of them: 's0', 's1', 's2'"
        ):
            model.backtest(known)
        model.backtest(whole, windows=9, stride=1, baselines=())  # the first step is the first that is new
        with pytest.raises(DataError, match=r"3 windows of 3 series .* overlap=True .* or refit=True"):
            model.backtest(whole, windows=10, stride=1)
        one = known[known["unique_id"] == "s1"]
        with pytest.raises(DataError, match=r"2 windows of 1 series overlap .*: 's1'; leave the end"):
            model.backtest(one, windows=2)

    def test_it_can_be_asked_for(self, model: LSTMForecaster, known: pd.DataFrame) -> None:
        found = model.backtest(known, overlap=True, baselines=())
        assert found.answers["lstm"].point.shape == (3, H)

    def test_other_series_may_be_of_any_time(self, model: LSTMForecaster, known: pd.DataFrame) -> None:
        model.backtest(known.assign(unique_id=known["unique_id"] + "x"), baselines=())

    def test_what_update_added_was_not_trained_on(self, model: LSTMForecaster, whole: pd.DataFrame) -> None:
        grown = copy.deepcopy(model).update(last(whole, 12))
        found, expected = (one.backtest(whole, baselines=()).answers["lstm"] for one in (grown, model))
        np.testing.assert_array_equal(found.point, expected.point)
        with pytest.raises(DataError, match="3 windows of 3 series overlap what the model knows"):
            grown.backtest(whole, windows=4)

    def test_ids_are_the_same_whatever_their_type(self) -> None:
        y = [np.random.default_rng(k).normal(size=(50, 1)) for k in range(2)]
        fitted = make().fit(Sequences.from_arrays(y, ids=["1", "2"]))
        with pytest.raises(DataError, match="2 windows of 2 series overlap"):
            fitted.backtest(Sequences.from_arrays(y, ids=[1, 2]))

    def test_it_is_the_time_that_counts_in_whatever_unit(
        self, model: LSTMForecaster, whole: pd.DataFrame
    ) -> None:
        for unit in ("s", "ns"):
            model.backtest(whole.astype({"ds": f"M8[{unit}]"}), windows=3, baselines=())
            with pytest.raises(DataError, match="overlap"):
                model.backtest(whole.astype({"ds": f"M8[{unit}]"}), windows=4)


class TestBacktest:
    def test_the_baselines_stand_beside_it(self, model: LSTMForecaster, whole: pd.DataFrame) -> None:
        found = model.backtest(whole, windows=2)
        assert list(found.answers) == ["lstm", "seasonal_naive", "theta"]
        assert found.season_length == model.preparation_.season_length == 7
        y = whole[whole["unique_id"] == "s0"]["y"].to_numpy()
        np.testing.assert_allclose(found.answers["seasonal_naive"].point[1], y[-H - 7 : -7], rtol=1e-6)
        difference = np.abs(y[7:-H] - y[: -H - 7]).mean()
        np.testing.assert_allclose(found.scales[1, 0], difference, rtol=1e-6)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"windows": 0}, "windows: expected a whole number of 1 or more, got 0"),
            ({"windows": 1.5}, "windows: expected .*, got 1.5"),
            ({"stride": 0}, "stride: expected a whole number of 1 or more, got 0"),
            ({"baselines": ("arima",)}, "baselines: got 'arima'; expected some of seasonal_naive, theta"),
            ({"baselines": "theta"}, "baselines: .*theta"),
        ],
    )
    def test_refuses(self, model: LSTMForecaster, whole: pd.DataFrame, given: Any, message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            model.backtest(whole, **given)

    def test_too_short_for_so_many_windows(self, model: LSTMForecaster, whole: pd.DataFrame) -> None:
        with pytest.raises(
            DataError, match=r"2 series are too short for .*windows=12.* the shortest has 50: 's1', 's2'"
        ):
            model.backtest(whole, windows=12)

    def test_a_window_without_a_known_context_is_refused(
        self, model: LSTMForecaster, whole: pd.DataFrame
    ) -> None:
        blank = edited(whole, last(before(whole, H), L).index, y=NAN)
        with pytest.raises(DataError, match="s0"):
            model.backtest(blank, baselines=())


class TestUpdate:
    def test_it_is_the_forecast_of_the_longer_series(
        self, model: LSTMForecaster, whole: pd.DataFrame, known: pd.DataFrame
    ) -> None:
        grown = copy.deepcopy(model)
        assert grown.update(last(whole, 12)) is grown
        same(grown.predict(), model.predict(whole))
        step_by_step = copy.deepcopy(model)
        for left in range(12, 0, -1):
            step_by_step.update(last(before(whole, left - 1), 1))
        same(step_by_step.predict(), model.predict(whole))
        for name in ("s0", "s2"):
            part = whole[whole["unique_id"] == name]
            np.testing.assert_array_equal(
                copy.deepcopy(model).update(last(part, 12)).predict().point,
                model.predict(pd.concat([known, last(part, 12)]).sort_values(["unique_id", "ds"])).point,
            )

    def test_steps_between_are_missing(self, model: LSTMForecaster, whole: pd.DataFrame) -> None:
        blank = edited(
            whole, last(whole, 12).index.difference(last(whole, 3).index), y=NAN, price=NAN, seen=NAN
        )
        same(copy.deepcopy(model).update(last(whole, 3)).predict(), model.predict(blank))

    def test_a_new_series_is_forecast_from_then_on(self, model: LSTMForecaster, whole: pd.DataFrame) -> None:
        new = last(whole[whole["unique_id"] == "s1"], L).assign(unique_id="another")
        found = copy.deepcopy(model).update(new).predict()
        assert found.ids.tolist() == ["s0", "s1", "s2", "another"]
        np.testing.assert_allclose(found.point[3], model.predict(new).point[0], rtol=1e-6)

    def test_with_prices_ahead(
        self, priced: LSTMForecaster, whole: pd.DataFrame, prices: pd.DataFrame
    ) -> None:
        grown = copy.deepcopy(priced).update(before(whole, 8).merge(last(whole, 12)))
        same(grown.predict(future=prices), priced.predict(before(whole, 8), future=prices))

    def test_what_cannot_be_added_leaves_the_model_as_it_was(
        self, model: LSTMForecaster, whole: pd.DataFrame, known: pd.DataFrame
    ) -> None:
        grown, new = copy.deepcopy(model), last(whole, 12)
        short = new[new["unique_id"] == "s0"].head(3).assign(unique_id="short")
        for wrong, message in (
            (
                last(known, 1),
                "new_values: the steps of 3 series do not come after those that are known: 's0', 's1', 's2'",
            ),
            (new.drop(columns="seen"), "there is no column 'seen'"),
            (short, "Too short: 1 series .'short'., .* with 3 steps, where 10 are needed"),
            (
                new.assign(ds=new["ds"] + pd.Timedelta("1h")),
                "3 of 3 series do not stand on the frequency 'D'",
            ),
            (edited(new, new.index[:1], y=np.inf), "infinite"),
            (pd.concat([new, new]), "more than once"),
            (new.assign(ds=new["ds"] + 10**5 * DAY), "the .* steps that are there would become"),
        ):
            with pytest.raises(DataError, match=message):
                grown.update(wrong)
            same(grown.predict(), model.predict())

    def test_numbers_after_dates_are_refused(self, model: LSTMForecaster, whole: pd.DataFrame) -> None:
        new = last(whole, 2)
        with pytest.raises(DataError, match=r"numbers|dates"):
            copy.deepcopy(model).update(new.assign(ds=np.arange(len(new)) + 10**6))

    def test_the_argument_is_named(self, model: LSTMForecaster, whole: pd.DataFrame) -> None:
        with pytest.raises(DataError, match=r"^new_values: .*Too short"):
            copy.deepcopy(model).update(last(whole, 2)[:2].assign(unique_id="short"))

    def test_series_without_time_stamps_go_on(self) -> None:
        y = np.random.default_rng(0).normal(size=60)
        found = make().fit(y[:50]).update(y[50:]).predict()
        same(found, make().fit(y[:50]).predict(y))

    def test_numbered_steps_go_on(self) -> None:
        y, t = np.random.default_rng(0).normal(size=60)[:, None], 0.5 * np.arange(60)
        fitted = make().fit(Sequences.from_arrays([y[:50]], times=[t[:50]]))
        new = Sequences.from_arrays([y[50:]], times=[t[50:]])
        found = copy.deepcopy(fitted).update(new).predict()
        same(found, fitted.predict(Sequences.from_arrays([y], times=[t])))
        assert found.times.tolist() == [[30, 30.5, 31, 31.5]]

    def test_a_series_that_stands_still_can_be_updated(self) -> None:
        y = np.append(10 + np.random.default_rng(0).normal(size=40), np.zeros(L))
        t = np.arange(60)
        fitted = make(calendar=False).fit(Sequences.from_arrays([y[:, None]], times=[t[:50]]))
        fitted.predict()
        found = fitted.update(Sequences.from_arrays([[[0.0]]], times=[[50]])).predict()
        assert found.times[0, 0] == 51


class TestKnownAhead:
    def test_all_the_ways_to_lack_it(self, priced: LSTMForecaster, prices: pd.DataFrame) -> None:
        three = before(prices, 9)
        for future, message in (
            (None, "future: the forecast needs 'price' of the 4 steps after each series; give them"),
            (prices[prices["unique_id"] != "s1"], "future: 1 of 3 series are not in it: 's1'"),
            (three, "End before the horizon: 3 series .'s0', 's1', 's2'., the shortest, 's0', with 3 steps"),
            (prices.rename(columns={"price": "cost"}), "there is no column 'price'"),
            (
                edited(prices, last(prices, 12).index[:1], price=NAN),
                "'price' of series 's0' in step 1 of the 4",
            ),
        ):
            with pytest.raises(DataError, match=message):
                priced.predict(future=future)

    def test_more_than_is_needed_does_no_harm(self, priced: LSTMForecaster, prices: pd.DataFrame) -> None:
        shuffled = pd.concat([part for _, part in reversed(list(prices.groupby("unique_id")))])
        exact = before(last(prices, 12), 12 - H)
        same(priced.predict(future=shuffled), priced.predict(future=exact))

    @pytest.mark.parametrize("steps", [1, 3])
    def test_a_shorter_horizon_needs_no_more(
        self, priced: LSTMForecaster, prices: pd.DataFrame, steps: int
    ) -> None:
        found = priced.predict(steps, future=before(prices, 12 - steps))
        np.testing.assert_allclose(found.point, priced.predict(future=prices).point[:, :steps], rtol=1e-6)

    def test_arrays_without_time_stamps(self) -> None:
        values = np.random.default_rng(0).normal(size=(60, 2))
        history = Sequences.from_arrays([values[:50]], channel_names=["y", "x"])
        future = Sequences.from_arrays([values[50:, 1:]], channel_names=["x"])
        fitted = make(future_covariates=("x",)).fit(history)
        timed = Sequences.from_arrays([values[50:, 1:]], channel_names=["x"], times=[np.arange(50, 60)])
        same(fitted.predict(future=future), fitted.predict(future=timed))

    def test_what_is_named_must_be_a_covariate(self, known: pd.DataFrame) -> None:
        for names in (("y",), ("price", "cost")):
            with pytest.raises(
                ArgumentError, match=f"future_covariates: '{names[-1]}' is no covariate; .*price, seen"
            ):
                make(future_covariates=names).fit(known)
        with pytest.raises(
            ArgumentError, match="future_covariates: expected a tuple or list of names, got 'price'"
        ):
            make(future_covariates="price").fit(known)

    def test_the_target_by_name(self, known: pd.DataFrame, prices: pd.DataFrame) -> None:
        renamed = known.rename(columns={"y": "sales", "seen": "y"})
        found = make(target="sales", future_covariates=("price",)).fit(renamed).predict(future=prices)
        assert (np.abs(found.point - [[20], [25], [30]]) < 6).all()
        with pytest.raises(
            ArgumentError, match="target: expected one of the channels sales, price, y, got 'cost'"
        ):
            make(target="cost").fit(renamed)
        with pytest.raises(
            ArgumentError, match=r"target: expected one of the channels .*, got 'y'; name the one"
        ):
            make().fit(renamed.rename(columns={"y": "z"}))


def with_kinds(seed: int = 0, steps: int = 40, kinds: Sequence[str] = ("red", "blue")) -> Sequences:
    rngs = [np.random.default_rng([seed, k]) for k in range(4)]
    rows = [
        (
            f"s{k}",
            day,
            10 + 3 * (t % 2) + rngs[k].normal(),
            kinds[(t + k) % len(kinds)],
            40.0 + k,
            ("n", "s")[k % 2],
        )
        for k in range(4)
        for t, day in enumerate(pd.date_range("2021-01-01", periods=steps))
    ]
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y", "colour", "age", "site"])
    return read_series(
        frame, id="unique_id", time="ds", channels=["y", "colour"], categories=["colour", "site"],
        static=["age", "site"], missing="mask",
    )  # fmt: skip


@pytest.fixture(scope="module")
def kinds() -> LSTMForecaster:
    """A model of a category that is known ahead, and of static features."""
    return make(future_covariates=("colour",)).fit(with_kinds())


class TestStaticAndCategories:
    def ahead(self, colours: Sequence[str]) -> Any:
        days = pd.date_range("2021-02-10", periods=H)
        rows = [(f"s{k}", day, colour) for k in range(4) for day, colour in zip(days, colours, strict=True)]
        frame = pd.DataFrame(rows, columns=["unique_id", "ds", "colour"])
        return read_series(frame, id="unique_id", time="ds", channels=["colour"], categories=["colour"])

    def test_they_are_inputs(self, kinds: LSTMForecaster) -> None:
        names = kinds.preparation_.input_names
        assert names[:4] == ["y", "colour = blue", "colour = red", "colour = (unknown)"]
        assert names[-6:-1] == ["age", "site = n", "site = s", "site = (unknown)", "y is missing"]
        assert names[-1] == "y since the season before"

    def test_a_category_ahead_is_found_by_its_text(self, kinds: LSTMForecaster) -> None:
        reds = kinds.predict(future=self.ahead(["red"] * H)).point
        mixed = kinds.predict(future=self.ahead(["red", "blue", "red", "red"])).point
        np.testing.assert_array_equal(mixed[:, 0], reds[:, 0])
        assert (mixed[:, 1:] != reds[:, 1:]).any()
        unknown = kinds.predict(future=self.ahead(["green"] * H)).point
        assert np.isfinite(unknown).all()
        assert not np.array_equal(unknown, reds)

    def test_a_static_feature_of_a_series_moves_its_forecast(self, kinds: LSTMForecaster) -> None:
        series = with_kinds()
        assert series.static is not None
        moved = series.static.copy()
        moved[2, 0] += 3
        future = self.ahead(["red"] * H)
        changed = (
            kinds.predict(replace(series, static=moved), future=future).point
            != kinds.predict(future=future).point
        )
        assert changed.any(axis=1).tolist() == [False, False, True, False]

    def test_update_keeps_them(self, kinds: LSTMForecaster) -> None:
        longer = with_kinds(steps=44)
        new = replace(longer, starts=longer.starts + 40)
        future = self.ahead(["red"] * H)
        moved = replace(future, times=np.asarray(future.times) + np.timedelta64(4, "D"))
        grown = copy.deepcopy(kinds).update(new)
        same(grown.predict(future=moved), kinds.predict(longer, future=moved))

    def test_a_target_of_categories_is_refused(self) -> None:
        with pytest.raises(GlassLSTMError, match=r"target.*categor"):
            make(target="colour").fit(with_kinds())

    def test_other_static_features_are_refused(self, kinds: LSTMForecaster) -> None:
        bare = replace(with_kinds(), static=None, static_names=(), categories={"colour": ("blue", "red")})
        with pytest.raises(DataError, match="X has 0 static features, and LSTMForecaster is expecting 2"):
            kinds.predict(bare, future=self.ahead(["red"] * H))


class TestTheFirstForecast:
    """Before it has learned anything, it says the seasonal naive forecast."""

    def untrained(self, **given: Any) -> LSTMForecaster:
        return make(learning_rate=1e-12, weight_decay=0.0, max_updates=1, **given)

    @pytest.mark.parametrize(
        "quantiles", [None, (0.5,), (0.1, 0.5, 0.9), (0.5, 0.9), (0.05, 0.1, 0.5), (0.1, 0.2, 0.3, 0.5)]
    )
    @pytest.mark.parametrize("transform", ["none", "log"])
    def test_for_any_levels(self, quantiles: Any, transform: str) -> None:
        rng = np.random.default_rng(0)
        y = 50 + 10 * np.sin(np.arange(60) * 2 * np.pi / 3) + rng.normal(size=60)
        fitted = self.untrained(quantiles=quantiles, transform=transform, season_length=3)
        found = fitted.fit(y).predict().point[0]
        naive = np.array([y[-3], y[-2], y[-1], y[-3]])
        assert np.abs(found - naive).max() < 0.25 * y[-L:].std()

    def test_levels_without_the_median_have_a_point_between_them(self) -> None:
        found = make(quantiles=(0.1, 0.9)).fit(np.random.default_rng(0).normal(size=60)).predict()
        low, high = found.interval(0.8)
        assert (low < found.point).all()
        assert (found.point < high).all()


class TestUnits:
    @pytest.mark.parametrize("transform", ["sqrt", "log1p", "log", "auto"])
    def test_what_is_never_below_zero_is_not_forecast_below(self, transform: str) -> None:
        y = np.exp(np.random.default_rng(0).normal(scale=1.5, size=60))
        found = make(transform=transform, max_updates=20, quantiles=(0.001, 0.5, 0.999)).fit(y).predict()
        assert found.quantiles is not None
        assert (found.quantiles > 0 if transform in ("log", "auto") else found.quantiles >= 0).all()

    def test_counts_with_zeros(self) -> None:
        y = np.random.default_rng(0).poisson(0.7, size=80)
        for transform in ("log1p", "sqrt"):
            found = make(transform=transform, quantiles=(0.01, 0.5, 0.9)).fit(y).predict()
            assert found.quantiles is not None
            assert (found.quantiles >= 0).all()

    def test_rare_counts_are_not_forecast_below_zero_either(self) -> None:
        y = 3.0 * (np.random.default_rng(0).random(80) < 0.05)
        found = make().fit(y).predict()
        assert found.quantiles is not None
        assert (found.quantiles >= 0).all()

    @pytest.mark.parametrize("size", [1e-100, 1e-9, 1e12, 1e30])
    def test_the_unit_of_the_target_does_not_matter(self, size: float) -> None:
        y = 10 + np.random.default_rng(0).normal(size=60)
        expected = make(transform="none").fit(y).predict()
        found = make(transform="none").fit(y * size).predict()
        np.testing.assert_allclose(found.point / size, expected.point, rtol=1e-3)

    @pytest.mark.parametrize("level", [1e6, 1e9, 1e12])
    def test_nor_does_its_level(self, level: float) -> None:
        y = np.round(np.random.default_rng(0).normal(size=60), 3)
        expected = make(transform="none").fit(y).predict()
        found = make(transform="none").fit(level + y).predict()
        np.testing.assert_allclose(found.point - level, expected.point, atol=0.05)

    @pytest.mark.parametrize("size", [1e40, 1e200])
    def test_what_is_too_large_is_refused(self, size: float) -> None:
        with pytest.raises(DataError, match=r"too large|out of all proportion|unit"):
            make().fit(size * (10 + np.random.default_rng(0).normal(size=60)))

    @pytest.mark.parametrize("value", [0.0, 3.0])
    def test_a_history_that_stands_still_has_a_forecast(self, value: float) -> None:
        fitted = make().fit(np.random.default_rng(0).normal(size=60))
        found = fitted.predict(np.full(L, value))
        assert np.abs(found.point - value).max() < 2

    def test_a_history_whose_context_is_all_missing_is_refused(self) -> None:
        y = 100 + np.random.default_rng(0).normal(size=60)
        fitted = make().fit(y)
        with pytest.raises(DataError, match="missing"):
            fitted.predict(np.append(y, np.full(L, NAN)))

    def test_values_that_the_transform_does_not_take(self) -> None:
        y = 10 + np.random.default_rng(0).normal(size=60)
        for name, floor in (("log", 0.0), ("sqrt", -1.0), ("log1p", -1.0)):
            fitted = make(transform=name).fit(y)
            wrong = y.copy()
            wrong[3] = floor
            words = "above 0" if name == "log" else "0 or more"
            with pytest.raises(
                DataError, match=f"transform '{name}' takes values that are {words}, and 2 series.*: 0, 2;"
            ):
                make(transform=name).fit([wrong, y, wrong])
            with pytest.raises(
                DataError, match=f"takes values that are {words}, and 1 series have others: 1;"
            ):
                fitted.predict([y, wrong])


class TestSizes:
    """Odd shapes, with the context and the season that come of them."""

    def test_a_series_of_forty_steps(self) -> None:
        fitted = make(context=None).fit(np.random.default_rng(0).normal(size=40))
        assert (fitted.preparation_.context, fitted.preparation_.season_length) == (18, 1)

    @pytest.mark.parametrize(
        ("steps", "horizon", "season", "context"),
        [
            (400, 4, None, 32),
            (400, 30, None, 60),
            (400, 4, 12, 60),
            (2000, 100, 100, 336),
            (60, 20, None, 20),
            (60, 25, 3, 25),
        ],
    )
    def test_the_context_that_is_chosen(self, steps: int, horizon: int, season: Any, context: int) -> None:
        fitted = make(context=None, horizon=horizon, season_length=season, stride=400)
        assert fitted.fit(np.arange(steps) % 7.0).preparation_.context == context

    def test_a_horizon_beyond_the_context(self) -> None:
        found = (
            make(horizon=12, context=5, season_length=3)
            .fit(np.random.default_rng(0).normal(size=40))
            .predict()
        )
        assert found.point.shape == (1, 12)

    def test_one_step_from_one_step(self) -> None:
        assert make(horizon=1, context=1).fit(
            np.random.default_rng(0).normal(size=9)
        ).predict().point.shape == (1, 1)

    def test_the_longest_season_of_which_there_are_three(self) -> None:
        for steps, season in ((20, 1), (21, 7)):
            y = pd.Series(
                np.random.default_rng(0).normal(size=steps), index=pd.date_range("2024", periods=steps)
            )
            assert make(context=None, horizon=2).fit(y).preparation_.season_length == season

    def test_a_season_longer_than_the_context(self) -> None:
        with pytest.raises(ArgumentError, match="context: got 5, which has to hold a season of 7 steps"):
            make(context=5, season_length=7).fit(np.arange(40.0) % 3)

    def test_a_season_that_was_found_does_not_refuse_a_context_that_was_given(self) -> None:
        y = pd.Series(np.random.default_rng(0).normal(size=60), index=pd.date_range("2024", periods=60))
        assert make(context=5).fit(y).preparation_.season_length <= 5

    def test_a_season_longer_than_the_series(self) -> None:
        with pytest.raises(
            DataError, match=r"Too short: 1 series .0., the shortest, 0, with 40 steps, where 54 are needed"
        ):
            make(context=None, season_length=50).fit(np.arange(40.0) % 3)

    def test_all_series_that_are_too_short_are_named(self) -> None:
        y = np.random.default_rng(0).normal(size=40)
        with pytest.raises(DataError, match=r"X: 2 of 3 series cannot be used. Too short: 2 series \(0, 2\)"):
            make().fit([y[: L + H - 1], y, y[:3]])
        make().fit([y[: L + H], y])

    def test_one_call_says_all_that_is_wrong(self) -> None:
        y = np.random.default_rng(0).normal(size=40)
        with pytest.raises(DataError) as caught:
            make().fit([y, y[:3], np.full(40, 7.0), np.full(40, NAN)])
        message = str(caught.value)
        assert "X: 3 of 4 series cannot be used." in message
        assert "Too short: 1 series (1)" in message
        assert "No target 'y': 1 series (3), it is missing in all of their steps" in message
        assert "Constant target 'y': 1 series (2), such as 7 in all 40 steps" in message


class TestRefusals:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"horizon": 0}, "horizon: expected a whole number of 1 or more, got 0"),
            ({"context": 0}, "context: expected None, or a whole number of 1 or more, got 0"),
            ({"stride": 0}, "stride: expected None, or a whole number of 1 or more, got 0"),
            ({"max_updates": 0}, "max_updates: expected None, or a whole number of 1 or more, got 0"),
            ({"quantiles": (0.9, 0.1)}, "quantiles: expected None, or numbers above 0 and below 1, rising"),
            (
                {"transform": "cube"},
                "transform: expected 'auto', 'none', 'sqrt', 'log1p' or 'log', got 'cube'",
            ),
            ({"frequency": "fortnight"}, "frequency: 'fortnight' is none"),
            ({"target": 1}, "target: expected None, or text, got 1"),
            ({"loss": "pinball"}, "loss: expected 'squared_error', 'absolute_error' or 'huber'"),
            ({"missing": "drop"}, "missing: expected 'error' or 'mask', got 'drop'"),
        ],
    )
    def test_parameters(self, known: pd.DataFrame, parameters: Any, message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            make(**parameters).fit(known)

    def test_targets_beside(self, known: pd.DataFrame) -> None:
        with pytest.raises(ArgumentError, match="y: what is forecast is a channel of X, named by target="):
            make().fit(known, known["y"])

    def test_data(self, known: pd.DataFrame) -> None:
        zones = known["ds"].dt.tz_localize("UTC")
        mixed = [t if k % 2 else t.tz_convert("Asia/Tokyo") for k, t in enumerate(zones)]
        odd = np.cumsum(np.random.default_rng(0).integers(1, 9, len(known))) * pd.Timedelta("37min")
        for wrong, message in (
            (
                known.sample(frac=1, random_state=0),
                "not sorted by time.*3 series in the table have this: 's0', ",
            ),
            (pd.concat([known, known]), "more than once.*3 series in the table have this: 's0', 's1', 's2'"),
            (known.assign(ds=mixed), "2 time zones: .*3 series"),
            (
                edited(known, known.index[[3, 60]], y=np.inf),
                "infinite.*2 series in the table have this: 's0', 's1'",
            ),
            (
                known.assign(ds=pd.Timestamp("2020") + odd),
                "no frequency can be inferred of 3 of 3 series: 's0', 's1', 's2'",
            ),
            (known.drop(columns="unique_id"), "columns unique_id, ds and y; got ds, y, price, seen"),
            (known.assign(ds=known["ds"].astype(str)), "the time column 'ds' holds text"),
        ):
            with pytest.raises(DataError, match=f"(?s){message}"):
                make().fit(wrong)
        with pytest.raises(
            DataError, match="3 of 3 series do not stand on the frequency 'MS': 's0', 's1', 's2'"
        ):
            make(frequency="MS").fit(known)

    def test_missing_values_and_steps_can_be_refused(self, known: pd.DataFrame) -> None:
        with pytest.raises(DataError, match="channel 'y' is missing"):
            make(missing="error").fit(edited(known, known.index[3], y=NAN))
        with pytest.raises(DataError, match=r"Missing values: 1 series \('s0'\), the first at step 3"):
            make(missing="error").fit(known.drop(index=known.index[3]))

    def test_ids_that_are_there_twice(self) -> None:
        y = np.random.default_rng(0).normal(size=(2, 40, 1))
        with pytest.raises(DataError, match="several series have the same id"):
            make().fit(Sequences.from_arrays(y, ids=["a", "a"]))

    @pytest.mark.parametrize(
        "times",
        [
            np.datetime64("2262-04-11T23", "ns") - np.arange(40)[::-1] * np.timedelta64(1, "h"),
            np.iinfo(np.int64).max - np.arange(40)[::-1],
        ],
    )
    def test_time_stamps_that_would_run_over(self, times: NDArray[Any]) -> None:
        y = np.random.default_rng(0).normal(size=(40, 1))
        fitted = make(calendar=False).fit(Sequences.from_arrays([y], times=[times]))
        try:
            ahead = fitted.predict().times[0]
        except GlassLSTMError:
            return
        assert (ahead > times[-1]).all()

    def test_windows_are_no_series(self) -> None:
        series = Sequences.from_arrays(np.random.default_rng(0).normal(size=(1, 60, 1)))
        with pytest.raises(DataError, match=r"window|overlap|several series have the same id"):
            make().fit(series.windows(20))


class Logger:
    """Keep the row of each epoch, or end the training at one of them."""

    def __init__(self, stop: int = 0) -> None:
        self.rows: list[dict[str, float]] = []
        self.stop = stop

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append(metrics)
        if step == self.stop:
            raise KeyError("stopped")

    def save(self) -> None:
        pass


class TestAsAnEstimator:
    def test_clone_and_parameters(self) -> None:
        one = make(future_covariates=("a",), quantiles=(0.2, 0.5), context=None)
        other = clone(one)
        assert other.get_params() == one.get_params()
        assert other is not one
        assert clone(one.set_params(horizon=9)).horizon == 9
        hidden = {"pooling", "conv_blocks", "channel_shift", "channel_scale", "input_noise", "step_duration"}
        assert not hidden & one.get_params().keys()
        assert "LSTMForecaster(" in repr(one)
        assert not one.__sklearn_tags__().target_tags.required

    def test_a_pickle(self, model: LSTMForecaster) -> None:
        expected = model.predict()
        same(pickle.loads(pickle.dumps(model)).predict(), expected)

    def test_the_same_seed_gives_the_same_model(self, known: pd.DataFrame, model: LSTMForecaster) -> None:
        same(make().fit(known).predict(), model.predict())
        assert not np.array_equal(make(random_state=1).fit(known).predict().point, model.predict().point)

    def test_a_fit_that_fails_leaves_it_as_it_was(self, model: LSTMForecaster, known: pd.DataFrame) -> None:
        one = copy.deepcopy(model)
        for wrong in (known.assign(y=1.0), known.head(5)):
            with pytest.raises(DataError):
                one.fit(wrong)
        with pytest.raises(ArgumentError):
            one.set_params(horizon=0).fit(known)
        same(one.predict(), model.predict())
        assert vars(one).keys() == vars(model).keys()

    def test_a_new_fit_forgets_the_old_one(self, known: pd.DataFrame, model: LSTMForecaster) -> None:
        one = make().fit(np.random.default_rng(0).normal(size=50))
        same(one.fit(known).predict(), model.predict())

    def test_weights_move_the_answer(self, known: pd.DataFrame, model: LSTMForecaster) -> None:
        heavy = make().fit(known, sample_weight=[1, 5, 1]).predict().point
        assert not np.array_equal(heavy, model.predict().point)
        same(make().fit(known, sample_weight=[2, 2, 2]).predict(), model.predict())
        for weights, message in (
            ([1, 2], "one for each of the 3 series"),
            ([0, 0, 0], "all weights are zero"),
        ):
            with pytest.raises(DataError, match=f"sample_weight: .*{message}"):
                make().fit(known, sample_weight=weights)

    def test_a_series_of_weight_zero_teaches_nothing(self) -> None:
        rng = np.random.default_rng(0)
        y, noise, other = rng.normal(size=(3, 50))
        plain = {"transform": "none", "dropout": 0.0}
        one, two = (make(**plain).fit([y, each], sample_weight=[1, 0]) for each in (noise, other))
        np.testing.assert_array_equal(one.predict([y]).point, two.predict([y]).point)

    @pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
    def test_points_alone(self, known: pd.DataFrame, loss: str) -> None:
        fitted = make(quantiles=None, loss=loss, validation_fraction=0.4).fit(known)
        found = fitted.predict()
        assert (found.quantiles, found.levels) == (None, ())
        assert "valid_rmse" in fitted.history_[0]
        assert fitted.backtest(table(seed=3, start="2031-01-01"), baselines=()).levels == ()

    def test_max_updates_is_in_whole_epochs(self, known: pd.DataFrame) -> None:
        windows = sum(n - 12 - (L + H) + 1 for n in (60, 55, 50))
        batches = -(-windows // 32)
        assert make(max_updates=7 * batches).fit(known).n_iter_ == 7
        assert make(max_updates=None, max_epochs=3).fit(known).n_iter_ == 3
        assert make(max_updates=1).fit(known).n_iter_ == 1

    def test_a_search_holds_whole_series_out(
        self, known: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from glasslstm.estimators.examples import Examples

        parts: list[Any] = []
        split = Examples.split
        monkeypatch.setattr(Examples, "split", lambda *args: parts.append(split(*args)) or parts[-1])
        fitted = make(validation_fraction=0.4, refit=False).fit(known)
        assert "valid_pinball_loss" in fitted.history_[0]
        trained, judged = ({*part.series.ids.tolist()} for part in parts[0])
        assert trained & judged == set()
        assert len(trained | judged) == 3
        make(validation_fraction=0.4, refit=False).fit(known[known["unique_id"] == "s0"])
        trained, judged = parts[1]
        assert trained.series.stops.max() <= judged.series.starts.min()

    @pytest.mark.parametrize("fraction", [0.7, 0.9])
    def test_a_share_that_leaves_no_series_to_train_on(self, known: pd.DataFrame, fraction: float) -> None:
        two = known[known["unique_id"] != "s2"]
        try:
            fitted = make(validation_fraction=fraction).fit(two)
        except GlassLSTMError:
            return
        assert fitted.n_iter_ >= 1

    @pytest.mark.parametrize("stop", [1, 2])
    def test_a_checkpoint_resumes_to_the_same_model(
        self, known: pd.DataFrame, tmp_path: Path, stop: int
    ) -> None:
        settings = {"max_updates": None, "max_epochs": 4, "checkpoint": tmp_path / "run"}
        with pytest.raises(KeyError, match="stopped"):
            make(**settings).fit(known, loggers=Logger(stop + 1))
        assert (tmp_path / "run" / "training.ckpt").exists()
        resumed = make(**settings).fit(known)
        assert not list((tmp_path / "run").glob("*.ckpt"))
        expected = make(max_updates=None, max_epochs=4).fit(known)
        same(resumed.predict(), expected.predict())
        assert [row["train_loss"] for row in resumed.history_] == [
            row["train_loss"] for row in expected.history_
        ]

    def test_a_checkpoint_of_other_data_is_refused(self, known: pd.DataFrame, tmp_path: Path) -> None:
        settings = {"max_updates": None, "max_epochs": 4, "checkpoint": tmp_path / "run"}
        with pytest.raises(KeyError):
            make(**settings).fit(known, loggers=Logger(2))
        for other, given in (
            (known.assign(y=known["y"] + 1), {}),
            (known, {"transform": "none"}),
            (known, {"season_length": 3}),
            (known, {"future_covariates": ("price",)}),
        ):
            with pytest.raises(ArgumentError, match="checkpoint"):
                make(**(settings | given)).fit(other)

    def test_loggers_and_record(self, known: pd.DataFrame, model: LSTMForecaster) -> None:
        logger = Logger()
        fitted = make().fit(known, record=True, loggers=logger)
        assert [row["training/train_loss"] for row in logger.rows] == [
            row["train_loss"] for row in fitted.history_
        ]
        assert fitted.record_["epoch"].max() == fitted.n_iter_
        same(fitted.predict(), model.predict())


class TestInsight:
    def test_a_trace_is_of_the_last_window(self, model: LSTMForecaster, known: pd.DataFrame) -> None:
        trace = model.trace(known)
        assert trace[0, 0].cell.shape == (L + H, 3, 4)
        again = model.trace(last(known, L + H))
        assert trace[0, 0].cell.equal(again[0, 0].cell)
        hidden = trace[0, 0].hidden[L:]
        network = model.network_
        assert isinstance(network, ForecastNetwork)
        assert hidden.shape == (H, 3, 4)
        with pytest.raises(
            DataError, match=f"3 of 3 series cannot be used. Too short: .* where {L + H} are needed"
        ):
            model.trace(last(known, L + H - 1))

    def test_diagnose_knows_what_came(self, model: LSTMForecaster, known: pd.DataFrame) -> None:
        assert "codes looked for" in str(model.diagnose(known))
        gap = edited(known, last(known, 1).index, y=NAN)
        assert "codes looked for" in str(model.diagnose(gap))

    def test_a_report_is_written(self, model: LSTMForecaster, known: pd.DataFrame, tmp_path: Path) -> None:
        path = gl.report(model, known, path=tmp_path / "report.html")
        assert "4 ahead" in Path(path).read_text(encoding="utf-8")
        gap = edited(known, last(known, 1).index, y=NAN)
        assert Path(gl.report(model, gap, path=tmp_path / "gap.html")).stat().st_size > 1000


class TestTables:
    """Tables with more columns than the model needs, and columns of text."""

    @pytest.fixture
    def table(self) -> pd.DataFrame:
        draw = np.random.default_rng(0)
        days = pd.date_range("2024-01-01", periods=50)
        parts = [
            {"unique_id": f"s{k}", "ds": days, "y": draw.normal(size=50), "price": draw.normal(size=50)}
            | {"kind": "ab"[k % 2], "note": "x"}
            for k in range(3)
        ]
        return pd.concat(map(pd.DataFrame, parts))

    def test_text_is_to_be_given_a_meaning_first(self, table: pd.DataFrame) -> None:
        with pytest.raises(
            DataError, match=r"X: 'kind', 'note' hold no numbers; read the table with .*read_series"
        ):
            make().fit(table)

    def test_a_model_takes_the_columns_that_it_knows(self, table: pd.DataFrame) -> None:
        past, ahead = table.groupby("unique_id").head(40), table.groupby("unique_id").tail(10)
        series = read_series(
            past, id="unique_id", time="ds", channels=["y", "price"], static=["kind"], categories=["kind"]
        )
        fitted = make(future_covariates=["price"]).fit(series)
        same(fitted.predict(past, future=ahead), fitted.predict(future=ahead[["unique_id", "ds", "price"]]))
        later = fitted.update(ahead.groupby("unique_id").head(2)).predict(future=ahead)
        assert later.times[0, 0] == np.datetime64("2024-02-12")

    def test_a_pandas_series_keeps_its_name(self, table: pd.DataFrame) -> None:
        one = table[table["unique_id"] == "s0"].set_index("ds")["y"].rename("flow")
        assert make().fit(one).predict().ids.tolist() == ["flow"]


def test_windows_that_are_far_apart_are_of_all_phases_and_reach_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("glasslstm.forecasting.problem._WINDOWS", 100)
    series = [np.random.default_rng(k).normal(size=200)[:, None] for k in range(20)]
    problem = Problem.of(make(horizon=24, season_length=24, context=48), series)
    ends = problem.windows.stops - problem.series.starts[problem.windows.ids]
    assert ends.max() == 200
    assert set(ends % 24) == set(range(24))
    assert (problem.windows.starts >= problem.series.starts[problem.windows.ids]).all()
    assert set(np.diff(np.sort(ends[problem.windows.ids == 0]))) == {23}
