"""How far back an LSTM reaches: what its cells keep, where the gradient arrives, and what the score rests on, by lag.

A lag counts steps back from the one that is read last, which has lag 0; each sequence of a ragged batch has its own.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from glasslstm.errors import ArgumentError, ShapeError
from glasslstm.insight.memory import (
    Saturation,
    _check,
    _precise,
    half_life,
    retention_by_lag,
    saturation,
)
from glasslstm.nn.trace import GateTrace, Trace

__all__ = [
    "FADED",
    "Curve",
    "MemorySummary",
    "Recorded",
    "falls_below",
    "gradient_by_lag",
    "gradient_reach",
    "score_by_lag",
    "summaries",
]

FADED = 0.01
"""The share of its largest norm below which a gradient counts as faded out, and so for the other curves."""


class Curve(NamedTuple):
    """Something at each lag, as a share of its largest."""

    lags: Tensor
    """In steps, ascending from 0, (K,)."""
    values: Tensor
    """(K,), NaN at a lag where there is nothing to measure."""


@dataclass(frozen=True, eq=False)
class MemorySummary:
    """What one layer remembered in one direction; each part is computed when it is first asked for, and kept.

    Attributes
    ----------
    gates
        The trace; after a backward pass it has a gradient, too.
    score
        What :func:`score_by_lag` says of the model's score; ``None`` where it is not known.
    bidirectional
        Whether another direction reads the same steps, so that the score is no evidence of this one's memory.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm = gl.LSTM(1, 1)
    >>> for weight in lstm.parameters():
    ...     _ = torch.nn.init.zeros_(weight)
    >>> _ = torch.nn.init.constant_(lstm.bias_ih_l0[1:2], 1.0)  # f = sigmoid(1) = 0.73 at every step
    >>> summary = MemorySummary(lstm(torch.zeros(50, 1, 1), return_trace=True)[2][0, 0])
    >>> summary.falls
    {'retention': (3, 15)}
    >>> print(summary.in_words())
    On average over the units, what a cell holds falls below a half after 3 steps and below a hundredth after 15; \
the longest sequence has 50 steps. What was stored 15 or more steps ago is gone, unless the hidden state passes it on.
    """

    gates: GateTrace = field(repr=False)
    score: Curve | None = None
    bidirectional: bool = False

    @cached_property
    def steps(self) -> int:
        """The length of the longest sequence."""
        return _longest(self.gates)

    @cached_property
    def half_lives(self) -> Tensor:
        """The half-life of each unit, (H,): :func:`~glasslstm.insight.memory.half_life`."""
        return half_life(self.gates)

    @cached_property
    def saturation(self) -> dict[str, Saturation]:
        """How often each gate is as good as shut or open: :func:`~glasslstm.insight.memory.saturation`."""
        return saturation(self.gates)

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """By name what is known of "retention" (mean over the units), "gradient" and "score"."""
        found = {
            "retention": _retention(self.gates),
            "gradient": gradient_by_lag(self.gates),
            "score": self.score,
        }
        return {
            name: curve
            for name, curve in found.items()
            if curve is not None and curve.values.isfinite().any()
        }

    @cached_property
    def falls(self) -> dict[str, tuple[int | None, int | None]]:
        """For each curve the lags from which on it stays below a half and a hundredth of its largest.

        ``None`` where it does not within the longest sequence: more than ``steps - 1`` steps.
        """
        return {
            name: (falls_below(*curve, 0.5), falls_below(*curve, FADED))
            for name, curve in self.curves.items()
        }

    def in_words(self) -> str:
        """Say in two sentences how far back each curve reaches, and what that means."""
        if self.steps < 2:
            return "No sequence has more than one step, so there is nothing to remember."
        if "retention" not in self.falls:
            return "The gates have no finite numbers, so nothing can be said about the memory."
        return f"{_facts(self)} {self.verdict()}"

    def verdict(self) -> str:
        """Say in a sentence whether the memory is long enough, as far as the curves can tell."""
        if self.steps < 2:
            return "No sequence has more than one step, so there is nothing to remember."
        if "retention" not in self.falls:
            return "The gates have no finite numbers, so nothing can be said about the memory."
        return _verdict(self)


Recorded: TypeAlias = Trace | Mapping[str, GateTrace | MemorySummary]
"""Of one or more layers and directions, by name, what they did, or its summary; or the whole trace of a call."""


def summaries(recorded: Recorded, score: Curve | None = None) -> dict[str, MemorySummary]:
    """Return a summary of each layer and direction, by name.

    Parameters
    ----------
    recorded
        A trace, whose parts are called "layer 0", or "layer 0, forward" where there are two directions; or parts by
        names of your own. What is a summary already stays as it is.
    score
        For all that is no summary yet.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> trace = gl.LSTM(3, 4, bidirectional=True)(torch.randn(5, 2, 3), return_trace=True)[2]
    >>> list(summaries(trace))
    ['layer 0, forward', 'layer 0, reverse']
    """
    parts = _parts(recorded) if isinstance(recorded, Trace) else recorded
    if not parts:
        raise ArgumentError("recorded: got nothing; expected a trace, or one or more of its parts by name")
    both = any(part.reverse for part in parts.values() if isinstance(part, GateTrace))
    found = {}
    for name, part in parts.items():
        if not isinstance(part, MemorySummary):
            _check(part)
            part = MemorySummary(part, score, both)  # noqa: PLW2901
        found[name] = part
    return found


def _parts(trace: Trace) -> dict[str, GateTrace]:
    ways = (", forward", ", reverse") if trace.num_directions == 2 else ("",)
    return {f"layer {layer}{ways[direction]}": trace[layer, direction] for layer, direction in trace}


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


def _retention(gates: GateTrace) -> Curve:
    """Return the mean over the units of what is left, also at the lags at which it falls below a half and a hundredth.

    The lags of :func:`retention_by_lag` thin out; those in between are looked at until each fall is known to the step.
    """
    last = max(_longest(gates) - 1, 0)
    lags, kept = retention_by_lag(gates)
    found = dict(zip(lags.tolist(), kept.mean(1).tolist(), strict=True))
    while missing := sorted(({last} | _doubtful(found)) - found.keys()):
        kept = retention_by_lag(gates, missing)[1]
        found |= dict(zip(missing, kept.mean(1).tolist(), strict=True))
    ordered = sorted(found)
    values = torch.tensor([found[lag] for lag in ordered], dtype=torch.float64)
    return Curve(torch.tensor(ordered), values)


def _longest(gates: GateTrace) -> int:
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


_APART = 2  # times as far: less may come from where the thresholds lie


def _facts(summary: MemorySummary) -> str:
    phrases = {
        "retention": "what a cell holds falls below a half after {} steps and below a hundredth after {}",
        "gradient": "the gradient does so after {} and {}",
        "score": "what the score owes to the input does so after {} and {}",
    }
    last = summary.steps - 1
    told = [
        phrases[name].format(*(f"more than {last}" if lag is None else lag for lag in lags))
        for name, lags in summary.falls.items()
    ]
    words = f"On average over the units, {'; '.join(told)}; the longest sequence has {summary.steps} steps."
    return words.replace(" 1 steps", " 1 step")


def _verdict(summary: MemorySummary) -> str:
    """Say what the distances mean together. Beyond a hundredth counts as gone, as in :func:`gradient_reach`."""
    steps, half = summary.steps, summary.steps / 2
    reach = {name: steps if lag is None else lag for name, (_, lag) in summary.falls.items()}
    kept, used = reach["retention"], reach.get("score")
    if used == 0:
        return "No step changes the score: whatever the cells keep, the model makes no use of it."
    if used is None or summary.bidirectional:  # another direction reads the same steps, too
        return _without_score(kept, reach.get("gradient"), steps)
    if used >= _APART * kept:
        return (
            f"The score depends on steps that these cells have let go of after {kept}: something else passes "
            "them on, be it the hidden state, another layer, or a head that reads more than the last step."
        )
    if used <= half:
        why = "although the cells keep them" if kept > half else "and the cells do not keep them either"
        return (
            f"The score does not depend on steps {used} or more back, {why}: either the task does not need them, "
            "or the model cannot use them; if findings say that it only guesses, it is the latter."
        )
    return "The score depends on steps from most of the sequence: nothing here says that the memory is too short."


def _without_score(kept: int, taught: int | None, steps: int) -> str:
    if kept <= steps / 2:
        gone = f"What was stored {kept} or more steps ago is gone, unless the hidden state passes it on"
    else:
        gone = (
            "More than a hundredth of what the cells hold is left over more than half of the longest sequence"
        )
    if taught is None:
        return f"{gone}."
    if taught <= steps / 2:
        return f"{gone}; steps {taught} or more back get little gradient, so what matters there is hardly learnt."
    return f"{gone}; the gradient reaches more than half of it."
