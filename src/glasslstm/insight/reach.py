"""How far back an LSTM reaches: what its cells keep, where the gradient arrives, and what the score rests on, by lag.

A lag counts steps back from the one that is read last, which has lag 0; each sequence of a ragged batch has its own.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from glasslstm.errors import ArgumentError, ShapeError
from glasslstm.insight.memory import (
    _check,
    _precise,
    retention_by_lag,
)
from glasslstm.nn.trace import GateTrace

__all__ = [
    "FADED",
    "Curve",
    "falls_below",
    "gradient_by_lag",
    "gradient_reach",
    "longest_length",
    "retention_curve",
    "score_by_lag",
]

FADED = 0.01
"""The share of its largest norm below which a gradient counts as faded out, and so for the other curves."""


class Curve(NamedTuple):
    """Something at each lag, as a share of its largest."""

    lags: Tensor
    """In steps, ascending from 0, (K,)."""
    values: Tensor
    """(K,), NaN at a lag where there is nothing to measure."""


def gradient_by_lag(gates: GateTrace) -> Curve:
    """Return how much of the learning signal arrives at each lag.

    The norm of dL/dc_t over the units, as a share of the largest of its sequence: sequences that are learnt well have
    gradients that are smaller by orders of magnitude, and fade as others do. Then the mean over the sequences, not the
    median: a training adds up their gradients, so that a few which reach far back do teach.

    Parameters
    ----------
    gates
        One direction of one layer, after a backward pass.

    Returns
    -------
    Curve
        At lag 0 to T - 1, 0 to 1. Sequences count that have the lag and a finite gradient that is not zero everywhere;
        NaN where there is none. Where the loss reads every step, the curve is high at every lag, and says little about
        how far a gradient travels.

    References
    ----------
    Hochreiter and Schmidhuber 1997, "Long short-term memory", Neural Computation 9(8), section 3 (error flow).

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> output, _, trace = gl.LSTM(3, 4)(torch.randn(5, 2, 3), return_trace=True)
    >>> output[-1].sum().backward()
    >>> lags, values = gradient_by_lag(trace[0, 0])
    >>> lags, bool(values[4] < values[0])
    (tensor([0, 1, 2, 3, 4]), True)
    """
    _check(gates)
    norms = _norms(gates)
    return _mean_by_lag(norms / norms.amax(0), gates.valid.reshape(norms.shape), gates.reverse)


def score_by_lag(scores: Tensor, valid: Tensor) -> Curve:
    """Return how much the model's score depends on the input at each lag: the occlusion curve.

    The mean over the sequences of what the score changes by where the step is replaced, whatever the sign, as a share
    of the curve's largest. The mean comes first, other than for the gradient: scores have one scale, and a sequence
    whose score nothing moves should not count with its rounding.

    Parameters
    ----------
    scores, valid
        (T, B) each, as in ``gl.explain(...).scores["occlusion"]`` and ``.valid``; in the input's time order.

    Returns
    -------
    Curve
        At lag 0 to T - 1, counted from the end of each sequence, 0 to 1; zero throughout where no step changes the
        score. NaN at a lag that no sequence with finite scores has. Where steps were replaced in windows, all steps of
        a window have the figure of the whole window: the curve is then no finer than that.

    Raises
    ------
    ShapeError
        For tensors that are not both (T, B).

    References
    ----------
    Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", ECCV, section 4.2.

    Examples
    --------
    >>> import torch
    >>> score_by_lag(torch.tensor([[0.0], [1.0], [-2.0]]), torch.ones(3, 1, dtype=torch.bool)).values
    tensor([1.0000, 0.5000, 0.0000], dtype=torch.float64)
    """
    if scores.dim() != 2 or scores.shape != valid.shape:
        raise ShapeError(
            f"scores, valid: got {tuple(scores.shape)} and {tuple(valid.shape)}; expected (T, B) of both"
        )
    lags, drops = _mean_by_lag(_precise(scores).abs(), valid, reverse=False)
    largest = drops.nan_to_num(0).max()
    return Curve(lags, drops / largest if largest > 0 else drops)


def falls_below(lags: Tensor, values: Tensor, share: float) -> int | None:
    """Return the smallest lag from which on a curve stays below a share of its largest.

    Of its largest, not of its value at lag 0: a score need not depend on the last step, nor a loss.

    Parameters
    ----------
    lags, values
        A :class:`Curve`; lags without a number do not count.
    share
        Above 0, at most 1.

    Returns
    -------
    int or None
        0 for a curve of zeros; ``None`` where it does not stay below: it reaches further than the lags.

    Raises
    ------
    ArgumentError
        For a share out of range and a curve without a number.

    Examples
    --------
    >>> import torch
    >>> falls_below(torch.arange(4), torch.tensor([0.2, 1.0, 0.6, 0.1]), 0.5)
    3
    """
    if not 0 < share <= 1:
        raise ArgumentError(f"share: expected a number above 0, at most 1; got {share}")
    known = values.isfinite()
    lags, values = lags[known], values[known]
    if not len(values):
        raise ArgumentError("values: there is no finite number in the curve; check it before you ask")
    above = ((values > 0) & (values >= share * values.max())).nonzero().flatten()
    after = int(above[-1]) + 1 if len(above) else 0
    return int(lags[after]) if after < len(lags) else None


def gradient_reach(gates: GateTrace) -> Tensor:
    """Return over how many steps, counted back from the one read last, dL/dc_t does not fade.

    That is up to and with the earliest step read at which the norm of dL/dc_t over the units is a hundredth
    (:data:`FADED`) or more of the largest norm of the sequence: what came before it is as good as out of reach for
    learning. The length of the sequence where the gradient reaches its beginning.

    Parameters
    ----------
    gates
        One direction of one layer, after a backward pass.

    Returns
    -------
    Tensor
        (B,), or () for an unbatched input, in steps. Zero where the gradient is zero at every step; NaN for an empty
        sequence, a gradient that is not finite, and where none was computed.

    References
    ----------
    Hochreiter and Schmidhuber 1997, "Long short-term memory", Neural Computation 9(8), section 3 (error flow).

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> output, _, trace = gl.LSTM(3, 4)(torch.randn(5, 2, 3), return_trace=True)
    >>> output[2].sum().backward()  # the last two steps do not count
    >>> int(gradient_reach(trace[0, 0]).min()) > 2
    True
    """
    valid, norms = gates.valid, _norms(gates)
    length, largest = valid.sum(0), norms.amax(0)
    alive = (norms > 0) & (norms >= FADED * largest)
    back = 1 + _lags(valid.reshape(norms.shape), gates.reverse)
    reach = torch.where(alive, back, 0).amax(0).to(norms.dtype).masked_fill(~largest.isfinite(), math.nan)
    return reach.reshape(length.shape).masked_fill(length == 0, math.nan)


def _norms(gates: GateTrace) -> Tensor:
    """Return the norm of dL/dc_t over the units, (T, B): zero in the padding, NaN where none was computed."""
    valid = gates.valid.reshape(len(gates.cell), -1)
    if gates.cell_grad is None:
        return _precise(torch.full_like(valid, math.nan, dtype=torch.float32))
    norms: Tensor = torch.linalg.vector_norm(_precise(gates.cell_grad), dim=-1)
    return norms.reshape(valid.shape).where(valid, 0.0)


def _lags(valid: Tensor, reverse: bool) -> Tensor:
    """Return how many steps are read after each, (T, B); meaningless in the padding."""
    steps = torch.arange(len(valid), device=valid.device).unsqueeze(1).expand(valid.shape)
    return steps if reverse else valid.sum(0).sub(1) - steps


def _mean_by_lag(values: Tensor, valid: Tensor, reverse: bool) -> Curve:
    """Return the mean over the sequences, (T, B) -> (T,), of those that have nothing but finite numbers."""
    counted = valid & (values.isfinite() | ~valid).all(0)
    at = _lags(valid, reverse)[counted]
    total = values.new_zeros(len(values)).index_add(0, at, values[counted])
    return Curve(torch.arange(len(values), device=values.device), total / at.bincount(minlength=len(values)))


def retention_curve(gates: GateTrace) -> Curve:
    """Return the mean over the units of what is left, also at the lags at which it falls below a half and a hundredth.

    The lags of :func:`retention_by_lag` thin out; those in between are looked at until each fall is known to the step.
    """
    last = max(longest_length(gates) - 1, 0)
    lags, kept = retention_by_lag(gates)
    found = dict(zip(lags.tolist(), kept.mean(1).tolist(), strict=True))
    while missing := sorted(({last} | _doubtful(found)) - found.keys()):
        kept = retention_by_lag(gates, missing)[1]
        found |= dict(zip(missing, kept.mean(1).tolist(), strict=True))
    ordered = sorted(found)
    values = torch.tensor([found[lag] for lag in ordered], dtype=torch.float64)
    return Curve(torch.tensor(ordered), values)


def longest_length(gates: GateTrace) -> int:
    """Return the steps of the longest sequence."""
    return int(gates.valid.sum(0).max()) if gates.valid.numel() else 0


def _doubtful(found: Mapping[int, float]) -> set[int]:
    """Return the lags to look at next: where the curve falls if it falls evenly, and halfway, in case it does not."""
    lags = sorted(found)
    values = torch.tensor([found[lag] for lag in lags], dtype=torch.float64)
    doubtful: set[int] = set()
    for share in (0.5, FADED) if values.isfinite().any() else ():
        below = falls_below(torch.tensor(lags), values, share)
        if below:
            before = lags[lags.index(below) - 1]
            whole = math.log(found[before] / max(found[below], sys.float_info.min))
            guess = before + math.ceil((below - before) * math.log(found[before] / share) / whole)
            doubtful |= {guess - 1, guess, (before + below) // 2} & {*range(before + 1, below)}
    return doubtful
