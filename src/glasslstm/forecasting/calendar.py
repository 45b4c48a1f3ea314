"""What the calendar says of a frequency: its rhythm in words, its usual seasons, and features of its time stamps."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError

require("pandas", extra="forecast")

import pandas as pd  # noqa: E402

__all__ = ["CYCLES", "NANOSECONDS", "Rhythm", "features", "parsed", "rhythm_of"]

NANOSECONDS = {
    "week": 7 * 86_400 * 10**9,
    "day": 86_400 * 10**9,
    "hour": 3_600 * 10**9,
    "minute": 60 * 10**9,
    "second": 10**9,
    "millisecond": 10**6,
    "microsecond": 10**3,
    "nanosecond": 1,
}
"""The units of a fixed length, the longest first."""


class Rhythm(NamedTuple):
    """A step of time: so many of a unit, the longest unit that it is whole in."""

    multiple: int
    unit: str

    @property
    def words(self) -> str:
        """Such as 'monthly' and 'every 15 minutes'."""
        if self in _WORDS:
            return _WORDS[self]
        count, unit = (self.multiple // 12, "year") if self._is_yearly else self
        return f"every {unit}" if count == 1 else f"every {count} {unit}s"

    @property
    def season_lengths(self) -> tuple[int, ...]:
        """The usual seasons in steps, the shortest first; those within a day where they have 12 steps or more."""
        length = NANOSECONDS.get(self.unit, NANOSECONDS["day"])
        cycles = [cycle for cycle in _CYCLES.get(self.unit, ()) if cycle % self.multiple == 0]
        least = [2 if cycle * length >= NANOSECONDS["day"] else 12 for cycle in cycles]
        seasons = [cycle // self.multiple for cycle in cycles]
        return tuple(season for season, few in zip(seasons, least, strict=True) if season >= few)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features of the calendar that vary from step to step."""
        if self._is_yearly:
            return ()
        of_a_day = ("month_of_year", "day_of_month", "weekday")
        if self.unit == "business day":
            return of_a_day[: 2 if self.multiple % 5 == 0 else 3]
        within_a_day = ("hour_of_day", "minute_of_hour", "second_of_minute")
        finer = {"day": 0, "hour": 1, "minute": 2}.get(self.unit, 3)
        return _FEATURES_OF.get(self.unit, of_a_day + within_a_day[:finer])

    @property
    def _is_yearly(self) -> bool:
        return self.unit == "month" and self.multiple % 12 == 0


def parsed(alias: str) -> Any:
    """Return the offset of pandas that `alias` stands for.

    Raises
    ------
    ArgumentError
        For what pandas does not know, what does not go forward, and offsets without a rhythm here.
    """
    try:
        offset = pd.tseries.frequencies.to_offset(alias)
    except (TypeError, ValueError) as error:
        hint = re.search(r"Please use '\w+'|Did you mean \w+", str(error))
        meant = f" ({hint[0]})" if hint else ""
        raise ArgumentError(f"frequency: {alias!r} is none{meant}; expected {_EXPECTED}") from None
    if offset is None or offset.n < 1 or _prefix(offset) not in _UNITS:
        raise ArgumentError(f"frequency: {alias!r} is not supported; expected {_EXPECTED}")
    return offset


def rhythm_of(alias: str) -> Rhythm:
    """Return the rhythm of a frequency.

    Examples
    --------
    >>> rhythm_of("QS"), rhythm_of("120min").words
    (Rhythm(multiple=3, unit='month'), 'every 2 hours')
    """
    offset = parsed(alias)
    count, unit = _UNITS[_prefix(offset)]
    if unit not in NANOSECONDS:
        return Rhythm(offset.n * count, unit)
    length = offset.n * NANOSECONDS[unit]
    longest = next(name for name, size in NANOSECONDS.items() if length % size == 0)
    return Rhythm(length // NANOSECONDS[longest], longest)


def features(times: NDArray[Any], names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return sine and cosine of each of `names` at `times`, (...): (..., 2 len(names)).

    A cycle has its true length: the day of the month is counted in the days of its month.
    """
    codes, stamps = pd.factorize(np.asarray(times).ravel())
    index = pd.DatetimeIndex(stamps)
    angles = [2 * np.pi * np.asarray(_PHASES[name](index), np.float64) for name in names]
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    table = np.stack(waves, axis=1).astype(np.float32) if waves else np.empty((len(index), 0), np.float32)
    return np.asarray(table[codes].reshape(*np.shape(times), len(waves)))


def _prefix(offset: Any) -> str:
    name: str = offset.base.freqstr
    return name.partition("-")[0]


_EXPECTED = (
    "an alias of pandas such as 'MS' (month starts), 'ME' (month ends), 'QS', 'YS', 'W-SUN', 'D', 'B' (business "
    "days), 'h', '15min' or 's'"
)
_UNITS = {
    **dict.fromkeys(("MS", "ME", "BMS", "BME", "WOM", "LWOM"), (1, "month")),
    **dict.fromkeys(("QS", "QE", "BQS", "BQE"), (3, "month")),
    **dict.fromkeys(("YS", "YE", "BYS", "BYE"), (12, "month")),
    **dict.fromkeys(("SMS", "SME"), (1, "half month")),
    "W": (1, "week"),
    "B": (1, "business day"),
    "D": (1, "day"),
    "h": (1, "hour"),
    "min": (1, "minute"),
    "s": (1, "second"),
    "ms": (1, "millisecond"),
    "us": (1, "microsecond"),
    "ns": (1, "nanosecond"),
}
_WORDS = {
    Rhythm(1, "month"): "monthly",
    Rhythm(3, "month"): "quarterly",
    Rhythm(12, "month"): "yearly",
    Rhythm(1, "week"): "weekly",
    Rhythm(1, "day"): "daily",
    Rhythm(1, "hour"): "hourly",
}
_CYCLES: dict[str, tuple[int, ...]] = {
    "month": (12,),
    "half month": (24,),
    "week": (52,),
    "business day": (5,),
    "day": (7,),
    "hour": (24, 168),
    "minute": (60, 1_440, 10_080),
    "second": (60, 3_600, 86_400, 604_800),
}
_FEATURES_OF = {
    "month": ("month_of_year",),
    "half month": ("month_of_year", "day_of_month"),
    "week": ("day_of_year", "day_of_month"),
}
CYCLES = {
    "month_of_year": 365.25,
    "day_of_year": 365.25,
    "day_of_month": 365.25 / 12,
    "weekday": 7.0,
    "hour_of_day": 1.0,
    "minute_of_hour": 1 / 24,
    "second_of_minute": 1 / 1440,
}
"""How long a feature takes to come round, in days."""
_PHASES: dict[str, Callable[[Any], Any]] = {
    "month_of_year": lambda at: (at.month - 1) / 12,
    "day_of_year": lambda at: (at.dayofyear - 1) / np.where(at.is_leap_year, 366, 365),
    "day_of_month": lambda at: (at.day - 1) / at.days_in_month,
    "weekday": lambda at: at.dayofweek / 7,
    "hour_of_day": lambda at: at.hour / 24,
    "minute_of_hour": lambda at: at.minute / 60,
    "second_of_minute": lambda at: at.second / 60,
}
