from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.insight.memory import half_life, retention_by_lag, saturation
from glasslstm.insight.reach import (
    Curve,
    gradient_by_lag,
)
from glasslstm.insight.summary import MemorySummary, summaries
from glasslstm.nn.trace import GateTrace
from glasslstm.ops.values import StateGradients

NAN = math.nan


def traced(lengths=None, steps=9, batch=4, read=-1, **options):
    torch.manual_seed(0)
    lstm = gl.LSTM(3, 4, dtype=torch.float64, **options)
    output, _, trace = lstm(
        torch.randn(steps, batch, 3, dtype=torch.float64), lengths=lengths, return_trace=True
    )
    output[read].square().sum().backward()
    return trace


def constant(forget, steps=200, reverse=False, **more):
    """A trace whose forget gates are these at every step, (H,)."""
    f = torch.tensor(forget, dtype=torch.float64).expand(steps, 2, len(forget))
    return GateTrace(f, f, f, f, f, f, f[0], f[0], reverse=reverse, **more)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("forget", [[0.9], [0.45], [0.983, 0.6], [0.97, 0.2], [0.999, 0.5], [0.3, 1.0]])
def test_the_retention_falls_at_the_exact_lags(forget, reverse):
    summary = MemorySummary(constant(forget, reverse=reverse))
    curve = np.mean(np.array(forget) ** np.arange(200)[:, None], axis=1)
    expected = tuple(next((k for k in range(200) if curve[k] < share), None) for share in (0.5, 0.01))
    assert summary.falls == {"retention": expected}
    lags, values = summary.curves["retention"]
    np.testing.assert_allclose(values, curve[lags], rtol=1e-9)
    assert lags.tolist() == sorted({*lags.tolist(), 0, 199})
    assert len(lags) < 45


def test_a_summary_has_what_the_library_computes():
    gates = traced([9, 3, 0, 6])[0, 0]
    score = Curve(torch.arange(9), torch.linspace(1, 0, 9))
    summary = MemorySummary(gates, score)
    assert summary.steps == 9
    assert torch.equal(summary.half_lives, half_life(gates))
    assert torch.equal(summary.saturation["input_gate"].left, saturation(gates)["input_gate"].left)
    assert list(summary.curves) == ["retention", "gradient", "score"]
    assert torch.equal(
        summary.curves["gradient"].values,
        gradient_by_lag(gates).values,
    )
    lags, kept = summary.curves["retention"]
    torch.testing.assert_close(kept, retention_by_lag(gates, lags.tolist())[1].mean(1))
    assert summary.falls["score"] == (5, 8)


def test_summaries_have_the_names_of_layers_or_ones_own():
    trace = traced(num_layers=2)
    found = summaries(trace, score := Curve(torch.arange(1), torch.ones(1)))
    assert list(found) == ["layer 0", "layer 1"]
    assert found["layer 1"].gates is trace[1, 0]
    assert [part.score for part in found.values()] == [score] * 2
    assert not any(part.bidirectional for part in found.values())
    both = summaries(traced(bidirectional=True))
    assert list(both) == ["layer 0, forward", "layer 0, reverse"]
    assert all(part.bidirectional for part in both.values())
    again = summaries({"a": found["layer 0"], "b": trace[1, 0]})
    assert again["a"] is found["layer 0"]
    assert again["b"].score is None
    with pytest.raises(ArgumentError, match="recorded: got nothing; expected a trace, or one or more"):
        summaries({})
    with pytest.raises(ArgumentTypeError, match="gates: expected a GateTrace, got int"):
        summaries({"a": 3})


def decaying(lag, steps=100):
    """A curve that falls below a hundredth at a lag; never where that is ``None``."""
    return Curve(torch.arange(steps), (torch.arange(steps) < (steps if lag is None else lag)).double())


@pytest.mark.parametrize(
    ("forget", "score", "more", "expected"),
    [
        (0.5, 0, {}, "No step changes the score: whatever the cells keep, the model makes no use of it."),
        (
            0.5,
            51,
            {},
            "depends on steps that these cells have let go of after 7: something else passes them on",
        ),
        (0.5, None, {}, "something else passes them on"),
        (0.5, 10, {}, "not depend on those 10 or more back, and the cells do not keep them either"),
        (0.99, 10, {}, "not depend on those 10 or more back, although the cells keep them: either the task"),
        (0.95, 60, {}, "The score depends on steps from most of the sequence: nothing here says"),
        (
            0.5,
            50,
            {"bidirectional": True},
            "What was stored 7 or more steps ago is gone, unless the hidden state passes it on.",
        ),
    ],
)
def test_what_the_curves_mean_together(forget, score, more, expected):
    said = MemorySummary(constant([forget], 100), decaying(score), **more).in_words()
    assert expected in said
    assert said.count(". ") == 1


@pytest.mark.parametrize(
    ("forget", "reached", "expected"),
    [
        (0.5, None, "7 or more steps ago is gone, unless the hidden state passes it on."),
        (
            0.99,
            None,
            "More than a hundredth of what the cells hold is left over more than half of the",
        ),
        (0.99, 30, "longest sequence; steps 30 or more back get little gradient, so what matters there is"),
        (0.5, 80, "passes it on; the gradient reaches more than half of it."),
    ],
)
def test_without_a_score_the_rest_is_said(forget, reached, expected):
    gates = constant([forget], 100)
    if reached is not None:
        norms = decaying(reached).values.flip(0).view(-1, 1, 1).expand(gates.cell.shape)
        gates = constant([forget], 100, gradients=StateGradients(norms, norms))
    assert expected in MemorySummary(gates).in_words()


def test_the_distances_are_told_with_what_lies_beyond_the_sequences():
    said = MemorySummary(constant([0.999], 100), decaying(60)).in_words()
    assert said.startswith(
        "On average over the units, what a cell holds falls below a half after more than 99 steps and below a "
        "hundredth after more than 99; what the score owes to the input does so after 60 and 60; the longest "
        "sequence has 100 steps."
    )
    assert MemorySummary(constant([0.5], 1)).in_words() == (
        "No sequence has more than one step, so there is nothing to remember."
    )
    assert MemorySummary(constant([NAN], 9)).in_words().startswith("The gates have no finite numbers")
