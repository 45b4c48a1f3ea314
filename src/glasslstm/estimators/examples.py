"""What a training goes through: series with their targets and weights, in batches of similar length."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from torch import Tensor

from glasslstm.data.sequences import Sequences
from glasslstm.errors import DataError
from glasslstm.estimators.preparation import Preparation

__all__ = ["Batch", "Examples", "batches_of", "in_step"]

# By how much lengths are blurred before series are sorted by them, so that not the same meet in every epoch.
_BLUR = 0.05


class Batch(NamedTuple):
    """Some series side by side, on the CPU."""

    x: Tensor
    """(T, B, inputs)."""
    lengths: Tensor
    """(B,)."""
    targets: Tensor
    """(B, ...), or (T, B, ...) for a target of each step."""
    weights: Tensor
    """(B,) or (T, B); zero past each length."""

    def share(self, rank: int, count: int) -> Batch:
        """Return every `count`-th series, for one of several processes."""
        mine = slice(rank, None, count)
        steps = self.weights.dim() == 2
        targets, weights = (
            (self.targets[:, mine], self.weights[:, mine])
            if steps
            else (self.targets[mine], self.weights[mine])
        )
        return Batch(self.x[:, mine], self.lengths[mine], targets, weights)


@dataclass(frozen=True, eq=False)
class Examples:
    """Series with what is right for each, or for each of their steps, as a task encodes it.

    Attributes
    ----------
    series
        N series.
    targets
        (N, ...), or in step with the rows of ``series.values``, (S, ...), where `per_step` is true.
    weights
        How much each of these counts, (N,) or (S,) float32.
    per_step
        Which of the two it is.
    preparation
        How the series become inputs; ``None`` before that is known.
    """

    series: Sequences
    targets: NDArray[Any]
    weights: NDArray[np.float32]
    per_step: bool = False
    preparation: Preparation | None = None

    def __len__(self) -> int:
        return len(self.series)

    @property
    def weigh_anything(self) -> bool:
        """Whether a weight is above zero."""
        return bool((self.weights[self.series.rows()] if self.per_step else self.weights).any())

    def select(self, rows: NDArray[np.integer[Any]]) -> Examples:
        """Return the examples in `rows`, in that order."""
        if self.per_step:
            return replace(self, series=self.series.select(rows))
        return replace(
            self, series=self.series.select(rows), targets=self.targets[rows], weights=self.weights[rows]
        )

    def joined(self, other: Examples) -> Examples:
        """Return these and others."""
        series = Sequences.concatenate([self.series, other.series])
        parts = [
            (part.targets[part.series.rows()], part.weights[part.series.rows()])
            if self.per_step
            else (part.targets, part.weights)
            for part in (self, other)
        ]
        targets, weights = (np.concatenate(pair) for pair in zip(*parts, strict=True))
        if self.per_step:
            targets, weights = (in_step(array, series) for array in (targets, weights))
        return replace(self, series=series, targets=targets, weights=weights)

    def split(
        self, fraction: float, strata: NDArray[np.int64] | None, seed: int
    ) -> tuple[Examples, Examples]:
        """Return what to train on and what to judge by, whole series; of each stratum some on both sides.

        Of windows that share steps, those of one series stay together; of a single series what comes last is judged by,
        and windows that reach into it are left out.

        Raises
        ------
        DataError
            For fewer than two series.
        """
        n = len(self)
        if n < 2:
            raise DataError(
                f"X: got {n} series (n_samples = {n}), and one is needed to train on and one to validate with; "
                "give more, cut a long one into windows, or set validation_fraction=0"
            )
        if self.series.overlap:
            return self._apart(fraction, seed)
        least = 1 if strata is None else int(strata.max()) + 1
        wanted = min(max(math.ceil(n * fraction), least), n - least)
        parts: list[NDArray[np.int64]] = train_test_split(
            np.arange(n), test_size=wanted, stratify=strata, random_state=seed
        )
        if strata is not None:
            _give_each_its_share(parts, strata)
        return self.select(parts[0]), self.select(parts[1])

    def _apart(self, fraction: float, seed: int) -> tuple[Examples, Examples]:
        """Split windows so that no step is on both sides."""
        series = self.series
        groups = len(np.unique(series.ids))
        if groups > 1:
            wanted = min(math.ceil(groups * fraction), groups - 1)
            chooser = GroupShuffleSplit(1, test_size=wanted, random_state=seed)
            kept, judged = next(chooser.split(np.arange(len(self)), groups=series.ids))
        else:
            cut = np.sort(series.starts)[-math.ceil(len(self) * fraction)]
            judged = np.flatnonzero(series.starts >= cut)
            kept = np.flatnonzero(series.stops + series.horizon <= cut)
        if not len(kept):
            raise DataError(
                "X: the windows share so many steps that none is left to train on; choose a larger stride, give "
                "validation=, or set validation_fraction=0"
            )
        return self.select(kept), self.select(judged)

    def prepared(self, preparation: Preparation) -> Examples:
        """Return the same examples, with how they become inputs."""
        return replace(self, preparation=preparation)

    def flat_targets(self) -> NDArray[Any]:
        """Return the targets of all series, or of all their steps, and nothing else."""
        return self.targets[self.series.rows()] if self.per_step else self.targets

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Return the examples in `rows` side by side."""
        assert self.preparation is not None
        x = torch.from_numpy(self.preparation.batch(self.series, rows))
        lengths = torch.from_numpy(self.series.lengths[rows])
        if self.per_step:
            targets, weights = (
                torch.from_numpy(self.series.pad_rows(array, rows)) for array in (self.targets, self.weights)
            )
        else:
            targets, weights = torch.from_numpy(self.targets[rows]), torch.from_numpy(self.weights[rows])
        return Batch(x, lengths, targets, weights)


def in_step(values: NDArray[Any], series: Sequences) -> NDArray[Any]:
    """Return what belongs to each step, one series below the other, in step with the rows of the series' values."""
    rows = np.zeros((len(series.values), *values.shape[1:]), values.dtype)
    rows[series.rows()] = values
    return rows


def _give_each_its_share(parts: list[NDArray[np.int64]], strata: NDArray[np.int64]) -> None:
    """Move a series of each stratum that is too rare for its share to come to one."""
    for rare in range(int(strata.max()) + 1):
        for lacks, has in ((0, 1), (1, 0)):
            if rare not in strata[parts[lacks]]:
                row = parts[has][strata[parts[has]] == rare][0]
                parts[lacks] = np.append(parts[lacks], row)
                parts[has] = parts[has][parts[has] != row]


def batches_of(
    lengths: NDArray[np.int64], size: int, generator: torch.Generator | None = None
) -> list[NDArray[np.int64]]:
    """Cut N series into batches of about `size`, those of similar length together.

    With a generator in another way each time: series are shuffled, sorted by lengths that are blurred a little, and the
    batches are shuffled. No batch is much smaller than another, so that none is a few left-overs.

    Examples
    --------
    >>> [b.tolist() for b in batches_of(np.array([5, 1, 4, 2, 3]), 2)]
    [[1, 3], [4, 2], [0]]
    """
    n = len(lengths)
    if generator is None:
        return np.array_split(np.argsort(lengths, kind="stable"), -(-n // size))
    order = torch.randperm(n, generator=generator).numpy()
    blurred = lengths[order] * (1 + _BLUR * torch.rand(n, generator=generator).numpy())
    batches = np.array_split(order[np.argsort(blurred)], -(-n // size))
    return [batches[k] for k in torch.randperm(len(batches), generator=generator)]
