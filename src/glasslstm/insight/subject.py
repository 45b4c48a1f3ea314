"""What a report is about: a model, all of its answers, and a way to look at some of its sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glasslstm.errors import ArgumentError, GlassLSTMError
from glasslstm.insight.case import Loss
from glasslstm.insight.explained import Explained
from glasslstm.insight.probe import first_call
from glasslstm.insight.running import described, first_tensor, run, undisturbed
from glasslstm.insight.section import Section
from glasslstm.nn.inputs import Batch

if TYPE_CHECKING:
    from glasslstm.insight.answers import Answers

__all__ = ["Rows", "Subject", "Take", "of_estimator", "subject_of"]

Rows: TypeAlias = NDArray[np.int64]
Take: TypeAlias = Callable[[Rows], tuple[Any, Any]]


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with N sequences, and what is known of both.

    Attributes
    ----------
    model
        Any module with an LSTM in it.
    series
        What was given to the model, as it came: N arrays (T_i, F).
    answer
        Returns what the model returned for all of them, on the CPU; see :attr:`outputs`.
    targets
        What was right, as the loss takes it; ``None`` where that is not known.
    loss
        ``loss(outputs, targets)`` -> one number; ``None``: to be chosen by what the targets are.
    take
        Returns the inputs and targets of some of the sequences, as the model and the loss take them.
    divisible
        Whether `take` can do so; otherwise it returns all of them, whatever it is asked for.
    batch_axis
        Along which axis of the outputs the sequences stand; ``None`` where that is not known.
    name, channel_names, class_names, sequence_names
        What they are called.
    input_names
        What the numbers are called that the first LSTM reads at a step; ``None``: they are the channels.
    stride
        How many steps of a sequence there are for each that the LSTM reads.
    answers
        Returns what was answered and what was right, where that is known better than shapes could tell.
    explained
        Which number of an answer is explained, where that is known.
    readable
        Returns what simple models read of the sequences, N arrays (T_i, G) of numbers; default: `series`.
    history, best_epoch, record
        Of the training, where they are known: as ``LSTMClassifier.history_``, ``best_epoch_`` and ``record_``.
    sections
        What only a model of its kind has to show; the page begins with it.
    """

    model: nn.Module
    series: Sequence[NDArray[Any]]
    answer: Callable[[], Any]
    take: Take
    targets: Any = None
    loss: Loss | None = None
    divisible: bool = True
    batch_axis: int | None = None
    name: str = "model"
    channel_names: Sequence[str] | None = None
    class_names: Sequence[Any] | None = None
    sequence_names: Sequence[Any] | None = None
    input_names: Sequence[str] | None = None
    stride: int = 1
    answers: Callable[[], Answers] | None = None
    explained: Explained | None = None
    readable: Callable[[], Sequence[NDArray[Any]]] | None = None
    history: Sequence[Mapping[str, Any]] = ()
    best_epoch: int | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    sections: Sequence[Section] = ()

    def __len__(self) -> int:
        return len(self.series)

    @cached_property
    def outputs(self) -> Any:
        """What the model returned for all sequences."""
        return self.answer()

    @cached_property
    def numbers(self) -> Sequence[NDArray[Any]]:
        """What simple models read of the sequences."""
        return self.series if self.readable is None else self.readable()

    @property
    def lengths(self) -> Rows:
        """T_i of each sequence, (N,)."""
        return np.array([len(one) for one in self.series], np.int64)

    def rows(self, most: int) -> Rows:
        """Return the positions of at most so many sequences, evenly spread; of all where they cannot be told apart.

        Those without a step are left out, for there is nothing to see.
        """
        if not self.divisible:
            return np.arange(len(self))
        there = np.flatnonzero(self.lengths)
        evenly = np.unique(np.linspace(0, len(there) - 1, min(len(there), most)).round().astype(np.int64))
        chosen: Rows = there[evenly]
        return chosen


def subject_of(model: Any, inputs: Any, targets: Any = None, loss: Loss | None = None) -> Subject:
    """Return what there is to say of a model, or of an estimator with its X and y.

    Parameters
    ----------
    model
        A module with an LSTM in it, or an estimator of this library.
    inputs, targets, loss
        As for :func:`glasslstm.diagnose`; for an estimator X and y.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        As for :func:`glasslstm.diagnose`, and for a loss beside an estimator, which has its own.
    """
    known = of_estimator(model, inputs, targets)
    if known is not None:
        if loss is not None:
            raise ArgumentError("loss: an estimator has its own; leave it out")
        return known
    targets = _as_tensor(targets)
    _, _, batches, output = first_call(model, inputs)
    if _one_by_one(batches, output):
        return Subject(
            model=model,
            series=[batch.x[:, 0].detach().float().cpu().numpy() for batch in batches],
            answer=partial(_on_cpu, output),
            targets=_on_cpu(targets),
            loss=loss,
            take=lambda _: (inputs, targets),
            divisible=False,
        )
    if len({batch.x.size(1) for batch in batches}) > 1:
        raise ArgumentError("model: it calls its first LSTM with batches of several sizes; expected one size")
    x = torch.cat([batch.x for batch in batches]).detach().float().cpu()
    lengths = batches[0].lengths if len(batches) == 1 else None
    sizes = [len(x)] * x.size(1) if lengths is None else lengths.tolist()
    take, batch_axis = _take(model, inputs, targets, output, x.size(1))
    if not any(sizes):
        raise ArgumentError(
            f"inputs: no sequence has a step, in {described(inputs)}; give one or more with steps"
        )
    return Subject(
        model=model,
        series=[x[:size, b].numpy() for b, size in enumerate(sizes)],
        answer=partial(_on_cpu, output),
        targets=_on_cpu(targets),
        loss=loss,
        take=take or (lambda _: (inputs, targets)),
        divisible=take is not None,
        batch_axis=batch_axis,
    )


def of_estimator(model: Any, X: Any, y: Any = None) -> Subject | None:
    """Return what an estimator says of itself and its data; ``None`` for a module."""
    describe = getattr(model, "_subject", None)
    return None if describe is None or isinstance(model, nn.Module) else describe(X, y)


def _one_by_one(batches: Sequence[Batch], output: Any) -> bool:
    """Tell whether the model calls its LSTM once for each sequence."""
    found = first_tensor(output)
    alone = len(batches) > 1 and all(batch.x.size(1) == 1 for batch in batches)
    return alone and found is not None and found.dim() > 0 and len(found) == len(batches)


def _take(
    model: nn.Module, inputs: Any, targets: Any, output: Any, count: int
) -> tuple[Take | None, int | None]:
    """Find along which axis the sequences of the inputs stand, by trying it out on a few."""
    expected = first_tensor(output)
    if expected is None or count < 2:
        return None, None
    rows = np.unique(np.linspace(0, count - 1, 3).astype(np.int64))
    with undisturbed(model), torch.no_grad():
        for axis in (0, 1):
            if not any(_counts(part, axis, count) for part in _parts(inputs)):
                continue
            try:
                found = first_tensor(run(model, _cut(inputs, rows, axis, count)))
            except GlassLSTMError:
                continue
            for out in (0, 1):
                if (
                    found is not None
                    and _counts(expected, out, count)
                    and _same(found, _cut(expected, rows, out, count))
                ):
                    return partial(_some, inputs, targets, axis, out, count), out
    return None, None


def _some(inputs: Any, targets: Any, axis: int, out: int, count: int, rows: Rows) -> tuple[Any, Any]:
    """Return the inputs and targets of some of the sequences."""
    return _cut(inputs, rows, axis, count), _cut(targets, rows, _axis_of_targets(targets, out, count), count)


def _axis_of_targets(targets: Any, out: int, count: int) -> int:
    """Return the axis of the targets that counts the sequences: the output's, where both might."""
    shape = tuple(getattr(targets, "shape", ()))
    return out if len(shape) > out and shape[out] == count else 0


def _cut(value: Any, rows: Rows, axis: int, count: int) -> Any:
    """Return the rows of every tensor in a value that has as many along the axis as there are sequences."""
    if isinstance(value, Tensor):
        for one in (axis, 0):  # lengths and the like stand along the first axis
            if _counts(value, one, count):
                return value.index_select(one, torch.from_numpy(rows).to(value.device))
        return value
    if isinstance(value, Mapping):
        return {name: _cut(part, rows, axis, count) for name, part in value.items()}
    return (
        type(value)(_cut(part, rows, axis, count) for part in value)
        if type(value) in (tuple, list)
        else value
    )


def _counts(value: Any, axis: int, count: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > axis and value.size(axis) == count


def _parts(value: Any) -> list[Any]:
    """Return what a model is called with, one by one."""
    if isinstance(value, Mapping):
        return [part for one in value.values() for part in _parts(one)]
    return [part for one in value for part in _parts(one)] if type(value) in (tuple, list) else [value]


def _as_tensor(targets: Any) -> Any:
    """Return arrays and lists of numbers as a tensor, anything else as it is."""
    if isinstance(targets, Tensor) or targets is None:
        return targets
    try:
        return torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError):
        return targets


def _same(one: Tensor, other: Tensor) -> bool:
    tolerance = torch.finfo(one.dtype).eps ** 0.5
    return one.shape == other.shape and torch.allclose(
        one, other, rtol=tolerance, atol=tolerance, equal_nan=True
    )


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {name: _on_cpu(part) for name, part in value.items()}
    return type(value)(map(_on_cpu, value)) if type(value) in (tuple, list) else value
