"""From series to what a network reads: standardised, gaps filled and told, categories one-hot; learned in training."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from glasslstm.data.sequences import Sequences, as_numbers
from glasslstm.errors import DataError

__all__ = ["Preparation"]


@dataclass(frozen=True, eq=False)
class Preparation:
    """What the training data said of the columns: the channels, then the static features, then a step's duration.

    Attributes
    ----------
    channels, static
        How many of the columns are channels, and how many static features.
    names
        The C columns' names; ``None`` where the series had none.
    mean, scale
        Mean and standard deviation over all steps of all series that are there, (C,) float64; padding and missing
        values never count. A column that never changes has the scale 1, one of categories the mean 0 and the scale 1.
    gaps
        Which columns had missing values in training, (C,): each of these gets an input that says where they are.
    categories
        Of a column of categories, by its position, its texts: each gets an input, and one more is for unknown texts.
    duration
        Whether the last column is the time since the step before.

    Examples
    --------
    >>> series = Sequences.from_arrays([np.array([[1.0], [3.0], [np.nan]])], missing="mask")
    >>> preparation = Preparation.of(series)
    >>> preparation.mean, preparation.scale, preparation.inputs
    (array([2.]), array([1.]), 2)
    >>> preparation.batch(series, np.array([0]))[:, 0].tolist()
    [[-1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    """

    channels: int
    static: int
    names: tuple[str, ...] | None
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    gaps: NDArray[np.bool_]
    categories: dict[int, tuple[str, ...]]
    duration: bool = False

    @classmethod
    def of(cls, series: Sequences, *, duration: bool = False) -> Preparation:
        """Measure `series`.

        Raises
        ------
        DataError
            For values so large that their squares overflow, and a duration without time stamps.
        """
        names = _names(series, duration)
        categories = {k: series.categories[name] for k, name in enumerate(names) if name in series.categories}
        scaler = StandardScaler()
        missing = np.zeros(len(names), np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            for chosen, values in series.blocks():
                columns = _columns(series, chosen, values, duration)
                missing += np.isnan(columns).sum(axis=0)
                with warnings.catch_warnings():  # of a column without a value there is no mean
                    warnings.simplefilter("ignore", RuntimeWarning)
                    scaler.partial_fit(columns)
        _refuse_overflow(scaler, missing, series)
        empty = missing == series.steps
        numeric = np.array([k not in categories for k in range(len(names))]) & ~empty
        return cls(
            series.channels,
            len(series.static_names),
            tuple(names) if series.channel_names is not None else None,
            np.where(numeric, scaler.mean_, 0.0),
            np.where(numeric, scaler.scale_, 1.0),
            missing > 0,
            categories,
            duration,
        )

    @property
    def inputs(self) -> int:
        """How many inputs the network has at each step."""
        return len(self.input_names)

    @property
    def input_names(self) -> list[str]:
        """What the network's inputs are called."""
        names = self.names or [f"channel {k}" for k in range(len(self.mean))]
        parts = [
            [f"{name} = {text}" for text in (*self.categories[k], "(unknown)")]
            if k in self.categories
            else [name]
            for k, name in enumerate(names)
        ]
        missing = [f"{name} is missing" for name, gap in zip(names, self.gaps, strict=True) if gap]
        return [name for part in parts for name in part] + missing

    @property
    def augmented(self) -> NDArray[np.bool_]:
        """Which inputs are numbers of a channel, to which noise may be added."""
        parts = [
            np.full(len(self.categories[k]) + 1, False)
            if k in self.categories
            else np.array([k < self.channels])
            for k in range(len(self.mean))
        ]
        return np.concatenate([*parts, np.full(int(self.gaps.sum()), False)])

    def check(self, series: Sequences, estimator: str) -> None:
        """Refuse series that this was not made for, before any work.

        Raises
        ------
        DataError
            For other channels, and for a value that is too far from the training data for float32; with its place.
        """
        self._check_columns(series, estimator)
        missing = np.zeros(len(self.mean), bool)
        for chosen, values in series.blocks():
            columns = _columns(series, chosen, values, self.duration)
            with np.errstate(over="ignore", invalid="ignore"):
                far = np.abs((columns - self.mean) / self.scale) > np.finfo(np.float32).max / 16
            if far.any():
                self._refuse_far(series, chosen, columns, far)
            missing |= np.isnan(columns).any(axis=0)
        self._warn_of_the_new(series, missing)

    def batch(self, series: Sequences, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the network reads of some of the series: (T, B, inputs), zero past each length."""
        scaled, lengths = self._scaled(series, rows)
        valid = np.arange(len(scaled))[:, None] < lengths
        missing = np.isnan(scaled)
        filled = self._filled(scaled, missing) if missing.any() else scaled
        inputs = self._inputs(filled, missing, {k: self._codes(k, series) for k in self.categories})
        if not valid.all():
            inputs[~valid] = 0
        return inputs

    def _scaled(
        self, series: Sequences, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the standardised columns of some of the series, (T, B, C) with NaN in gaps, and their lengths."""
        x, lengths = series.pad(rows)
        if self.static and series.static is not None:
            static = np.broadcast_to(series.static[rows], (len(x), len(rows), self.static))
            x = np.concatenate([x, static], axis=2)
        if self.duration:
            x = np.concatenate([x, _padded_durations(series, rows)[..., None]], axis=2)
        return ((x - self.mean) / self.scale).astype(np.float32), lengths

    def _filled(self, scaled: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Put the last value before it into each gap; where there is none it stays."""
        step = np.where(missing, 0, np.arange(len(scaled))[:, None, None])
        last = np.maximum.accumulate(step, axis=0)
        return np.take_along_axis(scaled, last, axis=0)

    def step(
        self, columns: NDArray[np.float64], before: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what the network reads of one step, (inputs,), and what a gap in the next one is filled with, (C,).

        `columns`, (C,), have the categories as codes of the training, and one past the last for an unknown one;
        `before` is what the step before gave, and NaN at the start.
        """
        scaled = ((columns - self.mean) / self.scale).astype(np.float32)
        missing = np.isnan(scaled)
        filled = np.where(missing, before, scaled)
        codes = {k: np.arange(len(texts) + 1) for k, texts in self.categories.items()}
        return self._inputs(filled[None, None], missing[None, None], codes)[0, 0], filled

    def _inputs(
        self, filled: NDArray[np.float32], missing: NDArray[np.bool_], codes: dict[int, NDArray[np.int64]]
    ) -> NDArray[np.float32]:
        """Put inputs for categories in the place of their codes, 0 where nothing was there yet, and add the masks."""
        never = np.isnan(filled)
        filled = np.where(never, np.float32(0), filled) if never.any() else filled
        parts = []
        for k in range(filled.shape[2]) if codes else ():
            if k not in codes:
                parts.append(filled[..., k : k + 1])
                continue
            one = np.eye(len(self.categories[k]) + 1, dtype=np.float32)[
                codes[k][filled[..., k].astype(np.int64)]
            ]
            one[never[..., k]] = 0
            parts.append(one)
        if self.gaps.any():
            parts = [*(parts or [filled]), missing[..., self.gaps].astype(np.float32)]
        return np.concatenate(parts, axis=2) if parts else filled

    def _codes(self, k: int, series: Sequences) -> NDArray[np.int64]:
        """Return the code that each category of `series` has here; of an unknown one, the one past the last.

        One code more is for texts that `series` does not list, and for gaps, which are looked up too.
        """
        ours = {text: code for code, text in enumerate(self.categories[k])}
        theirs = series.categories[(self.names or _names(series, self.duration))[k]]
        return np.array([*(ours.get(text, len(ours)) for text in theirs), len(ours)], np.int64)

    def _check_columns(self, series: Sequences, estimator: str) -> None:
        if series.channels != self.channels:
            known = f": {', '.join(self.names[: self.channels])}" if self.names else ""
            raise DataError(
                f"X has {series.channels} features, but {estimator} is expecting {self.channels} "
                f"features as input{known}; give the channels that it was trained on, in the same order"
            )
        if len(series.static_names) != self.static:
            raise DataError(
                f"X has {len(series.static_names)} static features, and {estimator} is expecting {self.static}; give "
                "those that it was trained on, in the same order"
            )
        theirs = tuple(_names(series, self.duration))
        if self.names and series.channel_names is not None and theirs != self.names:
            raise DataError(
                f"X has the channels {', '.join(theirs)}, and {estimator} was trained on {', '.join(self.names)}; give "
                "those, in the same order"
            )
        wrong = [k for k in range(len(theirs)) if (theirs[k] in series.categories) != (k in self.categories)]
        if wrong:
            was = "categories" if wrong[0] in self.categories else "numbers"
            raise DataError(f"X: {theirs[wrong[0]]!r} held {was} in training, and does not now")

    def _warn_of_the_new(self, series: Sequences, missing: NDArray[np.bool_]) -> None:
        """Warn of categories, and gaps, that training did not have."""
        names = _names(series, self.duration)
        unknown = {
            names[k]: [text for text in series.categories[names[k]] if text not in self.categories[k]]
            for k in self.categories
        }
        for name, texts in unknown.items():
            if texts:
                listed = ", ".join(map(repr, texts[:5])) + (
                    f" and {len(texts) - 5} more" if len(texts) > 5 else ""
                )
                warnings.warn(
                    f"X: {name!r} has categories that training did not have: {listed}; they are read as unknown",
                    stacklevel=5,
                )
        new = [names[k] for k in np.flatnonzero(missing & ~self.gaps)]
        if new:
            warnings.warn(
                f"X: {', '.join(map(repr, new))} had no missing values in training and has some now; they are filled, "
                "and the network is not told where they are",
                stacklevel=5,
            )

    def _refuse_far(
        self,
        series: Sequences,
        chosen: NDArray[np.int64],
        columns: NDArray[np.float64],
        far: NDArray[np.bool_],
    ) -> None:
        row, k = np.argwhere(far)[0]
        ends = np.cumsum(series.lengths[chosen])
        nth = int(np.searchsorted(ends, row, side="right"))
        step = int(row - ends[nth] + series.lengths[chosen[nth]])
        raise DataError(
            f"X: series {chosen[nth]} has {columns[row, k]:.3g} at step {step}, channel {k}, which is out of all "
            f"proportion to the training data (mean {self.mean[k]:.3g}, standard deviation {self.scale[k]:.3g}); check "
            "its unit"
        )


def _names(series: Sequences, duration: bool) -> list[str]:
    channels = series.channel_names or [f"channel {k}" for k in range(series.channels)]
    return [*channels, *series.static_names, *(["step duration"] if duration else [])]


def _columns(
    series: Sequences, chosen: NDArray[np.int64], values: NDArray[np.floating], duration: bool
) -> NDArray[np.float64]:
    """Return channels, static features and duration of some series, one below the other, (rows, C)."""
    parts: list[NDArray[Any]] = [values.astype(np.float64, copy=False)]
    if series.static is not None:
        parts.append(np.repeat(series.static[chosen], series.lengths[chosen], axis=0))
    if duration:
        first = np.cumsum(series.lengths[chosen]) - series.lengths[chosen]
        rows = series.rows(chosen)
        times = as_numbers(_times(series)[rows])
        gaps = np.diff(times, prepend=times[:1])
        gaps[first] = 0.0
        parts.append(gaps[:, None])
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _padded_durations(series: Sequences, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the time since the step before, (T, B); 0 at the first step."""
    times = as_numbers(series.pad_rows(_times(series), rows))
    return np.diff(times, axis=0, prepend=times[:1])


def _times(series: Sequences) -> NDArray[Any]:
    if series.times is None:
        raise DataError("step_duration: the series have no time stamps; give them, or leave it out")
    return series.times


def _refuse_overflow(scaler: StandardScaler, missing: NDArray[np.int64], series: Sequences) -> None:
    overflown = np.flatnonzero(~np.isfinite(scaler.var_) & (missing < series.steps))
    if len(overflown):
        channel = int(overflown[0])
        largest = max(float(np.nanmax(np.abs(values[:, channel]))) for _, values in series.blocks())
        raise DataError(
            f"X: channel {channel} has values up to {largest:.3g}, too large to standardise; "
            "give it in a larger unit"
        )
