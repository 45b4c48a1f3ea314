"""Which steps a model's score rests on, by three methods side by side, with a test of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from glasslstm.errors import ArgumentError
from glasslstm.insight.attribution import (
    Deletion,
    deletion,
    integrated_gradients,
    occlusion,
    rank_agreement,
)
from glasslstm.insight.logits import LogitContributions, logit_contributions
from glasslstm.insight.probe import Baseline, Probe, Target
from glasslstm.insight.subject import of_estimator
from glasslstm.insight.watch import watch
from glasslstm.nn.trace import GateTrace, Trace

__all__ = ["METHODS", "Explanation", "MemoryScores", "explain", "memory_scores"]

METHODS = ("memory", "occlusion", "integrated_gradients")

_WAYS = {
    "last": "contributions to the logit through the final hidden states, exact for the measured gates",
    "mean": "contributions to the logit through the mean hidden state, exact for the measured gates",
    "gradient": "what each step wrote into the last layer's cells, times the score's gradient: first order",
}


def explain(
    model: Any,
    inputs: object,
    target: Target = None,
    *,
    module: str | None = None,
    methods: Sequence[str] = METHODS,
    baseline: Baseline = "mean",
    windows: int = 64,
    points: int = 32,
    k: int | None = None,
    draws: int = 10,
    seed: int = 0,
) -> Explanation:
    """Say which steps a model's score rests on, and test what is said.

    Steps are those of the input of one LSTM in the model. The model is left as it was: its mode, gradients and buffers,
    and torch's random numbers.

    Parameters
    ----------
    model, inputs, target, module, baseline
        As for :class:`~glasslstm.insight.probe.Probe`: any model with an LSTM, what it is called with, the score (a
        class, or a function of the output; default: the largest logit), the LSTM's name (default: the first that is
        called), and what a step is replaced by (default: "mean"). Or a fitted estimator of this library and its X: the
        score is then that of the report, and the channels are those of ``preparation_.input_names``, or behind
        convolutions their features.
    methods
        Of "memory" (:func:`memory_scores`), "occlusion" and "integrated_gradients"
        (:mod:`~glasslstm.insight.attribution`). Default: all three.
    windows
        At most so many runs for the occlusion. Default: 64.
    points
        Points of the integral, a forward and a backward pass each. Default: 32.
    k, draws, seed
        Of the test by deletion: steps of each sequence (default: a tenth), random draws (10) and their seed (0).

    Returns
    -------
    Explanation
        Print it for a summary.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError
        For a model without an LSTM, inputs that the model refuses, a score that is not one for each sequence, and
        methods and numbers that are not allowed.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> class Model(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.lstm, self.head = gl.LSTM(3, 4), torch.nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return self.head(self.lstm(x)[1][0][-1])
    >>> found = explain(Model(), torch.randn(8, 5, 3))
    >>> found.module, found.memory.way, sorted(found.scores)
    ('lstm', 'last', ['integrated_gradients', 'memory', 'occlusion'])
    >>> found.scores["memory"].shape
    torch.Size([8, 5])
    """
    chosen = [methods] if isinstance(methods, str) else list(methods)
    if not chosen or not set(chosen) <= set(METHODS):
        raise ArgumentError(f"methods: expected one or more of {', '.join(METHODS)}; got {chosen}")
    known = of_estimator(model, inputs)
    if known is not None:
        model, (inputs, _) = known.model, known.take(np.arange(len(known)))
        if target is None and known.explained:
            target = known.explained.score(torch.from_numpy(known.lengths))
    probe = Probe(model, inputs, target, module=module, baseline=baseline)
    scores, memory, delta, channels = {}, None, None, None
    if "memory" in chosen:
        memory = memory_scores(probe)
        scores["memory"] = memory.steps
    if "occlusion" in chosen:
        scores["occlusion"] = occlusion(probe, windows)
    if "integrated_gradients" in chosen:
        found = integrated_gradients(probe, points)
        scores["integrated_gradients"], delta, channels = found.steps, found.delta, found.values
    return Explanation(
        module=probe.name,
        score=probe.scores,
        scores=scores,
        valid=probe.valid,
        memory=memory,
        delta=delta,
        channels=channels,
        agreement=rank_agreement(scores, probe.valid),
        deletion=deletion(probe, scores, k, draws=draws, seed=seed),
    )


class MemoryScores(NamedTuple):
    """What each step put into the score through the memory of the last layer."""

    steps: Tensor
    """(T, B), both directions together; zero past a sequence's length."""
    way: Literal["last", "mean", "gradient"]
    """How they were found; see :func:`memory_scores`."""
    residual: Tensor | None
    """What the contributions to the logit do not add up to, (B,); ``None`` for "gradient"."""


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """What :func:`explain` found. Shapes: T steps that the LSTM reads, B sequences."""

    module: str
    """The name of the LSTM whose steps are scored."""
    score: Tensor
    """The score of each sequence, (B,)."""
    scores: dict[str, Tensor]
    """By method the score of each step, (T, B), zero past a sequence's length; positive holds the score up."""
    valid: Tensor
    """Where there is a step and no padding, (T, B)."""
    memory: MemoryScores | None
    """How the memory's scores were found, and what they miss; ``None`` where they were not asked for."""
    delta: Tensor | None
    """The completeness delta of the integrated gradients, (B,); ``None`` where they were not asked for."""
    channels: Tensor | None
    """The integrated gradients of each step and channel, (T, B, I); ``None`` where they were not asked for."""
    agreement: dict[tuple[str, str], Tensor]
    """For each pair of methods the rank agreement of each sequence, (B,)."""
    deletion: Deletion
    """The drops in score without the steps that each method names, and without as many at random."""

    def __repr__(self) -> str:
        T, B = self.valid.shape
        return f"Explanation(module={self.module!r}, T={T}, B={B}, methods={list(self.scores)})"

    def __str__(self) -> str:
        lines = [
            f"{self.module or 'the model'}: {self.valid.size(1)} sequences of up to {len(self.valid)} steps"
        ]
        lines += [f"{method:>22}  {_drop(self.deletion, method)}" for method in self.deletion.drops]
        lines += [
            f"rank agreement of {one} and {other}: {found.nanmean():.2f}"
            for (one, other), found in self.agreement.items()
        ]
        if self.memory is not None:
            lines.append(f"memory: {_WAYS[self.memory.way]}")
        if self.delta is not None:
            delta, score = _largest(self.delta), _largest(self.score)
            lines.append(f"integrated gradients: the largest completeness delta is {delta:.1e}")
            if delta > _TOLERATED * score:
                lines.append(
                    f"  more than {_TOLERATED:.0%} of the largest score, {score:.2g}: give more points="
                )
        return "\n".join(lines)


_TOLERATED = 0.05


def _drop(found: Deletion, method: str) -> str:
    mean, error = found.mean(method)
    return f"the score drops by {mean:.3g} (standard error {error:.2g}) without its steps"


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def memory_scores(probe: Probe) -> MemoryScores:
    """Return what each step put into the score through the memory of the LSTM's last layer.

    Where the logits come from a linear layer on the final hidden states ("last") or on their mean ("mean"), these are
    the contributions to the logit (:func:`~glasslstm.insight.logits.logit_contributions`). Whether they do is found by
    trying: the contributions have to add up to the model's own logits. Otherwise ("gradient") it is
    ``dL/dc_t * i_t * g_t`` with L the score, summed over the units: what the step wrote, times what a unit more of it
    would add to the score, through every path.

    Parameters
    ----------
    probe
        The model with its input and score.

    Raises
    ------
    ArgumentError
        For a score that has no gradient, where one is needed.
    """
    with watch(probe.model, modules=probe.name, calls=probe.calls, limit=2**62) as watcher:
        scores, leaf = probe.score_at(probe.x)
    if isinstance(probe.target, Tensor) or probe.target is None:
        exact = _through_head(probe, watcher.calls(probe.name))
        if exact is not None:
            return exact
    probe.gradient(scores, leaf)  # leaves dL/dc_t in the traces
    steps = [_written(trace) for trace in watcher.calls(probe.name)]
    return MemoryScores(torch.cat(steps), "gradient", None)


def _through_head(probe: Probe, traces: Sequence[Trace]) -> MemoryScores | None:
    """Return the contributions through the linear layer that makes the model's logits; ``None`` where none does."""
    if len(traces) > 1:
        return None
    last = traces[0].num_layers - 1
    gates = traces[0][last, 0]
    names = [f"weight_hr_l{last}{suffix}" for suffix in ("", "_reverse")[: traces[0].num_directions]]
    projection = (
        [getattr(probe.module, name) for name in names] if getattr(probe.module, "proj_size", 0) else None
    )
    width = gates.hidden.size(-1) * traces[0].num_directions
    ways: tuple[Literal["last", "mean"], ...] = ("last", "mean")
    for head in (part for part in probe.model.modules() if isinstance(part, nn.Linear)):
        if head.weight.shape != (probe.logits.size(1), width):
            continue
        for way in ways:
            parts = logit_contributions(traces[0], head.weight, head.bias, projection=projection, reads=way)
            sums = torch.atleast_2d(parts.logits - parts.residual)
            if _same(sums, probe.logits):
                return _of_target(probe, parts, way)
    return None


def _same(sums: Tensor, logits: Tensor) -> bool:
    """Whether contributions add up to logits, but for the rounding of the logits' type."""
    tolerance = torch.finfo(logits.dtype).eps ** 0.5
    return torch.allclose(sums.to(logits), logits, rtol=tolerance, atol=tolerance)


def _of_target(probe: Probe, parts: LogitContributions, way: Literal["last", "mean"]) -> MemoryScores:
    """Return the parts of the one logit of each sequence that is the score."""
    B = probe.x.size(1)
    chosen = (
        probe.target
        if isinstance(probe.target, Tensor)
        else torch.zeros(B, dtype=torch.long, device=probe.x.device)
    )
    steps, residual = parts.steps.reshape(-1, B, parts.steps.size(-1)), torch.atleast_2d(parts.residual)
    sequences = torch.arange(B, device=chosen.device)
    return MemoryScores(steps[:, sequences, chosen], way, residual[sequences, chosen])


def _written(trace: Trace) -> Tensor:
    """Return what each step wrote into the last layer's cells, times the score's gradient there, (T, B)."""
    last = [trace[trace.num_layers - 1, d] for d in range(trace.num_directions)]
    return sum((_times_gradient(gates) for gates in last), torch.zeros(()))


def _times_gradient(gates: GateTrace) -> Tensor:
    wrote = (gates.input_gate * gates.candidate).detach()
    grad = torch.zeros_like(wrote) if gates.cell_grad is None else gates.cell_grad
    steps = (wrote * grad).sum(-1)
    return steps if steps.dim() == 2 else steps.unsqueeze(1)
