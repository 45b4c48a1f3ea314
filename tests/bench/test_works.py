"""The works that are more than pairs of times: busy cores and memory."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from glasslstm.bench import works
from glasslstm.bench.findings import Finding, Refusal
from glasslstm.bench.measure import Box, Pair, Side
from glasslstm.bench.shapes import Shape
from glasslstm.bench.works import WORKS

SHAPE = Shape(1, 1, 1, 1)


def pair_of(ours: float, theirs: float = 1.0):
    """Return the pairs of a work whose truth is 1."""

    def side(name: str, result: float) -> Side:
        return Side(name, lambda: [torch.tensor(result)], lambda: [torch.ones((), dtype=torch.float64)])

    return lambda _: iter([Pair(side("ours", ours), side("theirs", theirs))])


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put quiet times, then busy ones in place of measurements; say what was done."""
    done: list[str] = []
    times = iter([[[1.0, 1.0, 2.0], [4.0, 4.0, 4.0]], [[2.0, 3.0, 4.0], [40.0, 80.0, 120.0]]])

    @contextmanager
    def busy():
        done.append("busy")
        yield
        done.append("quiet")

    def in_turn(*_):
        done.append("timed")
        return next(times)

    monkeypatch.setattr(works, "busy_cores", busy)
    monkeypatch.setattr(works, "in_turn", in_turn)
    return done


def test_the_slow_down_of_each_side_is_its_busy_median_over_its_quiet_one(log) -> None:
    ours, theirs = works._busy(pair_of(1.0))(SHAPE, Box())
    assert log == ["timed", "busy", "timed", "quiet"]
    assert (ours.subject, ours.against, ours.kind) == ("ours, busy cores", "ours, quiet", "cost")
    assert (ours.value, ours.low, ours.high, ours.goal) == (3.0, 2.0, 4.0, 4.0)
    assert (theirs.subject, theirs.value, theirs.low, theirs.high, theirs.goal) == (
        "theirs, busy cores",
        20.0,
        10.0,
        30.0,
        None,
    )


def test_a_wrong_side_is_not_made_busy(log) -> None:
    assert [found.side for found in works._busy(pair_of(2.0))(SHAPE, Box())] == ["ours"]
    assert log == []


@pytest.mark.parametrize("time_too", [False, True])
def test_memory_is_compared_of_the_sides_that_are_right(time_too, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    peaks = Finding("ours", "theirs", "cost", "bytes", 1.0, 2.0, 0.5)
    monkeypatch.setattr(works, "compared_peaks", lambda *what: asked.append(what) or peaks)
    quick = Box(rounds=3, seconds=0, sample=0)
    *times, last = works._memory(pair_of(1.0), 0.45, time_too=time_too)(SHAPE, quick)
    assert last is peaks
    assert [found.unit for found in times] == ["s per run"] * time_too
    assert asked == [("ours", "theirs", SHAPE, 0.45)]

    (refusal,) = works._memory(pair_of(1.0, theirs=float("nan")), 0.45, time_too=time_too)(SHAPE, quick)
    assert refusal == Refusal("theirs", "result 0 differs by nan of its largest value")
    assert len(asked) == 1


def test_the_goals_of_the_means() -> None:
    assert {name: work.mean_goal for name, work in WORKS.items() if work.mean_goal} == {
        "inference": 2.0,
        "training": 1.8,
    }
