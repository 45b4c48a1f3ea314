"""Which frequency the time stamps of many series have, also where steps are missing; or which series have another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from glasslstm.data.checks import named
from glasslstm.data.sequences import Sequences
from glasslstm.errors import DataError
from glasslstm.forecasting.calendar import NANOSECONDS, parsed
from glasslstm.forecasting.grid import Grid, calendar_grid, first_rows, number_grid

__all__ = ["checked_steps", "inferred"]

Found: TypeAlias = tuple[str | None, float | None]
"""An alias of dates, or a step of numbers."""

_SAMPLE = 100  # series that are looked at one by one, where one frequency does not fit all


def inferred(series: Sequences) -> Found:
    """Return the frequency of all series: the finest grid that has all stamps, most of them without a gap.

    Raises
    ------
    DataError
        Where there is none, and where some series have another than most; with all of them.
    """
    if series.times is None:
        return None, 1.0
    times, first = series.times[series.rows()], first_rows(series.lengths)
    found = _guess(times, first)
    if found is None or _strangers(found, times, first).any():
        found = _usual(series, times, first)
        strangers = _strangers(found, times, first)
        if strangers.any():
            raise _error_of_strangers(series, found, strangers)
    return found


def checked_steps(series: Sequences, grid: Grid, frequency: str) -> NDArray[np.int64]:
    """Return how many steps each row is after the one before; ``DataError`` with all series that are off the grid."""
    assert series.times is not None
    times, first = series.times[series.rows()], first_rows(series.lengths)
    steps, fits = grid.steps(times, first)
    off = ~fits | ((steps < 1) & ~first)
    if not off.any():
        return steps
    wrong = np.logical_or.reduceat(off, np.flatnonzero(first))
    row = int(off.argmax())
    before = "its first" if first[row] else f"after {_stamp(times[row - 1])}"
    raise DataError(
        f"times: {wrong.sum()} of {len(series)} series do not stand on the frequency {frequency!r}: "
        f"{named(series.ids[wrong])}; series {series.ids[wrong].tolist()[0]!r} has {_stamp(times[row])}, {before}; "
        "make the time stamps regular, drop these series, or give the frequency that they have"
    )


def _guess(times: NDArray[Any], first: NDArray[np.bool_]) -> Found | None:
    """Return the first frequency that fits all stamps and has half of them right after the one before."""
    later = np.flatnonzero(~first)
    if not len(later):
        return None
    candidates = _aliases(times, later) if times.dtype.kind == "M" else _steps(times, later)
    for alias, step in candidates:
        found = alias if alias is None else parsed(alias).freqstr, step
        steps, fits = _grid(found).steps(times, first)
        if fits.all() and 2 * np.count_nonzero(steps == 1) >= len(later):
            return found
    return None


def _strangers(found: Found, times: NDArray[Any], first: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell of each series whether it is off the grid, or of four steps or more, none of them next to another."""
    starts = np.flatnonzero(first)
    steps, fits = _grid(found).steps(times, first)
    off = np.logical_or.reduceat(~fits | ((steps < 1) & ~first), starts)
    coarser = ~np.logical_or.reduceat(steps == 1, starts) & (np.diff(starts, append=len(first)) > 3)
    return np.asarray(off | coarser)


def _usual(series: Sequences, times: NDArray[Any], first: NDArray[np.bool_]) -> Found:
    """Return the frequency that most series have, each for itself."""
    starts = np.flatnonzero(first)
    long = np.flatnonzero(series.lengths >= min(3, max(2, int(series.lengths.max()))))
    sample = long[np.linspace(0, len(long) - 1, min(len(long), _SAMPLE)).astype(np.int64)]
    spans = [slice(starts[k], starts[k] + series.lengths[k]) for k in sample]
    guesses = Counter(_guess(times[span], first[span]) for span in spans)
    guesses.pop(None, None)
    if guesses:
        found = guesses.most_common(1)[0][0]
        assert found is not None
        return found
    if not len(long):
        raise DataError(
            f"times: no frequency can be inferred of {named(series.ids)}: of {len(series)} series none has more than "
            f"one step; {_remedy(times)}"
        )
    raise DataError(
        f"times: no frequency can be inferred of {len(long)} of {len(series)} series: {named(series.ids[long])}; "
        f"series {series.ids[long].tolist()[0]!r} has steps of {_seen(times[spans[0]])}; {_remedy(times[spans[0]])}"
    )


def _error_of_strangers(series: Sequences, found: Found, strangers: NDArray[np.bool_]) -> DataError:
    assert series.times is not None
    k = int(strangers.argmax())
    times = series.times[series.starts[k] : series.stops[k]]
    name, step = found
    usual = f"{step:g}" if name is None else repr(name)
    has = f"has steps of {_seen(times)}" if len(times) > 1 else f"has {_stamp(times[0])}"
    return DataError(
        f"times: {strangers.sum()} of {len(series)} series have another frequency than most, which is {usual}: "
        f"{named(series.ids[strangers])}; series {series.ids.tolist()[k]!r} {has}; fit series of different frequencies "
        f"apart, drop these, or {_remedy(times)}"
    )


def _remedy(times: NDArray[Any]) -> str:
    if times.dtype.kind != "M":
        return (
            "make them regular: the same distance from each to the next, or a multiple where some are missing"
        )
    remedy = "give the frequency, such as frequency='D', or make the time stamps regular"
    if np.isin(np.diff(_exact(times)), [np.timedelta64(23, "h"), np.timedelta64(25, "h")]).any():
        remedy += "; local days of a time zone have 23 to 25 hours in UTC: leave the zone out of the table"
    return remedy


def _seen(times: NDArray[Any]) -> str:
    """Return the three most common distances, in words."""
    gaps, counts = np.unique(np.diff(_exact(times)), return_counts=True)
    shown = [_in_words(gap) for gap in gaps[np.argsort(-counts, kind="stable")][:3]]
    return ", ".join(shown) + (f" and {len(gaps) - 3} more" if len(gaps) > 3 else "")


def _stamp(time: Any) -> str:
    return (
        str(np.datetime_as_string(time, unit="auto")) if isinstance(time, np.datetime64) else f"{time:.10g}"
    )


def _in_words(gap: Any) -> str:
    if not isinstance(gap, np.timedelta64):
        return f"{gap:g}"
    length = _nanoseconds(gap)
    unit, size = next(
        (unit, size) for unit, size in NANOSECONDS.items() if unit != "week" and length % size == 0
    )
    return f"{length // size} {unit}{'' if length == size else 's'}"


def _steps(times: NDArray[Any], later: NDArray[np.int64]) -> Iterator[Found]:
    """Yield the median distance of numbers: one step, where half of all are; the lower one of two."""
    numbers = times.astype(np.int64) if times.dtype.kind in "iu" else times.astype(np.float64)
    gaps = numbers[later] - numbers[later - 1]
    step = float(np.partition(gaps, (len(gaps) - 1) // 2)[(len(gaps) - 1) // 2])
    if step > 0:
        blur = 4 * np.spacing(np.abs(numbers.astype(np.float64)).max())
        rounded = (float(f"{step:.{digits}g}") for digits in range(1, 18))
        yield None, next(one for one in rounded if abs(one - step) <= blur)  # 0.1 for 0.0999999046


def _aliases(times: NDArray[Any], later: NDArray[np.int64]) -> Iterator[Found]:
    """Yield what all dates may be, the coarsest first."""
    exact = _exact(times)
    gaps = np.unique(exact[later] - exact[later - 1])
    length = int(np.gcd.reduce(gaps.astype(np.int64))) * _nanoseconds(np.ones(1, gaps.dtype)[0])
    if length <= 0 or gaps[0] <= np.timedelta64(0):
        return
    day = NANOSECONDS["day"]
    if length % day == 0:
        days = times.astype("M8[D]")
        yield from _aliases_of_days(days, later, length // day)
        return
    for alias, unit in _WITHIN_A_DAY.items():
        if length % NANOSECONDS[unit] == 0:
            yield f"{length // NANOSECONDS[unit]}{alias}", None
            return


def _aliases_of_days(days: NDArray[Any], later: NDArray[np.int64], gap: int) -> Iterator[Found]:
    """Yield what dates may be that are `gap` days apart, or a multiple of it."""
    distinct = np.unique(days)
    months = distinct.astype("M8[M]")
    for side, edge in _edges(months).items():
        if (distinct == edge).all():
            numbers = days.astype("M8[M]").astype(np.int64)
            count = int(np.gcd.reduce(numbers[later] - numbers[later - 1]))
            yield _of_months(np.unique(months.astype(np.int64) % 12), count, side), None
    weekdays = np.unique((distinct.astype(np.int64) + 3) % 7)  # 1970 began on a Thursday
    if gap % 7 == 0 and len(weekdays) == 1:
        yield f"{gap // 7}W-{_WEEKDAYS[weekdays[0]]}", None
    over_a_weekend = np.busday_count(days[later - 1], days[later]) < (days[later] - days[later - 1]).astype(
        np.int64
    )
    if gap == 1 and weekdays.max() < 5 and over_a_weekend.any():
        yield "B", None
    yield f"{gap}D", None


def _edges(months: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the days on which a month may start or end, by the end of the alias."""
    start = months.astype("M8[D]")
    end = (months + 1).astype("M8[D]") - 1
    return {
        "S": start,
        "E": end,
        "BS": np.busday_offset(start, 0, roll="forward"),
        "BE": np.busday_offset(end, 0, roll="backward"),
    }


def _of_months(months: NDArray[np.int64], count: int, side: str) -> str:
    """Return the alias of dates in `months`, from 0, `count` months or a multiple of it apart."""
    business, edge = "B" * (side[0] == "B"), side[-1]
    if count % 12 == 0 and len(months) == 1:
        return f"{count // 12}{business}Y{edge}-{_MONTHS[months[0]]}"
    if count % 3 == 0 and len(quarter := np.unique(months % 3)) == 1:
        anchor = quarter[0] if edge == "S" else quarter[0] + 9
        return f"{count // 3}{business}Q{edge}-{_MONTHS[anchor]}"
    return f"{count}{business}M{edge}"


_WITHIN_A_DAY = {
    "h": "hour",
    "min": "minute",
    "s": "second",
    "ms": "millisecond",
    "us": "microsecond",
    "ns": "nanosecond",
}
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def _exact(times: NDArray[Any]) -> NDArray[Any]:
    """Return dates in a unit of a fixed length: months and years have none."""
    return times.astype(np.promote_types(times.dtype, "M8[s]")) if times.dtype.kind == "M" else times


def _nanoseconds(length: np.timedelta64) -> int:
    unit, size = np.datetime_data(length.dtype)
    return int(length.astype(np.int64)) * size * {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]


def _grid(found: Found) -> Grid:
    alias, step = found
    if alias is not None:
        return calendar_grid(alias)
    assert step is not None
    return number_grid(step)
