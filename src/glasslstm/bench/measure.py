"""Two sides in turn in one process: their numbers are checked first, then they are timed."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from time import perf_counter, sleep
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from glasslstm.bench.findings import Finding, Kind, Refusal, Unit, compared

__all__ = ["Box", "Pair", "Run", "Side", "fault", "in_turn", "refused", "timed"]

Run: TypeAlias = Callable[[], Sequence[Any]]

_TOLERANCE = 1e-4  # float32 against float64, of the largest value
_REST = 15e-3  # seconds; torch's idle threads go on spinning for 9 ms


class Side(NamedTuple):
    """One way to get some numbers."""

    name: str
    run: Run
    truth: Callable[[], Sequence[Tensor]]
    """The same numbers in float64."""
    amount: float = 1.0
    """How many of what `unit` counts are in a run."""
    unit: Unit = "s per run"
    own_threads: bool = False
    """It has threads beside torch's, so before each sample both sides' threads are let fall asleep."""


class Pair(NamedTuple):
    """Two sides to compare, and what to reach."""

    subject: Side
    against: Side
    kind: Kind = "speed-up"
    goal: float | None = None


class Box(NamedTuple):
    """How long to measure a pair.

    There are rounds until there are `rounds` and each side has run for `seconds`; but where that takes more than
    `at_most` seconds, three rounds are enough. A sample is as many runs as take `sample` seconds.
    """

    rounds: int = 7
    seconds: float = 0.5
    at_most: float = 30.0
    sample: float = 1e-3

    def wants_more(self, times: Sequence[Sequence[float]], started: float) -> bool:
        """Tell whether there should be another round."""
        rounds = len(times[0])
        if rounds < 3:
            return True
        spent = perf_counter() - started
        return spent < self.at_most and (rounds < self.rounds or spent < self.seconds * len(times))


def timed(pair: Pair, box: Box) -> Finding | Refusal:
    """Check both sides and time them in turn."""
    refusal = refused(pair)
    if refusal:
        return refusal
    subject, against = in_turn(pair[:2], box)
    ratios = [compared(pair.kind, a, b) for a, b in zip(subject, against, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    values = statistics.median(subject), statistics.median(against)
    return Finding(
        subject=pair.subject.name,
        against=pair.against.name,
        kind=pair.kind,
        unit=pair.subject.unit,
        subject_value=values[0],
        against_value=values[1],
        value=compared(pair.kind, *values),
        low=low,
        high=high,
        runs=len(ratios),
        goal=pair.goal,
    )


def refused(pair: Pair) -> Refusal | None:
    """Return the first side of a pair whose numbers are wrong, ``None`` where both are right."""
    for side in pair[:2]:
        reason = fault(side)
        if reason:
            return Refusal(side.name, reason)
    return None


def fault(side: Side) -> str | None:
    """Say what is wrong with a side's numbers, ``None`` where nothing is."""
    results, truths = side.run(), side.truth()
    if len(results) != len(truths):
        return f"{len(results)} results in place of {len(truths)}"
    for k, (result, truth) in enumerate(zip(results, truths, strict=True)):
        value = torch.as_tensor(result).detach().double()
        if value.numel() != truth.numel():
            return f"result {k} has shape {tuple(value.shape)} in place of {tuple(truth.shape)}"
        error = (value.reshape(truth.shape) - truth).abs().max() / truth.abs().max().clamp(min=1e-6)
        if not error <= _TOLERANCE:  # NaN is wrong, too
            return f"result {k} differs by {error.item():.1e} of its largest value"
    return None


def in_turn(sides: Sequence[Side], box: Box) -> list[list[float]]:
    """Return the seconds of each side's samples, for one unit of its work; side by side in time."""
    apart = any(side.own_threads for side in sides)
    sizes = [_runs_in_a_sample(side.run, box) for side in sides]
    times: list[list[float]] = [[] for _ in sides]
    with _no_collection():
        started = perf_counter()
        while box.wants_more(times, started):
            for side, size, own in zip(sides, sizes, times, strict=True):
                if apart:
                    sleep(_REST)
                    _seconds(side.run, size)  # awake again
                own.append(_seconds(side.run, size) / side.amount)
    return times


def _runs_in_a_sample(run: Run, box: Box) -> int:
    run()
    return max(1, ceil(box.sample / max(_seconds(run, 1), 1e-7)))


def _seconds(run: Run, runs: int) -> float:
    start = perf_counter()
    for _ in range(runs):
        run()
    return (perf_counter() - start) / runs


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector out of the samples."""
    on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
