"""One layer as a time loop of few torch operations, forward and backward.

Faster than the equations: the input product is one matrix product over all of time, and backward only
the gate gradients go step by step, while every weight gradient is one product over all of time.

The loop works on *rows*: of the (T, B) steps of a batch only the valid ones, step by step, longest
sequence first, so that step t is the block of the first ``sizes[t]`` sequences and nothing is computed
for the padding. :class:`Rows` goes between that layout and (T, B, ...).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from glasslstm.ops.values import Gradients, Keep, LayerWeights, Result, ResultGrad

__all__ = ["Rows", "backward", "forward"]


def forward(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weights: Sequence[LayerWeights],
    lengths: Tensor | None,
    keep: Keep,
) -> Result:
    """Run the layer; arguments as in :func:`glasslstm.ops.layer.layer`."""
    rows = Rows(x.size(0), x.size(1), lengths)
    ways = [_forward(rows, x, h_0[d], c_0[d], w, reverse=d == 1) for d, w in enumerate(weights)]
    output = torch.cat([rows.scatter(way.hidden) for way in ways], dim=-1)
    h_n, c_n = (
        torch.stack([rows.unsort(way.h) for way in ways]),
        torch.stack([rows.unsort(way.c) for way in ways]),
    )
    gates, cell = x.new_empty(0), x.new_empty(0)
    if keep != "nothing":
        cell = torch.stack([rows.scatter(way.cell) for way in ways])
    if keep in ("gates", "trace"):
        gates = torch.stack([rows.scatter(way.gates) for way in ways])
    return Result(output, h_n, c_n, gates, cell)


class _Way(NamedTuple):
    """What one direction leaves behind, in rows."""

    hidden: Tensor
    h: Tensor
    c: Tensor
    gates: Tensor
    cell: Tensor


def _forward(
    rows: Rows, x: Tensor, h_0: Tensor, c_0: Tensor, weights: LayerWeights, *, reverse: bool
) -> _Way:
    bias, weight_hr = weights.bias(), weights.weight_hr
    x_rows, h, c = rows.gather(x), _copy(rows.sort(h_0)), _copy(rows.sort(c_0))
    gates = x_rows @ weights.weight_ih.T if bias is None else torch.addmm(bias, x_rows, weights.weight_ih.T)
    H = c.size(1)
    cell, hidden = gates.new_empty(len(x_rows), H), gates.new_empty(len(x_rows), h.size(1))
    shown = torch.empty_like(c)
    for n, block in rows.steps(reverse):
        a, c_t, h_t = gates[block], cell[block], hidden[block]
        a.addmm_(h[:n], weights.weight_hh.T)
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
    return _Way(hidden, h, c, gates, cell)


def backward(
    grad: ResultGrad,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weights: Sequence[LayerWeights],
    lengths: Tensor | None,
    output: Tensor,
    gates: Tensor,
    cell: Tensor,
    *,
    grad_x: bool,
    trace: bool,
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
    if not gates.numel():
        gates = forward(x, h_0, c_0, weights, lengths, "gates").gates
    P = h_0.size(2)
    ways = []
    for d, w in enumerate(weights):
        of_output = None if grad.output is None else grad.output[..., d * P : (d + 1) * P]
        of_rest = (None if part is None else part[d] for part in grad[1:])
        kept = Result(output[..., d * P : (d + 1) * P], h_0[d], c_0[d], gates[d], cell[d])
        ways.append(_backward(rows, ResultGrad(of_output, *of_rest), x, kept, w, reverse=d == 1))
    return Gradients(
        x=torch.stack([way.x for way in ways]).sum(0) if grad_x else x.new_empty(0),
        h_0=torch.cat([way.h_0 for way in ways]),
        c_0=torch.cat([way.c_0 for way in ways]),
        cell=torch.cat([way.cell for way in ways]) if trace else x.new_empty(0),
        hidden=torch.cat([way.hidden for way in ways]) if trace else x.new_empty(0),
        weights=[part for way in ways for part in way.weights],
    )


def _backward(
    rows: Rows, grad: ResultGrad, x: Tensor, kept: Result, weights: LayerWeights, *, reverse: bool
) -> Gradients:
    """Return the gradients of one direction; `kept` has the initial states in place of the final ones."""
    weight_hr = weights.weight_hr
    x_rows, hidden, a, c = (rows.gather(tensor) for tensor in (x, kept.output, kept.gates, kept.cell))
    h_before = rows.before(hidden, rows.sort(kept.h_n), reverse)
    tanh_c = c.tanh()
    i, f, g, o = a.chunk(4, dim=1)
    # The factor of each gate's gradient is known for all of time; the loop multiplies dc_t or dh_t in.
    slopes = torch.cat([i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o)], dim=1)
    d_gates = slopes * torch.cat([g, rows.before(c, rows.sort(kept.c_n), reverse), i, tanh_c], dim=1)
    dh_to_dc = o * (1 - tanh_c * tanh_c)
    from_gates = None if grad.gates is None else rows.gather(grad.gates) * slopes
    d_hidden = torch.zeros_like(hidden) if grad.output is None else rows.gather(grad.output).clone()
    d_cell = torch.zeros_like(c) if grad.cell is None else rows.gather(grad.cell).clone()
    dh = torch.zeros_like(kept.h_n) if grad.h_n is None else _copy(rows.sort(grad.h_n))
    dc = torch.zeros_like(kept.c_n) if grad.c_n is None else _copy(rows.sort(grad.c_n))
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
        torch.mm(d_gates[block], weights.weight_hh, out=dh[:n])
    projected = c.new_empty(0) if weight_hr is None else d_hidden.T @ (o * tanh_c)
    return Gradients(
        x=rows.scatter(d_gates @ weights.weight_ih),
        h_0=rows.unsort(dh).unsqueeze(0),
        c_0=rows.unsort(dc).unsqueeze(0),
        cell=rows.scatter(d_cell).unsqueeze(0),
        hidden=rows.scatter(d_hidden).unsqueeze(0),
        weights=[d_gates.T @ x_rows, d_gates.T @ h_before, d_gates.sum(0), projected],
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
