"""`recompute=True` keeps the states alone for the backward pass: less memory, the same numbers."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import glasslstm as gl
from glasslstm.errors import ArgumentTypeError
from glasslstm.ops import cpu

built = pytest.mark.skipif(cpu.NATIVE is None, reason="the native kernels were not compiled at installation")
every_kernel = pytest.mark.parametrize("kernel", [pytest.param("native", marks=built), "plain"])
every_type = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)

OPTIONS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "both directions": {"bidirectional": True},
    "two layers, both directions": {"num_layers": 2, "bidirectional": True},
    "no bias": {"bias": False},
}
CALLS: dict[str, dict[str, Any]] = {
    "padded": {},
    "ragged": {"lengths": True},
    "traced": {"return_trace": True},
    "ragged, traced": {"lengths": True, "return_trace": True},
}


def _pair(dtype: torch.dtype = torch.float64, **options: Any) -> tuple[gl.LSTM, gl.LSTM]:
    """Return two of the same weights: one that keeps its gates, one that computes them again."""
    usual, again = (gl.LSTM(3, 17, dtype=dtype, recompute=flag, **options) for flag in (False, True))
    again.load_state_dict(usual.state_dict())
    return usual, again


def _close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    digits = 2e-6 if found["output"].dtype == torch.float32 else 1e-14
    assert list(found) == list(expected)
    for name, wanted in expected.items():
        if not name.startswith("d "):
            assert torch.equal(found[name], wanted), name
        else:
            atol = digits * wanted.abs().max().item()
            torch.testing.assert_close(found[name], wanted, atol=atol, rtol=0)


@every_kernel
@every_type
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("B", [1, 7])
def test_the_same_results_and_gradients(
    B: int,
    call: dict[str, Any],
    options: dict[str, Any],
    dtype: torch.dtype,
    kernel: str,
    results: Callable[..., Any],
) -> None:
    pair = _pair(dtype, **options)
    count = pair[0].num_layers * (2 if pair[0].bidirectional else 1)
    inputs = [torch.randn(s, dtype=dtype, requires_grad=True) for s in ((6, B, 3), *[(count, B, 17)] * 2)]
    if "lengths" in call:
        call = call | {"lengths": [4, 6, 0, 1, 6, 2, 5][:B]}
    with gl.use_kernel(kernel):
        expected, found = (results(lstm, inputs[0], inputs[1:], inputs=inputs, **call) for lstm in pair)
    _close(found, expected)


@built
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("lengths", [None, [7, 3, 0, 5]], ids=["padded", "ragged"])
def test_the_gates_come_block_by_block(
    lengths: list[int] | None, steps: int, monkeypatch: pytest.MonkeyPatch, results: Callable[..., Any]
) -> None:
    usual, again = _pair(bidirectional=True, num_layers=2)
    x = torch.randn(7, 4, 3, dtype=torch.float64, requires_grad=True)
    expected = results(usual, x, inputs=[x], lengths=lengths)
    monkeypatch.setattr(cpu, "_BLOCK_BYTES", steps * 4 * 4 * 17 * 8)
    _close(results(again, x, inputs=[x], lengths=lengths), expected)


def test_a_trace_and_its_gradients_are_the_same() -> None:
    found = []
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    for lstm in _pair(bidirectional=True):
        output, _, trace = lstm(x, lengths=[5, 0, 2], return_trace=True)
        (output.sum() + trace[0, 1].forget_gate.pow(2).sum()).backward()
        entry = trace[0, 1]
        found.append(
            [entry.forget_gate, entry.cell, entry.cell_grad, entry.hidden_grad, lstm.weight_hh_l0.grad]
        )
    torch.testing.assert_close(*found, atol=1e-14, rtol=0)


# What is kept


def _saved(lstm: gl.LSTM, x: Tensor, **call: Any) -> list[Tensor]:
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        lstm(x, **call)
    return kept


@pytest.mark.parametrize("name", [pytest.param("native", marks=built), "plain"])
@pytest.mark.parametrize("call", [{}, {"lengths": [9, 4]}], ids=["padded", "ragged"])
def test_nothing_of_the_size_of_the_gates_is_kept(name: str, call: dict[str, Any]) -> None:
    usual, again = _pair(bidirectional=True, num_layers=2)
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    weights = {weight.data_ptr() for weight in (*usual.parameters(), *again.parameters())}
    gates = 9 * 2 * 4 * 17  # of one direction
    with gl.use_kernel(name):
        for lstm, kept in ((usual, True), (again, False)):
            sizes = [t.numel() for t in _saved(lstm, x, **call) if t.data_ptr() not in weights]
            assert any(size >= gates for size in sizes) == kept, sizes


@built
def test_less_than_half_is_kept() -> None:
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    usual, again = (
        sum(t.numel() for t in {t.data_ptr(): t for t in _saved(lstm, x)}.values())
        - sum(w.numel() for w in lstm.parameters())
        for lstm in _pair()
    )
    assert again < 0.45 * usual


# As a setting


def test_it_shows_and_stays() -> None:
    _, lstm = _pair(bidirectional=True)
    assert repr(lstm) == "LSTM(3, 17, bidirectional=True, recompute=True)"
    assert "recompute" not in repr(gl.LSTM(3, 17))
    file = io.BytesIO()
    torch.save(lstm, file)
    file.seek(0)
    copies = (
        copy.deepcopy(lstm),
        copy.copy(lstm),
        pickle.loads(pickle.dumps(lstm)),
        torch.load(file, weights_only=False),
    )
    for other in copies:
        assert other.recompute is True
        assert repr(other) == repr(lstm)
    assert list(lstm.state_dict()) == list(gl.LSTM(3, 17, bidirectional=True).state_dict())


@pytest.mark.parametrize("value", [1, "yes", None, 0.5], ids=repr)
def test_it_is_true_or_false(value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="recompute: expected"):
        gl.LSTM(3, 4, recompute=value)


def test_it_may_be_switched_between_calls(results: Callable[..., Any]) -> None:
    usual, again = _pair()
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    again.recompute = False
    assert all(
        torch.equal(a, b) for a, b in zip(results(usual, x).values(), results(again, x).values(), strict=True)
    )


# Beyond one backward pass


@every_kernel
def test_double_backward(kernel: str) -> None:
    found = []
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    with gl.use_kernel(kernel):
        for lstm in _pair(bidirectional=True):
            (slope,) = torch.autograd.grad(lstm(x, lengths=[5, 2])[0].pow(2).sum(), x, create_graph=True)
            found.append(torch.autograd.grad(slope.pow(2).sum(), [x, *lstm.parameters()]))
    torch.testing.assert_close(*found, atol=1e-11, rtol=0)


@every_kernel
@pytest.mark.parametrize("call", [{}, {"lengths": [5, 2]}], ids=["padded", "ragged"])
def test_it_compiles(call: dict[str, Any], kernel: str) -> None:
    torch._dynamo.reset()
    usual, again = _pair(bidirectional=True)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    found = []
    with gl.use_kernel(kernel):
        for run in (usual, torch.compile(again, fullgraph=True, backend="aot_eager")):
            output, (_, c_n) = run(x, **call)
            leaves = [x, *(again if run is not usual else usual).parameters()]
            found.append([output, c_n, *torch.autograd.grad(output.pow(2).sum() + c_n.sum(), leaves)])
    torch.testing.assert_close(*found, atol=1e-12, rtol=0)
    torch._dynamo.reset()


def test_weights_changed_between_forward_and_backward_are_refused() -> None:
    """The gates would be computed from other weights than the output was."""
    _, lstm = _pair()
    output, _ = lstm(torch.randn(5, 2, 3, dtype=torch.float64))
    with torch.no_grad():
        lstm.weight_ih_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@every_kernel
def test_dropout_between_layers_draws_the_same(kernel: str, results: Callable[..., Any]) -> None:
    found = []
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    for lstm in _pair(num_layers=2, dropout=0.5):
        torch.manual_seed(5)
        with gl.use_kernel(kernel):
            found.append(results(lstm, x))
    _close(found[1], found[0])
