"""The steps of an LSTMCell that is called in a loop, put together to one trace."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from glasslstm.nn.lstm import LSTMCell, _autocast, _cast
from glasslstm.nn.trace import QUANTITIES, GateTrace, Trace
from glasslstm.ops import equations
from glasslstm.ops.values import LayerWeights, StateGradients

__all__ = ["Loop"]


class Loop:
    """One sequence that goes through a cell, step by step; the oldest steps beyond `limit` bytes are let go."""

    def __init__(self, cell: LSTMCell | nn.LSTMCell, limit: int) -> None:
        self._cell, self._limit = cell, limit
        self._steps: deque[_Step] = deque()
        self._forgotten = 0
        self._last: tuple[Tensor, Tensor] | None = None

    def continues(self, hx: Sequence[Tensor] | None, h: Tensor, *, same_entry: bool) -> bool:
        """Tell whether a step from the states `hx` to `h` is the next one of this loop.

        It is where h or c is what the step before returned; and, within one call of the model, where they
        are states of the same shape that are not all zero: then the model has changed them on the way.
        """
        if hx is None or self._last is None or h.shape != self._last[0].shape:
            return False
        if any(_address(state) == _address(last) for state, last in zip(hx, self._last, strict=True)):
            return True
        return same_entry and any(bool(state.any()) for state in hx)

    def add(
        self,
        x: Tensor,
        hx: Sequence[Tensor] | None,
        states: tuple[Tensor, Tensor],
        differentiable: Sequence[Tensor],
    ) -> None:
        """Add a step: the input, the states before and after, and those of them whose gradients are wanted."""
        before, gates = _gates(self._cell, x, hx)
        step = _Step(x.detach(), before, gates)
        self._last = states[0].detach(), states[1].detach()
        if differentiable:
            where = [any(tensor is other for other in differentiable) for tensor in states]

            def keep(grads: Sequence[Tensor | None]) -> None:
                found = iter(grads)
                step.keep_gradients(*(next(found) if there else None for there in where))

            torch.autograd.graph.register_multi_grad_hook(tuple(differentiable), keep)
        self._steps.append(step)
        if self.nbytes > self._limit and len(self._steps) > 1:
            self._steps.popleft()
            self._forgotten += 1

    @property
    def nbytes(self) -> int:
        """The bytes that the trace takes."""
        tensors = self._steps[-1].gates
        each = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return each * len(self._steps)

    def trace(self) -> Trace:
        """Return the steps so far as one trace."""
        steps, first = self._steps, self._steps[0]
        quantities = {name: torch.stack([getattr(step.gates, name) for step in steps]) for name in QUANTITIES}
        gates = GateTrace(
            **quantities,  # type: ignore[arg-type]
            initial_hidden=first.before[0],
            initial_cell=first.before[1],
            gradients=self._gradients(),
        )
        left_out = f"the first {self._forgotten} steps were let go, to stay below the limit"
        return Trace(
            {(0, 0): gates},
            input=torch.stack([step.x for step in steps]),
            start=self._forgotten,
            left_out=left_out if self._forgotten else None,
        )

    def _gradients(self) -> StateGradients | None:
        if all(step.cell_grad is None for step in self._steps):
            return None
        return StateGradients(
            *(
                torch.stack(
                    [
                        torch.zeros_like(step.gates.cell) if (grad := getattr(step, name)) is None else grad
                        for step in self._steps
                    ]
                )
                for name in ("cell_grad", "hidden_grad")
            )
        )


@dataclass
class _Step:
    """One step, without a graph."""

    x: Tensor
    before: tuple[Tensor, Tensor]
    gates: equations.Step
    cell_grad: Tensor | None = field(default=None)
    hidden_grad: Tensor | None = field(default=None)

    def keep_gradients(self, hidden: Tensor | None, cell: Tensor | None) -> None:
        """Keep dL/dh_t and dL/dc_t; what goes by h_t reaches c_t too."""
        zero = torch.zeros_like(self.gates.cell)
        self.hidden_grad = zero if hidden is None else hidden.detach()
        through_h = self.hidden_grad * self.gates.output_gate * (1 - self.gates.cell.tanh().square())
        self.cell_grad = through_h if cell is None else through_h + cell.detach()


@torch.no_grad()
def _gates(
    cell: LSTMCell | nn.LSTMCell, x: Tensor, hx: Sequence[Tensor] | None
) -> tuple[tuple[Tensor, Tensor], equations.Step]:
    """Compute the step once more, in the shapes of the call, (B, H) or (H,)."""
    cast, scope = _autocast(x.device.type)
    shape = (*x.shape[:-1], cell.hidden_size)
    h, c = (x.new_zeros(shape),) * 2 if hx is None else hx
    weights = LayerWeights(cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    weights = weights.map(lambda weight: _cast(weight, cast))
    x, h, c = (_cast(tensor.detach(), cast) for tensor in (x, h, c))
    with scope:
        gate_weights = equations.concatenate_weights(weights.weight_ih, weights.weight_hh, weights.bias())
        return (h, c), equations.step(x, h, c, gate_weights)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
