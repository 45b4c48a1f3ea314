"""When the steps of the series were: time stamps that rise, and how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm.data.arrays import steps_in
from glasslstm.data.checks import others
from glasslstm.errors import DataError

__all__ = ["Intervals", "as_numbers", "intervals_between", "times_in"]


class Intervals(NamedTuple):
    """How far apart the steps of a set of series are, in the unit of their time stamps, seconds for dates."""

    median: float
    irregular: int
    """Steps whose distance from the one before differs from the median by more than 1 %."""
    steps: int
    """Steps that have one before them."""

    def __str__(self) -> str:
        share = self.irregular / self.steps if self.steps else 0.0
        return f"median step {self.median:g}; {self.irregular} of {self.steps} steps ({share:.1%}) differ from it"


def intervals_between(earlier: NDArray[Any], later: NDArray[Any]) -> Intervals | None:
    """Measure the steps from `earlier` to `later`, time stamps of the same shape, (K,); ``None`` for none."""
    if not len(later):
        return None
    if (
        later.dtype.kind == "M"
    ):  # in their own unit: as seconds since 1970, float64 loses what is below 0.2 us
        unit = np.promote_types(later.dtype, "M8[s]")  # months and years have no length
        gaps = (later.astype(unit) - earlier.astype(unit)) / np.timedelta64(1, "s")
    else:
        gaps = (later - earlier).astype(np.float64)
    median = float(np.median(gaps))
    return Intervals(median, int((np.abs(gaps - median) > 0.01 * abs(median)).sum()), len(gaps))


def as_numbers(times: NDArray[Any]) -> NDArray[np.float64]:
    """Return time stamps as numbers: dates as seconds since 1970."""
    if times.dtype.kind == "M":
        return (times - np.datetime64(0, "s")) / np.timedelta64(1, "s")
    return times.astype(np.float64)


def times_in(times: Sequence[ArrayLike], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """Join the time stamps of each series, (T_i,), to one array, (S,).

    Raises
    ------
    DataError
        For another number of them, other than numbers and dates, missing ones, and those that do not rise.
    """
    stamps = steps_in("times", times, lengths)
    if stamps.dtype.kind not in "iufM":
        raise DataError(
            f"times: expected numbers or dates (numpy.datetime64), got {stamps.dtype}; "
            "np.asarray(times, 'datetime64[us]') reads dates as Python has them"
        )
    ends = np.cumsum(lengths)
    known = ~np.isnat(stamps) if stamps.dtype.kind == "M" else np.isfinite(stamps)
    rises = np.ones(len(stamps), dtype=bool)
    rises[1:] = stamps[1:] > stamps[:-1]
    rises[ends - lengths] = True
    for fine, wrong in (
        (known, "is missing or infinite; fill or drop it first"),
        (rises, "does not rise from the one before; sort the steps of each series, and drop duplicates"),
    ):
        if not fine.all():
            row = int(fine.argmin())
            found = np.unique(np.searchsorted(ends, np.flatnonzero(~fine), side="right"))
            k = int(found[0])
            raise DataError(
                f"times: of series {k}, that of step {row - ends[k] + lengths[k]} {wrong}{others(found.tolist())}"
            )
    return stamps
