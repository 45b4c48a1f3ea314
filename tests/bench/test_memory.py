"""Memory is measured in a process of its own."""

from __future__ import annotations

import sys

import pytest

from glasslstm.bench import memory
from glasslstm.bench.memory import OURS, TORCH, compared_peaks, peak
from glasslstm.bench.shapes import Shape


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the mark cannot be reset")
def test_the_peak_is_of_the_size_of_what_a_training_keeps() -> None:
    shape = Shape(200, 32, 64, 64)
    floats = shape.T * shape.B * (4 * shape.H)  # the gates alone
    assert 4 * floats < peak(TORCH, shape) < 40 * floats


@pytest.mark.parametrize(("sizes", "goal"), [((90 << 20, 100 << 20), 1.0), ((90, 100), None)])
def test_peaks_are_compared_and_the_goal_holds_where_they_can_tell(sizes, goal, monkeypatch) -> None:
    peaks = dict(zip((OURS, TORCH), sizes, strict=True))
    monkeypatch.setattr(memory, "peak", lambda side, _: peaks[side])
    found = compared_peaks(OURS, TORCH, Shape(1, 1, 1, 1), 1.0)
    assert (found.value, found.unit, found.goal, found.low) == (0.9, "bytes", goal, None)
    assert (found.subject_value, found.against_value) == sizes
