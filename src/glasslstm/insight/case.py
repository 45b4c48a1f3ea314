"""What the rules look at: one run of a model, with a trace of every LSTM in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.insight.call import weights_of
from glasslstm.insight.findings import Place
from glasslstm.insight.running import described, first_tensor, rewound, run, seed
from glasslstm.insight.watch import Watcher, watch
from glasslstm.nn.trace import QUANTITIES, GateTrace, Trace
from glasslstm.ops.values import LayerWeights

__all__ = ["Case", "Entry", "Loss", "check_loss", "entries_of", "longest"]

Loss = Callable[[Any, Any], Tensor]

_FEWEST = 8  # sequences; of fewer, a constant may well fit all


@dataclass(frozen=True)
class Entry:
    """One layer of one LSTM in one direction."""

    module: str
    layer: int
    direction: int
    gates: GateTrace
    """Of the longest call of the run; (T, B, H), also for an unbatched input."""
    x: Tensor
    """What this layer read in that call, (T, B, its input size)."""
    weights: LayerWeights

    @property
    def lengths(self) -> Tensor:
        """The valid steps of each sequence, (B,)."""
        return self.gates.valid.sum(0)

    @property
    def order(self) -> Tensor:
        """When each step of a sequence is read, from 0 on, (T, B); meaningless in the padding."""
        steps = torch.arange(len(self.x), device=self.x.device).unsqueeze(1)
        return self.lengths - 1 - steps if self.gates.reverse else steps.expand(self.gates.valid.shape)

    def at_steps(self, name: str) -> Tensor:
        """Return a quantity at all valid steps of all sequences, (N, H), in float32 or better."""
        values: Tensor = getattr(self.gates, name)[self.gates.valid]
        return values.to(torch.promote_types(values.dtype, torch.float32))

    def before(self, values: Tensor, initial: Tensor) -> Tensor:
        """Return what was there at the step that is read before each one, `initial` before the first, (T, B, H)."""
        first = initial.unsqueeze(0)
        before = torch.cat([values[1:], first] if self.gates.reverse else [first, values[:-1]])
        return torch.where((self.order == 0).unsqueeze(-1), first, before)

    def place(self, units: Any = ()) -> Place:
        """Return where this is; `units` may be a tensor of indices or of booleans, (H,)."""
        if isinstance(units, Tensor):
            units = (units.nonzero().flatten() if units.dtype == torch.bool else units).tolist()
        return Place(self.module, self.layer, self.direction, tuple(units))


class Case:
    """A model, the data it is looked at with, and what one run of it in ``eval()`` showed.

    Made and used inside :func:`~glasslstm.insight.running.undisturbed`.

    Attributes
    ----------
    model, inputs, targets, loss
        As for :func:`glasslstm.diagnose`.
    training
        For each module, whether it was in training mode before.
    watcher
        What the LSTMs did in the run, gradients included.
    output
        What the model returned, without a graph.
    value
        The loss, ``None`` where none was given.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        targets: Any = None,
        loss: Loss | None = None,
        training: dict[nn.Module, bool] | None = None,
    ) -> None:
        self.model, self.inputs, self.targets, self.loss = model, inputs, targets, loss
        self.training = training or {}
        seed()
        with rewound(model), torch.enable_grad(), watch(model, calls=256) as self.watcher:
            output = run(model, inputs)
            value = self._value(output)
            if value is not None:
                _backward(model, value)
        self.output = _detached(output)
        self.value = None if loss is None or value is None else float(value.detach())

    def _value(self, output: Any) -> Tensor | None:
        """Return the loss; without one, the sum of the squares of the output stands for it."""
        if self.loss is None:
            found = first_tensor(output)
            return None if found is None else found.square().sum()
        try:
            value = self.loss(output, self.targets)
        except Exception as error:
            raise ArgumentError(
                f"loss: it fails on the model's output ({described(output)}) and the targets "
                f"({described(self.targets)}): {type(error).__name__}: {error}; where the output has as many "
                "rows as there are steps, look at batch_first; without targets and loss the rest is looked for"
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ArgumentError(
                "loss: expected a function (output, targets) -> a tensor with one number; got "
                f"{tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__}"
            )
        return value

    def again(self, inputs: Any = None, *, gradients: bool = False) -> tuple[Any, Watcher]:
        """Run the model once more, with these or with its own inputs, from the same state and random numbers."""
        seed()
        with (
            rewound(self.model),
            torch.set_grad_enabled(gradients),
            watch(self.model, calls=256) as watcher,
        ):
            output = run(self.model, self.inputs if inputs is None else inputs)
        return output, watcher

    @cached_property
    def entries(self) -> list[Entry]:
        """Every layer and direction of every LSTM that was called, of its longest call."""
        return [
            entry
            for name in self.watcher
            for entry in entries_of(name, self.watcher.modules[name], longest(self.watcher.calls(name)))
        ]

    @cached_property
    def steps(self) -> int:
        """The most steps that an LSTM took in one call."""
        return max((len(entry.x) for entry in self.entries), default=0)

    @cached_property
    def sound(self) -> list[Entry]:
        """The entries that have a valid step, and nothing but finite numbers."""
        return [
            entry
            for entry in self.entries
            if entry.gates.valid.any()
            and all(bool(entry.at_steps(name).isfinite().all()) for name in QUANTITIES)
        ]

    @cached_property
    def guess(self) -> float | None:
        """The loss of the best constant output, the same for every sequence; ``None`` where it cannot be found."""
        return None if self.loss is None else _guess(self.output, self._batch_axis, self.targets, self.loss)

    @property
    def _batch_axis(self) -> int:
        """Which axis of the output counts the sequences: 1 where it begins as an LSTM's input does, with (T, B)."""
        leading = tuple(getattr(self.output, "shape", ()))[:2]
        return int(
            any(
                leading == (T, B)
                and (T != B or not getattr(self.watcher.modules[entry.module], "batch_first", False))
                for entry in self.entries
                for T, B in [entry.x.shape[:2]]
            )
        )

    @cached_property
    def guessing(self) -> bool | None:
        """Whether the loss is at least 0.97 times that of a guess; ``None`` where that is not known."""
        if self.value is None or self.guess is None or not math.isfinite(self.value):
            return None
        return self.value >= 0.97 * self.guess


def check_loss(targets: Any, loss: Any) -> None:
    """Refuse targets without a loss, the reverse, and a loss that cannot be called."""
    if (targets is None) != (loss is None):
        given, missing = ("loss", "targets") if targets is None else ("targets", "loss")
        raise ArgumentError(f"{missing}: needed, because {given} was given; give both or neither")
    if loss is not None and not callable(loss):
        raise ArgumentTypeError(
            f"loss: expected a function (output, targets) -> a tensor with one number; got {type(loss).__name__}"
        )


def _backward(model: nn.Module, value: Tensor) -> None:
    """Let the gradients reach the traces, and no parameter: where an optimiser steps in a hook, nothing may step."""
    leaves = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not (leaves and value.requires_grad):
        return
    try:
        torch.autograd.grad(value, leaves, allow_unused=True)
    except RuntimeError as error:
        raise ArgumentError(
            f"model: its backward pass fails ({error}); diagnose needs one that can be trained, or that "
            "has no parameter that requires a gradient"
        ) from error


def longest(calls: tuple[Trace, ...]) -> Trace:
    """Return the call with the most steps, the first of them."""
    return max(calls, key=lambda trace: len(trace[0, 0].cell))


def entries_of(name: str, module: Any, trace: Trace) -> list[Entry]:
    """Return every layer and direction of one call."""
    weights = weights_of(module)
    found: list[Entry] = []
    for (layer, direction), gates in trace._entries.items():
        if layer == 0:
            x = trace.input
            assert x is not None
        else:
            x = torch.cat([trace[layer - 1, d].hidden for d in range(trace.num_directions)], dim=-1)
        own = weights[layer * trace.num_directions + direction].map(Tensor.detach)
        if gates.cell.dim() == 2:  # unbatched
            found.append(Entry(name, layer, direction, _batched(gates), x.unsqueeze(1), own))
        else:
            found.append(Entry(name, layer, direction, gates, x, own))
    return found


def _batched(gates: GateTrace) -> GateTrace:
    """Turn the trace of an unbatched call into one of a batch of one."""
    return gates.map(lambda tensor: tensor.unsqueeze(-2))


def _detached(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach()
    if isinstance(output, dict):
        return {name: _detached(part) for name, part in output.items()}
    if isinstance(output, (tuple, list)) and not hasattr(output, "_fields"):
        return type(output)(map(_detached, output))
    return output


def _guess(output: Any, axis: int, targets: Any, loss: Loss) -> float | None:
    """Fit one row that stands for every sequence's output, by L-BFGS on the loss itself."""
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.dim() <= axis:
        return None
    if output.size(axis) < _FEWEST:
        return None
    row = torch.zeros_like(output.narrow(axis, 0, 1)).requires_grad_()
    optimizer = torch.optim.LBFGS([row], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(row.expand_as(output), targets)
        (row.grad,) = torch.autograd.grad(value, [row])
        return value.detach()

    try:
        with torch.enable_grad():
            optimizer.step(closure)
            value = float(closure())
    except (RuntimeError, ValueError, TypeError):
        return None  # a loss that wants another output than a batch of rows
    return value if torch.isfinite(torch.tensor(value)) else None
