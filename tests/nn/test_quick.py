"""The usual call in inference takes a short way: to the same bits, and for usual calls alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import glasslstm as gl
from glasslstm.errors import ShapeError
from glasslstm.nn.quick import infer
from glasslstm.ops import cpu

built = pytest.mark.skipif(cpu.NATIVE is None, reason="the native kernels were not compiled at installation")


@built
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": False},
        {"num_layers": 3},
        {"bidirectional": True},
        {"batch_first": True},
        {"num_layers": 2, "bidirectional": True, "bias": False, "batch_first": True},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (7, 3), (30, 9)])
def test_the_same_bits_as_the_long_way(
    settings: dict[str, Any], steps: int, batch: int, dtype: torch.dtype
) -> None:
    lstm = gl.LSTM(5, 19, **settings, dtype=dtype)
    wide = torch.randn(batch, steps, 8, dtype=dtype)[..., 1:6]  # not contiguous
    for x in (wide, wide.transpose(0, 1)):
        with torch.no_grad():
            found = infer(lstm, x)
            assert found is not None
            with gl.use_kernel("native"):
                assert infer(lstm, x) is None
                output, states = lstm(x)
            called = lstm(x)
        for quick in (found, called):
            for one, other in zip((quick[0], *quick[1]), (output, *states), strict=True):
                assert one.shape == other.shape
                assert one.stride() == other.stride()
                assert torch.equal(one, other)


def _parametrized(lstm: gl.LSTM) -> None:
    nn.utils.parametrizations.weight_norm(lstm, "weight_hh_l0")


def _strided(lstm: gl.LSTM) -> None:
    lstm.weight_hh_l0.data = lstm.weight_hh_l0.data.t().contiguous().t()


UNUSUAL: dict[str, tuple[dict[str, Any], Callable[[gl.LSTM], object], Callable[[Tensor], Tensor]]] = {
    "projection": ({"proj_size": 2}, lambda _: None, lambda x: x),
    "learned state": ({"learn_initial_state": True}, lambda _: None, lambda x: x),
    "dropout": ({"num_layers": 2, "dropout": 0.5}, lambda lstm: lstm.train(), lambda x: x),
    "parametrized": ({}, _parametrized, lambda x: x),
    "strided weight": ({}, _strided, lambda x: x),
    "unbatched": ({}, lambda _: None, lambda x: x[:, 0]),
    "strided input": ({}, lambda _: None, lambda x: x.repeat_interleave(2, -1)[..., ::2]),
    "negative view": ({}, lambda _: None, lambda x: torch.complex(x, x).conj().imag),
    "sixteen bits": ({"dtype": torch.bfloat16}, lambda _: None, lambda x: x.bfloat16()),
    "no sequences": ({}, lambda _: None, lambda x: x[:, :0]),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", list(UNUSUAL))
def test_other_calls_go_the_long_way(name: str) -> None:
    settings, prepare, change = UNUSUAL[name]
    lstm = gl.LSTM(3, 4, **settings)
    prepare(lstm)
    x = change(torch.randn(5, 2, 3))
    with torch.no_grad():
        assert infer(lstm, x) is None
        assert lstm(x)[0].shape[:-1] == x.shape[:-1]


@built
def test_no_short_way_where_somebody_looks_on() -> None:
    lstm, x = gl.LSTM(3, 4), torch.randn(5, 2, 3)
    assert infer(lstm, x) is None  # gradients may be asked for
    with torch.no_grad():
        assert infer(lstm, x) is not None
        with torch.autocast("cpu", torch.bfloat16):
            assert infer(lstm, x) is None
        with torch.autograd.forward_ad.dual_level():
            assert infer(lstm, x) is None
        seen: list[object] = []
        torch.func.vmap(lambda one: (seen.append(infer(lstm, one)), one)[1])(x.unsqueeze(0))
        assert seen == [None]


WRONG: dict[str, Callable[[gl.LSTM], None]] = {
    "weight_hh": lambda lstm: setattr(lstm, "weight_hh_l0", nn.Parameter(torch.randn(16, 3))),
    "weight_ih": lambda lstm: setattr(lstm.weight_ih_l0, "data", torch.randn(2, 2)),
    "bias_ih": lambda lstm: setattr(lstm.bias_ih_l0, "data", torch.randn(3)),
    "bias_hh": lambda lstm: setattr(lstm, "bias_hh_l0", nn.Parameter(torch.randn(16, dtype=torch.float64))),
}


@built
@pytest.mark.parametrize("name", list(WRONG))
@pytest.mark.parametrize("gradient", [False, True], ids=["inference", "training"])
def test_weights_that_do_not_fit_are_refused(name: str, gradient: bool) -> None:
    """The kernels would read past their end, or take one type for another."""
    lstm = gl.LSTM(3, 4)
    WRONG[name](lstm)
    with (
        torch.set_grad_enabled(gradient),
        pytest.raises(ShapeError, match=rf"^{name}: expected \(16,.*; got \("),
    ):
        lstm(torch.randn(5, 2, 3))
    with pytest.raises(ShapeError, match=f"^{name}: expected"):
        lstm.stream()


@built
def test_weights_that_change_before_the_backward_pass_are_refused() -> None:
    lstm = gl.LSTM(3, 4)
    output, _ = lstm(torch.randn(5, 2, 3))
    lstm.weight_hh_l0.data = torch.randn(2, 2)
    with pytest.raises(ShapeError, match=r"^weight_hh: expected \(16, 4\)"):
        output.sum().backward()
