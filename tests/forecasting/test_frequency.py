"""The frequency of time stamps: what pandas says of the same dates, also where steps are missing."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasslstm.data import Sequences
from glasslstm.errors import ArgumentError, DataError
from glasslstm.forecasting.frequency import Frequency

ALIASES = {
    "MS": "monthly",
    "ME": "monthly",
    "BMS": "monthly",
    "BME": "monthly",
    "2MS": "every 2 months",
    "QS-JAN": "quarterly",
    "QS-FEB": "quarterly",
    "QE-DEC": "quarterly",
    "QE-NOV": "quarterly",
    "BQE-MAR": None,
    "YS-JAN": "yearly",
    "YS-APR": "yearly",
    "YE-DEC": "yearly",
    "2YE-JUN": "every 2 years",
    "W-SUN": "weekly",
    "W-WED": "weekly",
    "2W-MON": "every 2 weeks",
    "B": "every business day",
    "D": "daily",
    "3D": "every 3 days",
    "h": "hourly",
    "6h": "every 6 hours",
    "15min": "every 15 minutes",
    "min": "every minute",
    "s": "every second",
    "250ms": "every 250 milliseconds",
    "us": "every microsecond",
    "5ns": "every 5 nanoseconds",
}


def dates(alias: str, count: int, start: str = "1963-03-05") -> Any:
    return pd.date_range(start, periods=count, freq=alias).to_numpy().copy()


def series_at(*times: Any, ids: Any = None) -> Sequences:
    """Series whose values say where on the whole they are: 0, 1, ... at the given times."""
    arrays = [np.arange(1.0, len(one) + 1)[:, None] for one in times]
    return Sequences.from_arrays(arrays, times=[np.asarray(one) for one in times], ids=ids)


def message_of(error: type[Exception], *times: Any, alias: str | None = None, ids: Any = None) -> str:
    with pytest.raises(error) as caught:
        Frequency.of(series_at(*times, ids=ids), alias)
    return str(caught.value)


class TestOf:
    @pytest.mark.parametrize("alias", [name for name in ALIASES if ALIASES[name]])
    @pytest.mark.parametrize("share", [1.0, 0.8])
    def test_it_is_found_also_where_steps_are_missing(self, alias: str, share: float) -> None:
        rng = np.random.default_rng(0)
        whole = dates(alias, 60)
        times = [whole[np.sort(rng.permutation(60)[: int(60 * share)])] for _ in range(4)]
        assert Frequency.of(series_at(*times)) == Frequency(alias)
        assert Frequency(alias).words == ALIASES[alias]

    def test_a_quarter_of_business_days_has_the_first_month_that_fits(self) -> None:
        found = Frequency.of(series_at(dates("BQE-MAR", 40)))
        assert found.alias is not None
        assert pd.date_range("1963-03-05", periods=40, freq=found.alias).equals(
            pd.DatetimeIndex(dates("BQE-MAR", 40))
        )

    @pytest.mark.parametrize("unit", ["D", "h", "s", "ms", "us", "ns"])
    @pytest.mark.parametrize("alias", ["ME", "W-SUN", "B", "D"])
    def test_dates_of_every_unit(self, unit: str, alias: str) -> None:
        times = dates(alias, 30).astype(f"M8[{unit}]")
        frequency = Frequency.of(series_at(times[:20]))
        assert frequency == Frequency(alias)
        after = frequency.after(times[19:20], 10)
        assert after.dtype == times.dtype
        assert after.tolist() == [times[20:].tolist()]

    def test_months_and_years_of_numpy(self) -> None:
        months = np.arange("1969-11", "1970-04", dtype="M8[M]")
        assert Frequency.of(series_at(months)) == Frequency("MS")
        assert Frequency("MS").after(months[-1:], 2).astype(str).tolist() == [["1970-04", "1970-05"]]
        years = np.arange("1965", "1972", dtype="M8[Y]")
        assert Frequency.of(series_at(years)) == Frequency("YS")

    def test_series_of_one_frequency_may_start_on_any_day_or_hour(self) -> None:
        assert Frequency.of(series_at(dates("W-SUN", 9), dates("W-TUE", 9))).alias == "7D"
        assert Frequency.of(series_at(dates("YS-JAN", 9), dates("YS-MAY", 9))).words == "yearly"
        later = dates("ME", 9) + np.timedelta64(17, "h")
        assert Frequency.of(series_at(dates("ME", 9), later)).alias == "ME"
        assert Frequency.of(series_at(dates("6h", 9), dates("6h", 9) + np.timedelta64(5, "m"))).alias == "6h"

    def test_working_days_without_a_weekend_between_them_are_days(self) -> None:
        assert Frequency.of(series_at(dates("D", 5, "2024-01-01"))).alias == "D"
        assert Frequency.of(series_at(dates("B", 6, "2024-01-01"))).alias == "B"

    def test_a_series_of_one_step_goes_with_the_others(self) -> None:
        assert Frequency.of(series_at(dates("MS", 12), dates("MS", 1))).alias == "MS"

    def test_what_was_given_is_taken_also_where_most_steps_are_missing(self) -> None:
        few = dates("D", 60)[::7][[0, 1, 3, 6]]
        assert Frequency.of(series_at(few), "D").alias == "D"
        assert Frequency.of(series_at(few[:1]), "D").regular(series_at(few[:1])).steps == 1

    @pytest.mark.parametrize(
        ("times", "step"),
        [
            ([3, 4, 5, 7, 8], 1.0),
            (np.array([0, 100, 200, 250], np.uint8)[:3], 100.0),
            (1e9 + np.arange(50) * 0.1, 0.1),
            (np.delete(np.arange(20) * 0.25 - 2, [3, 4, 9]), 0.25),
            (np.arange(30) / 3, 1 / 3),
            (1_700_000_000_000_000_000 + np.array([0, 1, 2, 4]), 1.0),
            (np.cumsum([1, 1.009, 0.995, 2.004, 1]), 1.0),
        ],
    )
    def test_numbers(self, times: Any, step: float) -> None:
        found = Frequency.of(series_at(times))
        assert found.alias is None
        assert found.step == pytest.approx(step, rel=1e-7)
        assert found.season_lengths == ()

    def test_a_step_is_as_round_as_the_numbers_allow(self) -> None:
        assert Frequency.of(series_at(100 + np.arange(50) * 0.1)).step == 0.1

    def test_without_time_stamps_a_step_is_one(self) -> None:
        series = Sequences.from_arrays([np.zeros((3, 1))])
        frequency = Frequency.of(series)
        assert frequency == Frequency(step=1.0)
        assert frequency.words == "every step"
        assert frequency.regular(series) is series
        assert frequency.after(np.array([2, 7]), 3).tolist() == [[3, 4, 5], [8, 9, 10]]


DAYS_APART = np.array([0, 2, 3, 2, 4, 3, 1, 3])


class TestErrors:
    def test_irregular_stamps_name_all_series_and_what_was_seen(self) -> None:
        times = np.cumsum([0, 100, 7, 100, 3000, 100, 41, 86400 * 3, 9]).astype("M8[s]")
        assert message_of(DataError, *([times] * 12)) == (
            "times: no frequency can be inferred of 12 of 12 series: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more; series 0 "
            "has steps of 100 seconds, 7 seconds, 9 seconds and 3 more; give the frequency, such as frequency='D', or "
            "make the time stamps regular"
        )

    def test_numbers_without_a_step(self) -> None:
        assert message_of(DataError, [0, 1.0, 2.5, 4, 5.1]) == (
            "times: no frequency can be inferred of 1 of 1 series: 0; series 0 has steps of 1.5, 1, 1.1; make them "
            "regular: the same distance from each to the next, or a multiple where some are missing"
        )

    def test_series_of_one_step(self) -> None:
        assert message_of(DataError, dates("D", 1), dates("D", 1), ids=["a", "b"]) == (
            "times: no frequency can be inferred of 'a', 'b': of 2 series none has more than one step; give the "
            "frequency, such as frequency='D', or make the time stamps regular"
        )

    @pytest.mark.parametrize(
        ("other", "usual", "seen"),
        [
            ("ME", "MS", "31 days, 30 days, 28 days"),
            ("D", "MS", "1 day"),
            ("QS", "MS", "92 days, 91 days, 90 days"),
            ("h", "D", "1 hour"),
            ("W-SUN", "D", "7 days"),
            ("MS", "D", "31 days, 30 days, 28 days"),
        ],
    )
    def test_series_of_another_frequency_than_most(self, other: str, usual: str, seen: str) -> None:
        times = [dates(usual, 14, "2021-01-01")] * 3 + [dates(other, 14, "2021-01-01")] * 2
        message = message_of(DataError, *times, ids=list("abcde"))
        assert message.startswith(
            f"times: 2 of 5 series have another frequency than most, which is {usual!r}: 'd', 'e'; series 'd' has "
            f"steps of {seen}"
        )
        assert message.count("fit series of different frequencies apart") == 1

    def test_one_stamp_that_is_wrong(self) -> None:
        times = dates("D", 30)
        times[7] += np.timedelta64(3, "h")
        assert "is 'D': 'b'; series 'b' has steps of 1 day, 21 hours, 27 hours; fit" in message_of(
            DataError, dates("D", 30), times, ids=["a", "b"]
        )
        assert message_of(DataError, dates("D", 30), times, ids=["a", "b"], alias="D") == (
            "times: 1 of 2 series do not stand on the frequency 'D': 'b'; series 'b' has 1963-03-12T03:00, after "
            "1963-03-11; make the time stamps regular, drop these series, or give the frequency that they have"
        )

    def test_days_of_a_time_zone(self) -> None:
        zone = pd.date_range("2020-01-01", periods=400, freq="D", tz="Europe/Berlin").tz_convert(None)
        assert message_of(DataError, zone.to_numpy()).endswith(
            "; local days of a time zone have 23 to 25 hours in UTC: leave the zone out of the table"
        )

    @pytest.mark.parametrize(
        ("alias", "message"),
        [
            ("MS", "'MS': 0; series 0 has 1963-03-05, its first"),
            ("2D", "'2D': 0; series 0 has 1963-03-06, after 1963-03-05"),
            ("2MS", "'2MS': 0; series 0 has 1963-03-05, its first"),
            ("YE", "'YE-DEC': 0; series 0 has 1963-03-05, its first"),
        ],
    )
    def test_a_given_frequency_that_does_not_fit(self, alias: str, message: str) -> None:
        assert message in message_of(DataError, dates("D", 5), alias=alias)

    def test_months_that_do_not_fit_a_multiple_or_the_time_of_day(self) -> None:
        months = dates("MS", 4)
        assert "'2MS': 0; series 0 has 1963-07-01, after 1963-04-01" in message_of(
            DataError, months[[0, 3]], alias="2MS"
        )
        months[2] += np.timedelta64(9, "h")
        assert "'MS': 0; series 0 has 1963-06-01T09:00, after" in message_of(DataError, months, alias="MS")

    @pytest.mark.parametrize(
        ("alias", "message"),
        [
            ("M", "frequency: 'M' is none (Please use 'ME'); expected an alias of pandas such as 'MS'"),
            ("no", "frequency: 'no' is none; expected an alias of pandas"),
            (3, "frequency: 3 is none; expected"),
            ("bh", "frequency: 'bh' is not supported; expected"),
            ("-1D", "frequency: '-1D' is not supported"),
            ("0D", "frequency: '0D' is not supported"),
        ],
    )
    def test_an_alias_that_is_none(self, alias: Any, message: str) -> None:
        with pytest.raises(ArgumentError, match=f"^{re.escape(message)}"):
            Frequency(alias)

    @pytest.mark.parametrize("arguments", [{}, {"alias": "D", "step": 1.0}])
    def test_one_of_the_two_is_needed(self, arguments: Any) -> None:
        with pytest.raises(ArgumentError, match=r"^frequency: expected an alias or a step, got"):
            Frequency(**arguments)

    @pytest.mark.parametrize("step", [0.0, -1.0, np.inf, np.nan])
    def test_a_step_is_above_zero(self, step: float) -> None:
        with pytest.raises(ArgumentError, match=r"^step: expected a number above 0, got"):
            Frequency(step=step)

    def test_numbers_where_dates_are_needed_and_the_other_way_round(self) -> None:
        assert message_of(DataError, [0, 1], alias="D") == (
            "times: the frequency 'daily' is of dates, and the time stamps are int64; give them as dates, or another "
            "frequency"
        )
        with pytest.raises(
            DataError, match=r"the frequency 'every 0.5' is of numbers, and the time stamps are dat"
        ):
            Frequency(step=0.5).regular(series_at(dates("D", 3)))
        with pytest.raises(
            DataError, match="times: there are none, and the frequency 'D' is of dates; give them"
        ):
            Frequency.of(Sequences.from_arrays([np.zeros((3, 1))]), "D")

    def test_days_of_which_most_are_missing(self) -> None:
        times = DAYS_APART.cumsum().astype("M8[D]")
        assert "0; series 0 has steps of 3 days, 2 days, 1 day and 1 more; give" in message_of(
            DataError, times
        )

    def test_steps_that_are_fewer_than_one(self) -> None:
        times = np.array(["2024-01-01", "2024-01-02", "2024-01-02"], "M8[D]")
        series = Sequences(np.ones((3, 1)), np.array([0]), np.array([3]), times=times)
        with pytest.raises(DataError, match="0; series 0 has 2024-01-02, after 2024-01-02; make"):
            Frequency("D").regular(series)
        with pytest.raises(DataError, match="no frequency can be inferred of 1 of 1 series"):
            Frequency.of(series)

    def test_a_stamp_that_is_far_away_does_not_fill_the_memory(self) -> None:
        times = np.append(dates("s", 50), np.datetime64("1990-01-01"))
        with pytest.raises(
            DataError, match="every second, the 51 steps that are there would become 846633601; look"
        ):
            Frequency("s").regular(series_at(times))


class TestRegular:
    @settings(deadline=None, max_examples=60)
    @given(
        st.sampled_from([name for name in ALIASES if name != "BQE-MAR"]),
        st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=4),
        st.integers(-30_000, 30_000),
    )
    def test_the_missing_steps_come_in_as_nan(self, alias: str, kept: list[set[int]], day: int) -> None:
        whole = dates(alias, 12, str(np.datetime64(day, "D")))
        places = [sorted(one) for one in kept]
        series = series_at(*(whole[one] for one in places))
        filled = Frequency.of(series, alias).regular(series)
        for k, one in enumerate(places):
            span = slice(one[0], one[-1] + 1)
            expected = np.full(12, np.nan)
            expected[one] = np.arange(1, len(one) + 1)
            np.testing.assert_array_equal(filled[k][:, 0], expected[span])
            assert (filled.times[filled.starts[k] : filled.stops[k]] == whole[span]).all()
        assert (filled is series) == all(one[-1] - one[0] < len(one) for one in places)

    def test_what_belongs_to_a_series_stays(self) -> None:
        series = series_at([0.0, 1, 3.004], [5, 6], [1, 4], ids=["a", "b", "c"]).with_static([[1], [2], [3]])
        filled = Frequency(step=1.0).regular(series[[2, 0]])
        assert filled.ids.tolist() == ["c", "a"]
        assert filled.static is not None
        assert filled.static.tolist() == [[3], [1]]
        assert filled.times is not None
        assert filled.times.tolist() == [1, 2, 3, 4, 0, 1, 2, 3.004]
        np.testing.assert_array_equal(filled.values[:, 0], [1, np.nan, np.nan, 2, 1, 2, np.nan, 3])
        assert filled.values.dtype == series.values.dtype

    def test_series_that_share_steps_and_targets_of_steps(self) -> None:
        series = replace(series_at([0, 1, 3, 4]), step_targets=np.arange(4))
        windows = series.windows(3)
        filled = Frequency(step=1.0).regular(windows)
        assert [x[:, 0].tolist()[:2] for x in filled] == [[1, 2], [2, pytest.approx(np.nan, nan_ok=True)]]
        assert filled.lengths.tolist() == [4, 4]
        assert filled.step_targets is None


class TestAfter:
    @settings(deadline=None, max_examples=60)
    @given(
        st.sampled_from(list(ALIASES)), st.integers(-30_000, 30_000), st.lists(st.integers(0, 5), min_size=1)
    )
    def test_it_is_what_pandas_says(self, alias: str, day: int, ends: list[int]) -> None:
        whole = dates(alias, 12, str(np.datetime64(day, "D")))
        after = Frequency(alias).after(whole[ends], 6)
        assert after.shape == (len(ends), 6)
        for row, end in zip(after, ends, strict=True):
            assert (row == whole[end + 1 : end + 7]).all()

    def test_month_ends_keep_to_the_end_and_leap_years_count(self) -> None:
        last = np.array(["2024-01-31", "2023-01-31", "1900-01-31"], "M8[D]")
        assert Frequency("ME").after(last, 1)[:, 0].astype(str).tolist() == [
            "2024-02-29",
            "2023-02-28",
            "1900-02-28",
        ]
        assert Frequency("D").after(np.array(["2024-02-28"], "M8[s]"), 2).astype("M8[D]").astype(
            str
        ).tolist() == [["2024-02-29", "2024-03-01"]]

    def test_the_time_of_day_stays_with_its_series(self) -> None:
        last = np.array(["2024-05-31T17:30", "2024-05-31T09:00", "2024-04-30T09:00"], "M8[m]")
        assert Frequency("ME").after(last, 1)[:, 0].astype(str).tolist() == [
            "2024-06-30T17:30",
            "2024-06-30T09:00",
            "2024-05-31T09:00",
        ]

    def test_a_unit_that_is_too_coarse_is_left(self) -> None:
        after = Frequency("12h").after(np.array(["2024-01-01"], "M8[D]"), 2)
        assert after.astype("M8[h]").astype(str).tolist() == [["2024-01-01T12", "2024-01-02T00"]]

    def test_numbers(self) -> None:
        assert Frequency(step=0.5).after(np.array([3, 1.25]), 2).tolist() == [[3.5, 4.0], [1.75, 2.25]]
        assert Frequency(step=0.5).after(np.array([3]), 2).tolist() == [[3.5, 4.0]]
        assert Frequency(step=100.0).after(np.array([200], np.uint8), 2).tolist() == [[300, 400]]
        large = 1_700_000_000_000_000_001
        assert Frequency(step=1.0).after(np.array([large]), 1).tolist() == [[large + 1]]

    def test_no_series(self) -> None:
        assert Frequency("D").after(np.empty(0, "M8[D]"), 3).shape == (0, 3)


SEASONS = {
    "MS": (12,),
    "BME": (12,),
    "2MS": (6,),
    "5MS": (),
    "12MS": (),
    "QE": (4,),
    "2QS": (2,),
    "YS": (),
    "SMS": (24,),
    "W": (52,),
    "14D": (26,),
    "B": (5,),
    "D": (7,),
    "2D": (),
    "24h": (7,),
    "h": (24, 168),
    "6h": (4, 28),
    "60min": (24, 168),
    "30min": (48, 336),
    "15min": (96, 672),
    "5min": (12, 288, 2016),
    "min": (60, 1440, 10080),
    "s": (60, 3600, 86400, 604800),
    "ms": (),
}


@pytest.mark.parametrize("alias", SEASONS)
def test_the_usual_seasons(alias: str) -> None:
    assert Frequency(alias).season_lengths == SEASONS[alias]


DAY = ("month_of_year", "day_of_month", "weekday")
FEATURES = {
    "YS": (),
    "24ME": (),
    "QS": DAY[:1],
    "ME": DAY[:1],
    "SMS": DAY[:2],
    "W-TUE": ("day_of_year", "day_of_month"),
    "7D": ("day_of_year", "day_of_month"),
    "B": DAY,
    "5B": DAY[:2],
    "D": DAY,
    "h": (*DAY, "hour_of_day"),
    "15min": (*DAY, "hour_of_day", "minute_of_hour"),
    "10s": (*DAY, "hour_of_day", "minute_of_hour", "second_of_minute"),
    "5ms": (*DAY, "hour_of_day", "minute_of_hour", "second_of_minute"),
}


class TestCalendar:
    @pytest.mark.parametrize("alias", FEATURES)
    def test_what_varies_at_a_frequency(self, alias: str) -> None:
        frequency = Frequency(alias)
        names = [f"{name}_{wave}" for name in FEATURES[alias] for wave in ("sin", "cos")]
        assert list(frequency.calendar_names) == names
        first, second = frequency.after(dates(alias, 1, "1969-01-01"), 2)[0]
        if alias in ("h", "15min", "10s", "5ms"):  # five years have too many of them: some
            step = second - first
            times = first + step * np.random.default_rng(0).integers(
                0, np.timedelta64(1826, "D") // step, 300
            )
        else:
            times = dates(alias, 300, "1969-01-01")
        found = frequency.calendar(times.reshape(-1, 1))
        assert found.shape == (300, 1, len(names))
        assert found.dtype == np.float32
        assert (np.ptp(found[:, 0], axis=0) > 0.2).all()

    @settings(deadline=None)
    @given(st.integers(-(10**10), 10**10))
    def test_each_is_where_pandas_says_that_it_is(self, second: int) -> None:
        at = pd.Timestamp(second, unit="s")
        phases = {
            "month_of_year": (at.month - 1) / 12,
            "day_of_month": (at.day - 1) / at.days_in_month,
            "weekday": at.dayofweek / 7,
            "hour_of_day": at.hour / 24,
            "minute_of_hour": at.minute / 60,
            "second_of_minute": at.second / 60,
        }
        angles = 2 * np.pi * np.array(list(phases.values()))
        expected = np.column_stack([np.sin(angles), np.cos(angles)]).ravel()
        found = Frequency("s").calendar(np.array([[second]], "M8[s]"))
        np.testing.assert_allclose(found[0, 0], expected, atol=1e-6)
        year = 2 * np.pi * (at.dayofyear - 1) / (366 if at.is_leap_year else 365)
        weekly = Frequency("W").calendar(np.array([second], "M8[s]"))
        np.testing.assert_allclose(weekly[0, :2], [np.sin(year), np.cos(year)], atol=1e-6)

    def test_numbers_have_none(self) -> None:
        frequency = Frequency(step=2.0)
        assert frequency.calendar(np.zeros((3, 4))).shape == (3, 4, 0)
        assert frequency.calendar_names == ()
