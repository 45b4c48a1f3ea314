"""The frequency of time stamps: the regular grid on which the steps of all series stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glasslstm.data.arrays import ranges
from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError, DataError
from glasslstm.forecasting.calendar import features, parsed, rhythm_of
from glasslstm.forecasting.grid import Grid, calendar_grid, first_rows, number_grid
from glasslstm.forecasting.inference import checked_steps, inferred

__all__ = ["Frequency"]

_MOST = 1000  # times as many steps: that is a mistake, which would only fill the memory


@dataclass(frozen=True)
class Frequency:
    """One step of time: of dates an alias of pandas, of numbers how far apart they are.

    Attributes
    ----------
    alias
        Of dates: ``'MS'``, ``'ME'``, ``'QS-JAN'``, ``'W-SUN'``, ``'D'``, ``'B'``, ``'h'``, ``'15min'``, ... Days of
        the calendar may have any time of day, the same within a series; what has a fixed length may start anywhere.
    step
        Of numbers: how far apart they are, 1 where there are no time stamps at all.

    Raises
    ------
    ArgumentError
        Where not exactly one of the two is given, for an alias that is none, and a step that is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> days = np.array(["2024-01-31", "2024-02-29", "2024-04-30", "2024-05-31"], "M8[D]")
    >>> series = Sequences.from_arrays([np.ones((4, 1))], times=[days])
    >>> frequency = Frequency.of(series)
    >>> frequency, frequency.words, frequency.season_lengths
    (Frequency(alias='ME', step=None), 'monthly', (12,))
    >>> frequency.regular(series)[0].ravel().tolist()
    [1.0, 1.0, nan, 1.0, 1.0]
    >>> frequency.after(days[-1:], 2).astype(str).tolist()
    [['2024-06-30', '2024-07-31']]
    """

    alias: str | None = None
    step: float | None = None

    def __post_init__(self) -> None:
        if (self.alias is None) == (self.step is None):
            raise ArgumentError(
                f"frequency: expected an alias or a step, got {self.alias!r} and {self.step!r}"
            )
        if self.alias is not None:
            object.__setattr__(self, "alias", parsed(self.alias).freqstr)
        elif not (self.step and 0 < self.step < np.inf):
            raise ArgumentError(f"step: expected a number above 0, got {self.step!r}")

    @classmethod
    def of(cls, series: Sequences, alias: str | None = None) -> Frequency:
        """Return the one frequency of all series: `alias`, or the one that most of their steps have.

        Steps may be missing: without an alias, half of those that are there must follow the one before them at once.

        Raises
        ------
        ArgumentError
            For an alias that is none, and one beside time stamps that are no dates.
        DataError
            Where no frequency can be inferred, and for time stamps that do not stand on it; with all such series.
        """
        if alias is None:
            return cls(*inferred(series))
        found = cls(alias)
        found._check(series)
        return found

    def regular(self, series: Sequences) -> Sequences:
        """Return the series with the steps that are missing as rows of NaN; the same object where none is.

        Targets of the steps are left out where rows come in.

        Raises
        ------
        DataError
            For time stamps that do not stand on the grid, with all such series; and where more than 1000 times as
            many steps would come out.
        """
        steps = self._check(series)
        if steps is None or (steps <= 1).all():
            return series
        assert series.times is not None
        given, first = series.rows(), first_rows(series.lengths)
        rows = np.cumsum(np.where(first, 1, steps)) - 1  # where each row comes to stand
        total = int(rows[-1]) + 1
        if total > _MOST * len(rows):
            raise DataError(
                f"times: {self.words}, the {len(rows)} steps that are there would become {total}; look for a time "
                "stamp that is far from the others, or give a coarser frequency"
            )
        values = np.full((total, series.channels), np.nan, series.values.dtype)
        values[rows] = series.values[given]
        starts = rows[first]
        return replace(
            series,
            values=values,
            starts=starts,
            stops=np.append(starts[1:], total),
            times=self._filled(series.times[given], rows, total),
            step_targets=None,
            horizon=0,
        )

    def after(self, last: NDArray[Any], count: int) -> NDArray[Any]:
        """Return the `count` time stamps that follow each of `last`, (N,), which stand on the grid: (N, count)."""
        stamps, place = np.unique(last, return_inverse=True)
        if not len(stamps):
            return np.empty((0, count), np.asarray(last).dtype)
        return np.asarray(self._grid.later(stamps[:, None], np.arange(1, count + 1))[place])

    @property
    def season_lengths(self) -> tuple[int, ...]:
        """The usual seasons in steps, the shortest first: (24, 168) of hours; () of years and of numbers."""
        return () if self.alias is None else rhythm_of(self.alias).season_lengths

    @property
    def calendar_names(self) -> tuple[str, ...]:
        """What the columns of :meth:`calendar` are called, C names."""
        names = () if self.alias is None else rhythm_of(self.alias).feature_names
        return tuple(f"{name}_{wave}" for name in names for wave in ("sin", "cos"))

    def calendar(self, times: NDArray[Any]) -> NDArray[np.float32]:
        """Return sine and cosine of where `times`, (...), are in the year, month, week, ...: (..., C).

        Only what varies at this frequency; C is 0 for years and numbers.
        """
        if self.alias is None:
            return np.empty((*np.shape(times), 0), np.float32)
        return features(times, rhythm_of(self.alias).feature_names)

    @property
    def words(self) -> str:
        """The frequency in words: 'monthly', 'every 15 minutes', 'every step'."""
        if self.alias is not None:
            return rhythm_of(self.alias).words
        return "every step" if self.step == 1 else f"every {self.step:g}"

    @property
    def _grid(self) -> Grid:
        if self.alias is not None:
            return calendar_grid(self.alias)
        assert self.step is not None
        return number_grid(self.step)

    def _check(self, series: Sequences) -> NDArray[np.int64] | None:
        """Return how many steps each row is after the one before, (S,); ``None`` without time stamps."""
        if series.times is None:
            if self.alias is None:
                return None
            raise DataError(f"times: there are none, and the frequency {self.alias!r} is of dates; give them")
        dates = series.times.dtype.kind == "M"
        if dates == (self.alias is None):
            raise DataError(
                f"times: the frequency {self.words!r} is of {'numbers' if dates else 'dates'}, and the time stamps are "
                f"{series.times.dtype}; give them as {'numbers' if dates else 'dates'}, or another frequency"
            )
        return checked_steps(series, self._grid, self.words if self.alias is None else self.alias)

    def _filled(self, times: NDArray[Any], rows: NDArray[np.int64], total: int) -> NDArray[Any]:
        """Return the time stamps of `total` rows, of which `times` stand at `rows`."""
        size = np.diff(rows, append=total)
        before = np.repeat(times, size)  # of each row the last stamp that was there
        missing = np.delete(np.arange(total), rows)
        count = ranges(np.zeros_like(size), size)[missing]
        between = self._grid.later(before[missing], count)
        filled = before.astype(np.result_type(before, between))
        filled[missing] = between
        return filled
