"""Initialisations: the values that the papers give, in every layer and direction, and nothing else changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import glasslstm as gl
from glasslstm.nn import init

H = 6

MODULES: dict[str, Callable[[], Any]] = {
    "ours": lambda: gl.LSTM(3, H, num_layers=2, bidirectional=True),
    "torch's": lambda: nn.LSTM(3, H, num_layers=2, bidirectional=True),
    "our cell": lambda: gl.LSTMCell(3, H),
    "torch's cell": lambda: nn.LSTMCell(3, H),
    "projected": lambda: gl.LSTM(3, H, num_layers=2, proj_size=4),
    "float64, initial state": lambda: gl.LSTM(3, H, dtype=torch.float64, learn_initial_state=True),
    "bfloat16": lambda: gl.LSTM(3, H, dtype=torch.bfloat16),
}

every_module = pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)


def _named(module: nn.Module, kind: str) -> list[Tensor]:
    found = [p.detach() for name, p in module.named_parameters() if name.startswith(kind)]
    layers = getattr(module, "num_layers", 1) * (2 if getattr(module, "bidirectional", False) else 1)
    assert len(found) == layers
    return found


def _gate_biases(module: nn.Module) -> list[dict[str, tuple[Tensor, Tensor]]]:
    """Return for each layer and direction what both biases have for each gate."""
    pairs = zip(_named(module, "bias_ih"), _named(module, "bias_hh"), strict=True)
    return [
        {gate: (ih[k * H : k * H + H], hh[k * H : k * H + H]) for k, gate in enumerate("ifgo")}
        for ih, hh in pairs
    ]


def _untouched(before: dict[str, Tensor], module: nn.Module, rows: dict[str, set[int]]) -> bool:
    """Return whether all is as it was, but for these blocks (by gate) of the parameters of this name."""
    for name, value in module.state_dict().items():
        changed = next((gates for kind, gates in rows.items() if name.startswith(kind)), set())
        for k, (old, new) in enumerate(zip(before[name].chunk(4), value.chunk(4), strict=True)):
            if k not in changed and not torch.equal(old, new):
                return False
    return True


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@every_module
def test_the_forget_bias_is_the_value_in_sum(make: Callable[[], Any]) -> None:
    module = make()
    before = _copy(module)
    assert init.forget_bias_(module, 2.5) is module
    for gates in _gate_biases(module):
        ih, hh = gates["f"]
        assert ih.tolist() == [2.5] * H
        assert hh.tolist() == [0.0] * H
    assert _untouched(before, module, {"bias": {1}})
    init.forget_bias_(module)
    assert all((ih + hh == 1.0).all() for gates in _gate_biases(module) for ih, hh in [gates["f"]])
    assert all(p.requires_grad for p in module.parameters())


@every_module
def test_each_recurrent_block_is_orthogonal(make: Callable[[], Any]) -> None:
    module = make()
    atol = 2e-2 if next(module.parameters()).dtype == torch.bfloat16 else 1e-6
    before = _copy(module)
    assert init.orthogonal_(module, gain=1.5) is module
    blocks = [block for weight in _named(module, "weight_hh") for block in weight.chunk(4)]
    for block in blocks:
        square = block.T @ block / 1.5**2
        torch.testing.assert_close(square, torch.eye(len(square), dtype=block.dtype), atol=atol, rtol=0)
    assert len({block.sum().item() for block in blocks}) == len(blocks)  # each drawn by itself
    assert _untouched(before, module, {"weight_hh": {0, 1, 2, 3}})


@every_module
def test_chrono_biases_are_in_the_range_and_mirrored(make: Callable[[], Any]) -> None:
    module = make()
    before = _copy(module)
    assert init.chrono_(module, 100) is module
    drawn = set()
    for gates in _gate_biases(module):
        (f_ih, f_hh), (i_ih, i_hh) = gates["f"], gates["i"]
        assert f_hh.tolist() == i_hh.tolist() == [0.0] * H
        assert torch.equal(i_ih, -f_ih)
        assert f_ih.min() >= 0
        assert f_ih.max() <= math.log(99) + 0.02  # bfloat16 rounds
        drawn |= set(f_ih.tolist())
    assert len(drawn) > H / 2  # units, layers and directions differ
    assert _untouched(before, module, {"bias": {0, 1}})


def test_chrono_times_are_uniform() -> None:
    """The distribution of exp(b_f) is U(min_steps - 1, max_steps - 1), by its mean, spread and ends."""
    N = 2000
    lstm = init.chrono_(gl.LSTM(1, N), 1001, 201, generator=torch.Generator().manual_seed(0))
    times = 1 + lstm.bias_ih_l0.detach()[N : 2 * N].double().exp()
    assert 201 <= times.min() < 206
    assert 996 < times.max() <= 1001.001
    assert times.mean().item() == pytest.approx(601, abs=5 * 800 / math.sqrt(12 * N))
    assert times.std().item() == pytest.approx(800 / math.sqrt(12), rel=0.05)


def test_chrono_memory_is_measured_to_last_as_long_as_its_bias_says() -> None:
    """With nothing read, a cell at time T keeps (1 - 1/T)^s of itself after s steps."""
    lstm = init.chrono_(gl.LSTM(1, 50, dtype=torch.float64), 300)
    b_f = lstm.bias_ih_l0.detach()[50:100].clone()
    with torch.no_grad():
        lstm.weight_hh_l0.zero_()
        lstm.weight_ih_l0.zero_()
        (lstm.bias_ih_l0 + lstm.bias_hh_l0)[100:150].zero_()
        lstm.bias_ih_l0[100:150] = lstm.bias_hh_l0[100:150] = 0.0  # the candidate is zero
        x, ones = torch.zeros(40, 1, 1, dtype=torch.float64), torch.ones(1, 1, 50, dtype=torch.float64)
        _, (_, c_n), trace = lstm(x, (ones, ones), return_trace=True)
    T = 1 + b_f.exp()
    torch.testing.assert_close(c_n[0, 0], (1 - 1 / T) ** 40, atol=1e-12, rtol=0)
    torch.testing.assert_close(trace[0, 0].input_gate[0, 0], 1 / T, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "draw", [lambda m, g: init.chrono_(m, 50, generator=g), lambda m, g: init.orthogonal_(m, generator=g)]
)
def test_a_generator_gives_the_numbers_and_leaves_torchs_alone(draw: Callable[[Any, Any], Any]) -> None:
    modules = [gl.LSTM(3, 4), nn.LSTM(3, 4)]
    modules[1].load_state_dict(modules[0].state_dict())
    state = torch.get_rng_state()
    for module in modules:
        draw(module, torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, modules[0].parameters(), modules[1].parameters()))
    draw(modules[1], None)
    assert not torch.equal(torch.get_rng_state(), state)


REFUSED: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: init.chrono_(nn.Linear(3, 4), 9), TypeError, "lstm: expected an LSTM or .*got Linear; call this on each"),
    (lambda: init.forget_bias_([]), TypeError, "lstm: expected an LSTM or LSTMCell of glasslstm or torch, got list$"),
    (lambda: init.orthogonal_(nn.GRU(3, 4)), TypeError, "got GRU"),
    (lambda: init.forget_bias_(gl.LSTM(3, 4, bias=False)), ValueError, "lstm: has no biases to set; .* bias=True"),
    (lambda: init.chrono_(nn.LSTMCell(3, 4, bias=False), 9), ValueError, "lstm: has no biases"),
    (lambda: init.forget_bias_(gl.LSTM(3, 4), math.inf), ValueError, "value: expected a finite number, got inf"),
    (lambda: init.forget_bias_(gl.LSTM(3, 4), "1"), TypeError, r"value: expected a number, got '1' \(str\)"),
    (lambda: init.orthogonal_(gl.LSTM(3, 4), math.nan), ValueError, "gain: expected a finite number, got nan"),
    (lambda: init.orthogonal_(gl.LSTM(3, 4), generator=7), TypeError, r"generator: expected a .*, got 7 \(int\)"),
    (lambda: init.chrono_(gl.LSTM(3, 4), 2), ValueError, "max_steps: expected a finite number above 2, got 2"),
    (lambda: init.chrono_(gl.LSTM(3, 4), 50, 60), ValueError, "max_steps: expected a finite number above 60, got 50"),
    (lambda: init.chrono_(gl.LSTM(3, 4), 50, 1), ValueError, "min_steps: expected a finite number above 1, got 1"),
    (lambda: init.chrono_(gl.LSTM(3, 4), True), TypeError, r"max_steps: expected a number, got True \(bool\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_cannot_be_is_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_parametrized_weight_is_refused_and_nothing_changes() -> None:
    """Written into, it would forget what was written."""
    lstm = gl.LSTM(4, 4, num_layers=2)
    nn.utils.parametrizations.weight_norm(lstm, "weight_hh_l1")
    nn.utils.parametrizations.weight_norm(lstm, "bias_hh_l1", dim=None)
    before = _copy(lstm)
    with pytest.raises(
        ValueError, match="lstm: weight_hh_l1 is computed from other parameters; initialise first"
    ):
        init.orthogonal_(lstm)
    with pytest.raises(ValueError, match="lstm: bias_hh_l1 is computed"):
        init.chrono_(lstm, 50)
    assert all(map(torch.equal, before.values(), lstm.state_dict().values()))
