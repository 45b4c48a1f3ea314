"""What forecasts of the past were worth: truths and the answers of several methods, window by window, and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glasslstm.errors import ArgumentError
from glasslstm.forecasting import metrics
from glasslstm.forecasting.forecast import (
    Floats,
    Library,
    Table,
    as_frame,
    check_columns,
    prediction_columns,
    symmetric_intervals,
)

__all__ = ["Answer", "Backtest", "By"]

By = Literal["series", "step", "cutoff"]


class Answer(NamedTuple):
    """What one method forecasts for W windows of H steps."""

    point: Floats
    """(W, H)."""
    quantiles: Floats
    """(W, H, Q); Q is 0 without levels."""


@dataclass(frozen=True, eq=False, repr=False)
class Backtest:
    """Forecasts of W windows, one series from one origin each, beside the truth and beside other methods.

    Printed, it is the table of :meth:`summary`.

    Attributes
    ----------
    ids
        Which series each window is of, (W,).
    cutoffs
        The last time stamp that was known, (W,).
    times, truth
        When the steps of each window are, and what came, (W, H); NaN where that is missing.
    answers
        What each method forecast, by its name.
    levels
        Levels of the quantiles, rising.
    scales
        Of each window's history the mean absolute and the mean squared seasonal difference, (W, 2): the denominators of
        MASE and RMSSE.
    season_length
        Steps of a season, in the scales and the seasonal naive method.
    columns
        What the columns of ids and time stamps are called in tables.

    Raises
    ------
    ArgumentError
        For no answers, and answers of another shape than the truth.

    Examples
    --------
    >>> truth = np.array([[4.0, 6.0], [1.0, np.nan]])
    >>> point = np.array([[5.0, 6.0], [1.0, 1.0]])
    >>> found = Backtest(
    ...     ids=np.array(["a", "b"]), cutoffs=np.array([7, 7]), times=np.array([[8, 9], [8, 9]]), truth=truth,
    ...     answers={"naive": Answer(point, np.empty((2, 2, 0)))}, levels=(), scales=np.array([[2.0, 5.0], [1.0, 1.0]]),
    ...     season_length=1,
    ... )
    >>> found.metrics(by="series")["mase"]
    array([0.25, 0.  ])
    """

    ids: NDArray[Any]
    cutoffs: NDArray[Any]
    times: NDArray[Any]
    truth: Floats
    answers: Mapping[str, Answer]
    levels: tuple[float, ...]
    scales: Floats
    season_length: int
    columns: tuple[str, str] = ("unique_id", "ds")

    def __post_init__(self) -> None:
        if not self.answers:
            raise ArgumentError("answers: there are none; give those of one method at least")
        shape = self.truth.shape
        for name, (point, quantiles) in self.answers.items():
            if point.shape != shape or quantiles.shape != (*shape, len(self.levels)):
                raise ArgumentError(
                    f"answers: of {name!r}, the points are {point.shape} and the quantiles {quantiles.shape}; expected "
                    f"{shape} as the truth, and {(*shape, len(self.levels))}"
                )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return self.summary()

    def metrics(self, by: By | None = None) -> Table:
        """Return a table of every method's metrics, over all windows, or a row for each series, step or cutoff.

        MASE and RMSSE are of each window by its own scale, then the mean; the others are over all known truths at once.

        Returns
        -------
        dict
            ``method``; the column of `by` if there is one; mae, rmse, mase, rmsse, smape (percent, to 200);
            with levels weighted_quantile_loss, and coverage_80 or the like for each two levels symmetric about 0.5;
            ``n_windows`` with a known truth, and ``n_scaled``, those of them that MASE and RMSSE have: the others'
            histories have no seasonal difference, or only such as are 0.

        Raises
        ------
        ArgumentError
            For another `by`.
        """
        column, blocks = self._blocks(by)
        parts = [[self._measured(answer, block) for block in blocks] for answer in self.answers.values()]
        keys = np.concatenate([block.keys for block in blocks])
        order = np.argsort(keys, kind="stable")
        found: Table = {"method": np.repeat(list(self.answers), len(keys))}
        if column:
            found[column] = np.tile(keys[order], len(self.answers))
        for name in parts[0][0]:
            found[name] = np.concatenate(
                [np.concatenate([one[name] for one in part])[order] for part in parts]
            )
        return found

    def coverage(self) -> Table:
        """Return how often the truth was at or below each quantile: ``method``, ``nominal`` (the level), ``observed``.

        ``n`` is the number of known truths; those of one window are not independent.
        """
        known = ~np.isnan(self.truth)
        rows = [
            (method, level, metrics.coverage(self.truth, -np.inf, answer.quantiles[..., q]), known.sum())
            for method, answer in self.answers.items()
            for q, level in enumerate(self.levels)
        ]
        names = ("method", "nominal", "observed", "n")
        return {name: np.array([row[k] for row in rows]) for k, name in enumerate(names)}

    def table(self) -> Table:
        """Return the long table, a row for each step of each window.

        Its columns are id, ``cutoff``, time, ``step`` (from 1), ``truth``, and of each method prediction_lstm,
        prediction_lstm_q10 and so on.
        """
        windows, horizon = self.truth.shape
        own: Table = {
            "step": np.tile(np.arange(1, horizon + 1), windows),
            "truth": self.truth.ravel(),
        }
        for method, answer in self.answers.items():
            own |= prediction_columns(f"prediction_{method}", *answer, self.levels)
        check_columns(self.columns, ("cutoff", *own))
        name, time = self.columns
        ids, cutoffs = np.repeat(self.ids, horizon), np.repeat(self.cutoffs, horizon)
        return {name: ids, "cutoff": cutoffs, time: self.times.ravel(), **own}

    def to_frame(self, library: Library = "pandas") -> Any:
        """Return :meth:`table` as a dataframe of pandas or polars."""
        return as_frame(self.table(), library)

    def summary(self) -> str:
        """Return the metrics as plain text, with each method's MASE over that of the seasonal naive forecast."""
        found = self.metrics()
        known, scaled = (int(found.pop(name)[0]) for name in ("n_windows", "n_scaled"))
        if _NAIVE in self.answers:
            naive = found["mase"][list(self.answers).index(_NAIVE)]
            found[f"mase / {_NAIVE}"] = found["mase"] / (naive or np.nan)
        about = f"{len(self)} windows of {len(np.unique(self.ids))} series, {self.truth.shape[1]} steps each"
        left_out = {
            "no known truth and count nowhere": len(self) - known,
            "a history without change over a season: not in mase and rmsse": known - scaled,
        }
        notes = [f"{count} of the windows have {why}" for why, count in left_out.items() if count]
        return "\n".join([f"{about}; a season has {self.season_length} steps", *_aligned(found), *notes])

    def _blocks(self, by: By | None) -> tuple[str, list[_Block]]:
        """Return what the column of the groups is called, "" for all windows in one, and the groups."""
        windows, steps = (np.arange(size) for size in self.truth.shape)
        if by is None:
            return "", [_Block(np.zeros(1), windows[None, :, None], steps)]
        if by == "step":
            return by, [_Block(steps + 1, windows[None, :, None], steps[:, None, None])]
        columns = {"series": (self.columns[0], self.ids), "cutoff": ("cutoff", self.cutoffs)}
        if by not in columns:
            raise ArgumentError(f"by: expected None, 'series', 'step' or 'cutoff', got {by!r}")
        name, column = columns[by]
        keys, places, counts = np.unique(column, return_inverse=True, return_counts=True)
        order, starts = np.argsort(places, kind="stable"), np.cumsum(counts) - counts
        return name, [
            _Block(
                keys[counts == size], order[starts[counts == size, None] + np.arange(size)][..., None], steps
            )
            for size in np.unique(counts)
        ]

    def _measured(self, answer: Answer, block: _Block) -> dict[str, NDArray[Any]]:
        """Return the metrics of one method in each group, (G,)."""
        place = (block.windows, block.steps)
        truth, point, quantiles = self.truth[place], answer.point[place], answer.quantiles[place]
        absolute, squared = np.moveaxis(self.scales[block.windows[..., 0]], -1, 0)
        found: dict[str, NDArray[Any]] = {
            "mae": metrics.mae(truth, point),
            "rmse": metrics.rmse(truth, point),
            "mase": metrics.mase(truth, point, absolute),
            "rmsse": metrics.rmsse(truth, point, squared),
            "smape": metrics.smape(truth, point),
        }
        if self.levels:
            found["weighted_quantile_loss"] = metrics.weighted_quantile_loss(truth, quantiles, self.levels)
        for share, (low, high) in symmetric_intervals(self.levels).items():
            inside = metrics.coverage(truth, quantiles[..., low], quantiles[..., high])
            found[f"coverage_{100 * share:g}"] = inside
        known = ~np.isnan(truth).all(axis=-1)
        return found | {
            "n_windows": known.sum(axis=-1),
            "n_scaled": metrics.scalable(truth, absolute).sum(axis=-1),
        }


_NAIVE = "seasonal_naive"


class _Block(NamedTuple):
    """G groups of W windows each, all of one size; the two indices together give (G, W, H) of an array (W, H)."""

    keys: NDArray[Any]
    """What each group is called, (G,)."""
    windows: NDArray[np.int64]
    """(G or 1, W, 1)."""
    steps: NDArray[np.int64]
    """(H,), or (G, 1, 1)."""


def _aligned(table: Table) -> list[str]:
    """Return the lines of a table: its first column to the left, numbers to the right."""
    padded: list[list[str]] = []
    for name, column in table.items():
        cells = [f"{value:.4g}" if column.dtype.kind == "f" else str(value) for value in column]
        width = max(map(len, (name, *cells)))
        padded.append([cell.rjust(width) if padded else cell.ljust(width) for cell in (name, *cells)])
    return ["  ".join(row) for row in zip(*padded, strict=True)]
