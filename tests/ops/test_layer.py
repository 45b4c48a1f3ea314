"""The layer as a registered operator: its description is true, and its parts do what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

import glasslstm as gl
from glasslstm.ops import plain
from glasslstm.ops.layer import LayerWeights, StateGradients, layer

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
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def _arguments(
    lengths: list[int] | None = None, bias: bool = True, proj_size: int = 0, transposed: bool = False
) -> tuple[Any, ...]:
    """Return the operator's arguments but the last; `transposed`: of strides that nobody expects."""
    P = proj_size or 4

    def draw(*shape: int) -> Tensor:
        if transposed:
            return (
                torch.randn(shape[::-1], dtype=torch.float64)
                .permute(*reversed(range(len(shape))))
                .requires_grad_()
            )
        return torch.randn(shape, dtype=torch.float64, requires_grad=True)

    states_and_weights = (draw(5, 3, 2), draw(3, P), draw(3, 4), draw(16, 2), draw(16, P))
    n = None if lengths is None else torch.tensor(lengths)
    return *states_and_weights, draw(16) if bias else None, draw(P, 4) if proj_size else None, n


@every_option
@both_ways
def test_the_operator_is_what_it_is_described_as(options: dict[str, Any], reverse: bool) -> None:
    """Schema, autograd registration, shapes and strides without data, and compiled autograd: torch's own check."""
    opcheck(torch.ops.glasslstm.layer.default, (*_arguments(**options), reverse))


@every_option
@both_ways
def test_the_backward_operator_is_what_it_is_described_as(options: dict[str, Any], reverse: bool) -> None:
    arguments = [a.detach() if isinstance(a, Tensor) else a for a in _arguments(**options)]
    results = plain.forward(*arguments, reverse)
    x, h_0, c_0, weight_ih, weight_hh, _, weight_hr, lengths = arguments
    saved = (
        x,
        h_0,
        c_0,
        weight_ih,
        weight_hh,
        weight_hr,
        lengths,
        reverse,
        results.output,
        results.gates,
        results.cell,
    )
    for given in (range(5), (0,), (2, 3), (1, 4)):
        grads = [torch.randn_like(r) if k in given else None for k, r in enumerate(results)]
        opcheck(
            torch.ops.glasslstm.layer_backward.default,
            (*grads, *saved),
            test_utils=["test_schema", "test_faketensor"],
        )


@every_option
@both_ways
def test_plain_and_equations_agree_in_everything(options: dict[str, Any], reverse: bool) -> None:
    """Every result, the gates too, and every gradient of each."""
    *arguments, bias, weight_hr, lengths = _arguments(**options)
    x, h_0, c_0, weight_ih, weight_hh = arguments
    weights = LayerWeights(weight_ih, weight_hh, bias, None, weight_hr)
    leaves = [*arguments, *(w for w in (bias, weight_hr) if w is not None)]
    found = []
    for kernel in ("plain", "equations"):
        result = layer(x, h_0, c_0, weights, lengths=lengths, reverse=reverse, kernel=kernel)
        loss = sum((k + 1) * value.pow(2).sum() for k, value in enumerate(result))
        found.append([*result, *torch.autograd.grad(loss, leaves)])
    torch.testing.assert_close(*found, atol=1e-10, rtol=0)


@pytest.mark.parametrize("given", ["output", "h_n", "c_n", "gates", "cell"])
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_a_loss_on_one_result_alone(given: str, lengths: list[int] | None) -> None:
    x, h_0, c_0, *rest, _ = _arguments(lengths=lengths, proj_size=2)
    weight_ih, weight_hh, bias, weight_hr = rest
    n = None if lengths is None else torch.tensor(lengths)
    found = []
    for kernel in ("plain", "equations"):
        result = layer(
            x, h_0, c_0, LayerWeights(weight_ih, weight_hh, bias, None, weight_hr), lengths=n, kernel=kernel
        )
        loss = getattr(result, given).pow(2).sum()
        leaves = [x, h_0, c_0, *rest]
        found.append(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
    torch.testing.assert_close(*found, atol=1e-11, rtol=0)


@pytest.mark.parametrize("kernel", ["plain", "equations"])
def test_state_gradients_are_left_where_they_were_asked_for(kernel: str) -> None:
    x, h_0, c_0, weight_ih, weight_hh, bias, *_ = _arguments()
    left = StateGradients()
    result = layer(
        x, h_0, c_0, LayerWeights(weight_ih, weight_hh, bias, None), kernel=kernel, state_gradients=left
    )
    assert left.cell is None
    result.output.sum().backward()
    assert left.cell.shape == result.cell.shape
    assert torch.equal(left.hidden[-1], torch.ones_like(left.hidden[-1]))


def test_inputs_are_left_as_they_are() -> None:
    arguments = _arguments(lengths=[5, 0, 3], proj_size=2)
    before = [a.detach().clone() for a in arguments if isinstance(a, Tensor)]
    result = torch.ops.glasslstm.layer(*arguments, True)
    sum(value.sum() for value in result).backward()
    after = [a for a in arguments if isinstance(a, Tensor)]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_sixteen_bits_are_added_up_in_thirty_two() -> None:
    """Over a thousand steps a sum in bfloat16 would stop growing at 256."""
    lstm = gl.LSTM(1, 1, bias=True)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
        lstm.bias_ih_l0.copy_(torch.tensor([20.0, 20.0, 20.0, 0.0]))  # i = f = 1, g = 1: c counts the steps
    x = torch.zeros(1000, 1, 1)
    for name in ("plain", "equations"):
        with gl.use_kernel(name), torch.no_grad():
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
