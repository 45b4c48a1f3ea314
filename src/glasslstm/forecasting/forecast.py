"""What a forecaster says of the steps to come: points and quantiles of each series, as arrays and as a long table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from glasslstm.errors import ArgumentError, DataError

__all__ = ["Forecast", "Library", "as_frame", "check_columns", "prediction_columns", "symmetric_intervals"]

Library = Literal["pandas", "polars"]
Floats = NDArray[np.float64]
Table = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False, repr=False)
class Forecast:
    """Forecasts of N series over a horizon of H steps.

    Attributes
    ----------
    ids
        What each series is called, (N,).
    times
        When the steps are that are forecast, (N, H): numbers or numpy dates.
    point
        One number for each step, (N, H).
    levels
        Levels of the quantiles, rising, Q numbers between 0 and 1.
    quantiles
        (N, H, Q), or ``None`` where there are no levels.
    columns
        What the columns of ids and time stamps are called in tables.

    Examples
    --------
    >>> times = np.array([["2024-05", "2024-06"]], dtype="datetime64[M]")
    >>> found = Forecast(np.array(["a"]), times, np.array([[4.0, 5.0]]), (0.1, 0.9), np.array([[[3, 6], [3, 8.0]]]))
    >>> found
    Forecast(1 series, 2 steps, quantiles 0.1, 0.9)
    >>> low, high = found.interval(0.8)
    >>> high
    array([[6., 8.]])
    >>> list(found.table())
    ['unique_id', 'ds', 'prediction', 'prediction_q10', 'prediction_q90']
    """

    ids: NDArray[Any]
    times: NDArray[Any]
    point: Floats
    levels: tuple[float, ...] = ()
    quantiles: Floats | None = None
    columns: tuple[str, str] = ("unique_id", "ds")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, k: int | slice | Sequence[int] | NDArray[Any]) -> Forecast:
        """Return the forecasts of one or several series: a position, a slice, positions or a mask."""
        chosen = np.atleast_1d(np.arange(len(self))[k])
        quantiles = None if self.quantiles is None else self.quantiles[chosen]
        return Forecast(
            self.ids[chosen], self.times[chosen], self.point[chosen], self.levels, quantiles, self.columns
        )

    def __repr__(self) -> str:
        levels = ", ".join(f"{level:g}" for level in self.levels)
        words = f"quantiles {levels}" if levels else "no quantiles"
        return f"Forecast({len(self)} series, {self.point.shape[1]} steps, {words})"

    def interval(self, coverage: float) -> tuple[Floats, Floats]:
        """Return the ends of the interval that is to hold the truth with this probability, (N, H) each.

        Raises
        ------
        ArgumentError
            Where the quantiles at both ends are not among the levels.
        """
        known = symmetric_intervals(self.levels)
        for share, (low, high) in known.items():
            if self.quantiles is not None and np.isclose(share, coverage):
                return self.quantiles[..., low], self.quantiles[..., high]
        shares = ", ".join(f"{share:g}" for share in known) or "none"
        raise ArgumentError(
            f"coverage: got {coverage}; the quantiles of the forecast have the intervals: {shares}; choose one, or fit "
            f"with the quantiles {(1 - coverage) / 2:g} and {(1 + coverage) / 2:g}"
        )

    def table(self) -> Table:
        """Return the long table, a row for each step of each series: id, time, prediction, prediction_q10 and so on."""
        own = prediction_columns("prediction", self.point, self.quantiles, self.levels)
        check_columns(self.columns, own)
        name, time = self.columns
        return {name: np.repeat(self.ids, self.point.shape[1]), time: self.times.ravel(), **own}

    def to_frame(self, library: Library = "pandas") -> Any:
        """Return :meth:`table` as a dataframe of pandas or polars."""
        return as_frame(self.table(), library)


def symmetric_intervals(levels: Sequence[float]) -> dict[float, tuple[int, int]]:
    """Return the intervals between two levels at the same distance from 0.5: coverage to places, the widest first.

    Examples
    --------
    >>> symmetric_intervals((0.1, 0.25, 0.5, 0.75, 0.9, 0.99))
    {0.8: (0, 4), 0.5: (1, 3)}
    """
    return {
        round(above - below, 9): (low, high)
        for low, below in enumerate(levels)
        for high, above in enumerate(levels)
        if below < 0.5 and np.isclose(below + above, 1.0, atol=1e-9)
    }


def prediction_columns(
    name: str, point: Floats, quantiles: Floats | None, levels: Sequence[float]
) -> dict[str, Floats]:
    """Return the columns of a long table that have the predictions: the points, then the quantiles.

    Examples
    --------
    >>> prediction_columns("lstm", np.zeros((1, 2)), np.ones((1, 2, 1)), (0.025,))
    {'lstm': array([0., 0.]), 'lstm_q2.5': array([1., 1.])}
    """
    found = {name: point.ravel()}
    if quantiles is not None:
        found |= {f"{name}_q{100 * level:g}": quantiles[..., q].ravel() for q, level in enumerate(levels)}
    return found


def check_columns(users: Sequence[str], own: Iterable[str]) -> None:
    """Refuse names of the user's columns that a table has itself.

    Raises
    ------
    DataError
        For a name that both have.
    """
    for name in set(users).intersection(own):
        raise DataError(
            f"columns: the table has a column {name!r} of its own beside the user's; rename the user's: "
            "dataclasses.replace(found, columns=('unique_id', 'ds'))"
        )


def as_frame(table: Table, library: Library) -> Any:
    """Return a table as a dataframe of pandas or polars.

    Raises
    ------
    ArgumentError
        For another library.
    """
    if library not in ("pandas", "polars"):
        raise ArgumentError(f"library: expected 'pandas' or 'polars', got {library!r}")
    # The coarsest unit of dates that both libraries have.
    dates = {name: column for name, column in table.items() if column.dtype.kind == "M"}
    fine = {name: column.astype(np.promote_types(column.dtype, "M8[ms]")) for name, column in dates.items()}
    return nw.from_dict({**table, **fine}, backend=library).to_native()
