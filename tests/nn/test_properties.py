"""Properties that hold for every input, searched with Hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import glasslstm as gl

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

few = settings(deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
KERNELS = st.sampled_from(["auto", "torch", "plain", "equations"])


@st.composite
def problems(draw: Callable[..., Any], directions: tuple[bool, ...] = (False, True)) -> dict[str, Any]:
    """An LSTM of any shape with an input, states and lengths to go with it."""
    hidden = draw(st.integers(1, 5))
    lstm_seed, T, B = draw(st.integers(0, 9)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    torch.manual_seed(lstm_seed)
    lstm = gl.LSTM(
        draw(st.integers(1, 3)),
        hidden,
        draw(st.integers(1, 2)),
        bias=draw(st.booleans()),
        bidirectional=draw(st.sampled_from(directions)),
        proj_size=draw(st.integers(0, hidden - 1)),
        dtype=torch.float64,
    )
    count, width = lstm.num_layers * (2 if lstm.bidirectional else 1), lstm.proj_size or hidden
    x, h, c = (
        3 * torch.randn(shape, dtype=torch.float64)
        for shape in ((T, B, lstm.input_size), (count, B, width), (count, B, hidden))
    )
    lengths = draw(st.lists(st.integers(0, T), min_size=B, max_size=B))
    return {"lstm": lstm, "x": x, "hx": (h, c), "lengths": lengths, "kernel": draw(KERNELS)}


def _close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@few
@given(problems(directions=(False,)), st.data())
def test_a_sequence_in_two_parts_equals_the_whole(problem: dict[str, Any], data: Any) -> None:
    lstm, x, hx = problem["lstm"], problem["x"], problem["hx"]
    if len(x) < 2:
        return
    cut = data.draw(st.integers(1, len(x) - 1))
    with gl.use_kernel(problem["kernel"]):
        whole, states = lstm(x, hx)
        first, between = lstm(x[:cut], hx)
        second, last = lstm(x[cut:], between)
    _close((torch.cat([first, second]), last), (whole, states))


@few
@given(problems(directions=(False,)), st.data())
def test_ragged_parts_equal_the_whole_too(problem: dict[str, Any], data: Any) -> None:
    """A sequence that ends in the first part has no step in the second, and its states pass through."""
    lstm, x, hx = problem["lstm"], problem["x"], problem["hx"]
    if len(x) < 2:
        return
    cut = data.draw(st.integers(1, len(x) - 1))
    lengths = torch.tensor(problem["lengths"])
    with gl.use_kernel(problem["kernel"]):
        whole, states = lstm(x, hx, lengths=lengths)
        first, between = lstm(x[:cut], hx, lengths=lengths.clamp(max=cut))
        second, last = lstm(x[cut:], between, lengths=(lengths - cut).clamp(min=0))
    _close((torch.cat([first, second]), last), (whole, states))


@few
@given(problems(), st.data())
def test_permuting_the_batch_permutes_the_result(problem: dict[str, Any], data: Any) -> None:
    lstm, x, (h, c) = problem["lstm"], problem["x"], problem["hx"]
    order = data.draw(st.permutations(range(x.size(1))))
    lengths = problem["lengths"]
    with gl.use_kernel(problem["kernel"]):
        output, (h_n, c_n) = lstm(x, (h, c), lengths=lengths)
        found = lstm(x[:, order], (h[:, order], c[:, order]), lengths=[lengths[b] for b in order])
    _close(found, (output[:, order], (h_n[:, order], c_n[:, order])))


@few
@given(problems(), st.integers(1, 4), st.floats(allow_nan=True, allow_infinity=True, width=32))
def test_appended_padding_changes_nothing(problem: dict[str, Any], extra: int, value: float) -> None:
    lstm, x, hx, lengths = (problem[name] for name in ("lstm", "x", "hx", "lengths"))
    padding = torch.full((extra, *x.shape[1:]), value, dtype=torch.float64)
    with gl.use_kernel(problem["kernel"]):
        output, states = lstm(x, hx, lengths=lengths)
        longer, found = lstm(torch.cat([x, padding]), hx, lengths=lengths)
    _close((longer[: len(x)], found), (output, states))
    assert not longer[len(x) :].any()


@few
@given(problems())
def test_full_lengths_are_no_lengths(problem: dict[str, Any]) -> None:
    lstm, x, hx = problem["lstm"], problem["x"], problem["hx"]
    with gl.use_kernel(problem["kernel"]):
        _close(lstm(x, hx, lengths=[len(x)] * x.size(1)), lstm(x, hx))


@few
@given(problems())
def test_each_sequence_is_alone(problem: dict[str, Any]) -> None:
    """A batch gives what its sequences give one by one, unbatched and cut to their lengths."""
    lstm, x, (h, c), lengths = (problem[name] for name in ("lstm", "x", "hx", "lengths"))
    with gl.use_kernel(problem["kernel"]):
        output, (h_n, c_n) = lstm(x, (h, c), lengths=lengths)
        for b, length in enumerate(lengths):
            if length:
                _close(lstm(x[:length, b], (h[:, b], c[:, b])), (output[:length, b], (h_n[:, b], c_n[:, b])))


@few
@given(problems())
def test_batch_first_is_only_a_layout(problem: dict[str, Any]) -> None:
    lstm, x, hx, lengths = (problem[name] for name in ("lstm", "x", "hx", "lengths"))
    with gl.use_kernel(problem["kernel"]):
        output, states = lstm(x, hx, lengths=lengths)
        lstm.batch_first = True
        swapped, found = lstm(x.transpose(0, 1), hx, lengths=lengths)
    _close((swapped.transpose(0, 1), found), (output, states))


@few
@given(problems())
def test_the_reverse_direction_is_the_forward_one_on_the_reversed_sequence(problem: dict[str, Any]) -> None:
    x, hidden = problem["x"], problem["lstm"].hidden_size
    both = gl.LSTM(x.size(2), hidden, bidirectional=True, dtype=torch.float64)
    alone = gl.LSTM(x.size(2), hidden, dtype=torch.float64)
    alone.load_state_dict(
        {n.removesuffix("_reverse"): w for n, w in both.state_dict().items() if n.endswith("_reverse")}
    )
    with gl.use_kernel(problem["kernel"]):
        output, (h_n, _) = both(x)
        reversed_output, (last, _) = alone(x.flip(0))
    _close((output[..., hidden:], h_n[1]), (reversed_output.flip(0), last[0]))


@few
@given(problems(), st.sampled_from(["plain", "equations"]))
def test_every_kernel_gives_the_same_gradients(problem: dict[str, Any], other: str) -> None:
    lstm, x, hx, lengths = (problem[name] for name in ("lstm", "x", "hx", "lengths"))
    leaves = [tensor.requires_grad_() for tensor in (x, *hx)] + list(lstm.parameters())
    found: list[tuple[Tensor, ...]] = []
    for name in ("torch", other):
        with gl.use_kernel(name):
            output, (h_n, c_n) = lstm(x, hx, lengths=lengths)
        loss = output.pow(2).sum() + h_n.sin().sum() + c_n.cos().sum()
        found.append(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
    _close(*found)


@few
@given(problems())
def test_values_stay_within_their_bounds(problem: dict[str, Any]) -> None:
    """|h| < 1 without a projection, and |c| grows by less than 1 a step."""
    lstm, x, lengths = (problem[name] for name in ("lstm", "x", "lengths"))
    trace = lstm(1e3 * x, lengths=lengths, return_trace=True)[2]
    for key in trace:
        step = trace[key]
        assert step.cell.abs().max() <= len(x)
        assert all(value.isfinite().all() for value in (step.cell, step.hidden))
        if not lstm.proj_size:
            assert step.hidden.abs().max() <= 1
