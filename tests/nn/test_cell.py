"""LSTMCell against torch.nn.LSTMCell: numbers, gradients, parameters, refusals; and against the layer."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn, zeros

import glasslstm as gl
from glasslstm.errors import GlassLSTMError
from glasslstm.nn.trace import QUANTITIES


def _twin(*args: Any, **kwargs: Any) -> tuple[gl.LSTMCell, nn.LSTMCell]:
    kwargs = {"dtype": torch.float64, **kwargs}
    ours, theirs = gl.LSTMCell(*args, **kwargs), nn.LSTMCell(*args, **kwargs)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


CASES = list(
    product(
        (True, False), ((3, 5), (1, 1), (7, 2)), ("batch", "one", "none", "unbatched"), ("", "tuple", "list")
    )
)


@pytest.mark.parametrize("traced", [False, True], ids=["", "traced"])
@pytest.mark.parametrize(
    ("bias", "size", "layout", "states"), CASES, ids=["-".join(map(str, case)) for case in CASES]
)
def test_equals_torch(
    bias: bool, size: tuple[int, int], layout: str, states: str, traced: bool, kernel: str
) -> None:
    if traced and kernel == "torch":
        kernel_error = pytest.raises(gl.errors.KernelError, match="does not hand out its gates")
        with kernel_error:
            gl.LSTMCell(*size)(zeros(1, size[0]), return_trace=True)
        return
    ours, theirs = _twin(*size, bias=bias)
    batch = {"batch": (4,), "one": (1,), "none": (0,), "unbatched": ()}[layout]
    x, h, c = (
        torch.randn(*batch, n, dtype=torch.float64, requires_grad=True) for n in (size[0], size[1], size[1])
    )
    hx = {"": None, "tuple": (h, c), "list": [h, c]}[states]
    found = ours(x, hx, return_trace=True)[0] if traced else ours(x, hx)
    expected = theirs(x, None if hx is None else tuple(hx))
    assert type(found) is tuple
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    leaves = [x, h, c] if hx else [x]
    grads = []
    for module, (h_1, c_1) in ((ours, found), (theirs, expected)):
        loss = (h_1 * torch.arange(h_1.size(-1))).sum() + c_1.pow(2).sum()
        grads.append(torch.autograd.grad(loss, [*leaves, *module.parameters()]))
    torch.testing.assert_close(*grads, atol=1e-10, rtol=0)


def test_many_steps_equal_the_layer_and_its_trace(kernel: str) -> None:
    lstm, cell = gl.LSTM(3, 4, dtype=torch.float64), gl.LSTMCell(3, 4, dtype=torch.float64)
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in lstm.state_dict().items()})
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    states, steps = None, []
    for x_t in x:
        states = cell(x_t, states)
        steps.append(states)
    h, c = (torch.stack(part) for part in zip(*steps, strict=True))
    output, (h_n, c_n) = lstm(x)
    torch.testing.assert_close((h, h[-1:], c[-1:]), (output, h_n, c_n), atol=1e-12, rtol=0)
    if kernel == "torch":
        return
    trace, states = lstm(x, return_trace=True)[2][0, 0], None
    for t, x_t in enumerate(x):
        states, gates = cell(x_t, states, return_trace=True)
        for name in QUANTITIES:
            torch.testing.assert_close(getattr(gates, name), getattr(trace, name)[t], atol=1e-12, rtol=0)
        assert gates.cell is states[1]
        assert gates.hidden is states[0]


def test_unbatched_gates_have_the_shape_of_h() -> None:
    (h, c), gates = gl.LSTMCell(3, 4)(torch.randn(3), return_trace=True)
    assert h.shape == c.shape == (4,)
    assert {getattr(gates, name).shape for name in QUANTITIES} == {(4,)}
    assert gates.cell_grad is None


def test_states_of_any_strides(kernel: str) -> None:
    ours, theirs = _twin(3, 4)
    x = torch.randn(3, 5, dtype=torch.float64).t()
    h, c = torch.randn(4, 5, dtype=torch.float64).t(), torch.randn(5, 8, dtype=torch.float64)[:, ::2]
    torch.testing.assert_close(ours(x, (h, c)), theirs(x, (h, c)), atol=1e-12, rtol=0)
    one = torch.randn(6, dtype=torch.float64)[::2], torch.randn(8, dtype=torch.float64)[::2]
    torch.testing.assert_close(
        ours(one[0], (one[1], one[1])), theirs(one[0], (one[1], one[1])), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("bias", [True, False])
def test_parameters_are_torchs(bias: bool) -> None:
    modules = []
    for kind in (gl.LSTMCell, nn.LSTMCell):
        torch.manual_seed(4)
        modules.append(kind(5, 7, bias=bias))
    ours, theirs = modules
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert repr(ours) == repr(theirs)
    assert (ours.bias_ih is None) == (theirs.bias_ih is None) == (not bias)
    for name in ("input_size", "hidden_size", "bias"):
        assert getattr(ours, name) == getattr(theirs, name)
    for module in modules:
        torch.manual_seed(5)
        module.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    ours.load_state_dict(nn.LSTMCell(5, 7, bias=bias).state_dict(), strict=True)
    with pytest.raises(RuntimeError, match="size mismatch"):
        ours.load_state_dict(nn.LSTMCell(6, 7, bias=bias).state_dict())


def test_copies_and_changed_weights(kernel: str) -> None:
    cell, x = gl.LSTMCell(3, 4), torch.randn(2, 3)
    before = cell(x)[0]
    for other in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert torch.equal(other(x)[0], before)
    cell.weight_ih.data.mul_(-2)
    assert not torch.allclose(cell(x)[0], before)
    fresh = gl.LSTMCell(3, 4)
    fresh.load_state_dict(cell.state_dict())
    assert torch.equal(cell(x)[0], fresh(x)[0])


def _call(*arguments: Any) -> Callable[[Any], Any]:
    return lambda namespace: namespace.LSTMCell(3, 4)(*arguments)


two = (zeros(2, 4), zeros(2, 4))
BAD: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "input of no dimension": (_call(zeros(())), ValueError, r"input: expected 2 .* or 1 .*got 0"),
    "input of three": (_call(zeros(1, 2, 3)), ValueError, r"got 3, shape \(1, 2, 3\)"),
    "channels": (_call(zeros(2, 5)), RuntimeError, r"input \(2, 5\): expected input_size=3 .*got 5"),
    "h of another width": (
        _call(zeros(2, 3), (zeros(2, 5), zeros(2, 4))),
        RuntimeError,
        r"hx: expected h of size \(2, 4\), got \(2, 5\)",
    ),
    "c of another width": (
        _call(zeros(2, 3), (zeros(2, 4), zeros(2, 5))),
        RuntimeError,
        r"hx: expected c of size \(2, 4\), got \(2, 5\)",
    ),
    "another batch": (
        _call(zeros(2, 3), (zeros(3, 4), zeros(3, 4))),
        RuntimeError,
        r"hx: expected h of size \(2, 4\), got \(3, 4\)",
    ),
    "states without a batch": (
        _call(zeros(2, 3), (zeros(4), zeros(4))),
        RuntimeError,
        r"hx: expected h with 2 dimensions, \(2, 4\), .*input of 2 dimensions; got 1, \(4,\)",
    ),
    "states with a batch, input without": (
        _call(zeros(3), (zeros(1, 4), zeros(1, 4))),
        RuntimeError,
        r"hx: expected h with 1 dimensions?, \(4,\), .*input of 1 dimensions?; got 2, \(1, 4\)",
    ),
    "states of three dimensions": (
        _call(zeros(2, 3), (zeros(1, 2, 4), zeros(1, 2, 4))),
        ValueError,
        r"hx: expected h .*got 3",
    ),
    "hidden_size": (
        lambda n: n.LSTMCell(3, 4.0),
        TypeError,
        r"hidden_size: expected an int, got 4.0 \(float\)",
    ),
    "input_size": (lambda n: n.LSTMCell("3", 4), TypeError, r"input_size: expected an int, got '3' \(str\)"),
}


@pytest.mark.parametrize(("call", "kind", "message"), BAD.values(), ids=BAD)
def test_bad_calls_are_refused_as_torch_does(
    call: Callable[[Any], Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as theirs:
        call(nn)
    assert type(theirs.value) is kind
    with pytest.raises(kind, match=message) as ours:
        call(gl)
    assert isinstance(ours.value, GlassLSTMError)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda n: n.LSTMCell(0, 4), ValueError, "input_size: expected 1 or more, got 0"),
        (lambda n: n.LSTMCell(3, -4), ValueError, "hidden_size: expected 1 or more, got -4"),
        (lambda n: n.LSTMCell(3, 4, bias=1), TypeError, "bias: expected True or False, got 1"),
        (_call(zeros(2, 3), zeros(2, 4)), TypeError, "expected a tuple or list of two tensors"),
        (_call(zeros(2, 3), (zeros(2, 4),)), ValueError, "expected two tensors.*got 1"),
        (_call([1.0, 2.0, 3.0]), TypeError, "input: expected a torch.Tensor, got list"),
        (_call(zeros(2, 3).double()), ValueError, r"torch.float64 differs from the weights' torch.float32"),
        (
            _call(zeros(2, 3), (zeros(2, 4).double(), two[1])),
            RuntimeError,
            "hx: h is torch.float64 and the input",
        ),
        (
            _call(zeros(2, 3), tuple(s.to("meta") for s in two)),
            RuntimeError,
            "hx: h: is on meta, expected cpu",
        ),
    ],
)
def test_bad_calls_with_our_own_words(
    call: Callable[[Any], Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        call(gl)
    assert isinstance(caught.value, GlassLSTMError)
