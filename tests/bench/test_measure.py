"""Wrong sides are refused; right ones run in turn, and medians and spread are those of their times."""

from __future__ import annotations

import gc
import re

import pytest
import torch

from glasslstm.bench import measure
from glasslstm.bench.findings import Refusal, reached
from glasslstm.bench.measure import Box, Pair, Side, fault, in_turn, timed

TRUTH = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)


def side(name="a", run=lambda: [TRUTH.float()], **more) -> Side:
    return Side(name, run, lambda: [TRUTH], **more)


class Clock:
    """A clock that only work and rest move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def side(self, name, durations, **more) -> Side:
        """Return a side whose runs take those seconds, over and over."""
        count = 0

        def run():
            nonlocal count
            self.log.append(name)
            self.now += durations[count % len(durations)]
            count += 1
            return [TRUTH]

        return side(name, run, **more)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measure, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(measure, "sleep", lambda seconds: clock.log.append(f"rest {seconds}"))
    return clock


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([TRUTH * (1 + 2e-4)], "result 0 differs by 2.0e-04 of its largest value"),
        ([TRUTH.flip(1)], "result 0 differs by 6.7e-01"),
        ([TRUTH / torch.tensor([1.0, 0.0, 1.0])], "result 0 differs by inf"),
        ([TRUTH * float("nan")], "result 0 differs by nan"),
        ([TRUTH[:, :2]], r"result 0 has shape \(1, 2\) in place of \(1, 3\)"),
        ([TRUTH, TRUTH], "2 results in place of 1"),
        ([], "0 results in place of 1"),
    ],
)
def test_a_wrong_side_is_refused_and_named_and_not_timed(
    results, reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "in_turn", lambda *_: pytest.fail("it was timed"))
    wrong = side("wrong", lambda: results)
    for pair in (Pair(side(), wrong), Pair(wrong, side())):
        found = timed(pair, Box())
        assert isinstance(found, Refusal)
        assert found.side == "wrong"
        assert re.match(reason, found.reason)


def test_rounding_is_no_fault_and_numpy_is_welcome() -> None:
    assert fault(side(run=lambda: [(TRUTH * (1 + 1e-5)).numpy()])) is None
    assert fault(side(run=lambda: [TRUTH[0]])) is None  # a batch of one, without its dimension


def test_sides_run_in_turn_and_a_sample_is_long_enough(clock) -> None:
    sides = [clock.side("a", [1.0]), clock.side("b", [0.25], amount=5)]
    times = in_turn(sides, Box(rounds=4, seconds=0, sample=1))
    assert times == [[1.0] * 4, [0.05] * 4]
    assert clock.log == ["a", "a", "b", "b"] + 4 * (["a"] + 4 * ["b"])  # each twice to know how long it takes


def test_where_a_side_has_its_own_threads_there_is_rest_and_an_untimed_sample(clock) -> None:
    sides = [clock.side("a", [1.0]), clock.side("b", [1.0], own_threads=True)]
    in_turn(sides, Box(rounds=3, seconds=0))
    assert clock.log[4:] == 3 * ["rest 0.015", "a", "a", "rest 0.015", "b", "b"]


@pytest.mark.parametrize(
    ("box", "rounds"),
    [
        (Box(rounds=7, seconds=0), 7),
        (Box(rounds=7, seconds=10), 10),
        (Box(rounds=7, seconds=20, at_most=9), 5),
        (Box(rounds=7, at_most=0), 3),
    ],
)
def test_there_are_enough_rounds_and_not_too_many(clock, box, rounds) -> None:
    times = in_turn([clock.side("a", [1.0]), clock.side("b", [1.0])], box)
    assert [len(own) for own in times] == [rounds, rounds]


@pytest.mark.parametrize(
    ("kind", "value", "half"), [("speed-up", 4.0, (1.0, 4.0)), ("cost", 0.25, (0.25, 1.0))]
)
def test_medians_are_compared_and_the_spread_is_that_of_neighbours(clock, kind, value, half) -> None:
    # three untimed runs: one to check, two to know how long it takes
    subject = clock.side("a", [1.0, 1.0, 1.0, 1.0, 2.0, 1.0])
    against = clock.side("b", [1.0, 1.0, 1.0, 4.0, 2.0, 4.0])
    found = timed(Pair(subject, against, kind, goal=1.0), Box(rounds=3, seconds=0))
    assert (found.subject, found.subject_value, found.against, found.against_value) == ("a", 1.0, "b", 4.0)
    assert (found.value, (found.low, found.high), found.runs) == (value, half, 3)
    assert found.as_dict()["reached"] is True


@pytest.mark.parametrize(
    ("kind", "value", "goal", "expected"),
    [
        ("speed-up", 2.0, 2.0, True),
        ("speed-up", 1.9, 2.0, False),
        ("share", 0.8, 0.85, False),
        ("cost", 1.3, 1.3, True),
        ("cost", 1.4, 1.3, False),
        ("cost", 1.4, None, None),
    ],
)
def test_a_cost_has_an_upper_bound_and_the_others_a_lower_one(kind, value, goal, expected) -> None:
    assert reached(kind, value, goal) is expected


def test_the_collector_is_off_while_timing_and_on_again_afterwards() -> None:
    states = []

    def run():
        states.append(gc.isenabled())
        return [TRUTH]

    in_turn([side(run=run), side(run=run)], Box(rounds=3, seconds=0, sample=0))
    assert gc.isenabled()
    assert states[4:] == 6 * [False]
