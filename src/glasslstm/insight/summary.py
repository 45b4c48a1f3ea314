"""What one layer remembered in one direction, gathered and put into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from torch import Tensor

from glasslstm.errors import ArgumentError
from glasslstm.insight.memory import Saturation, _check, half_life, saturation
from glasslstm.insight.reach import (
    FADED,
    Curve,
    falls_below,
    gradient_by_lag,
    longest_length,
    retention_curve,
)
from glasslstm.nn.trace import GateTrace, Trace

__all__ = ["MemorySummary", "Recorded", "summaries"]


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
        return longest_length(self.gates)

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
            "retention": retention_curve(self.gates),
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
    if _begun(summary):
        return "The loss does not read this direction where it ends, but where it has seen less: see the findings."
    if used is None or summary.bidirectional:  # another direction reads the same steps, too
        return _without_score(kept, reach.get("gradient"), steps)
    if used <= half:
        why = "although the cells keep them" if kept > half else "and the cells do not keep them either"
        return (
            f"Of up to {steps} steps the score does not depend on those {used} or more back, {why}: either the "
            f"task does not need them, or the model cannot use them."
        )
    if used >= _APART * kept:
        return (
            f"The score depends on steps that these cells have let go of after {kept}: something else passes "
            "them on, be it the hidden state, another layer, or a head that reads more than the last step."
        )
    return "The score depends on steps from most of the sequence: nothing here says that the memory is too short."


def _begun(summary: MemorySummary) -> bool:
    """Tell whether the gradient enters where this direction has only begun, and not where it ends."""
    curve = summary.curves.get("gradient")
    return curve is not None and summary.steps > 2 and float(curve.values.nan_to_num(0)[0]) < FADED


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
