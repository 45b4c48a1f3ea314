"""float32, bfloat16, float16 and autocast: our error is at most twice torch's own, against the equations in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import glasslstm as gl
from glasslstm.ops import cpu

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

built = pytest.mark.skipif(cpu.NATIVE is None, reason="the native kernels were not compiled at installation")
FLOOR = 1e-7  # of the largest element: less is rounding in the comparison itself
OPTIONS = {
    "one layer": {},
    "two layers, both directions": {"num_layers": 2, "bidirectional": True},
    "projection": {"num_layers": 2, "proj_size": 5},
    "no bias": {"bias": False},
}


def _check_rule(ours: dict[str, Any], theirs: dict[str, Any], truth: dict[str, Any]) -> None:
    """Hold our error against torch's, as root mean squares: a maximum is a matter of luck."""
    for name, exact in truth.items():
        error, torchs = (
            (result[name].double() - exact).square().mean().sqrt().item() for result in (ours, theirs)
        )
        assert error <= 2 * torchs + FLOOR * exact.abs().max().item(), (
            f"{name}: {error:.2e}, torch {torchs:.2e}"
        )


def _inputs(dtype: torch.dtype, module: gl.LSTM) -> list[torch.Tensor]:
    D, P = 2 if module.bidirectional else 1, module.proj_size or module.hidden_size
    shapes = ((40, 6, 9), (module.num_layers * D, 6, P), (module.num_layers * D, 6, module.hidden_size))
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


def _truth(module: gl.LSTM, inputs: list[torch.Tensor], results: Callable[..., Any], **call: Any) -> Any:
    exact = gl.LSTM(
        module.input_size,
        module.hidden_size,
        module.num_layers,
        bias=module.bias,
        bidirectional=module.bidirectional,
        proj_size=module.proj_size,
        dtype=torch.float64,
    )
    exact.load_state_dict(module.state_dict())
    wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    with gl.use_kernel("equations"):
        return results(exact, wide[0], wide[1:], inputs=wide, **call)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_error_is_at_most_twice_torchs(
    kernel: str,
    dtype: torch.dtype,
    options: dict[str, Any],
    twin: Callable[..., Any],
    results: Callable[..., Any],
) -> None:
    ours, theirs = twin(9, 20, dtype=dtype, **options)
    inputs = _inputs(dtype, ours)
    found = results(ours, inputs[0], inputs[1:], inputs=inputs)
    expected = results(theirs, inputs[0], tuple(inputs[1:]), inputs=inputs)
    assert {name: value.dtype for name, value in found.items()} == dict.fromkeys(found, dtype)
    _check_rule(found, expected, _truth(ours, inputs, results))


@pytest.mark.parametrize("magnitude", [1e4, 1e-6])
@pytest.mark.parametrize("options", [{}, {"recompute": True}], ids=["", "recompute"])
def test_large_and_tiny_inputs_hold_the_same_rule(
    kernel: str, options: dict[str, Any], magnitude: float, results: Callable[..., Any]
) -> None:
    """Over several draws at once: where nearly all gates are shut, few steps make the error."""
    pooled: list[list[dict[str, torch.Tensor]]] = [[], [], []]
    for _ in range(4):
        ours, theirs = gl.LSTM(9, 20, **options), torch.nn.LSTM(9, 20)
        theirs.load_state_dict(ours.state_dict())
        x, h_0, c_0 = _inputs(torch.float32, ours)
        inputs = [(x.detach() * magnitude).requires_grad_(), h_0, c_0]
        pooled[0].append(results(ours, inputs[0], inputs[1:], inputs=inputs))
        pooled[1].append(results(theirs, inputs[0], tuple(inputs[1:]), inputs=inputs))
        pooled[2].append(_truth(ours, inputs, results))
    _check_rule(*({name: torch.stack([one[name] for one in many]) for name in many[0]} for many in pooled))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", [pytest.param("native", marks=built), "plain", "equations"])
def test_ragged_and_traced_hold_the_same_rule(
    name: str, dtype: torch.dtype, results: Callable[..., Any]
) -> None:
    lengths = [40, 3, 17, 40, 1, 29]
    ours = gl.LSTM(9, 20, dtype=dtype, num_layers=2, bidirectional=True)
    inputs = _inputs(dtype, ours)
    with gl.use_kernel("torch"):  # torch's own LSTM behind pack and in front of pad
        packed = results(ours, inputs[0], inputs[1:], inputs=inputs, lengths=lengths)
    with gl.use_kernel(name):
        found = results(ours, inputs[0], inputs[1:], inputs=inputs, lengths=lengths, return_trace=True)
    _check_rule(found, packed, _truth(ours, inputs, results, lengths=lengths))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_trace_has_the_type_of_the_output(dtype: torch.dtype) -> None:
    lstm = gl.LSTM(3, 4, 2, bidirectional=True, dtype=dtype)
    output, _, trace = lstm(torch.randn(5, 2, 3, dtype=dtype), lengths=[5, 2], return_trace=True)
    assert output.dtype == dtype
    for key in trace:
        for value in (trace[key].forget_gate, trace[key].cell, trace[key].hidden):
            assert value.dtype == dtype
    output.float().sum().backward()
    assert trace[0, 0].cell_grad is not None
    assert trace[0, 0].numpy()["cell"].dtype == "float32"


# One rule under autocast, whatever the call looks like.
CALLS: dict[str, dict[str, Any]] = {
    "padded": {},
    "ragged": {"lengths": [7, 2, 0, 5]},
    "traced": {"return_trace": True},
    "ragged, traced": {"lengths": [7, 2, 0, 5], "return_trace": True},
}


def _autocast(dtype: torch.dtype = torch.bfloat16) -> torch.autocast:
    return torch.autocast("cpu", dtype=dtype)


@pytest.mark.parametrize("name", [pytest.param("native", marks=built), "plain", "auto"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_computes_in_its_type_and_leaves_gradients_in_float32(
    call: dict[str, Any], dtype: torch.dtype, name: str
) -> None:
    lstm, x = gl.LSTM(3, 8, 2, bidirectional=True), torch.randn(7, 4, 3, requires_grad=True)
    with _autocast(dtype), gl.use_kernel(name):
        output, (h_n, c_n), *trace = lstm(x, **call)
    assert output.dtype == h_n.dtype == c_n.dtype == dtype
    assert all(part[key].cell.dtype == dtype for part in trace for key in part)
    expected, states, *_ = lstm(x, **call)
    torch.testing.assert_close(output.float(), expected, atol=0.02, rtol=0.02)
    torch.testing.assert_close((h_n.float(), c_n.float()), states, atol=0.02, rtol=0.02)
    leaves = [x, *lstm.parameters()]
    found = torch.autograd.grad(output.float().square().sum(), leaves)
    exact = torch.autograd.grad(expected.square().sum(), leaves)
    for grad, wanted in zip(found, exact, strict=True):
        assert grad.dtype == torch.float32
        torch.testing.assert_close(grad, wanted, atol=0.05 * wanted.abs().max().item(), rtol=0)


def test_autocast_gives_a_packed_sequence_the_same_type() -> None:
    lstm, x = gl.LSTM(3, 8, 2), torch.randn(7, 3, 3)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, [7, 2, 5], enforce_sorted=False)
    with _autocast():
        output, (h_n, c_n) = lstm(packed)
        ragged, states = lstm(x, lengths=[7, 2, 5])
    assert output.data.dtype == h_n.dtype == c_n.dtype == torch.bfloat16
    padded = torch.nn.utils.rnn.pad_packed_sequence(output)[0]
    torch.testing.assert_close((padded, (h_n, c_n)), (ragged, states), atol=0, rtol=0)


def test_backward_may_run_under_autocast_too() -> None:
    lstm, x = gl.LSTM(3, 8, 2), torch.randn(7, 4, 3)
    grads = []
    for scope in (True, False):
        with _autocast():
            output, _, trace = lstm(x, return_trace=True)
            loss = output.float().square().sum() + trace[0, 0].forget_gate.float().sum()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=scope):
            grads.append(torch.autograd.grad(loss, list(lstm.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("kind", ["LSTM", "LSTMCell"])
def test_autocast_takes_its_own_results_as_states(kind: str) -> None:
    """A second call with the states of the first, as in streaming: the input is float32, the states are not."""
    module, x = getattr(gl, kind)(3, 8), torch.randn(7, 4, 3)
    twin = getattr(torch.nn, kind)(3, 8)
    twin.load_state_dict(module.state_dict())

    def states(module: torch.nn.Module) -> Any:
        if kind == "LSTMCell":
            return module(x[1], module(x[0]))
        return module(x[3:], module(x[:3])[1])[1]

    with _autocast():
        expected, found = states(twin), states(module)
    # torch's cell gives float32 on the CPU and 16 bits elsewhere; ours has one rule.
    assert [state.dtype for state in found] == [torch.bfloat16] * 2
    torch.testing.assert_close(
        [state.float() for state in found], [state.float() for state in expected], atol=0.02, rtol=0.02
    )


def test_autocast_takes_a_bfloat16_input_from_the_layer_below() -> None:
    lstm, hx = gl.LSTM(3, 4), (torch.randn(1, 2, 4), torch.randn(1, 2, 4))
    with _autocast():
        output, _ = lstm(torch.randn(5, 2, 3, dtype=torch.bfloat16), hx)
    assert output.dtype == torch.bfloat16


def test_autocast_leaves_float64_alone(twin: Callable[..., Any]) -> None:
    ours, theirs = twin(3, 4, 2)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    with _autocast():
        found, expected, cell = ours(x), theirs(x), gl.LSTMCell(3, 4, dtype=torch.float64)(x[0])
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    assert cell[0].dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_the_cell_in_every_type(kernel: str, dtype: torch.dtype) -> None:
    ours, theirs = gl.LSTMCell(9, 20, dtype=dtype), torch.nn.LSTMCell(9, 20, dtype=dtype)
    theirs.load_state_dict(ours.state_dict())
    exact = torch.nn.LSTMCell(9, 20, dtype=torch.float64)
    exact.load_state_dict(ours.state_dict())
    x, h, c = (torch.randn(6, n).to(dtype) for n in (9, 20, 20))
    truth = exact(x.double(), (h.double(), c.double()))
    found, expected = ours(x, (h, c)), theirs(x, (h, c))
    names = ("h", "c")
    _check_rule(*(dict(zip(names, states, strict=True)) for states in (found, expected, truth)))
    assert found[0].dtype == found[1].dtype == dtype


@pytest.mark.parametrize("call", [{}, {"return_trace": True}], ids=["", "traced"])
@pytest.mark.parametrize("name", ["auto", "equations"])
def test_complex_weights_have_torchs_gradients(
    name: str, call: dict[str, Any], twin: Callable[..., Any], results: Callable[..., Any]
) -> None:
    """torch.nn.LSTM takes them; a backward pass without the conjugates would be wrong without a word."""
    found = []
    x = torch.randn(5, 2, 3, dtype=torch.complex128)
    for module, extra in zip(twin(3, 4, dtype=torch.complex128), (call, {}), strict=True):
        with gl.use_kernel(name):
            output, *_ = module(x, **extra)
        found.append([output, *torch.autograd.grad(output.abs().sum(), list(module.parameters()))])
    torch.testing.assert_close(*found, atol=1e-10, rtol=0)
