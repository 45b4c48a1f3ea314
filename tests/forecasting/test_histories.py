"""Whatever a forecaster takes becomes the same series; new steps go after those that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from glasslstm.data import Sequences
from glasslstm.errors import DataError
from glasslstm.forecasting.frequency import Frequency
from glasslstm.forecasting.histories import (
    calendar_of,
    continued,
    last_steps,
    names_of,
    numbered,
    series_of,
    with_calendar,
    with_future,
)

NAN = np.nan
DAYS = np.arange("2024-01-01", "2024-01-06", dtype="M8[D]")
Y = np.array([1.0, 4.0, 9.0, 16.0, 25.0])


def listed(series: Sequences, channel: int = 0) -> list[list[float]]:
    return [values[:, channel].tolist() for values in series]


def stamps(series: Sequences) -> list[list[Any]]:
    assert series.times is not None
    return [series.times[a:b].tolist() for a, b in zip(series.starts, series.stops, strict=True)]


class TestSeriesOf:
    @pytest.mark.parametrize(
        "X",
        [
            Y,
            Y.tolist() and [Y],
            [Y[:, None]],
            Y[None, :, None],
            [Y.tolist()],
            Y.astype(int),
            Y.astype(">f4"),
            pd.Series(Y),
            pd.Series(Y, index=[7, 5, 3, 2, 1], name="sales"),
            pl.Series(Y),
            pa.chunked_array([Y]),
            Sequences.from_arrays([Y[:, None]]),
        ],
        ids=[
            "array", "list of arrays", "list of columns", "cube", "list of lists", "whole", "big endian",
            "pandas", "pandas index of numbers", "polars", "pyarrow", "Sequences",
        ],
    )  # fmt: skip
    def test_one_series_of_one_channel(self, X: Any) -> None:
        found = numbered(series_of(X, "error"))
        assert listed(found) == [Y.tolist()]
        assert stamps(found) == [[0, 1, 2, 3, 4]]
        assert names_of(found) == ("y",)

    def test_several_of_different_lengths_have_positions_of_their_own(self) -> None:
        for X in ([Y, Y[:3]], [Y[:, None], Y[:3, None]], Sequences.from_arrays([Y[:, None], Y[:3, None]])):
            found = numbered(series_of(X, "error"))
            assert listed(found) == [Y.tolist(), Y[:3].tolist()]
            assert stamps(found) == [[0, 1, 2, 3, 4], [0, 1, 2]]

    def test_a_selection_keeps_its_rows(self) -> None:
        found = numbered(series_of(Sequences.from_arrays([Y[:, None], 2 * Y[:3, None]])[[1]], "error"))
        assert (listed(found), stamps(found)) == ([[2, 8, 18]], [[0, 1, 2]])

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_a_pandas_series_has_its_dates(self, unit: str) -> None:
        index = pd.DatetimeIndex(DAYS.astype(f"M8[{unit}]"))
        found = numbered(series_of(pd.Series(Y, index=index), "error"))
        assert found.times is not None
        assert found.times.dtype == f"M8[{unit}]"
        np.testing.assert_array_equal(found.times, DAYS)

    def test_a_pandas_series_of_periods_has_their_starts(self) -> None:
        found = series_of(pd.Series(Y, index=pd.period_range("2024-01", periods=5, freq="M")), "error")
        assert found.times is not None
        assert found.times.astype("M8[D]").astype(str).tolist() == [f"2024-0{k}-01" for k in range(1, 6)]

    def test_a_time_zone_is_utc(self) -> None:
        index = pd.DatetimeIndex(DAYS).tz_localize("Asia/Tokyo")
        found = numbered(series_of(pd.Series(Y, index=index), "error"))
        assert found.times is not None
        np.testing.assert_array_equal(found.times, DAYS.astype("M8[h]") - 9)

    def test_a_list_of_pandas_series_keeps_their_dates(self) -> None:
        found = series_of([pd.Series(Y, index=pd.DatetimeIndex(DAYS))], "error")
        np.testing.assert_array_equal(found.times, DAYS)

    @pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
    def test_a_long_table(self, library: str) -> None:
        frame = pd.DataFrame(
            {
                "ds": [*DAYS, *DAYS[2:]],
                "price": range(8),
                "unique_id": ["b"] * 5 + ["a"] * 3,
                "y": [*Y, *Y[:3]],
            }
        )
        table = {"pandas": frame, "polars": pl.from_pandas(frame), "pyarrow": pa.Table.from_pandas(frame)}[
            library
        ]
        found = series_of(table, "error")
        assert found.ids.tolist() == ["b", "a"]
        assert names_of(found) == ("price", "y")
        assert listed(found, 1) == [Y.tolist(), Y[:3].tolist()]
        assert found.times is not None
        np.testing.assert_array_equal(found.times, frame["ds"])

    def test_a_table_without_the_columns(self) -> None:
        with pytest.raises(
            DataError,
            match=r"columns unique_id, ds and y; got id, ds; rename yours, or read it with glasslstm.data",
        ):
            series_of(pd.DataFrame({"id": [1], "ds": [2]}), "error")

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            ([], "at least one series"),
            (None, "got NoneType"),
            (np.zeros((4, 3)), r"got one array of shape \(4, 3\)"),
            (pd.Series(list("abc")), "not numbers"),
            ([Y, np.array([])], "series 1 is empty"),
            ([Y, np.array([1.0, np.inf])], "inf"),
            ([Y, np.array([1.0, NAN])], "nan|missing"),
            (pd.Series(Y, index=pd.DatetimeIndex(DAYS[::-1])), "of series 0, that of step 1 does not rise"),
            (pd.Series(Y, index=pd.DatetimeIndex([*DAYS[:4], DAYS[3]])), "step 4 does not rise"),
        ],
    )
    def test_refuses(self, X: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            numbered(series_of(X, "error"))

    def test_gaps_pass_where_they_are_allowed(self) -> None:
        assert np.isnan(series_of(np.array([1.0, NAN]), "mask").values[1, 0])


def test_names() -> None:
    assert names_of(Sequences.from_arrays(np.zeros((1, 2, 1)))) == ("y",)
    assert names_of(Sequences.from_arrays(np.zeros((1, 2, 1)), channel_names=["a"])) == ("a",)
    assert names_of(Sequences.from_arrays(np.zeros((1, 2, 2)))) == ("channel 0", "channel 1")


def dated(steps: int, start: str = "2024-01-01", unit: str = "D", count: int = 1) -> Sequences:
    times = np.datetime64(start, unit) + np.arange(steps)
    return Sequences.from_arrays(np.zeros((count, steps, 1)), times=[times] * count)


@pytest.mark.parametrize(
    ("series", "features"),
    [
        (dated(14), ("weekday",)),
        (dated(13), ()),
        (dated(62), ("day_of_month", "weekday")),
        (dated(732), ("month_of_year", "day_of_month", "weekday")),
        (dated(24, unit="M"), ("month_of_year",)),
        (dated(12, unit="M"), ()),
        (dated(48, unit="h"), ("hour_of_day",)),
        (dated(9, unit="Y"), ()),
    ],
)
def test_the_calendar_is_what_goes_round_twice(series: Sequences, features: tuple[str, ...]) -> None:
    expected = tuple(f"{name}_{wave}" for name in features for wave in ("sin", "cos"))
    assert calendar_of(series, Frequency.of(series)) == expected


def test_numbers_have_no_calendar() -> None:
    series = numbered(series_of(Y, "error"))
    assert calendar_of(series, Frequency.of(series)) == ()
    assert with_calendar(series, Frequency.of(series), ()) is series


def test_calendar_features_stand_beside_the_channels() -> None:
    series = dated(21, count=2)
    found = with_calendar(series, Frequency.of(series), ("weekday_cos", "weekday_sin"))
    assert found.channel_names == ("y", "weekday_cos", "weekday_sin")
    angle = 2 * np.pi * (np.arange(21) % 7) / 7  # 2024 began on a Monday
    for values in found:
        np.testing.assert_allclose(values[:, 1], np.cos(angle), atol=1e-6)
        np.testing.assert_allclose(values[:, 2], np.sin(angle), atol=1e-6)


def two(channels: int = 2, times: Any = None, **beside: Any) -> Sequences:
    arrays = [np.arange(5 * channels, dtype=float).reshape(5, channels), -np.ones((3, channels))]
    return Sequences.from_arrays(
        arrays, times=times or [np.arange(5), np.arange(2, 5)], ids=["a", "b"],
        channel_names=["y", "x"][:channels], **beside,
    )  # fmt: skip


def test_the_last_steps() -> None:
    found = last_steps(two(), 4)
    assert found.lengths.tolist() == [4, 3]
    assert listed(found) == [[2, 4, 6, 8], [-1, -1, -1]]
    assert stamps(found) == [[1, 2, 3, 4], [2, 3, 4]]
    assert len(found.values) == 7  # and no more are kept
    assert listed(last_steps(two()[[1, 0]], 2)) == [[-1, -1], [6, 8]]


def test_the_future_stands_after_the_past() -> None:
    histories = last_steps(two(), 2)
    future = np.array([[[10.0], [11.0], [12.0]], [[20.0], [21.0], [22.0]]])
    times = np.array([[5, 6, 7], [5, 6, 7]])
    found = with_future(histories, future, [1], times)
    np.testing.assert_array_equal(found[0], [[6, 7], [8, 9], [NAN, 10], [NAN, 11], [NAN, 12]])
    np.testing.assert_array_equal(found[1], [[-1, -1], [-1, -1], [NAN, 20], [NAN, 21], [NAN, 22]])
    assert stamps(found) == [[3, 4, 5, 6, 7]] * 2
    assert found.ids.tolist() == ["a", "b"]


class TestContinued:
    def test_new_steps_go_after_those_of_their_series_and_new_series_to_the_end(self) -> None:
        new = Sequences.from_arrays(
            [[[50.0, 51]], [[70.0, 71], [72, 73]], [[60.0, 61]]], ids=["c", "b", "a"],
            times=[[0], [9, 10], [5]], channel_names=["y", "x"],
        )  # fmt: skip
        found = continued(two(), new)
        assert found.ids.tolist() == ["a", "b", "c"]
        assert listed(found) == [[0, 2, 4, 6, 8, 60], [-1, -1, -1, 70, 72], [50]]
        assert listed(found, 1) == [[1, 3, 5, 7, 9, 61], [-1, -1, -1, 71, 73], [51]]
        assert stamps(found) == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 9, 10], [0]]

    def test_what_is_known_already_is_refused_with_all_its_series(self) -> None:
        kept = Sequences.from_arrays(
            np.ones((13, 2, 1)), ids=[f"s{k}" for k in range(13)], times=[[0, 1]] * 13
        )
        for k in (0, 1):  # the last step, and one before it
            new = Sequences.from_arrays(np.ones((1, 3, 1)), ids=["s7"], times=[[k, 2, 3]])
            with pytest.raises(
                DataError,
                match=r"the steps of 1 series do not come after those that are known: 's7'; give only",
            ):
                continued(kept, new)
        with pytest.raises(
            DataError, match=r"the steps of 13 series .*: 's0', 's1', .*, 's9' and 3 more; give only what is"
        ):
            continued(kept, kept)

    def test_static_features_stay(self) -> None:
        sizes = {"static": [[1.0], [2.0]], "static_names": ["size"]}
        new = two(times=[np.arange(5, 10), np.arange(5, 8)], **sizes)[[1]]
        found = continued(two(**sizes), new)
        assert found.lengths.tolist() == [5, 6]
        assert found.static is not None
        assert found.static.tolist() == [[1], [2]]

    def test_finer_values_and_finer_dates_are_kept(self) -> None:
        days = [DAYS[:2]]
        kept = Sequences.from_arrays([np.ones((2, 1), np.float32)], times=days)
        fine = 1e9 + np.array([[0.25], [0.5]])
        new = Sequences.from_arrays([fine], times=[DAYS[2:4].astype("M8[ns]")])
        found = continued(kept, new)
        assert listed(found) == [[1, 1, 1e9 + 0.25, 1e9 + 0.5]]
        np.testing.assert_array_equal(found.times, DAYS[:4])

    def test_dates_after_numbers_are_refused(self) -> None:
        new = Sequences.from_arrays([Y[:, None]], times=[DAYS], ids=["a"], channel_names=["y"])
        with pytest.raises(DataError, match="dates"):
            continued(two(1), new)
