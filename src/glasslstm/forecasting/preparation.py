"""From a window of a series to what the network reads: the past in its own units of spread, the future hidden."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glasslstm.data.sequences import Sequences
from glasslstm.estimators.preparation import Preparation
from glasslstm.forecasting.transforms import TRANSFORMS, Transform

__all__ = ["WindowPreparation"]

Array = NDArray[np.float64]

_BLOCK = 4096  # windows at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class WindowPreparation(Preparation):
    """As :class:`Preparation`, of windows: `context` steps that are known, and then the steps that are forecast.

    The target is transformed and standardised by the mean and the standard deviation of the context of its own window.
    After the context it reads as the seasonal naive forecast, and whatever is not known ahead as its last value; an
    input for each says where that is so. One more input is how far the target is from its value a season before: there
    noise, and shifts of its level, stand without the season.

    Attributes
    ----------
    target
        Which channel is forecast.
    context
        L, steps that are known.
    season_length
        Of the seasonal naive forecast, at most L.
    transform
        What the target is forecast as: a name of :data:`TRANSFORMS`.
    known
        The channels that are known ahead, rising.
    """

    target: int
    context: int
    season_length: int
    transform: str
    known: tuple[int, ...]

    @classmethod
    def of_windows(
        cls,
        windows: Sequences,
        *,
        target: int,
        context: int,
        season_length: int,
        transform: str,
        known: tuple[int, ...],
    ) -> WindowPreparation:
        """Measure the other columns of some windows."""
        found = Preparation.of(windows)
        column = np.arange(len(found.mean))
        hidden = (column < found.channels) & ~np.isin(column, known)
        return cls(
            found.channels,
            found.static,
            found.names,
            np.where(column == target, 0.0, found.mean),
            np.where(column == target, 1.0, found.scale),
            found.gaps | hidden,
            found.categories,
            target=target,
            context=context,
            season_length=season_length,
            transform=transform,
            known=known,
        )

    @property
    def target_input(self) -> int:
        """The place of the target among the network's inputs."""
        return sum(len(self.categories.get(k, ())) + 1 for k in range(self.target))

    @property
    def input_names(self) -> list[str]:
        """What the network's inputs are called."""
        name = self.names[self.target] if self.names else "target"
        return [*super().input_names, f"{name} since the season before"]

    def batch(self, series: Sequences, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the network reads of some windows: (L + H, B, inputs)."""
        inputs = super().batch(series, rows)
        target, season = inputs[..., self.target_input], self.season_length
        since = np.zeros_like(target)
        since[season:] = target[season:] - target[:-season]
        return np.concatenate([inputs, since[..., None]], axis=2)

    def targets(self, windows: Sequences) -> NDArray[np.float32]:
        """Return what is to be forecast of each window in its own units of spread: (N, H), NaN where it is missing."""
        parts = []
        for first in range(0, len(windows), _BLOCK):
            rows = np.arange(first, min(first + _BLOCK, len(windows)))
            values, level, spread = self._target(windows, rows)
            parts.append(((values[self.context :] - level) / spread).T.astype(np.float32))
        return np.concatenate(parts)

    def in_units(self, answers: Array, windows: Sequences) -> Array:
        """Return answers in units of spread, (N, H) or (N, H, Q), in those of the target."""
        found = np.empty_like(answers)
        shape = (-1,) + (1,) * (answers.ndim - 1)
        for first in range(0, len(windows), _BLOCK):
            rows = np.arange(first, min(first + _BLOCK, len(windows)))
            _, level, spread = self._target(windows, rows)
            found[rows] = self._named.back(answers[rows] * spread.reshape(shape) + level.reshape(shape))
        return found

    def _scaled(
        self, series: Sequences, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        with np.errstate(over="ignore"):  # of the target, which is put in here as it should be
            scaled, lengths = super()._scaled(series, rows)
        values, level, spread = self._target(series, rows)
        scaled[..., self.target] = (values - level) / spread
        for k in range(self.channels):
            if k not in self.known:
                scaled[self.context :, :, k] = np.nan
        return scaled, lengths

    def _filled(self, scaled: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        filled = super()._filled(scaled, missing)
        ahead = np.arange(len(filled) - self.context) % self.season_length
        filled[self.context :, :, self.target] = filled[
            self.context - self.season_length + ahead, :, self.target
        ]
        return filled

    def _target(self, windows: Sequences, rows: NDArray[np.int64]) -> tuple[Array, Array, Array]:
        """Return the transformed target of some windows, (L + H, B), and the mean and spread of its context, (B,).

        A context that never changes counts as one with a spread of a tenth of its level, or 1 where the level is 0.
        """
        steps = windows.starts[rows] + np.arange(int(windows.lengths[rows[0]]))[:, None]
        with np.errstate(
            invalid="ignore", divide="ignore"
        ):  # what comes after the context may be beyond the transform
            values = self._named.forward(windows.values[steps, self.target].astype(np.float64))
        values[~np.isfinite(values)] = np.nan
        past = values[: self.context]
        there = ~np.isnan(past)
        count = np.maximum(there.sum(0), 1)
        level = np.where(there, past, 0.0).sum(0) / count
        spread = np.sqrt(np.where(there, np.square(past - level), 0.0).sum(0) / count)
        still = spread <= 16 * np.finfo(np.float64).eps * np.abs(level)
        return values, level, np.where(still, np.where(level == 0, 1.0, 0.1 * np.abs(level)), spread)

    @property
    def _named(self) -> Transform:
        return TRANSFORMS[self.transform]
