"""Where the sequences of a batch lie in what a model takes and in what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from glasslstm.errors import ArgumentError
from glasslstm.insight.case import Case
from glasslstm.insight.rules.registry import Skip
from glasslstm.insight.running import first_tensor

__all__ = ["Layout", "answer", "layouts", "spread"]


@dataclass(frozen=True)
class Layout:
    """The steps and sequences of an LSTM's longest call, to be found again in tensors of any order of axes."""

    module: str
    steps: int
    sequences: int
    lengths: Tensor | None
    """The valid steps of each sequence, (B,), ``None`` where the LSTM was told of none."""
    batch_first: bool
    bidirectional: bool

    def axes(self, tensor: Tensor) -> tuple[int | None, int | None]:
        """Return which axis of a tensor is the sequences' and which the steps'; ``None`` for one that is not there."""
        shape, T, B = list(tensor.shape), self.steps, self.sequences
        orders = [(0, 1), (1, 0)] if self.batch_first else [(1, 0), (0, 1)]
        both = [(b, t) for b, t in orders if len(shape) > 1 and shape[b] == B]
        longer = [(b, t) for b, t in both if shape[t] > T and self.lengths is not None]
        for b, t in [order for order in both if shape[order[1]] == T] + longer:
            return b, t
        batch = shape.index(B) if B in shape else None
        time = next((axis for axis, size in enumerate(shape) if size == T and axis != batch), None)
        return batch, time

    def grids(self, inputs: Any) -> list[Tensor]:
        """Return the tensors of the inputs that have a value, or several, at every step of every sequence."""
        return [leaf for leaf in _leaves(inputs) if isinstance(leaf, Tensor) and None not in self.axes(leaf)]

    def steps_first(self, grid: Tensor) -> Tensor:
        """Return such a tensor as (T, B, values at a step)."""
        batch, time = self.axes(grid)
        assert batch is not None
        assert time is not None
        return grid.movedim((time, batch), (0, 1)).flatten(2) if grid.dim() > 2 else _two(grid, time)

    def alone(self, inputs: Any, row: int, steps: int | None = None) -> Any:
        """Return the inputs of one sequence as a batch of its own, cut to its first steps."""

        def taken(leaf: Any) -> Any:
            if isinstance(leaf, list):
                return leaf[row : row + 1] if len(leaf) == self.sequences else leaf
            batch, time = self.axes(leaf)
            leaf = leaf if batch is None else leaf.narrow(batch, row, 1)
            return leaf if time is None or steps is None else leaf.narrow(time, 0, steps)

        return _mapped(inputs, taken)

    def altered(self, inputs: Any, *, row: int | None = None, step: int | None = None) -> Any:
        """Return the inputs with other values at one sequence, or at one step of every sequence."""
        grids = self.grids(inputs)
        # A tensor of two values may be a mask.
        rich = [grid for grid in grids if len(grid.unique()) > 2] or grids

        def changed(leaf: Any) -> Any:
            if not any(leaf is grid for grid in rich):
                return leaf
            axis, index = self.axes(leaf)[row is None], step if row is None else row
            new = leaf.clone()
            assert axis is not None
            assert index is not None
            new.select(axis, index).copy_(_others(leaf).select(axis, index))
            return new

        return _mapped(inputs, changed)


def layouts(case: Case) -> Iterator[Layout]:
    """Yield how the batch lies for each LSTM, each way once, and none for one whose batch is not the model's."""
    seen = set()
    for entry in case.entries:
        module = case.watcher.modules[entry.module]
        layout = Layout(
            entry.module,
            steps=entry.gates.cell.size(0),
            sequences=entry.gates.cell.size(1),
            lengths=entry.gates.lengths,
            batch_first=bool(getattr(module, "batch_first", False)),
            bidirectional=bool(getattr(module, "bidirectional", False)),
        )
        kind = (layout.steps, layout.sequences, layout.lengths is None, layout.batch_first)
        if kind not in seen and layout.grids(case.inputs):
            seen.add(kind)
            yield layout


def answer(case: Case, inputs: Any = None) -> Tensor:
    """Run the model once more, and return the first tensor of its output."""
    try:
        output = first_tensor(case.again(inputs)[0])
    except ArgumentError as error:
        raise Skip(
            f"the model refuses a part of its batch, or a changed one: {error.__cause__ or error}"
        ) from None
    if output is None:
        raise Skip("the model gives no tensor of real numbers")
    return output.to(torch.promote_types(output.dtype, torch.float32))


def spread(output: Tensor, axis: int) -> float:
    """Return by how much an output differs between the sequences; by its size where it does not."""
    size = float(output.square().mean().sqrt())
    found = float((output - output.mean(axis, keepdim=True)).square().mean().sqrt())
    return found if found > 1e-6 * size else size or 1.0


def _two(grid: Tensor, time: int) -> Tensor:
    return (grid if time == 0 else grid.transpose(0, 1)).unsqueeze(2)


def _others(tensor: Tensor) -> Tensor:
    """Return values that stand at other places of a tensor, or lie as far apart, so that none stays what it was."""
    if tensor.is_floating_point():
        scale = tensor.std() if tensor.numel() > 1 else tensor.abs().sum()
        return tensor + torch.where(scale > 0, scale, 1.0) * (1 + torch.rand_like(tensor))
    values, places = tensor.unique(return_inverse=True)
    found: Tensor = values[(places + 1) % len(values)]
    return found


def _leaves(inputs: Any) -> list[Any]:
    found: list[Any] = []
    _mapped(inputs, found.append)
    return found


def _mapped(inputs: Any, change: Callable[[Any], Any]) -> Any:
    """Apply a function to every tensor of the inputs, and to every list of other things."""
    if isinstance(inputs, PackedSequence):
        raise Skip("the model takes packed sequences, which have no padding and no axes to mix up")
    if isinstance(inputs, Mapping):
        return {name: _mapped(part, change) for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_mapped(part, change) for part in inputs)
    if isinstance(inputs, list) and any(isinstance(part, Tensor) for part in inputs):
        return [_mapped(part, change) for part in inputs]
    return change(inputs) if isinstance(inputs, (Tensor, list)) else inputs
