"""Which numbers of a model's output answer which target, and what kind of numbers they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from glasslstm.errors import ArgumentError
from glasslstm.insight.names import told_apart
from glasslstm.insight.running import described, first_tensor

__all__ = ["Kind", "Layout", "Rows", "kind_of", "layout_of", "names_of"]

_IGNORED = -100  # the ignore_index of torch's losses


class Kind(NamedTuple):
    """What scores are, which loss is meant, and how they become probabilities (N, K)."""

    name: str
    loss_name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    probability: Callable[[Tensor], Tensor] | None


def _nll(probability: Tensor, true: Tensor) -> Tensor:
    return functional.nll_loss(probability.clamp_min(torch.finfo(probability.dtype).tiny).log(), true)


def _both(probability: Tensor) -> Tensor:
    return torch.stack([1 - probability, probability], dim=-1)


_LOGITS = Kind("logits", "cross-entropy", functional.cross_entropy, lambda scores: scores.softmax(-1))
_LOG_PROBABILITIES = Kind("log-probabilities", "cross-entropy", functional.nll_loss, Tensor.exp)
_PROBABILITIES = Kind("probabilities", "cross-entropy", _nll, Tensor.clone)
_LOGIT = Kind(
    "one logit",
    "binary cross-entropy",
    functional.binary_cross_entropy_with_logits,
    lambda score: _both(score.sigmoid()),
)
_PROBABILITY = Kind("one probability", "binary cross-entropy", functional.binary_cross_entropy, _both)
_NUMBERS = Kind("numbers", "mean squared error", functional.mse_loss, None)


_BY_LOSS = {
    "withlogits": _LOGIT,
    "binarycrossentropy": _PROBABILITY,
    "bceloss": _PROBABILITY,
    "mse": _NUMBERS,
    "l1loss": _NUMBERS,
    "huber": _NUMBERS,
}


def kind_of(scores: Tensor, *, classes: bool, loss: Any = None) -> Kind:
    """Tell logits, probabilities and numbers apart: by the name of the loss where it tells, else by their values."""
    if not classes:
        return _NUMBERS
    name = str(getattr(loss, "__name__", type(loss).__name__)).lower().replace("_", "")
    named = next((kind for word, kind in _BY_LOSS.items() if word in name), None)
    if scores.dim() == 1 and named is not None:
        return named
    scores = scores.detach().double()
    if scores.dim() == 1:
        return _PROBABILITY if bool(((scores >= 0) & (scores <= 1)).all()) else _LOGIT
    if bool((scores.logsumexp(-1).abs() < 1e-3).all()):
        return _LOG_PROBABILITIES
    if bool((scores >= 0).all() and ((scores.sum(-1) - 1).abs() < 1e-3).all()):
        return _PROBABILITIES
    return _LOGITS


class Rows(NamedTuple):
    """The answers one by one: scores (N, K) or (N,), and of each what is true, its sequence and its step."""

    scores: Tensor
    true: Tensor
    sequence: Tensor
    step: Tensor


@dataclass(frozen=True)
class Layout:
    """Where in an output and its targets the answers stand."""

    classes: bool
    class_axis: int | None
    """Of the output; ``None`` where it has one score for each answer."""
    batch_axis: int
    """Of the targets."""
    batch_size: int
    steps: int
    lengths: Tensor | None
    of_steps: bool
    """Whether several answers on a sequence are about its steps, as far as the lengths tell."""

    def rows(self, outputs: Any, targets: Any) -> Rows:
        """Return the answers of an output of this layout, without those that are padding or marked to be left out."""
        output, true = _tensors(outputs, targets)
        true = self._grid(true)
        if self.class_axis is None:
            scores = self._grid(output)
        else:
            scores = output.movedim(self.class_axis, -1)
            scores = scores.unsqueeze(1) if scores.dim() == 2 else scores.movedim(self.batch_axis, 0)
        kept = true != _IGNORED if self.classes else ~true.isnan()
        if self.lengths is not None:
            step = torch.arange(self.steps, device=true.device)
            kept = kept & (step < self.lengths.to(true.device)[:, None])
        sequence, step = kept.nonzero(as_tuple=True)
        if not len(sequence):
            raise ArgumentError(
                "targets: none is left without those of -100 or NaN, and steps past the lengths"
            )
        true = true[kept].long() if self.classes else true[kept]
        _check_classes(true, scores.shape[-1] if self.class_axis is not None else 2, self.classes)
        return Rows(scores[kept], true, sequence, step)

    def _grid(self, values: Tensor) -> Tensor:
        """(B,), (B, 1), (B, T), (T, B) and either with a last axis of one -> (B, T)."""
        if self.batch_axis == 0:
            return values.reshape(self.batch_size, self.steps)
        return values.reshape(self.steps, self.batch_size).T


def layout_of(outputs: Any, targets: Any, lengths: Any, batch_axis: int | None) -> Layout:
    """Find out by their shapes which number answers which target; errors as for `answers_of`."""
    output, true = _tensors(outputs, targets)
    shape = tuple(true.shape[:-1] if true.dim() == 3 and true.shape[-1] == 1 else true.shape)
    single = output.numel() == true.numel() and tuple(output.shape[: len(shape)]) == shape
    class_axis = None if single else _class_axis(tuple(output.shape), shape)
    yes_or_no = bool(torch.isin(true[true.isfinite()], _marks(true)).all())
    whole = not true.is_floating_point()
    if len(shape) not in (1, 2) or not (
        yes_or_no or not whole if single else whole and class_axis is not None
    ):
        raise ArgumentError(
            f"targets: those of the shape {tuple(true.shape)} beside an output {tuple(output.shape)} cannot be scored; "
            "understood are a class (output (B, K), whole targets (B,)), yes or no, or a number (output and targets "
            "(B,)) for each sequence, or one for each of its steps"
        )
    lengths = None if lengths is None else torch.as_tensor(lengths).detach().flatten()
    axis = _batch_axis(shape, lengths, 0 if class_axis == 1 else batch_axis)  # (B, K, T) begins with B
    batch_size, steps = shape[axis], shape[1 - axis] if len(shape) == 2 else 1
    of_steps = steps > 1 and (lengths is None or steps >= int(lengths.max()))
    return Layout(
        not single or yes_or_no, class_axis, axis, batch_size, steps, lengths if of_steps else None, of_steps
    )


def _marks(true: Tensor) -> Tensor:
    """0, 1 and what marks a target to leave out."""
    return torch.tensor([0, 1, _IGNORED], dtype=true.dtype, device=true.device)


def _class_axis(output: tuple[int, ...], targets: tuple[int, ...]) -> int | None:
    """Return the last axis, or the second of torch's (B, K, T); ``None`` where neither fits or holds one class."""
    if output[:-1] == targets and output[-1] > 1:
        return len(output) - 1
    return 1 if len(output) == 3 and (output[0], output[2]) == targets and output[1] > 1 else None


def _batch_axis(shape: tuple[int, ...], lengths: Tensor | None, given: int | None) -> int:
    axes = range(len(shape)) if given is None or len(shape) == 1 else [given]
    fitting = [axis for axis in axes if lengths is None or shape[axis] == len(lengths)]
    if not fitting:
        raise ArgumentError(
            f"lengths: got {len(lengths) if lengths is not None else 0} of them beside targets of the shape {shape}; "
            "expected one for each sequence"
        )
    return fitting[0]


def _tensors(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    output = first_tensor(outputs)
    if output is None:
        raise ArgumentError(
            f"outputs: got {described(outputs)}, without a tensor of real numbers; nothing can be scored"
        )
    try:
        true = torch.as_tensor(targets).detach().to(output.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"targets: got {described(targets)}; expected one tensor or array of numbers ({error})"
        ) from error
    if true.is_complex() or not true.numel():
        raise ArgumentError(f"targets: got {described(true)}; expected at least one real number")
    if _is_one_hot(true) and true.shape == output.shape:
        true = true.argmax(-1)
    return output, true.long() if not true.is_floating_point() else true


def _is_one_hot(true: Tensor) -> bool:
    marks = true.dim() > 1 and true.size(-1) > 1 and bool(torch.isin(true, _marks(true)).all())
    return marks and bool((true.sum(-1) == 1).all())


def _check_classes(true: Tensor, count: int, classes: bool) -> None:
    if classes and (int(true.min()) < 0 or int(true.max()) >= count):
        raise ArgumentError(
            f"targets: got the classes {int(true.min())} to {int(true.max())} where the model scores {count}, from 0 "
            f"to {count - 1}; number the classes from 0, and mark what to leave out by {_IGNORED}"
        )


def names_of(names: Sequence[object] | None, count: int) -> tuple[str, ...]:
    """Return the names of the classes as text, told apart; by default their numbers."""
    names = range(count) if names is None else names
    if len(names) != count:
        raise ArgumentError(
            f"class_names: got {len(names)} names; expected one for each of the {count} classes"
        )
    return tuple(told_apart(map(str, names)))
