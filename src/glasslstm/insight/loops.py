"""The steps of an LSTMCell that is called in a loop, put together to one trace."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from glasslstm.insight.backward import Grads, on_backward, origin
from glasslstm.insight.call import weights_of
from glasslstm.insight.replay import span
from glasslstm.nn.lstm import LSTMCell, _cast
from glasslstm.nn.trace import QUANTITIES, GateTrace, Trace
from glasslstm.ops import equations
from glasslstm.ops.transforms import autocast_dtype, without_autocast
from glasslstm.ops.values import StateGradients

__all__ = ["Loop"]

States: TypeAlias = tuple[Tensor, Tensor]


class Loop:
    """One sequence that goes through a cell, step by step.

    Parameters
    ----------
    cell
        The cell.
    steps
        Which steps the trace is to have.
    limit
        The bytes that it may take; beyond them the oldest steps are let go.
    """

    def __init__(self, cell: LSTMCell | nn.LSTMCell, steps: slice, limit: int) -> None:
        self._cell, self._wanted, self._limit = cell, steps, limit
        self._steps: deque[_Step] = deque()
        self._forgotten = 0
        self._first: States | None = None
        self._last: States | None = None
        self.closed = False
        """Whether it was dropped: it is still known, and no step is kept."""

    def close(self) -> None:
        """Let go of all steps, and keep none from now on."""
        self.closed = True
        self._steps.clear()

    def fits(self, hx: Sequence[Tensor]) -> bool:
        """Tell whether the states `hx` have the shape of this loop's."""
        return self._last is not None and hx[0].shape == self._last[0].shape

    def returned(self, hx: Sequence[Tensor]) -> bool:
        """Tell whether one of the states `hx` is what the last step returned, or a view of it."""
        return self.fits(hx) and any(_address(state) == _address(last) for state, last in self._pairs(hx))

    def began_with(self, hx: Sequence[Tensor]) -> bool:
        """Tell whether the first step started from the states `hx`."""
        return self._first is not None and all(
            torch.equal(first, state.to(first.dtype)) for first, state in zip(self._first, hx, strict=True)
        )

    def in_common(self, hx: Sequence[Tensor]) -> int:
        """Return how many numbers of the states `hx` are those that the last step returned."""
        return sum(int((state == last).sum()) for state, last in self._pairs(hx))

    def _pairs(self, hx: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [] if self._last is None else list(zip(hx, self._last, strict=True))

    def add(
        self,
        x: Tensor,
        hx: Sequence[Tensor | None] | None,
        states: States,
        *,
        gradients: bool,
    ) -> None:
        """Add a step: the input, the states before and after, and whether their gradients are wanted."""
        self._last = states[0].detach(), states[1].detach()
        if self.closed:
            return
        step = _step(self._cell, x, hx, differentiable=gradients)
        self._first = self._first or step.before
        if gradients:
            # One operation or several: of several, what goes by h_t has reached c_t by itself.
            h, c = map(origin, states)
            on_backward(states, partial(step.keep_gradients, fused=h.grad_fn is c.grad_fn))
        self._steps.append(step)
        if self.nbytes > self._limit and len(self._steps) > 1:
            self._steps.popleft()
            self._forgotten += 1

    @property
    def nbytes(self) -> int:
        """The bytes that the steps take."""
        return self._steps[-1].nbytes * len(self._steps) if self._steps else 0

    def trace(self) -> Trace:
        """Return the chosen steps so far as one trace."""
        start, stop = (
            max(step, self._forgotten) for step in span(self._wanted, self._forgotten + len(self._steps))
        )
        first, last = start - self._forgotten, stop - self._forgotten
        steps = list(self._steps)[first:last]
        found = _trace(steps or [self._steps[-1]])
        found.start = start
        if self._forgotten:
            found.left_out = f"the first {self._forgotten} steps were let go, to stay below the limit"
        return found if steps else found.window(0, 0)


@dataclass
class _Step:
    """One step, without a graph."""

    x: Tensor
    before: States
    gates: equations.Step
    differentiable: bool
    cell_grad: Tensor | None = None
    hidden_grad: Tensor | None = None

    @property
    def nbytes(self) -> int:
        count = sum(tensor.numel() for tensor in (self.x, *self.before, *self.gates))
        count += 2 * self.gates.cell.numel() if self.differentiable else 0
        return count * self.gates.cell.element_size()

    def keep_gradients(self, grads: Grads, *, fused: bool) -> None:
        """Keep dL/dh_t and dL/dc_t; to that of a `fused` operation's c_t what goes by its h_t is added."""
        zero = torch.zeros_like(self.gates.cell)
        self.hidden_grad, self.cell_grad = (zero if grad is None else grad.clone() for grad in grads)
        if fused:
            through_h = self.hidden_grad * self.gates.output_gate * (1 - self.gates.cell.tanh().square())
            self.cell_grad = self.cell_grad + through_h


@torch.no_grad()
def _step(
    cell: LSTMCell | nn.LSTMCell, x: Tensor, hx: Sequence[Tensor | None] | None, *, differentiable: bool
) -> _Step:
    """Compute the step once more, in the shapes of the call, (B, H) or (H,)."""
    cast = autocast_dtype(x.device.type)
    zeros = x.new_zeros(*x.shape[:-1], cell.hidden_size)
    states = [zeros if state is None else state for state in ((None, None) if hx is None else hx)]
    (weights,) = weights_of(cell)
    weights = weights.map(lambda weight: _cast(weight, cast))
    # Copies, because the model may change what it has given in place.
    x, h, c = (_cast(tensor.detach().clone(), cast) for tensor in (x, *states))
    with without_autocast(x.device.type):
        gate_weights = equations.concatenate_weights(weights.weight_ih, weights.weight_hh, weights.bias())
        return _Step(x, (h, c), equations.step(x, h, c, gate_weights), differentiable)


def _trace(steps: Sequence[_Step]) -> Trace:
    quantities = {name: torch.stack([getattr(step.gates, name) for step in steps]) for name in QUANTITIES}
    gates = GateTrace(
        **quantities,  # type: ignore[arg-type]
        initial_hidden=steps[0].before[0],
        initial_cell=steps[0].before[1],
        gradients=_gradients(steps),
    )
    return Trace({(0, 0): gates}, input=torch.stack([step.x for step in steps]))


def _gradients(steps: Sequence[_Step]) -> StateGradients | None:
    if all(step.cell_grad is None for step in steps):
        return None
    zero = torch.zeros_like(steps[0].gates.cell)
    return StateGradients(
        *(
            torch.stack([zero if (grad := getattr(step, name)) is None else grad for step in steps])
            for name in ("cell_grad", "hidden_grad")
        )
    )


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
