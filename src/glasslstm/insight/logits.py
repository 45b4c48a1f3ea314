"""What each step put into each logit, through a linear head on the last layer's hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from glasslstm.errors import ArgumentError, ArgumentTypeError, ShapeError
from glasslstm.insight.memory import _final, _forget, _precise, contributions
from glasslstm.nn.trace import GateTrace, Trace

__all__ = ["LogitContributions", "logit_contributions"]


@dataclass(frozen=True, eq=False, repr=False)
class LogitContributions:
    """What each step put into each logit: the parts add up to the logits."""

    steps: Tensor
    """(T, B, K), both directions together; zero past a length."""
    initial: Tensor
    """What came from the initial states, (B, K)."""
    bias: Tensor
    """The head's bias, (K,)."""
    logits: Tensor
    """The head's logits of the measured hidden states, (B, K)."""

    def __repr__(self) -> str:
        return f"LogitContributions(steps={tuple(self.steps.shape)})"

    @property
    def residual(self) -> Tensor:
        """What does not add up: rounding, unless the trace was changed. (B, K)."""
        return self.logits - self.bias - self.initial - self.steps.sum(0)


def logit_contributions(
    trace: Trace,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    projection: Sequence[Tensor] | None = None,
    reads: Literal["last", "mean"] = "last",
) -> LogitContributions:
    """Return what each step put into each logit through a linear head on the last layer's hidden states.

    Through the final state the contribution of step t is ``W (o_T * (tanh(S_t) - tanh(S_{t-1})))``, with S_t the sum of
    what the initial state and the first t steps put into the final cell: gamma of the source, before its exponential.
    Through the mean it is the step's part of every later c_s, each scaled by ``o_s tanh(c_s) / c_s``. This is exact
    too, and takes time in proportion to T, where telescoping would take T squared.

    Parameters
    ----------
    trace
        The trace of the LSTM that the head reads.
    weight, bias
        Of the head, (K, D * P) and (K,), the forward direction's columns first. Default of `bias`: none.
    projection
        W_hr of the last layer, (P, H), one for each direction, where the LSTM has a projection. Default: none.
    reads
        "last": the head reads each direction's final hidden state, as in ``h_n``; "mean": the mean of the hidden states
        over the valid steps. Default: "last".

    Returns
    -------
    LogitContributions
        In the input's time order; without B for an unbatched input.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError
        For weights that do not fit to the trace, and a missing projection.

    References
    ----------
    Murdoch and Szlam 2017, "Automatic rule extraction from long short term memory networks", ICLR (gamma, the additive
    decomposition with the forget gates); for the mean: the rescale rule of Shrikumar, Greenside and Kundaje 2017,
    "Learning important features through propagating activation differences", ICML.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm, head = gl.LSTM(3, 4, bidirectional=True), torch.nn.Linear(8, 2)
    >>> output, (h_n, c_n), trace = lstm(torch.randn(5, 1, 3), return_trace=True)
    >>> parts = logit_contributions(trace, head.weight, head.bias)
    >>> logits = head(torch.cat([h_n[0], h_n[1]], dim=-1)).double()
    >>> torch.allclose(parts.bias + parts.initial + parts.steps.sum(0), logits, atol=1e-6)
    True
    """
    if reads not in ("last", "mean"):
        raise ArgumentError(f"reads: expected 'last' or 'mean', got {reads!r}")
    layer, D = _check_last_layer(trace), trace.num_directions
    weights, bias = _check_head(weight, bias, layer[0].hidden.size(-1), D)
    through = [weights[d] @ part for d, part in enumerate(_check_projection(projection, layer))]
    parts = [(_final_parts if reads == "last" else _mean_parts)(gates) for gates in layer]
    steps, initial = (
        sum((part[k] @ W.T for part, W in zip(parts, through, strict=True)), torch.zeros(())) for k in (0, 1)
    )
    logits = bias
    for gates, W in zip(layer, weights, strict=True):
        hidden, start = _precise(gates.hidden), _precise(gates.initial_hidden)
        count = gates.valid.sum(0).unsqueeze(-1)
        if reads == "last":
            initial = initial + (start * (count == 0)) @ W.T  # a sequence of no steps ends where it starts
            logits = logits + _final(hidden, start, gates) @ W.T
        else:
            logits = logits + hidden.sum(0) / count.clamp(min=1) @ W.T
    return LogitContributions(steps, initial, bias, logits)


def _final_parts(gates: GateTrace) -> tuple[Tensor, Tensor]:
    """Return the steps' and the initial state's parts of ``o_T tanh(c_T)``, (T, B, H) and (B, H)."""
    parts = contributions(gates)
    until = parts.steps.cumsum(0) if not gates.reverse else parts.steps.flip(0).cumsum(0).flip(0)
    until = parts.initial + until
    o_T = _final(_precise(gates.output_gate), torch.zeros_like(parts.initial), gates)
    return o_T * (until.tanh() - (until - parts.steps).tanh()), o_T * parts.initial.tanh()


def _mean_parts(gates: GateTrace) -> tuple[Tensor, Tensor]:
    """Return the steps' and the initial state's parts of the mean of ``o_t tanh(c_t)``, (T, B, H) and (B, H)."""
    f, c, o = _forget(gates), _precise(gates.cell), _precise(gates.output_gate)
    slope = torch.where(c == 0, o, o * c.tanh() / torch.where(c == 0, 1.0, c))
    slope = slope / gates.valid.sum(0).clamp(min=1).unsqueeze(-1)
    reach, later = torch.empty_like(f), torch.zeros_like(f[0])
    for t in range(len(f)) if gates.reverse else reversed(range(len(f))):
        reach[t] = slope[t] + later
        later = f[t] * reach[t]
    return reach * _precise(gates.input_gate) * _precise(gates.candidate), later * _precise(
        gates.initial_cell
    )


def _check_last_layer(trace: Trace) -> list[GateTrace]:
    if not isinstance(trace, Trace):
        raise ArgumentTypeError(f"trace: expected a Trace of all layers, got {type(trace).__name__}")
    return [trace[trace.num_layers - 1, d] for d in range(trace.num_directions)]


def _check_head(weight: Tensor, bias: Tensor | None, width: int, D: int) -> tuple[list[Tensor], Tensor]:
    if weight.dim() != 2 or weight.size(1) != D * width:
        raise ShapeError(
            f"weight: expected (K, {D * width}), {D} direction(s) of {width} hidden values; got {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(
            f"bias: expected ({weight.size(0)},), as many as weight has rows; got {tuple(bias.shape)}"
        )
    weight = _precise(weight)
    return list(weight.chunk(D, dim=1)), weight.new_zeros(len(weight)) if bias is None else _precise(bias)


def _check_projection(projection: Sequence[Tensor] | None, layer: list[GateTrace]) -> list[Tensor]:
    """Return for each direction the matrix from ``o * tanh(c)`` to h, (P, H); the unit matrix without a projection."""
    P, H = layer[0].hidden.size(-1), layer[0].cell.size(-1)
    if projection is None:
        if P != H:
            raise ArgumentError(
                f"projection: the hidden states have {P} values and the cells {H}; give weight_hr of the last layer, "
                "one for each direction"
            )
        return [
            torch.eye(H, dtype=_precise(gates.cell[:0]).dtype, device=gates.cell.device) for gates in layer
        ]
    shapes = [tuple(part.shape) for part in projection]
    if shapes != [(P, H)] * len(layer):
        raise ShapeError(
            f"projection: expected {len(layer)} of shape {(P, H)}, one for each direction; got {shapes}"
        )
    return [_precise(part) for part in projection]
