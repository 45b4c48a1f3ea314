from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError, ShapeError
from glasslstm.insight.logits import logit_contributions
from glasslstm.insight.memory import contributions
from glasslstm.nn.trace import Trace

RAGGED = [7, 0, 1, 4]


def traced(lengths=None, **options):
    torch.manual_seed(0)
    lstm = gl.LSTM(3, 5, **options, dtype=torch.float64)
    D = 2 if lstm.bidirectional else 1
    states = [torch.randn(lstm.num_layers * D, 4, width).double() for width in (lstm.proj_size or 5, 5)]
    x = 3 * torch.randn(7, 4, 3, dtype=torch.float64)
    output, (h_n, _), trace = lstm(x, states, lengths=lengths, return_trace=True)
    head = nn.Linear(D * (lstm.proj_size or 5), 2, dtype=torch.float64)
    projection = [getattr(lstm, name) for name in last_projections(lstm)] or None
    return output.detach(), h_n.detach(), trace, head.requires_grad_(False), projection


def last_projections(lstm):
    return [
        name for name, _ in lstm.named_parameters() if name.startswith(f"weight_hr_l{lstm.num_layers - 1}")
    ]


def order_of(gates, b):
    length = len(gates.cell) if gates.lengths is None else int(gates.lengths[b])
    return list(range(length))[:: -1 if gates.reverse else 1]


def telescoped(gates, weight, b):
    """gamma by hand: the steps' and the initial state's parts of W h_T, for one sequence."""
    values = {name: array[:, b] for name, array in gates.numpy().items()}
    order, steps = order_of(gates, b), np.zeros((7, len(weight)))
    total = gates.initial_cell[b].numpy(force=True).copy()
    for s in order:
        total = total * values["forget_gate"][s]
    o_T = values["output_gate"][order[-1]] if order else None
    if not order:
        return steps, None
    initial = weight @ (o_T * np.tanh(total))
    for n, t in enumerate(order):
        term = values["input_gate"][t] * values["candidate"][t]
        for s in order[n + 1 :]:
            term = term * values["forget_gate"][s]
        steps[t] = weight @ (o_T * (np.tanh(total + term) - np.tanh(total)))
        total = total + term
    return steps, initial


def rescaled(gates, weight, b):
    """The mean's parts by hand: each step's share of every c_s after it, scaled by o_s tanh(c_s) / c_s."""
    values = {name: array[:, b] for name, array in gates.numpy().items()}
    order, steps, initial = order_of(gates, b), np.zeros((7, len(weight))), np.zeros(len(weight))
    scale = {
        s: values["output_gate"][s] * np.tanh(values["cell"][s]) / values["cell"][s] / len(order)
        for s in order
    }
    for n, t in enumerate(order):
        left = values["input_gate"][t] * values["candidate"][t]
        for s in order[n:]:
            left = left if s == t else left * values["forget_gate"][s]
            steps[t] += weight @ (scale[s] * left)
    left = gates.initial_cell[b].numpy(force=True).copy()
    for s in order:
        left = left * values["forget_gate"][s]
        initial += weight @ (scale[s] * left)
    return steps, initial


@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bidirectional": True},
        {"num_layers": 2, "bidirectional": True},
        {"bidirectional": True, "proj_size": 2},
    ],
    ids=["one direction", "two directions", "two layers", "projection"],
)
class TestAgainstLoops:
    def test_a_head_on_the_final_states(self, options, lengths):
        _, h_n, trace, head, projection = traced(lengths, **options)
        D, P = trace.num_directions, trace[0, 0].hidden.size(-1)
        parts = logit_contributions(trace, head.weight, head.bias, projection=projection)
        logits = head(torch.cat([*h_n[-D:]], dim=-1))
        torch.testing.assert_close(parts.logits, logits, atol=1e-14, rtol=0)
        torch.testing.assert_close(
            parts.steps.sum(0) + parts.initial + parts.bias, logits, atol=1e-12, rtol=0
        )
        assert parts.residual.abs().max() < 1e-12
        for b in range(4):
            steps, initial = np.zeros((7, 2)), np.zeros(2)
            for d in range(D):
                gates = trace[trace.num_layers - 1, d]
                weight = head.weight[:, d * P : (d + 1) * P]
                through = weight @ projection[d] if projection else weight
                of_steps, of_initial = telescoped(gates, through.numpy(force=True), b)
                steps += of_steps
                initial += (
                    (weight @ gates.initial_hidden[b]).numpy(force=True) if of_initial is None else of_initial
                )
            np.testing.assert_allclose(parts.steps[:, b], steps, atol=1e-13)
            np.testing.assert_allclose(parts.initial[b], initial, atol=1e-13)

    def test_a_head_on_the_mean(self, options, lengths):
        output, _, trace, head, projection = traced(lengths, **options)
        D, P = trace.num_directions, trace[0, 0].hidden.size(-1)
        parts = logit_contributions(trace, head.weight, head.bias, projection=projection, reads="mean")
        counts = torch.tensor(lengths or [7] * 4).clamp(min=1)[:, None]
        logits = head(output.sum(0) / counts)
        torch.testing.assert_close(parts.logits, logits, atol=1e-14, rtol=0)
        assert parts.residual.abs().max() < 1e-12
        for b in range(4):
            found = []
            for d in range(D):
                weight = head.weight[:, d * P : (d + 1) * P]
                through = weight @ projection[d] if projection else weight
                found.append(rescaled(trace[trace.num_layers - 1, d], through.numpy(force=True), b))
            np.testing.assert_allclose(parts.steps[:, b], sum(steps for steps, _ in found), atol=1e-13)
            np.testing.assert_allclose(parts.initial[b], sum(initial for _, initial in found), atol=1e-13)


@pytest.mark.parametrize("reads", ["last", "mean"])
def test_an_unbatched_input(reads):
    lstm, head = gl.LSTM(3, 5, bidirectional=True), nn.Linear(10, 2)
    x = torch.randn(6, 3)
    alone, batch = (
        logit_contributions(lstm(value, return_trace=True)[2], head.weight, reads=reads)
        for value in (x, x[:, None])
    )
    assert alone.steps.shape == (6, 2)
    for name in ("steps", "initial", "logits", "residual"):
        torch.testing.assert_close(getattr(alone, name), getattr(batch, name).squeeze(-2), atol=1e-15, rtol=0)
    assert alone.bias.tolist() == [0, 0]
    assert alone.residual.abs().max() < 1e-6


def test_the_mean_where_a_cell_is_zero():
    """tanh(c) / c is 1 there."""
    lstm, head = gl.LSTM(1, 2), nn.Linear(2, 1)
    for weight in lstm.parameters():
        nn.init.zeros_(weight)
    trace = lstm(torch.zeros(4, 1, 1), return_trace=True)[2]
    gates = replace(
        trace[0, 0], candidate=torch.full((4, 1, 2), 0.5)
    )  # one that the cells do not have in them
    parts = logit_contributions(Trace({(0, 0): gates}), head.weight, reads="mean")
    shares = [0.5 * 0.5 * 0.5 * sum(0.5**k for k in range(4 - t)) / 4 for t in range(4)]
    expected = torch.tensor(shares).double()[:, None] * head.weight.double().sum()
    torch.testing.assert_close(parts.steps[:, 0], expected.detach(), atol=1e-15, rtol=0)
    assert parts.residual.abs().max() > 0.01


def test_the_residual_sees_a_trace_that_was_changed():
    _, _, trace, head, _ = traced()
    changed = replace(trace[0, 0], forget_gate=0.9 * trace[0, 0].forget_gate)
    assert logit_contributions(Trace({(0, 0): changed}), head.weight).residual.abs().max() > 1e-3
    assert contributions(changed).residual.abs().max() > 1e-3


def test_ten_thousand_steps_add_up():
    lstm, head = gl.LSTM(2, 3, dtype=torch.float64), nn.Linear(3, 2, dtype=torch.float64)
    with torch.no_grad():
        lstm.bias_ih_l0[3:6] = 8.0  # forget gates near 1
        trace = lstm(torch.randn(10_000, 1, 2, dtype=torch.float64), return_trace=True)[2]
    for reads in ("last", "mean"):
        parts = logit_contributions(trace, head.weight, head.bias, reads=reads)
        assert parts.residual.abs().max() < 1e-10


class TestBadInput:
    def test_messages(self):
        _, _, trace, head, projection = traced(bidirectional=True, proj_size=2)
        with pytest.raises(ArgumentTypeError, match="trace: expected a Trace of all layers, got GateTrace"):
            logit_contributions(trace[0, 0], head.weight)
        with pytest.raises(
            ShapeError, match=r"weight: expected \(K, 4\), 2 direction\(s\) of 2 .* got \(2, 3\)"
        ):
            logit_contributions(trace, torch.zeros(2, 3))
        with pytest.raises(ShapeError, match=r"weight: expected \(K, 4\)"):
            logit_contributions(trace, torch.zeros(4))
        with pytest.raises(ShapeError, match=r"bias: expected \(2,\).* got \(3,\)"):
            logit_contributions(trace, head.weight, torch.zeros(3))
        with pytest.raises(ArgumentError, match="reads: expected 'last' or 'mean', got 'max'"):
            logit_contributions(trace, head.weight, reads="max")
        with pytest.raises(
            ArgumentError, match="projection: the hidden states have 2 values and the cells 5"
        ):
            logit_contributions(trace, head.weight)
        with pytest.raises(ShapeError, match=r"projection: expected 2 of shape \(2, 5\)"):
            logit_contributions(trace, head.weight, projection=projection[:1])
