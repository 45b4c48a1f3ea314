"""The equations: against arithmetic by hand, and their weights both ways."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glasslstm as gl
from glasslstm.ops import equations


def _gates(hidden: int, width: int, dtype: torch.dtype = torch.float64) -> gl.GateWeights:
    return gl.GateWeights(
        *(torch.randn(*((hidden, width) if k % 2 == 0 else (hidden,)), dtype=dtype) for k in range(8))
    )


def test_one_step_by_hand() -> None:
    """One unit and one input, with numbers that can be followed on paper."""
    weights = gl.GateWeights(*(torch.tensor(v) for v in ([[0.0, 1.0]], [0.0], [[0.0, 0.0]], [0.0]) * 2))
    # W_f = [0, 1], b_f = 0: f = sigmoid(x); W_i = 0: i = 1/2; W_c = [0, 1]: g = tanh(x); W_o = 0: o = 1/2
    step = equations.step(torch.tensor([[1.0]]), torch.tensor([[9.0]]), torch.tensor([[2.0]]), weights)
    sigmoid = 1 / (1 + math.exp(-1))
    assert step.forget_gate.item() == pytest.approx(sigmoid)
    assert step.input_gate.item() == 0.5
    assert step.candidate.item() == pytest.approx(math.tanh(1))
    assert step.output_gate.item() == 0.5
    assert step.cell.item() == pytest.approx(2 * sigmoid + 0.5 * math.tanh(1))
    assert step.hidden.item() == pytest.approx(0.5 * math.tanh(2 * sigmoid + 0.5 * math.tanh(1)))


@pytest.mark.parametrize(
    ("gate", "weight", "unlike"),
    [("forget_gate", "W_f", 1), ("input_gate", "W_i", 2), ("candidate", "W_c", 3), ("output_gate", "W_o", 4)],
)
def test_each_weight_belongs_to_its_gate(gate: str, weight: str, unlike: int) -> None:
    """A test that swapped gates would not pass."""
    zero = {n: torch.zeros(1, 2) if n[0] == "W" else torch.zeros(1) for n in gl.GateWeights._fields}
    weights = gl.GateWeights(
        **{**zero, weight: torch.tensor([[1.0, 2.0]]), "b_" + weight[-1]: torch.tensor([0.5])}
    )
    step = equations.step(torch.tensor([[0.1]]), torch.tensor([[0.3]]), torch.tensor([[0.0]]), weights)
    activation = math.tanh if weight == "W_c" else lambda a: 1 / (1 + math.exp(-a))
    for name in ("forget_gate", "input_gate", "candidate", "output_gate"):
        rest = 0.0 if name == "candidate" else 0.5
        wanted = activation(0.3 + 2 * 0.1 + 0.5) if name == gate else rest
        assert getattr(step, name).item() == pytest.approx(wanted), name


def test_the_projection_stands_behind_the_hidden_state() -> None:
    weights, W_hr = _gates(3, 2 + 4), torch.randn(2, 3, dtype=torch.float64)
    x, h, c = (torch.randn(5, n, dtype=torch.float64) for n in (4, 2, 3))
    projected = equations.step(x, h, c, weights, W_hr)
    plain = equations.step(x, h, c, weights)
    assert torch.equal(projected.cell, plain.cell)
    torch.testing.assert_close(projected.hidden, plain.hidden @ W_hr.T, atol=1e-14, rtol=0)


@pytest.mark.parametrize("proj_size", [0, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_the_concatenated_form_gives_torchs_sequence(proj_size: int, bias: bool) -> None:
    lstm = torch.nn.LSTM(3, 4, bias=bias, proj_size=proj_size, dtype=torch.float64)
    x = torch.randn(15, 2, 3, dtype=torch.float64)
    h, c = torch.randn(2, proj_size or 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    weights = [w for name, w in lstm.named_parameters() if "hr" not in name]
    W_hr = lstm.weight_hr_l0 if proj_size else None
    steps, h_n, c_n = equations.sequence(x, h, c, gl.concatenate_weights(*weights), W_hr)
    output, states = lstm(x, (h[None], c[None]))
    torch.testing.assert_close((steps.hidden, (h_n[None], c_n[None])), (output, states), atol=1e-12, rtol=0)


def test_a_textbook_loop_with_the_concatenated_weights_gives_the_same(numpy_lstm: Callable[..., Any]) -> None:
    """W_k [h, x] + b_k, as the books write it, in numpy, from what the conversion returns."""
    lstm = gl.LSTM(10, 20, dtype=torch.float64)
    W = {n: w.detach().numpy() for n, w in gl.concatenate_weights(*lstm.parameters())._asdict().items()}
    x = torch.randn(15, 1, 10, dtype=torch.float64)
    h, c, outputs = np.zeros(20), np.zeros(20), []
    for x_t in x[:, 0].numpy():
        hx = np.concatenate([h, x_t])
        f, i, o = (1 / (1 + np.exp(-(W["W_" + k] @ hx + W["b_" + k]))) for k in "fio")
        c = f * c + i * np.tanh(W["W_c"] @ hx + W["b_c"])
        h = o * np.tanh(c)
        outputs.append(h)
    np.testing.assert_allclose(np.stack(outputs), lstm(x)[0][:, 0].detach().numpy(), atol=1e-12, rtol=0)
    np.testing.assert_allclose(np.stack(outputs), numpy_lstm(lstm, x)["output"][:, 0], atol=1e-12, rtol=0)


def test_from_the_books_form_into_the_layer() -> None:
    """Weights written down gate by gate run in the layer, in torch's too, to 1e-12."""
    weights = _gates(4, 4 + 3)
    x, zeros = torch.randn(15, 2, 3, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64)
    steps, h_n, c_n = equations.sequence(x, zeros, zeros, weights)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    for lstm in (gl.LSTM(3, 4, dtype=torch.float64), torch.nn.LSTM(3, 4, dtype=torch.float64)):
        lstm.load_state_dict(dict(zip(names, gl.split_weights(weights), strict=True)))
        output, states = lstm(x)
        torch.testing.assert_close(output, steps.hidden, atol=1e-12, rtol=0)
        torch.testing.assert_close(states, (h_n[None], c_n[None]), atol=1e-12, rtol=0)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 5), st.integers(0, 9))
def test_there_and_back(hidden: int, inputs: int, proj_size: int, seed: int) -> None:
    torch.manual_seed(seed)
    proj_size = min(proj_size, hidden - 1)
    weights = _gates(hidden, (proj_size or hidden) + inputs)
    parts = gl.split_weights(weights, proj_size)
    assert [tuple(p.shape) for p in parts] == [
        (4 * hidden, inputs),
        (4 * hidden, proj_size or hidden),
        (4 * hidden,),
        (4 * hidden,),
    ]
    assert not parts[3].any()
    for name, back, there in zip(weights._fields, gl.concatenate_weights(*parts), weights, strict=True):
        assert torch.equal(back, there), name
    # and from torch's side: the matrices come back as they were, the two biases as their sum
    torchs = [torch.randn_like(part) for part in parts]
    weight_ih, weight_hh, bias_ih, bias_hh = gl.split_weights(gl.concatenate_weights(*torchs), proj_size)
    assert torch.equal(weight_ih, torchs[0])
    assert torch.equal(weight_hh, torchs[1])
    assert torch.equal(bias_ih + bias_hh, torchs[2] + torchs[3])


def test_rows_and_columns_stand_where_they_should() -> None:
    weight_ih, weight_hh = torch.arange(8.0).view(8, 1) + 100, torch.arange(16.0).view(8, 2)
    bias = torch.arange(8.0)
    weights = gl.concatenate_weights(weight_ih, weight_hh, bias, 10 * bias)
    for k, gate in enumerate("ifco"):  # torch's order of rows, the candidate third
        assert torch.equal(getattr(weights, "W_" + gate)[:, :2], weight_hh[2 * k : 2 * k + 2])
        assert torch.equal(getattr(weights, "W_" + gate)[:, 2:], weight_ih[2 * k : 2 * k + 2])
        assert torch.equal(getattr(weights, "b_" + gate), 11 * bias[2 * k : 2 * k + 2])
    assert not gl.concatenate_weights(weight_ih, weight_hh).b_f.any()


def test_gradients_flow_through_both_ways() -> None:
    lstm = gl.LSTM(3, 4, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    there_and_back = gl.split_weights(gl.concatenate_weights(*lstm.parameters()))
    weights = dict(zip(lstm.state_dict(), there_and_back, strict=True))
    loss = torch.func.functional_call(lstm, weights, (x,))[0].pow(2).sum()
    found = torch.autograd.grad(loss, list(lstm.parameters()))
    expected = torch.autograd.grad(lstm(x)[0].pow(2).sum(), list(lstm.parameters()))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_the_parts_own_their_memory() -> None:
    weights = _gates(2, 5)
    parts = gl.split_weights(weights)
    assert all(part.is_contiguous() for part in parts)
    before = weights.W_f.clone()
    for part in parts:
        part.fill_(7.0)
    assert torch.equal(weights.W_f, before)


def _with(**changed: torch.Tensor) -> gl.GateWeights:
    return _gates(4, 7)._replace(**changed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gl.concatenate_weights(torch.zeros(9, 3), torch.zeros(9, 2)),
            r"weight_ih \(9, 3\).*4 \* hidden_size",
        ),
        (lambda: gl.concatenate_weights(torch.zeros(8, 3), torch.zeros(12, 2)), r"weight_hh \(12, 2\)"),
        (
            lambda: gl.concatenate_weights(torch.zeros(8, 3), torch.zeros(8, 2), torch.zeros(4)),
            r"bias_ih \(4,\): expected \(8,\)",
        ),
        (
            lambda: gl.concatenate_weights(
                torch.zeros(8, 3), torch.zeros(8, 2), torch.zeros(8), torch.zeros(8, 1)
            ),
            r"bias_hh \(8, 1\): expected \(8,\)",
        ),
        (
            lambda: gl.split_weights(_with(W_i=torch.zeros(4, 6))),
            r"W_i \(4, 6\): expected \(4, 7\), to go with W_f",
        ),
        (lambda: gl.split_weights(_with(W_o=torch.zeros(3, 7))), r"W_o \(3, 7\): expected \(4, 7\)"),
        (lambda: gl.split_weights(_with(b_c=torch.zeros(5))), r"b_c \(5,\): expected \(4,\)"),
        (lambda: gl.split_weights(_gates(4, 4)), r"W_f \(4, 4\): expected more than 4 columns.*proj_size"),
        (lambda: gl.split_weights(_gates(4, 7), proj_size=7), r"expected more than 7 columns"),
        (lambda: gl.split_weights(_gates(4, 7), proj_size=-1), r"proj_size"),
    ],
)
def test_weights_that_do_not_belong_together_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((gl.errors.ShapeError, gl.errors.ArgumentError), match=message):
        call()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 0, 6]])
def test_a_sequence_is_its_steps(
    reverse: bool, lengths: list[int] | None, numpy_lstm: Callable[..., Any]
) -> None:
    lstm = gl.LSTM(3, 4, bidirectional=reverse, dtype=torch.float64)
    x, zeros = torch.randn(6, 3, 3, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    weights = gl.concatenate_weights(*lstm.all_weights[int(reverse)])
    n = None if lengths is None else torch.tensor(lengths)
    steps, h_n, c_n = equations.sequence(x, zeros, zeros, weights, lengths=n, reverse=reverse)
    expected = numpy_lstm(lstm, x, lengths=lengths)
    for name, quantity in zip("ifgoch", steps, strict=True):
        wanted = expected[0, int(reverse)][name]
        np.testing.assert_allclose(quantity.detach().numpy(), wanted, atol=1e-12, rtol=0, err_msg=name)
    for state, name in ((h_n, "h_n"), (c_n, "c_n")):
        np.testing.assert_allclose(state.detach().numpy(), expected[name][int(reverse)], atol=1e-12, rtol=0)
