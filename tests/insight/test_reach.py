from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError, ShapeError
from glasslstm.insight.memory import half_life, retention_by_lag, saturation
from glasslstm.insight.reach import (
    Curve,
    MemorySummary,
    falls_below,
    gradient_by_lag,
    gradient_reach,
    score_by_lag,
    summaries,
)
from glasslstm.nn.trace import GateTrace
from glasslstm.ops.values import StateGradients

NAN = math.nan


def gates_with(cell_grad, *, lengths=None, reverse=False, forget=None):
    """A trace with these dL/dc_t, and otherwise with gates of one half."""
    cell_grad = None if cell_grad is None else torch.tensor(cell_grad, dtype=torch.float64)
    shape = (5, 1, 1) if cell_grad is None else cell_grad.shape
    half = torch.full(shape, 0.5, dtype=torch.float64)
    states = [torch.zeros(shape[1:])] * 2
    lengths = None if lengths is None else torch.tensor(lengths)
    gradients = None if cell_grad is None else StateGradients(cell_grad, cell_grad)
    return GateTrace(*[half] * 6, *states, lengths=lengths, reverse=reverse, gradients=gradients)


def column(*norms):
    return [[[norm]] for norm in norms]


@pytest.mark.parametrize(
    ("norms", "forward", "backward"),
    [
        ((0.001, 0.009, 0.02, 0.3, 1.0), 3, 5),
        ((0.001, 0.01, 0.02, 0.3, 1.0), 4, 5),  # exactly a hundredth still counts
        ((1.0, 0.001, 0.001, 0.001, 1.0), 5, 5),  # up to the last place where it lives
        ((0.0, 0.0, -7.0, 0.0, 0.0), 3, 3),
        ((1.0, 0.0, 0.0, 0.0, 0.0), 5, 1),
        ((0.0,) * 5, 0, 0),
        ((1.0, math.nan, 0.0, 0.0, 0.0), math.nan, math.nan),
        ((1.0, math.inf, 0.0, 0.0, 0.0), math.nan, math.nan),
    ],
)
def test_the_reach_of_the_gradient(norms, forward, backward):
    for reverse, expected in ((False, forward), (True, backward)):
        found = gradient_reach(gates_with(column(*norms), reverse=reverse))
        assert found.tolist() == pytest.approx([expected], nan_ok=True)
        alone = gradient_reach(gates_with([[norm] for norm in norms], reverse=reverse))
        assert alone.item() == pytest.approx(expected, nan_ok=True)


def test_the_reach_is_counted_from_the_last_valid_step_and_by_the_norm_over_units():
    grads = torch.zeros(5, 3, 2)
    grads[:3, 0] = torch.tensor([[0.0, 0.0], [0.012, 0.012], [1.0, 1.0]])
    grads[:4, 1] = 1.0
    grads[4, 1] = 1e6  # beyond the length: padding
    ragged = {"lengths": [3, 4, 0]}
    assert gradient_reach(gates_with(grads.tolist(), **ragged)).tolist() == pytest.approx(
        [2, 4, math.nan], nan_ok=True
    )
    backward = gradient_reach(gates_with(grads.tolist(), **ragged, reverse=True))
    assert backward.tolist() == pytest.approx([3, 4, math.nan], nan_ok=True)
    grads[1, 0] = torch.tensor([0.013, 0.0])  # below a hundredth of the norm sqrt(2), above one of a unit's 1
    assert gradient_reach(gates_with(grads.tolist(), **ragged))[0] == 1


def test_without_a_gradient_there_is_no_reach():
    assert gradient_reach(gates_with(None)).isnan().tolist() == [True]


def traced(lengths=None, steps=9, batch=4, read=-1, **options):
    torch.manual_seed(0)
    lstm = gl.LSTM(3, 4, dtype=torch.float64, **options)
    output, _, trace = lstm(
        torch.randn(steps, batch, 3, dtype=torch.float64), lengths=lengths, return_trace=True
    )
    output[read].square().sum().backward()
    return trace


def by_hand(norms, lengths, reverse):
    """The mean by lag of shares of each sequence's largest, one sequence and step at a time."""
    found = [[] for _ in norms]
    for b, length in enumerate(lengths):
        own = norms[:length, b] if reverse else norms[:length, b][::-1]
        if length and own.max() > 0:
            for lag, norm in enumerate(own):
                found[lag].append(norm / own.max())
    return [np.mean(shares) if shares else NAN for shares in found]


@pytest.mark.parametrize("lengths", [[9, 3, 0, 6], [7, 3, 0, 6]], ids=["full", "short"])
@pytest.mark.parametrize("direction", [0, 1])
def test_the_gradient_by_lag_is_that_of_a_loop_by_hand(lengths, direction):
    trace = traced(lengths, read=2, bidirectional=True)
    gates = trace[0, direction]
    norms = np.linalg.norm(gates.cell_grad.numpy(), axis=-1)
    lags, values = gradient_by_lag(gates)
    assert lags.tolist() == list(range(9))
    np.testing.assert_allclose(values, by_hand(norms, lengths, bool(direction)), rtol=1e-12)
    assert values.isnan().sum() == 9 - max(lengths)


def test_a_sequence_counts_by_its_shape_and_not_by_its_size():
    grads = torch.zeros(3, 5, 1)
    grads[:, 0, 0] = torch.tensor([0.0, 1.0, 2.0])
    grads[:, 1, 0] = torch.tensor([1e-9, 0.0, -1e-9])
    grads[:, 2, 0] = torch.tensor([9.0, NAN, 9.0])  # these three have no share
    grads[:, 3, 0] = torch.tensor([9.0, math.inf, 9.0])
    gates = gates_with(grads.tolist())
    assert gradient_by_lag(gates).values.tolist() == [1, 0.25, 0.5]
    backward = gradient_by_lag(gates_with(grads.tolist(), reverse=True))
    assert backward.values.tolist() == [0.5, 0.25, 1]


def test_without_a_gradient_there_is_no_curve():
    assert gradient_by_lag(gates_with(None)).values.isnan().all()
    assert gradient_by_lag(gates_with(column(0.0, 0.0))).values.isnan().all()
    unbatched = gradient_by_lag(gates_with([[0.5], [2.0]]))
    assert unbatched.values.tolist() == [1, 0.25]
    with pytest.raises(ArgumentTypeError, match="gates: expected a GateTrace, got Trace; choose a layer"):
        gradient_by_lag(traced())


def test_the_score_by_lag_is_the_mean_change_from_each_end():
    lengths = [4, 2, 0, 3]
    valid = torch.arange(5)[:, None] < torch.tensor(lengths)
    torch.manual_seed(0)
    drops = torch.randn(5, 4)  # also in the padding, where they do not count
    expected = [
        np.mean([abs(float(drops[n - 1 - k, b])) for b, n in enumerate(lengths) if n > k]) for k in range(4)
    ]
    lags, values = score_by_lag(drops, valid)
    assert lags.tolist() == list(range(5))
    np.testing.assert_allclose(values, [*(np.array(expected) / max(expected)), NAN], rtol=1e-7)
    drops[0, 0] = NAN  # of all figures of this sequence none counts
    assert torch.equal(
        score_by_lag(drops, valid).values[:3], score_by_lag(drops[:, 1:], valid[:, 1:]).values[:3]
    )


def test_a_score_that_nothing_changes_is_zero_and_one_of_nothing_is_none():
    valid = torch.ones(3, 2, dtype=torch.bool)
    assert score_by_lag(torch.zeros(3, 2), valid).values.tolist() == [0, 0, 0]
    assert score_by_lag(torch.zeros(3, 2), ~valid).values.isnan().all()
    with pytest.raises(
        ShapeError, match=r"scores, valid: got \(3,\) and \(3, 2\); expected \(T, B\) of both"
    ):
        score_by_lag(torch.zeros(3), valid)


def test_the_score_by_lag_of_an_explanation_ends_at_the_step_that_is_read():
    torch.manual_seed(0)
    model = torch.nn.LSTM(3, 4)
    found = gl.explain(
        model, torch.randn(6, 8, 3), lambda output: output[0][3].sum(-1), methods=["occlusion"]
    )
    values = score_by_lag(found.scores["occlusion"], found.valid).values
    assert values[:2].tolist() == [0, 0]  # after the step that the score reads
    assert values[2:].gt(0).all()
    assert values.max() == 1


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ((1.0, 0.6, 0.5, 0.4), 0.5, 3),  # exactly the half is not below
        ((1.0, 0.1, 0.6, 0.4), 0.5, 3),  # from which on it stays
        ((0.1, 0.0, 1.0, 0.2), 0.5, 3),  # of the largest
        ((1.0, 0.9, 0.8, 0.7), 0.5, None),
        ((1.0, 0.4, NAN, NAN), 0.5, 1),
        ((1.0, NAN, 0.2, NAN), 0.5, 2),
        ((1.0, 0.9, NAN, NAN), 0.5, None),
        ((0.0, 0.0, 0.0, 0.0), 0.01, 0),
        ((1.0, 1.0, 0.5, 0.5), 1, 2),
    ],
)
def test_where_a_curve_falls(values, share, expected):
    assert falls_below(torch.arange(4), torch.tensor(values), share) == expected
    lag = None if expected is None else 10 * expected
    assert falls_below(10 * torch.arange(4), torch.tensor(values), share) == lag


def test_a_curve_without_numbers_and_a_share_out_of_range_are_refused():
    with pytest.raises(ArgumentError, match="values: there is no finite number in the curve"):
        falls_below(torch.arange(2), torch.tensor([NAN, NAN]), 0.5)
    for share in (0, 1.5, NAN):
        with pytest.raises(ArgumentError, match="share: expected a number above 0, at most 1; got"):
            falls_below(torch.arange(2), torch.ones(2), share)


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
            50,
            {},
            "depends on steps that these cells have let go of after 7: something else passes them on",
        ),
        (0.5, None, {}, "something else passes them on"),
        (0.5, 10, {}, "not depend on steps 10 or more back, and the cells do not keep them either"),
        (0.99, 10, {}, "not depend on steps 10 or more back, although the cells keep them: either the task"),
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
