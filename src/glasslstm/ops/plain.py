"""One layer in one direction as a time loop of few torch operations, forward and backward.

Faster than the equations: the input product is one matrix product over all of time, and backward only
the gate gradients go step by step, while every weight gradient is one product over all of time.

The loop works on *rows*: of the (T, B) steps of a batch only the valid ones, step by step, longest
sequence first, so that step t is the block of the first ``sizes[t]`` sequences and nothing is computed
for the padding. :class:`Rows` goes between that layout and (T, B, ...).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Gradients", "Result", "ResultGrad", "Rows", "backward", "forward"]


class Result(NamedTuple):
    """What the forward pass leaves behind; also what the backward pass reads."""

    output: Tensor
    """h_t, (T, B, P)."""
    h_n: Tensor
    """(B, P)."""
    c_n: Tensor
    """(B, H)."""
    gates: Tensor
    """i, f, g, o after their activations, side by side, (T, B, 4H)."""
    cell: Tensor
    """c_t, (T, B, H)."""


class ResultGrad(NamedTuple):
    """dL/d of each field of :class:`Result`, ``None`` where the loss does not depend on it."""

    output: Tensor | None
    h_n: Tensor | None
    c_n: Tensor | None
    gates: Tensor | None
    cell: Tensor | None


class Gradients(NamedTuple):
    """What the backward pass returns, in the order of the forward pass's arguments."""

    x: Tensor
    h_0: Tensor
    c_0: Tensor
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor
    weight_hr: Tensor
    """Empty where there is no projection."""
    cell: Tensor
    """dL/dc_t through every path, (T, B, H)."""
    hidden: Tensor
    """dL/dh_t through every path, (T, B, P)."""


def forward(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_hr: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> Result:
    """Run the layer; shapes as in :func:`glasslstm.ops.equations.sequence`, weights as PyTorch's."""
    rows = Rows(x.size(0), x.size(1), lengths)
    x_rows, h, c = rows.gather(x), _copy(rows.sort(h_0)), _copy(rows.sort(c_0))
    gates = x_rows @ weight_ih.T if bias is None else torch.addmm(bias, x_rows, weight_ih.T)
    H = weight_hh.size(0) // 4
    cell, hidden = gates.new_empty(len(x_rows), H), gates.new_empty(len(x_rows), h.size(1))
    shown = torch.empty_like(c)
    for n, block in rows.steps(reverse):
        a, c_t, h_t = gates[block], cell[block], hidden[block]
        a.addmm_(h[:n], weight_hh.T)
        a[:, : 2 * H].sigmoid_()
        a[:, 2 * H : 3 * H].tanh_()
        a[:, 3 * H :].sigmoid_()
        i, f, g, o = a.chunk(4, dim=1)
        torch.mul(f, c[:n], out=c_t).addcmul_(i, g)
        torch.tanh(c_t, out=shown[:n]).mul_(o)
        if weight_hr is None:
            h_t.copy_(shown[:n])
        else:
            torch.mm(shown[:n], weight_hr.T, out=h_t)
        h[:n], c[:n] = h_t, c_t
    return Result(
        rows.scatter(hidden), rows.unsort(h), rows.unsort(c), rows.scatter(gates), rows.scatter(cell)
    )


def backward(
    grad: ResultGrad,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    weight_hr: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    output: Tensor,
    gates: Tensor,
    cell: Tensor,
) -> Gradients:
    """Return the gradient of everything, given the gradients of the results.

    Backpropagation through time (Werbos 1990, "Backpropagation through time: what it does and how to do
    it"). With s for the sum of what reaches a value from the loss and from the step after::

        dh_t = s                          dc_t = s + dh_t * o_t * (1 - tanh(c_t)^2)
        di   = dc_t * g_t * i_t (1 - i_t)        df = dc_t * c_{t-1} * f_t (1 - f_t)
        dg   = dc_t * i_t * (1 - g_t^2)          do = dh_t * tanh(c_t) * o_t (1 - o_t)
        dc_{t-1} = dc_t * f_t             dh_{t-1} = W_hh^T [di, df, dg, do]
    """
    rows = Rows(x.size(0), x.size(1), lengths)
    x_rows, hidden, a, c = (rows.gather(tensor) for tensor in (x, output, gates, cell))
    h_before = rows.before(hidden, rows.sort(h_0), reverse)
    tanh_c = c.tanh()
    i, f, g, o = a.chunk(4, dim=1)
    # The factor of each gate's gradient is known for all of time; the loop multiplies dc_t or dh_t in.
    slopes = torch.cat([i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o)], dim=1)
    d_gates = slopes * torch.cat([g, rows.before(c, rows.sort(c_0), reverse), i, tanh_c], dim=1)
    dh_to_dc = o * (1 - tanh_c * tanh_c)
    from_gates = None if grad.gates is None else rows.gather(grad.gates) * slopes
    d_hidden = torch.zeros_like(hidden) if grad.output is None else rows.gather(grad.output).clone()
    d_cell = torch.zeros_like(c) if grad.cell is None else rows.gather(grad.cell).clone()
    dh = h_0.new_zeros(h_0.shape) if grad.h_n is None else _copy(rows.sort(grad.h_n))
    dc = c_0.new_zeros(c_0.shape) if grad.c_n is None else _copy(rows.sort(grad.c_n))
    H = c.size(1)
    for n, block in rows.steps(not reverse):
        dh_t = d_hidden[block].add_(dh[:n])
        shown = dh_t if weight_hr is None else dh_t @ weight_hr
        dc_t = d_cell[block].add_(dc[:n]).addcmul_(shown, dh_to_dc[block])
        d = d_gates[block].view(n, 4, H)
        d[:, :3].mul_(dc_t.unsqueeze(1))
        d[:, 3].mul_(shown)
        if from_gates is not None:
            d_gates[block].add_(from_gates[block])
        torch.mul(dc_t, f[block], out=dc[:n])
        torch.mm(d_gates[block], weight_hh, out=dh[:n])
    return Gradients(
        x=rows.scatter(d_gates @ weight_ih),
        h_0=rows.unsort(dh),
        c_0=rows.unsort(dc),
        weight_ih=d_gates.T @ x_rows,
        weight_hh=d_gates.T @ h_before,
        bias=d_gates.sum(0),
        weight_hr=c.new_empty(0) if weight_hr is None else d_hidden.T @ (o * tanh_c),
        cell=rows.scatter(d_cell),
        hidden=rows.scatter(d_hidden),
    )


def _copy(state: Tensor) -> Tensor:
    return state.clone(memory_format=torch.contiguous_format)


class Rows:
    """The valid steps of a batch as a flat list of rows, and the way back.

    Parameters
    ----------
    time, batch
        T and B.
    lengths
        Valid steps of each sequence, (B,), on the device of what is gathered; or ``None``: all have T,
        and the rows are a view.
    """

    def __init__(self, time: int, batch: int, lengths: Tensor | None) -> None:
        self.time, self.batch = time, batch
        self.order = self.index = None
        self.sizes = [batch] * time
        if lengths is not None:
            sorted_lengths, self.order = lengths.sort(descending=True, stable=True)
            valid = sorted_lengths > torch.arange(time, device=lengths.device).unsqueeze(1)
            self.sizes = valid.sum(1).tolist()
            t, b = valid.nonzero(as_tuple=True)
            self.index = t * batch + self.order[b]
        self.starts = [0, *accumulate(self.sizes)]

    def steps(self, reverse: bool) -> Iterator[tuple[int, slice]]:
        """Yield, for each step that has any, the number of its rows and the block where they stand."""
        for t in reversed(range(self.time)) if reverse else range(self.time):
            if self.sizes[t]:
                yield self.sizes[t], slice(self.starts[t], self.starts[t + 1])

    def gather(self, padded: Tensor) -> Tensor:
        """(T, B, K) -> (N, K)."""
        flat = padded.reshape(self.time * self.batch, padded.size(2))
        return flat if self.index is None else flat.index_select(0, self.index)

    def scatter(self, rows: Tensor) -> Tensor:
        """(N, K) -> (T, B, K), zero where there is no row."""
        if self.index is not None:
            padded = rows.new_zeros(self.time * self.batch, rows.size(1))
            rows = padded.index_copy_(0, self.index, rows)
        return rows.view(self.time, self.batch, rows.size(1))

    def sort(self, state: Tensor) -> Tensor:
        """(B, K) in the caller's order -> longest sequence first."""
        return state if self.order is None else state.index_select(0, self.order)

    def unsort(self, state: Tensor) -> Tensor:
        """(B, K), longest sequence first -> in the caller's order."""
        if self.order is None:
            return state
        return torch.empty_like(state).index_copy_(0, self.order, state)

    def before(self, rows: Tensor, initial: Tensor, reverse: bool) -> Tensor:
        """Return for each row its sequence's row of the step read before it, or its initial state."""
        if self.index is None:
            past = [rows[self.batch :], initial] if reverse else [initial, rows[: -self.batch or None]]
            return torch.cat(past)
        blocks = []
        for t, n in enumerate(self.sizes):
            earlier = t + 1 if reverse else t - 1
            known = min(n, self.sizes[earlier]) if 0 <= earlier < self.time else 0
            start = self.starts[earlier] if known else 0
            blocks += [rows[start : start + known], initial[known:n]]
        return torch.cat(blocks)
