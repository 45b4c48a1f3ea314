from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError, ShapeError
from glasslstm.insight.reach import (
    falls_below,
    gradient_by_lag,
    gradient_reach,
    score_by_lag,
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
