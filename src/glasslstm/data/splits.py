"""Which series go to which part: at random, with the shares of the classes, by groups, or by time."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from glasslstm.data.arrays import column_in
from glasslstm.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from glasslstm.data.sequences import Sequences

__all__ = ["split_rows"]

Rows = NDArray[np.int64]


def split_rows(
    series: Sequences,
    fraction: float,
    *,
    labels: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    by_time: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Rows, Rows, int]:
    """Return the positions of the rest, those of the part, and how many series are in neither.

    Raises
    ------
    ArgumentError, DataError
        See :meth:`Sequences.split`.
    """
    if not isinstance(fraction, Real) or not 0 < fraction < 1:
        raise ArgumentError(f"fraction: expected a number above 0 and below 1, got {fraction!r}")
    if (labels is not None) + (groups is not None) + by_time > 1:
        raise ArgumentError("expected one of stratify, groups and by_time at a time")
    if len(series) < 2:
        raise DataError(f"a split needs two series or more, got {len(series)}")
    if by_time:
        return _by_time(series, fraction)
    try:
        rest, part = _at_random(len(series), float(fraction), labels, groups, random_state)
    except DataError:
        raise
    except (TypeError, ValueError) as error:
        raise DataError(f"the series cannot be split in this way: {error}") from None
    return np.sort(rest), np.sort(part), 0


def _at_random(
    count: int,
    fraction: float,
    labels: ArrayLike | None,
    groups: ArrayLike | None,
    random_state: int | np.random.RandomState | None,
) -> tuple[Rows, Rows]:
    positions = np.arange(count)
    if groups is not None:
        owners = column_in("groups", groups, count)
        if len(np.unique(owners)) < 2:
            raise DataError(
                "groups: all series are of one group, which cannot be split; split by_time, or without groups"
            )
        chooser = GroupShuffleSplit(1, test_size=fraction, random_state=random_state)
        rest, part = next(chooser.split(positions, groups=owners))
    else:
        shares = None if labels is None else column_in("stratify", labels, count, dimensions=2)
        rest, part = train_test_split(
            positions, test_size=fraction, stratify=shares, random_state=random_state
        )
    return rest, part


def _by_time(series: Sequences, fraction: float) -> tuple[Rows, Rows, int]:
    if series.times is None:
        raise DataError("by_time: the series have no time stamps; give them, or split in another way")
    first = series.times[series.starts]
    last = series.times[series.stops - 1 + series.horizon]  # what its targets are from is not known before
    count = min(len(series) - 1, max(1, round(fraction * len(series))))
    cut = np.sort(first)[-count]
    part, rest = np.flatnonzero(first >= cut), np.flatnonzero(last < cut)
    if not len(rest):
        raise DataError(
            f"by_time: no series has ended by {cut}, where the last {count} begin; all of them overlap: cut them into "
            "windows first, or split in another way"
        )
    return rest, part, len(series) - len(part) - len(rest)
