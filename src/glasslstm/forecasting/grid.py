"""The regular grids on which time stamps stand: how many steps apart they are, and which come next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from glasslstm.forecasting.calendar import NANOSECONDS, parsed, rhythm_of

import pandas as pd  # isort: skip - which calendar.py has asked for

__all__ = ["TOLERANCE", "Grid", "calendar_grid", "first_rows", "number_grid"]

TOLERANCE = 0.01
"""How far a number may be from its place on the grid, in steps."""


class Grid(Protocol):
    """A regular grid."""

    def steps(
        self, times: NDArray[Any], first: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return how many steps each stamp is after the one before, (S,), and whether it is on the grid.

        `first` is where a series starts: there are 0 steps.
        """

    def later(self, times: NDArray[Any], count: NDArray[np.int64]) -> NDArray[Any]:
        """Return the stamps so many steps after `times`, which stand on the grid; the two broadcast."""


def calendar_grid(alias: str) -> Grid:
    """Return the grid of dates that an alias of pandas stands for."""
    multiple, unit = rhythm_of(alias)
    offset = parsed(alias)
    if unit not in NANOSECONDS or offset.base.freqstr.startswith("W"):
        return _Days(offset.base, offset.n)
    length = multiple * NANOSECONDS[unit]
    name, size = next((name, size) for name, size in _NUMPY_UNITS.items() if length % size == 0)
    return _Fixed(np.timedelta64(length // size, name))


def number_grid(step: float) -> Grid:
    """Return the grid of numbers that are `step` apart."""
    return _Numbers(step)


def first_rows(lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where series of these lengths start, one below the other."""
    first = np.zeros(int(lengths.sum()), dtype=bool)
    first[np.cumsum(lengths) - lengths] = True
    return first


_NUMPY_UNITS: dict[Any, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


@dataclass(frozen=True)
class _Numbers:
    """Numbers a fixed step apart; each is as near to the one before it, so that small errors do not add up."""

    step: float

    def steps(
        self, times: NDArray[Any], first: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        gaps = _gaps(times.astype(np.int64) if times.dtype.kind in "iu" else times, first) / self.step
        count = np.rint(gaps)
        return count.astype(np.int64), np.abs(gaps - count) <= TOLERANCE

    def later(self, times: NDArray[Any], count: NDArray[np.int64]) -> NDArray[Any]:
        if times.dtype.kind in "iu" and float(self.step).is_integer():
            return np.asarray(times.astype(np.int64) + count * int(self.step))
        return np.asarray(times + count * self.step)


@dataclass(frozen=True)
class _Fixed:
    """Dates a fixed time apart, which start anywhere."""

    step: np.timedelta64

    def steps(
        self, times: NDArray[Any], first: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        gaps = _gaps(self._exact(times), first)
        return gaps // self.step, gaps % self.step == np.timedelta64(0)

    def later(self, times: NDArray[Any], count: NDArray[np.int64]) -> NDArray[Any]:
        return _as_before(self._exact(times) + count * self.step, times.dtype)

    def _exact(self, times: NDArray[Any]) -> NDArray[Any]:
        """Return the dates in a unit in which the step is whole."""
        return times.astype(np.promote_types(times.dtype, f"M8[{np.datetime_data(self.step.dtype)[0]}]"))


@dataclass(frozen=True)
class _Days:
    """Days that the calendar names, such as month ends; of a series all at the same time of day."""

    offset: Any
    count: int
    """Which of the days are a step: every first, every second, ..."""

    def steps(
        self, times: NDArray[Any], first: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        days, clock = _split(times)
        grid = self._between(days.min(), days.max())
        place = np.minimum(np.searchsorted(grid, days), max(len(grid) - 1, 0))
        if not len(grid):
            return np.zeros(len(days), np.int64), np.zeros(len(days), dtype=bool)
        gaps = _gaps(place, first)
        same_clock = _gaps(clock, first) == np.timedelta64(0)
        return gaps // self.count, (grid[place] == days) & (gaps % self.count == 0) & same_clock

    def later(self, times: NDArray[Any], count: NDArray[np.int64]) -> NDArray[Any]:
        days, clock = _split(times)
        first, last = days.min(), days.max()
        most = len(self._between(first, last)) + int(np.max(count)) * self.count
        grid = self._between(first, periods=most)
        return _as_before(grid[np.searchsorted(grid, days) + count * self.count] + clock, times.dtype)

    def _between(self, first: Any, last: Any = None, periods: int | None = None) -> NDArray[Any]:
        end = None if last is None else pd.Timestamp(last)
        found = pd.date_range(pd.Timestamp(first), end, periods=periods, freq=self.offset, unit="s")
        return np.asarray(found.to_numpy().astype("M8[D]"))


def _gaps(values: NDArray[Any], first: NDArray[np.bool_]) -> NDArray[Any]:
    """Return how far each value is after the one before it, 0 at the start of a series."""
    gaps = np.diff(values, prepend=values[:1])
    gaps[first] = 0
    return gaps


def _split(times: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the days, and the times of day."""
    days = times.astype("M8[D]")
    return days, times.astype(np.promote_types(times.dtype, "M8[s]")) - days


def _as_before(times: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return dates in the unit that they came in, unless it is too coarse for them."""
    found = times.astype(dtype)
    return found if (found == times).all() else times
