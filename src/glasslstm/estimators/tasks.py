"""What an estimator learns to say: classes, several labels, numbers or quantiles; of a series, or of each step."""
# ruff: noqa: D102 - Task says what each method returns

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glasslstm.data.sequences import Sequences
from glasslstm.estimators.preparation import Preparation

__all__ = ["Classes", "Goal", "Labels", "Numbers", "Quantiles", "Task"]


class Task(Protocol):
    """How answers are made, judged and counted; targets are encoded, and ``...`` is (B,) or (T, B)."""

    @property
    def outputs(self) -> int:
        """How many numbers the linear layer gives."""

    @property
    def metric(self) -> str:
        """What :meth:`errors` come to, as in ``history_``'s ``valid_<metric>``."""

    def fitted(self, targets: NDArray[Any]) -> Task:
        """Return the task with what the targets of the training part say of their scale."""

    def answer(self) -> nn.Module:
        """Return what the linear layer's numbers go through."""

    def losses(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each answer, (...)."""

    def errors(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Return of each answer what is averaged for the metric, (...)."""

    def metric_of(self, mean: float) -> float:
        """Return the metric from the mean of the errors."""


class Goal(NamedTuple):
    """What is to be learned, as the targets that were given say."""

    task: Task
    targets: NDArray[Any]
    """Encoded for the task: of each series, or in step with the rows of their values."""
    learned: dict[str, Any]
    """What the estimator remembers of it, such as ``classes_``."""
    strata: NDArray[np.int64] | None = None
    """The class of each series, whose shares a validation part keeps."""
    class_weights: NDArray[np.float64] | None = None
    """How much the targets of each class count, (K,); by default all the same."""
    prepare: Callable[[Sequences], Preparation] | None = None
    """How series become inputs, where another way than the usual one is wanted."""


@dataclass(frozen=True)
class Classes:
    """One of K classes: cross-entropy of logits (..., K) and indices (...)."""

    outputs: int
    label_smoothing: float = 0.0
    metric = "accuracy"

    def fitted(self, targets: NDArray[Any]) -> Classes:  # noqa: ARG002
        return self

    def answer(self) -> nn.Module:
        return nn.Identity()

    def losses(self, answers: Tensor, targets: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(
            answers.float().flatten(0, -2),
            targets.flatten(),
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return loss.view(targets.shape)

    def errors(self, answers: Tensor, targets: Tensor) -> Tensor:
        return (answers.argmax(-1) == targets).float()

    def metric_of(self, mean: float) -> float:
        return mean


@dataclass(frozen=True)
class Labels:
    """Any of K labels: the mean binary cross-entropy of logits (..., K) and zeros and ones (..., K)."""

    outputs: int
    weights: tuple[float, ...] = ()
    """How much having each label counts, where not having it counts 1."""
    metric = "label_accuracy"

    def fitted(self, targets: NDArray[Any]) -> Labels:  # noqa: ARG002
        return self

    def answer(self) -> nn.Module:
        return nn.Identity()

    def losses(self, answers: Tensor, targets: Tensor) -> Tensor:
        weights = targets.new_tensor(self.weights) if self.weights else None
        return nn.functional.binary_cross_entropy_with_logits(
            answers.float(), targets, reduction="none", pos_weight=weights
        ).mean(-1)

    def errors(self, answers: Tensor, targets: Tensor) -> Tensor:
        return ((answers > 0) == (targets > 0.5)).float().mean(-1)

    def metric_of(self, mean: float) -> float:
        return mean


@dataclass(frozen=True)
class Numbers:
    """M numbers (..., M) in the targets' units, learned as standardised ones; NaN is a target that is not known.

    `loss` is ``"squared_error"``, ``"absolute_error"``, or ``"huber"``: squared up to one standard deviation of the
    target, and linear beyond (Huber 1964, "Robust estimation of a location parameter", Ann. Math. Statist. 35).
    """

    count: int
    loss: str = "squared_error"
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    metric = "rmse"

    @property
    def outputs(self) -> int:
        return self.count

    def fitted(self, targets: NDArray[Any]) -> Numbers:
        if self.scale:  # what comes is in standard units
            return self
        mean, scale = _measured(targets)
        return replace(self, mean=mean, scale=scale)

    def answer(self) -> nn.Module:
        return InUnits(self.mean or (0.0,) * self.count, self.scale or (1.0,) * self.count)

    def losses(self, answers: Tensor, targets: Tensor) -> Tensor:
        error = (_error(answers, targets) / targets.new_tensor(self.scale)).float()
        if self.loss == "squared_error":
            return error.square().mean(-1)
        if self.loss == "absolute_error":
            return error.abs().mean(-1)
        return nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none").mean(-1)

    def errors(self, answers: Tensor, targets: Tensor) -> Tensor:
        return _error(answers, targets).square().mean(-1)

    def metric_of(self, mean: float) -> float:
        return math.sqrt(mean)


@dataclass(frozen=True)
class Quantiles:
    """Q quantiles of M numbers each, (..., M, Q) in the targets' units; the later is never below the earlier.

    NaN is a target that is not known. The loss is the mean pinball loss of Koenker
    and Bassett 1978, "Regression quantiles", Econometrica 46.
    """

    count: int
    quantiles: tuple[float, ...]
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    metric = "pinball_loss"

    @property
    def outputs(self) -> int:
        return self.count * len(self.quantiles)

    def fitted(self, targets: NDArray[Any]) -> Quantiles:
        if self.scale:
            return self
        mean, scale = _measured(targets)
        return replace(self, mean=mean, scale=scale)

    def answer(self) -> nn.Module:
        mean, scale = self.mean or (0.0,) * self.count, self.scale or (1.0,) * self.count
        units = InUnits([[m] for m in mean], [[s] for s in scale])
        return nn.Sequential(Rising(len(self.quantiles)), units)

    def losses(self, answers: Tensor, targets: Tensor) -> Tensor:
        error = -_error(answers, targets[..., None]) / targets.new_tensor(self.scale)[:, None]
        level = targets.new_tensor(self.quantiles)
        return torch.maximum(level * error, (level - 1) * error).float().mean((-1, -2))

    def errors(self, answers: Tensor, targets: Tensor) -> Tensor:
        error = -_error(answers, targets[..., None])
        level = targets.new_tensor(self.quantiles)
        return torch.maximum(level * error, (level - 1) * error).mean((-1, -2))

    def metric_of(self, mean: float) -> float:
        return mean


class InUnits(nn.Module):
    """Standardised numbers back in the target's units, in float64; mean and scale are broadcast."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[Any], scale: Sequence[Any]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))

    def forward(self, numbers: Tensor) -> Tensor:
        """Scale and shift."""
        return numbers.double() * self.scale + self.mean


class Rising(nn.Module):
    """(..., M * Q) -> (..., M, Q), each Q numbers rising: the first, and what each next one has more."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, numbers: Tensor) -> Tensor:
        """Add up the first number and the softplus of the others."""
        first, more = numbers.unflatten(-1, (-1, self.count)).split([1, self.count - 1], dim=-1)
        return torch.cat([first, nn.functional.softplus(more)], dim=-1).cumsum(-1)


def _error(answers: Tensor, targets: Tensor) -> Tensor:
    """Return by how much answers are too large: 0, whatever they are, where the target is not known."""
    return torch.where(targets.isnan(), 0.0, answers - targets)


def _measured(targets: NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each column; 1 where it never changes."""
    scale = targets.std(axis=0)
    return tuple(targets.mean(axis=0).tolist()), tuple(np.where(scale > 0, scale, 1.0).tolist())
