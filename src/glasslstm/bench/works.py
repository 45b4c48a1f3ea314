"""What is measured, by name: how, on which shapes, and which geometric mean to reach."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from glasslstm.bench import pairs
from glasslstm.bench.busy import busy_cores
from glasslstm.bench.findings import Finding, Refusal, compared
from glasslstm.bench.fit import fit
from glasslstm.bench.measure import Box, in_turn, refused, timed
from glasslstm.bench.memory import compared_peaks
from glasslstm.bench.shapes import FIT, GRID, PEAK, RAGGED, SCALING, STEP, Shape
from glasslstm.errors import ArgumentError

__all__ = ["WORKS", "Work", "parse_works"]

_BUSY_SAMPLE = 0.1  # seconds; many turns of the scheduler, or a side's time depends on where in one it began

Findings: TypeAlias = Iterator[Finding | Refusal]


class Work(NamedTuple):
    """Something to measure."""

    words: str
    shapes: tuple[Shape, ...]
    """Its own, for which the goals are set."""
    findings: Callable[[Shape, Box], Findings]
    mean_goal: float | None = None
    """For the geometric mean of the speed-ups over torch.nn.LSTM on all of `shapes`."""


def parse_works(text: str) -> tuple[str, ...]:
    """Return the works that `text` names, with commas between; ``gates`` is all that begins with ``gates-``.

    Raises
    ------
    ArgumentError
        For a word that names none.

    Examples
    --------
    >>> parse_works("training, gates")
    ('training', 'gates-inference', 'gates-training')
    """
    found = [name for word in text.split(",") for name in _named(word.strip())]
    return tuple(dict.fromkeys(found))


def _named(word: str) -> list[str]:
    if word == "all":
        return list(WORKS)
    found = [name for name in WORKS if word in (name, name.partition("-")[0])]
    if not found:
        raise ArgumentError(
            f"{word!r} is no work; expected all, {', '.join(WORKS)}, or what stands before a hyphen"
        )
    return found


def _in_pairs(sides: pairs.Pairs) -> Callable[[Shape, Box], Findings]:
    """Time each pair."""

    def findings(shape: Shape, box: Box) -> Findings:
        for pair in sides(shape):
            yield timed(pair, box)

    return findings


def _busy(sides: pairs.Pairs) -> Callable[[Shape, Box], Findings]:
    """Time ours and torch's on a quiet machine and on a busy one: the slow-down of each."""

    def findings(shape: Shape, box: Box) -> Findings:
        pair = next(sides(shape))
        refusal = refused(pair)
        if refusal:
            yield refusal
            return
        quiet = in_turn(pair[:2], box)
        with busy_cores():
            busy = in_turn(pair[:2], box._replace(sample=_BUSY_SAMPLE))
        for side, before, after, goal in zip(pair[:2], quiet, busy, (4.0, None), strict=True):
            yield _slowdown(side.name, before, after, goal)

    return findings


def _slowdown(name: str, quiet: list[float], busy: list[float], goal: float | None) -> Finding:
    calm = statistics.median(quiet)
    low, middle, high = statistics.quantiles(busy, n=4)
    return Finding(
        subject=f"{name}, busy cores",
        against=f"{name}, quiet",
        kind="cost",
        unit="s per run",
        subject_value=middle,
        against_value=calm,
        value=compared("cost", middle, calm),
        low=low / calm,
        high=high / calm,
        runs=len(busy),
        goal=goal,
    )


def _memory(sides: pairs.Pairs, goal: float, *, time_too: bool = False) -> Callable[[Shape, Box], Findings]:
    """Compare the peaks of a pair of training sides, and on request the times."""

    def findings(shape: Shape, box: Box) -> Findings:
        pair = next(sides(shape))
        found = timed(pair, box) if time_too else refused(pair)
        if found:
            yield found
        if not isinstance(found, Refusal):
            yield compared_peaks(pair.subject.name, pair.against.name, shape, goal)

    return findings


WORKS = {
    "inference": Work("the output, without gradients", GRID, _in_pairs(pairs.inference), 2.0),
    "training": Work(
        "the gradients of weights and input: forward and backward", GRID, _in_pairs(pairs.training), 1.8
    ),
    "ragged-inference": Work(
        "lengths uniform from T/5 to T; torch packs", RAGGED, _in_pairs(pairs.ragged_inference)
    ),
    "ragged-training": Work("the same, forward and backward", RAGGED, _in_pairs(pairs.ragged_training)),
    "fit": Work("a classifier's fit on ragged series, against a plain loop of torch", FIT, _in_pairs(fit)),
    "step": Work("step by step, the state handed on", STEP, _in_pairs(pairs.step)),
    "gates-inference": Work(
        "every gate at every step kept, without gradients", GRID, _in_pairs(pairs.gates_inference)
    ),
    "gates-training": Work("the same, forward and backward", GRID, _in_pairs(pairs.gates_training)),
    "watch-inference": Work(
        "every LSTM of a model watched, without gradients", GRID, _in_pairs(pairs.watch_inference)
    ),
    "watch-training": Work("the same, forward and backward", GRID, _in_pairs(pairs.watch_training)),
    "recompute": Work(
        "training with less memory: what it costs in time, and what memory it leaves",
        GRID,
        _memory(pairs.recompute, 0.45, time_too=True),
    ),
    "memory": Work(
        "the peak of training steps, each side in a process of its own", GRID, _memory(pairs.training, 1.0)
    ),
    "scaling-inference": Work(
        "the time for a step and a sequence as T and as B grow",
        SCALING,
        _in_pairs(pairs.per_step(pairs.inference)),
    ),
    "scaling-training": Work(
        "the same, forward and backward", SCALING, _in_pairs(pairs.per_step(pairs.training))
    ),
    "busy-inference": Work(
        "the slow-down while another process is busy on every core", GRID, _busy(pairs.inference)
    ),
    "busy-training": Work("the same, forward and backward", GRID, _busy(pairs.training)),
    "peak-inference": Work(
        "the share of the machine's best matrix product",
        PEAK,
        _in_pairs(pairs.peak_share(pairs.inference, 1, 0.85)),
    ),
    "peak-training": Work(
        "the same, forward and backward", PEAK, _in_pairs(pairs.peak_share(pairs.training, 3, 0.75))
    ),
}
"""Every work by name, in the order of measurement."""
