"""The layer as a registered operator: its description is true, and its parts do what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

import glasslstm as gl
from glasslstm.ops import cpu, plain
from glasslstm.ops.layer import layer
from glasslstm.ops.values import LayerWeights, Result, StateGradients, directions_of

OPTIONS: dict[str, dict[str, Any]] = {
    "usual": {},
    "no bias": {"bias": False},
    "projection": {"proj_size": 2},
    "ragged": {"lengths": [5, 0, 3]},
    "ragged, projection": {"lengths": [2, 5, 5], "proj_size": 2},
    "transposed": {"transposed": True},
    "transposed, ragged": {"transposed": True, "lengths": [5, 0, 3]},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
both_ways = pytest.mark.parametrize("directions", [1, 2], ids=["forward", "both directions"])
every_keep = pytest.mark.parametrize("keep", ["nothing", "states", "gates", "trace"])
built = pytest.mark.skipif(cpu.NATIVE is None, reason="the native kernels were not compiled at installation")
every_operator = pytest.mark.parametrize("kernel", [pytest.param("native", marks=built), "plain"])
every_kernel = pytest.mark.parametrize("kernel", [pytest.param("native", marks=built), "plain", "equations"])


def _arguments(
    directions: int,
    lengths: list[int] | None = None,
    bias: bool = True,
    proj_size: int = 0,
    transposed: bool = False,
) -> tuple[Any, ...]:
    """Return the operator's tensors, T = 5, B = 3, I = 2, H = 4; `transposed`: of strides that nobody expects."""
    P = proj_size or 4

    def draw(*shape: int) -> Tensor:
        if transposed:
            return (
                torch.randn(shape[::-1], dtype=torch.float64)
                .permute(*reversed(range(len(shape))))
                .requires_grad_()
            )
        return torch.randn(shape, dtype=torch.float64, requires_grad=True)

    states = draw(5, 3, 2), draw(directions, 3, P), draw(directions, 3, 4)
    flat: list[Tensor | None] = []
    for _ in range(directions):
        biases = [draw(16), draw(16)] if bias else [None, None]
        flat += [draw(16, 2), draw(16, P), *biases, draw(P, 4) if proj_size else None]
    absent = [None] * (10 - len(flat))
    return *states, *flat, *absent, None if lengths is None else torch.tensor(lengths)


def _run(kernel: str, arguments: tuple[Any, ...], **options: Any) -> Result:
    x, h_0, c_0, *flat, lengths = arguments
    return layer(x, h_0, c_0, directions_of(flat), lengths=lengths, kernel=kernel, **options)


def _tensors(arguments: tuple[Any, ...]) -> list[Tensor]:
    return [a for a in arguments if isinstance(a, Tensor) and a.is_floating_point()]


def _skip_projection(kernel: str, options: dict[str, Any]) -> None:
    if kernel == "native" and "proj_size" in options:
        pytest.skip("native knows no projections")


@every_option
@both_ways
@every_operator
def test_the_operator_is_what_it_is_described_as(
    kernel: str, directions: int, options: dict[str, Any]
) -> None:
    """Schema, autograd registration, shapes and strides without data, and compiled autograd: torch's own check."""
    _skip_projection(kernel, options)
    opcheck(torch.ops.glasslstm.layer.default, (*_arguments(directions, **options), kernel, "trace"))


@every_keep
@both_ways
@every_operator
def test_the_operator_is_described_whatever_it_keeps(kernel: str, directions: int, keep: str) -> None:
    arguments = _arguments(directions, lengths=[5, 0, 3] if keep == "trace" else None)
    if keep == "nothing":  # no backward pass follows
        arguments = tuple(a if a is None else a.detach() for a in arguments)
    opcheck(torch.ops.glasslstm.layer.default, (*arguments, kernel, keep))


@every_option
@both_ways
@every_operator
def test_the_backward_operator_is_what_it_is_described_as(
    kernel: str, directions: int, options: dict[str, Any]
) -> None:
    _skip_projection(kernel, options)
    _check_backward(_arguments(directions, **options), kernel, "trace")


@pytest.mark.parametrize("keep", ["gates", "states"])
@pytest.mark.parametrize("lengths", [None, [5, 0, 3]], ids=["padded", "ragged"])
@every_operator
def test_the_backward_operator_is_described_whatever_was_kept(
    kernel: str, lengths: list[int] | None, keep: str
) -> None:
    _check_backward(_arguments(2, lengths), kernel, keep)


def _check_backward(arguments: tuple[Any, ...], kernel: str, keep: str) -> None:
    arguments = tuple(a if a is None else a.detach() for a in arguments)
    results = Result(*torch.ops.glasslstm.layer(*arguments, kernel, keep))
    saved = (*arguments, kernel, keep, results.output, results.gates, results.cell)
    for given, grad_x in ((range(5), True), ((0,), False), ((2, 3), True), ((1, 4), False)):
        grads = [torch.randn_like(r) if k in given and r.numel() else None for k, r in enumerate(results)]
        opcheck(
            torch.ops.glasslstm.layer_backward.default,
            (*grads, *saved, grad_x),
            test_utils=["test_schema", "test_faketensor"],
        )


@every_option
@both_ways
@every_operator
def test_every_kernel_agrees_with_the_equations_in_everything(
    kernel: str, directions: int, options: dict[str, Any]
) -> None:
    """Every result, the gates too, and every gradient of each."""
    _skip_projection(kernel, options)
    arguments = _arguments(directions, **options)
    found = []
    for name in (kernel, "equations"):
        result = _run(name, arguments)
        loss = sum((k + 1) * value.pow(2).sum() for k, value in enumerate(result))
        found.append([*result, *torch.autograd.grad(loss, _tensors(arguments))])
    torch.testing.assert_close(*found, atol=1e-10, rtol=0)


@pytest.mark.parametrize("keep", ["states", "gates"])
@pytest.mark.parametrize("lengths", [None, [5, 0, 3]], ids=["padded", "ragged"])
@both_ways
@every_operator
def test_what_is_kept_changes_no_result_and_no_gradient(
    kernel: str, directions: int, lengths: list[int] | None, keep: str
) -> None:
    """All that is kept of the padding is that nobody reads it."""
    arguments = _arguments(directions, lengths=lengths)
    found = []
    for how in (keep, "trace"):
        result = _run(kernel, arguments, keep=how)
        loss = result.output.pow(2).sum() + 2 * result.h_n.pow(2).sum() + 3 * result.c_n.pow(2).sum()
        found.append([*result[:3], *torch.autograd.grad(loss, _tensors(arguments))])
    torch.testing.assert_close(*found, atol=1e-12, rtol=0)
    with torch.no_grad():
        nothing = _run(kernel, arguments, keep="nothing")
    assert all(torch.equal(a, b) for a, b in zip(nothing[:3], found[0][:3], strict=True))
    assert (nothing.gates.numel(), nothing.cell.numel()) == (0, 0)


@pytest.mark.parametrize("given", ["output", "h_n", "c_n", "gates", "cell"])
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
@both_ways
@every_operator
def test_a_loss_on_one_result_alone(
    kernel: str, directions: int, lengths: list[int] | None, given: str
) -> None:
    arguments = _arguments(directions, lengths=lengths, proj_size=0 if kernel == "native" else 2)
    found = []
    for name in (kernel, "equations"):
        loss = getattr(_run(name, arguments), given).pow(2).sum()
        found.append(
            torch.autograd.grad(loss, _tensors(arguments), allow_unused=True, materialize_grads=True)
        )
    torch.testing.assert_close(*found, atol=1e-11, rtol=0)


@every_kernel
@both_ways
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]], ids=["padded", "ragged"])
def test_state_gradients_are_left_where_they_were_asked_for(
    kernel: str, directions: int, lengths: list[int] | None
) -> None:
    """They are what autograd finds for the cell and hidden states of the equations, step by step."""
    arguments = _arguments(directions, lengths=lengths)
    left = [StateGradients() for _ in range(directions)]
    result = _run(kernel, arguments, state_gradients=left)
    assert left[0].cell is None
    result.output.sum().backward()
    expected = [StateGradients() for _ in range(directions)]
    _run("equations", arguments, state_gradients=expected).output.sum().backward()
    valid = torch.ones(5, 3) if lengths is None else torch.arange(5).unsqueeze(1) < torch.tensor(lengths)
    for d, (ours, wanted) in enumerate(zip(left, expected, strict=True)):
        for name in ("cell", "hidden"):
            mask = valid.bool().unsqueeze(2)
            torch.testing.assert_close(
                getattr(ours, name), torch.where(mask, getattr(wanted, name), 0.0), atol=1e-12, rtol=0
            )
        last_read = 0 if d else 4
        if lengths is None:
            assert torch.equal(ours.hidden[last_read], torch.ones(3, 4, dtype=torch.float64))


@every_kernel
@both_ways
def test_inputs_are_left_as_they_are(kernel: str, directions: int) -> None:
    arguments = _arguments(directions, lengths=[5, 0, 3], proj_size=0 if kernel == "native" else 2)
    tensors = [a for a in arguments if isinstance(a, Tensor)]
    before = [a.detach().clone() for a in tensors]
    sum(value.sum() for value in _run(kernel, arguments)).backward()
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


@both_ways
@every_operator
def test_two_biases_have_gradients_of_their_own(kernel: str, directions: int) -> None:
    """Equal in value, not one tensor: who clips or adds to one in place must not change the other."""
    arguments = _arguments(directions)
    _run(kernel, arguments).output.sum().backward()
    for weights in directions_of(arguments[3:-1]):
        left, right = weights.bias_ih.grad, weights.bias_hh.grad
        assert torch.equal(left, right)
        assert left.data_ptr() != right.data_ptr()


def test_a_program_made_for_native_runs_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exported program holds the kernel's name, and may be loaded where nothing was compiled."""
    arguments = _arguments(2)
    expected = _run("plain", arguments)
    monkeypatch.setattr(cpu, "NATIVE", None)
    assert all(torch.equal(a, b) for a, b in zip(_run("native", arguments), expected, strict=True))


@every_kernel
def test_sixteen_bits_are_added_up_in_thirty_two(kernel: str) -> None:
    """Over a thousand steps a sum in bfloat16 would stop growing at 256."""
    lstm = gl.LSTM(1, 1, bias=True)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
        lstm.bias_ih_l0.copy_(torch.tensor([20.0, 20.0, 20.0, 0.0]))  # i = f = 1, g = 1: c counts the steps
    x = torch.zeros(1000, 1, 1)
    with gl.use_kernel(kernel), torch.no_grad():
        _, (_, c_n) = lstm.to(torch.bfloat16)(x.bfloat16())
    assert c_n.item() == pytest.approx(1000, rel=1e-2)


class TestRows:
    """The flat layout of valid steps."""

    @pytest.mark.parametrize("lengths", [None, [4, 4], [1, 3], [0, 2], [0, 0]], ids=str)
    def test_scatter_is_the_inverse_of_gather(self, lengths: list[int] | None) -> None:
        rows = plain.Rows(4, 2, None if lengths is None else torch.tensor(lengths))
        padded = torch.arange(1.0, 17.0).view(4, 2, 2)
        kept = rows.scatter(rows.gather(padded))
        valid = torch.arange(4).unsqueeze(1) < torch.tensor(lengths or [4, 4])
        assert torch.equal(kept, padded * valid.unsqueeze(2))
        state = torch.arange(4.0).view(2, 2)
        assert torch.equal(rows.unsort(rows.sort(state)), state)

    def test_steps_take_the_longest_first(self) -> None:
        rows = plain.Rows(4, 3, torch.tensor([1, 3, 0]))
        assert list(rows.steps(reverse=False)) == [(2, slice(0, 2)), (1, slice(2, 3)), (1, slice(3, 4))]
        assert list(rows.steps(reverse=True)) == [(1, slice(3, 4)), (1, slice(2, 3)), (2, slice(0, 2))]

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("lengths", [None, [4, 1, 3], [0, 2, 2]], ids=str)
    def test_before_is_what_the_step_before_held(self, lengths: list[int] | None, reverse: bool) -> None:
        n = None if lengths is None else torch.tensor(lengths)
        rows = plain.Rows(4, 3, n)
        padded = torch.arange(1.0, 13.0).view(4, 3, 1)
        initial = torch.tensor([[-1.0], [-2.0], [-3.0]])
        found = rows.scatter(rows.before(rows.gather(padded), rows.sort(initial), reverse))
        for b, length in enumerate(lengths or [4, 4, 4]):
            for t in range(length):
                earlier = t + 1 if reverse else t - 1
                wanted = padded[earlier, b] if 0 <= earlier < length else initial[b]
                assert torch.equal(found[t, b], wanted), (t, b)


def test_weights_leave_out_what_is_not_there(equal: Callable[..., None]) -> None:
    weights = LayerWeights(torch.ones(4, 1), torch.ones(4, 1), weight_hr=torch.ones(1, 1))
    assert len(weights.present()) == 3
    doubled = weights.map(lambda w: 2 * w)
    assert doubled.bias_ih is None
    assert all(torch.equal(w, torch.full_like(w, 2.0)) for w in doubled.present())
