"""Autograd beyond one backward pass: double backward, torch.func, forward mode, and per-sample gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap

import glasslstm as gl
from glasslstm.ops import cpu
from glasslstm.ops.dispatch import KERNELS

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    # torch's own forward-mode formulas are scripted when they are first used
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),
]

OPTIONS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "both directions": {"bidirectional": True},
    "projection": {"proj_size": 2},
    "two layers, no bias": {"num_layers": 2, "bias": False},
}
CALLS: dict[str, dict[str, Any]] = {
    "padded": {},
    "ragged": {"lengths": [3, 0, 2]},
    "traced": {"return_trace": True},
    "ragged, traced": {"lengths": [1, 3, 0], "return_trace": True},
}
# Every kernel with every call, but for the one pair that cannot be: test_dispatch.py asserts that it is refused.
WAYS = {
    f"{kernel}, {name}": (kernel, call)
    for kernel, (name, call) in product(KERNELS, CALLS.items())
    if kernel != "torch" or "return_trace" not in call
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
every_way = pytest.mark.parametrize(("name", "call"), WAYS.values(), ids=WAYS)


def _function(lstm: gl.LSTM, **call: Any) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """Return a function of input, states and weights that gives all there is, and its arguments."""
    names = [name for name, _ in lstm.named_parameters()]
    count, width = lstm.num_layers * (2 if lstm.bidirectional else 1), lstm.proj_size or lstm.hidden_size

    def function(x: Tensor, h_0: Tensor, c_0: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        found = functional_call(lstm, dict(zip(names, weights, strict=True)), (x, (h_0, c_0)), call)
        output, (h_n, c_n), *trace = found
        gates = [
            t for part in trace for k in part for t in (part[k].forget_gate, part[k].cell, part[k].candidate)
        ]
        return output, h_n, c_n, *gates

    shapes = ((3, 3, 2), (count, 3, width), (count, 3, lstm.hidden_size))
    draw = {"dtype": torch.float64, "requires_grad": True}
    arguments = [torch.randn(shape, **draw) for shape in shapes]
    arguments += [w.detach().clone().requires_grad_() for w in lstm.parameters()]
    return function, tuple(arguments)


@every_option
@every_way
def test_gradcheck(options: dict[str, Any], name: str, call: dict[str, Any]) -> None:
    function, arguments = _function(gl.LSTM(2, 3, dtype=torch.float64, **options), **call)
    with gl.use_kernel(name):
        assert torch.autograd.gradcheck(function, arguments, fast_mode=True)


@every_option
@every_way
def test_gradgradcheck(options: dict[str, Any], name: str, call: dict[str, Any]) -> None:
    function, arguments = _function(gl.LSTM(2, 3, dtype=torch.float64, **options), **call)
    with gl.use_kernel(name):
        assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)


def test_gradcheck_in_full_once(kernel: str) -> None:
    """The fast mode projects at random; here is the whole Jacobian of a small one, ragged, both directions."""
    lstm = gl.LSTM(1, 2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(3, 2, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: lstm(x, lengths=[3, 1])[0], x)
    assert torch.autograd.gradgradcheck(lambda x: lstm(x, lengths=[3, 1])[0], x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_double_backward_equals_torchs(kernel: str, dtype: torch.dtype, twin: Callable[..., Any]) -> None:
    """A gradient penalty, as in WGAN-GP (the loss depends on the gradient of the input)."""
    found = []
    x = torch.randn(5, 2, 3, dtype=dtype, requires_grad=True)
    for module in twin(3, 4, 2, bidirectional=True, dtype=dtype):
        output, (h_n, c_n) = module(x)
        (slope,) = torch.autograd.grad((output.sum() + (h_n * c_n).sum()), x, create_graph=True)
        found.append(
            torch.autograd.grad(
                ((slope.norm(dim=2) - 1) ** 2).sum(), list(module.parameters()), allow_unused=True
            )
        )
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def test_a_third_derivative(kernel: str, twin: Callable[..., Any]) -> None:
    values = []
    for module in twin(2, 3):
        x = torch.full((3, 1, 2), 0.3, dtype=torch.float64, requires_grad=True)
        value = module(x)[0].sum()
        for _ in range(3):
            (slope,) = torch.autograd.grad(value, x, create_graph=True)
            value = slope.pow(2).sum()
        values.append(value.item())
    assert values[0] == pytest.approx(values[1], rel=1e-9)


@pytest.mark.parametrize(
    ("proj_size", "wanted"),
    [*product((0, 2), ("input", "h_0", "c_0", "weight_hh_l0")), (2, "weight_hr_l0")],
)
def test_double_backward_where_not_everything_depends_on_what_is_wanted(
    proj_size: int, wanted: str, kernel: str
) -> None:
    """With one step the gates do not depend on c_0, nor c_n on the projection: no error, only no gradient."""
    lstm = gl.LSTM(2, 3, proj_size=proj_size, dtype=torch.float64).requires_grad_(False)
    leaves = {
        name: torch.randn(s, dtype=torch.float64)
        for name, s in (("input", (1, 2, 2)), ("h_0", (1, 2, proj_size or 3)), ("c_0", (1, 2, 3)))
    }
    leaf = (leaves | dict(lstm.named_parameters()))[wanted].requires_grad_()
    call = {} if kernel == "torch" else {"return_trace": True}
    output, (h_n, c_n), *trace = lstm(leaves["input"], (leaves["h_0"], leaves["c_0"]), **call)
    loss = output.pow(2).sum() + h_n.sum() + c_n.pow(2).sum()
    loss = loss + sum(part[0, 0].forget_gate.pow(2).sum() for part in trace)
    (first,) = torch.autograd.grad(loss, leaf, create_graph=True)
    (again,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(first, again, atol=1e-12, rtol=0)


def test_a_node_above_may_have_no_gradient_to_send(kernel: str) -> None:
    class Stop(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, tensor: Tensor) -> Tensor:
            return tensor.clone()

        @staticmethod
        def backward(*_: Any) -> None:
            return None

    lstm, x = gl.LSTM(2, 3), torch.randn(4, 1, 2, requires_grad=True)
    for create_graph in (False, True):
        loss = Stop.apply(lstm(x)[0]).sum() + x.sum()
        (found,) = torch.autograd.grad(loss, x, create_graph=create_graph)
        assert torch.equal(found, torch.ones_like(x))


def test_an_input_that_is_computed_from_another_one(kernel: str, twin: Callable[..., Any]) -> None:
    """Arguments that hang together: h_0 from x, and a weight from a weight."""
    found = []
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    for module in twin(3, 3):
        weights = dict(module.named_parameters())
        weights["weight_hh_l0"] = weights["weight_ih_l0"] * 2
        states = x[:1] * 1, x[1:2].tanh()
        output, _ = functional_call(module, weights, (x, states))
        (slope,) = torch.autograd.grad(output.pow(2).sum(), x, create_graph=True)
        found.append([slope, *torch.autograd.grad(slope.pow(2).sum(), [x, module.weight_ih_l0])])
    torch.testing.assert_close(*found, atol=1e-10, rtol=0)


# torch.func goes to the equations by itself; "auto" is what a user has.


def _lstm(**options: Any) -> gl.LSTM:
    return gl.LSTM(3, 4, 2, bidirectional=True, dtype=torch.float64, **options)


@pytest.mark.parametrize("call", [{}, {"lengths": [5, 2]}], ids=["padded", "ragged"])
@pytest.mark.parametrize("options", [{}, {"proj_size": 2}, {"batch_first": True}], ids=str)
def test_jvp_equals_the_jacobian_times_the_tangent(options: dict[str, Any], call: dict[str, Any]) -> None:
    lstm = _lstm(**options)
    shape = (2, 5, 3) if lstm.batch_first else (5, 2, 3)
    x, tangent = torch.randn(2, *shape, dtype=torch.float64)
    value, found = jvp(lambda x: lstm(x, **call)[0], (x,), (tangent,))
    torch.testing.assert_close(value, lstm(x, **call)[0], atol=1e-12, rtol=0)
    jacobian = torch.autograd.functional.jacobian(lambda x: lstm(x, **call)[0], x)
    torch.testing.assert_close(found, torch.einsum("abcxyz,xyz->abc", jacobian, tangent), atol=1e-10, rtol=0)


def test_jvp_in_float32_which_torch_has_not() -> None:
    lstm, x = gl.LSTM(3, 4), torch.randn(5, 2, 3)
    twin = torch.nn.LSTM(3, 4)
    with pytest.raises(NotImplementedError):
        jvp(lambda x: twin(x)[0], (x,), (x,))
    _, found = jvp(lambda x: lstm(x)[0], (x,), (x,))
    step = 1e-2
    expected = (lstm(x * (1 + step))[0] - lstm(x * (1 - step))[0]) / (2 * step)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_jvp_of_the_trace_and_of_the_weights() -> None:
    lstm, x = _lstm(), torch.randn(5, 2, 3, dtype=torch.float64)
    weights = {name: w.detach() for name, w in lstm.named_parameters()}
    tangents = {name: torch.randn_like(w) for name, w in weights.items()}

    def cell(weights: dict[str, Tensor]) -> Tensor:
        return functional_call(lstm, weights, (x,), {"lengths": [5, 2], "return_trace": True})[2][1, 1].cell

    _, found = jvp(cell, (weights,), (tangents,))
    step = 1e-6
    up, down = ({n: w + s * tangents[n] for n, w in weights.items()} for s in (step, -step))
    torch.testing.assert_close(found, (cell(up) - cell(down)) / (2 * step), atol=1e-7, rtol=0)


def test_dual_numbers() -> None:
    lstm, (x, tangent) = _lstm(), torch.randn(2, 5, 2, 3, dtype=torch.float64)
    with forward_ad.dual_level():
        output, (h_n, _) = lstm(forward_ad.make_dual(x, tangent))
        found = forward_ad.unpack_dual(output).tangent
        assert forward_ad.unpack_dual(h_n).tangent is not None
    torch.testing.assert_close(found, jvp(lambda x: lstm(x)[0], (x,), (tangent,))[1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("in_dim", [0, 1, 2])
def test_vmap_over_the_input(in_dim: int) -> None:
    lstm = _lstm()
    x = torch.randn(4, 5, 2, 3, dtype=torch.float64)
    found = vmap(lambda x: lstm(x)[0], in_dims=in_dim)(x.movedim(0, in_dim))
    torch.testing.assert_close(found, torch.stack([lstm(one)[0] for one in x]), atol=1e-12, rtol=0)


def test_vmap_with_lengths_states_and_trace() -> None:
    lstm, lengths = _lstm(), torch.tensor([5, 0])
    x = torch.randn(3, 5, 2, 3, dtype=torch.float64)
    hx = torch.randn(2, 3, 4, 2, 4, dtype=torch.float64)

    def run(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        output, states, trace = lstm(x, (h, c), lengths=lengths, return_trace=True)
        return output, *states, trace[1, 1].cell

    expected = [
        torch.stack(parts) for parts in zip(*(run(*one) for one in zip(x, *hx, strict=True)), strict=True)
    ]
    torch.testing.assert_close(list(vmap(run)(x, *hx)), expected, atol=1e-12, rtol=0)


def test_vmap_over_the_lengths_too() -> None:
    lstm, lengths = _lstm(), torch.tensor([[5, 0], [2, 3]])
    x = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    found = vmap(lambda x, n: lstm(x, lengths=n)[0])(x, lengths)
    expected = torch.stack([lstm(a, lengths=n)[0] for a, n in zip(x, lengths, strict=True)])
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("layout", ["unbatched", "batch of one"])
def test_per_sample_gradients(layout: str) -> None:
    lstm = _lstm()
    weights = {name: w.detach() for name, w in lstm.named_parameters()}
    x = torch.randn(5, 3, 3, dtype=torch.float64)

    def loss(weights: dict[str, Tensor], one: Tensor) -> Tensor:
        one = one if layout == "unbatched" else one.unsqueeze(1)
        return functional_call(lstm, weights, (one,))[0].pow(2).sum()

    found = vmap(grad(loss), in_dims=(None, 1))(weights, x)
    for b in range(3):
        expected = torch.autograd.grad(lstm(x[:, b : b + 1])[0].pow(2).sum(), list(lstm.parameters()))
        for name, wanted in zip(weights, expected, strict=True):
            torch.testing.assert_close(found[name][b], wanted, atol=1e-10, rtol=0)


def test_an_ensemble_of_modules() -> None:
    modules = [gl.LSTM(3, 4, proj_size=2, dtype=torch.float64) for _ in range(3)]
    weights, buffers = stack_module_state(modules)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    base = copy.deepcopy(modules[0])
    found = vmap(lambda w, b: functional_call(base, (w, b), (x,))[0])(weights, buffers)
    torch.testing.assert_close(found, torch.stack([m(x)[0] for m in modules]), atol=1e-12, rtol=0)
    found.sum().backward()
    assert all(w.grad is not None for w in weights.values())


def test_jacobians_and_hessians_agree() -> None:
    lstm = gl.LSTM(2, 3, dtype=torch.float64)
    x = torch.randn(3, 1, 2, dtype=torch.float64)

    def run(x: Tensor) -> Tensor:
        return lstm(x, lengths=[2])[0].pow(2).sum()

    torch.testing.assert_close(jacfwd(run)(x), jacrev(run)(x), atol=1e-12, rtol=0)
    slow = torch.autograd.functional.hessian(run, x)
    torch.testing.assert_close(hessian(run)(x), slow, atol=1e-10, rtol=0)
    value, pull = vjp(run, x)
    torch.testing.assert_close(pull(torch.ones_like(value))[0], jacrev(run)(x), atol=1e-12, rtol=0)


@pytest.mark.filterwarnings(
    "ignore:There is a performance drop because we have not yet implemented the batching"
)
def test_many_backward_passes_at_once(kernel: str) -> None:
    """torch.autograd.grad(is_grads_batched=True) runs vmap over the backward pass alone."""
    lstm, x = _lstm(), torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    output = lstm(x, lengths=[3, 1])[0].sum(dim=(1, 2))
    found = torch.autograd.grad(
        output, x, torch.eye(3, dtype=torch.float64), is_grads_batched=True, retain_graph=True
    )
    expected = torch.stack([torch.autograd.grad(value, x, retain_graph=True)[0] for value in output])
    torch.testing.assert_close(found[0], expected, atol=1e-12, rtol=0)


def test_a_kernel_asked_for_by_name_that_has_no_rule_says_so() -> None:
    lstm, x = gl.LSTM(3, 4), torch.randn(2, 5, 2, 3)
    for name in ("torch", "plain", *(["native"] if cpu.NATIVE else [])):
        with (
            gl.use_kernel(name),
            pytest.raises(
                gl.errors.KernelError, match=f"kernel '{name}' .*torch.func transforms.*'equations'"
            ),
        ):
            vmap(lambda x: lstm(x)[0])(x)
    with gl.use_kernel("equations"):
        assert vmap(lambda x: lstm(x)[0])(x).shape == (2, 5, 2, 4)


def test_the_cell_under_every_transform() -> None:
    cell, x = gl.LSTMCell(3, 4, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    weights = {name: w.detach() for name, w in cell.named_parameters()}
    torch.testing.assert_close(vmap(cell)(x), cell(x), atol=1e-12, rtol=0)
    jvp(lambda x: cell(x)[1], (x,), (x,))
    found = vmap(grad(lambda w, one: functional_call(cell, w, (one,))[1].sum()), in_dims=(None, 0))(
        weights, x
    )
    expected = torch.autograd.grad(cell(x)[1].sum(), list(cell.parameters()))
    for name, wanted in zip(weights, expected, strict=True):
        torch.testing.assert_close(found[name].sum(0), wanted, atol=1e-10, rtol=0)
    h = vmap(lambda one: cell(one, return_trace=True)[1].cell)(x)
    torch.testing.assert_close(h, cell(x)[1], atol=1e-12, rtol=0)
