"""On CUDA and other accelerators: the numbers of the CPU, torch's own kernel where no gates are asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import glasslstm as gl
from glasslstm.ops.dispatch import Work, choose, explain

pytestmark = [
    pytest.mark.accelerator,
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]

# float32 throughout: not every accelerator has float64. cuDNN rounds to TF32 unless told not to.
CLOSE = {"atol": 2e-5, "rtol": 1e-4}


@pytest.fixture
def device() -> torch.device:
    """The accelerator of this machine."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        pytest.skip("no accelerator here: torch.accelerator.is_available() is False")
    return accelerator


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = before


def _pair(device: torch.device, **options: Any) -> tuple[gl.LSTM, gl.LSTM]:
    """Return two modules of the same weights, on the CPU and on the device."""
    lstm = gl.LSTM(3, 8, 2, bidirectional=True, **options)
    there = gl.LSTM(3, 8, 2, bidirectional=True, device=device, **options)
    there.load_state_dict(lstm.state_dict())
    return lstm, there


def _on_cpu(results: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in results.items()}


CALLS: dict[str, dict[str, Any]] = {
    "padded": {},
    "ragged": {"lengths": [7, 2, 0, 5]},
    "all empty": {"lengths": [0, 0, 0, 0]},
    "traced": {"return_trace": True},
    "ragged, traced": {"lengths": [7, 2, 0, 5], "return_trace": True},
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    "options", [{}, {"proj_size": 4}, {"bias": False}], ids=["", "projection", "no bias"]
)
def test_results_and_gradients_are_the_cpus(
    call: dict[str, Any],
    training: bool,
    options: dict[str, Any],
    device: torch.device,
    results: Callable[..., Any],
) -> None:
    """In eval() too, where torch.nn.LSTM has no backward under cuDNN."""
    here, there = (module.train(training) for module in _pair(device, **options))
    inputs = [torch.randn(7, 4, 3), torch.randn(4, 4, options.get("proj_size", 8)), torch.randn(4, 4, 8)]
    found = []
    for module, place in ((here, "cpu"), (there, device)):
        leaves = [tensor.to(place).requires_grad_() for tensor in inputs]
        found.append(_on_cpu(results(module, leaves[0], leaves[1:], inputs=leaves, **call)))
    torch.testing.assert_close(found[1], found[0], **CLOSE)


@pytest.mark.parametrize("form", ["list", "cpu", "device", "int32"])
def test_lengths_may_stand_anywhere(form: str, device: torch.device) -> None:
    here, there = _pair(device)
    x, lengths = torch.randn(7, 4, 3), torch.tensor([7, 2, 0, 5])
    given = {"list": lengths.tolist(), "cpu": lengths, "device": lengths.to(device), "int32": lengths.int()}[
        form
    ]
    output, states = there(x.to(device), lengths=given)
    expected, expected_states = here(x, lengths=lengths)
    assert output.device.type == device.type
    torch.testing.assert_close(output.cpu(), expected, **CLOSE)
    torch.testing.assert_close(tuple(s.cpu() for s in states), expected_states, **CLOSE)


@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed_sequences(enforce_sorted: bool, device: torch.device) -> None:
    here, there = _pair(device)
    lengths = [7, 5, 5, 1] if enforce_sorted else [5, 1, 7, 5]
    packed = pack_padded_sequence(torch.randn(7, 4, 3), lengths, enforce_sorted=enforce_sorted)
    output, states = there(packed.to(device))
    expected, expected_states = here(packed)
    torch.testing.assert_close(output.data.cpu(), expected.data, **CLOSE)
    torch.testing.assert_close(tuple(s.cpu() for s in states), expected_states, **CLOSE)


def test_a_trace_is_the_cpus_and_stays_on_the_device(device: torch.device) -> None:
    here, there = _pair(device)
    x = torch.randn(7, 4, 3)
    traces = []
    for module, place in ((here, "cpu"), (there, device)):
        output, _, trace = module(x.to(place), lengths=[7, 2, 0, 5], return_trace=True)
        output.pow(2).sum().backward()
        traces.append(trace)
    for key in traces[0]:
        assert traces[1][key].cell.device.type == device.type
        for name, expected in traces[0][key].numpy().items():
            torch.testing.assert_close(
                torch.tensor(traces[1][key].numpy()[name]), torch.tensor(expected), **CLOSE
            )
        for name in ("cell_grad", "hidden_grad"):
            torch.testing.assert_close(
                getattr(traces[1][key], name).cpu(), getattr(traces[0][key], name), **CLOSE
            )


def test_torchs_own_kernel_runs_where_no_gates_are_asked_for(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, there = _pair(device)
    calls, real = [], torch.lstm
    monkeypatch.setattr(torch, "lstm", lambda *args: calls.append(1) or real(*args))
    x = torch.randn(7, 4, 3, device=device)
    for call, times in (({}, 1), ({"lengths": [7, 2, 0, 5]}, 1), ({"return_trace": True}, 0)):
        calls.clear()
        there(x, **call)
        assert len(calls) == times, call
    assert choose(Work(device=device.type, gradient=True)).kernel == "torch"
    assert {row[0] for row in explain()} == {"cpu", device.type}


@pytest.mark.parametrize(
    "options", [{}, {"proj_size": 4}, {"bias": False}], ids=["", "projection", "no bias"]
)
def test_weights_are_laid_out_for_cudnn_after_every_move(
    options: dict[str, Any], device: torch.device
) -> None:
    """Else cuDNN warns of weights that are "not part of single contiguous chunk of memory" and copies them."""
    x = torch.randn(7, 4, 3, device=device)
    moved = {
        "made there": gl.LSTM(3, 8, 2, bidirectional=True, device=device, **options),
        "moved": gl.LSTM(3, 8, 2, bidirectional=True, **options).to(device),
        "moved in half": gl.LSTM(3, 8, 2, bidirectional=True, **options).to(device).half(),
        "there and back": gl.LSTM(3, 8, 2, bidirectional=True, **options).to(device).cpu().to(device),
    }
    moved["loaded"] = gl.LSTM(3, 8, 2, bidirectional=True, device=device, **options)
    moved["loaded"].load_state_dict(moved["moved"].state_dict())
    for how, lstm in moved.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            output, _ = lstm(x.to(lstm.weight_ih_l0.dtype))
            output.sum().backward()
        assert output.isfinite().all(), how
        lstm.flatten_parameters()


def test_tied_and_frozen_weights_are_left_as_they_are(device: torch.device) -> None:
    lstm = gl.LSTM(8, 8, 2)
    lstm.weight_hh_l1 = lstm.weight_hh_l0
    lstm.weight_ih_l1.requires_grad_(False)
    expected, _ = lstm(torch.ones(5, 2, 8))
    there = lstm.to(device)
    assert there.weight_hh_l1 is there.weight_hh_l0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cuDNN's: two that share memory cannot stand one behind the other
        output, _ = there(torch.ones(5, 2, 8, device=device))
    torch.testing.assert_close(output.cpu(), expected, **CLOSE)
    output.sum().backward()
    assert there.weight_ih_l1.grad is None


def test_a_changed_weight_is_seen(device: torch.device) -> None:
    _, there = _pair(device)
    x = torch.randn(7, 4, 3, device=device)
    there(x)
    for change in (lambda w: w.data.mul_(-1), lambda w: setattr(w, "data", w.data + 1)):
        change(there.weight_hh_l0)
        fresh, _ = _pair(device)
        fresh.load_state_dict(there.state_dict())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a replaced .data is no longer part of cuDNN's block
            torch.testing.assert_close(there(x)[0].cpu(), fresh(x.cpu())[0], **CLOSE)


def test_autocast(device: torch.device) -> None:
    here, there = _pair(device)
    x = torch.randn(7, 4, 3)
    for call in CALLS.values():
        with torch.autocast(device.type, dtype=torch.bfloat16):
            output, states, *_ = there(x.to(device), **call)
        assert output.dtype == states[0].dtype == torch.bfloat16
        torch.testing.assert_close(output.float().cpu(), here(x, **call)[0], atol=0.03, rtol=0)


def test_dropout_of_one_stays_finite(device: torch.device) -> None:
    lstm = gl.LSTM(3, 8, 2, dropout=1.0, device=device)
    output, _ = lstm(torch.randn(7, 4, 3, device=device))
    output.sum().backward()
    assert output.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in lstm.parameters())


def test_double_backward_through_the_kernel_that_keeps_gates(device: torch.device) -> None:
    """cuDNN has none; the plain kernel and the equations do."""
    here, there = _pair(device)
    x, found = torch.randn(5, 2, 3), []
    for module, place in ((here, "cpu"), (there, device)):
        leaf = x.to(place).requires_grad_()
        with gl.use_kernel("plain"):
            (slope,) = torch.autograd.grad(module(leaf)[0].pow(2).sum(), leaf, create_graph=True)
        found.append(torch.autograd.grad(slope.pow(2).sum(), module.weight_hh_l0)[0].cpu())
    torch.testing.assert_close(found[1], found[0], **CLOSE)


def test_states_on_another_device_are_refused(device: torch.device) -> None:
    _, there = _pair(device)
    x, states = torch.randn(7, 4, 3), (torch.zeros(4, 4, 8), torch.zeros(4, 4, 8))
    with pytest.raises(RuntimeError, match=f"h_0: is on cpu, expected {device.type}"):
        there(x.to(device), states)
    with pytest.raises(RuntimeError, match=f"input: is on cpu, expected {device.type}"):
        there(x)


def test_the_cell(device: torch.device) -> None:
    here = gl.LSTMCell(3, 8)
    there = gl.LSTMCell(3, 8, device=device)
    there.load_state_dict(here.state_dict())
    x = torch.randn(4, 3)
    expected, (states, gates) = here(x), there(x.to(device), return_trace=True)
    torch.testing.assert_close(tuple(s.cpu() for s in states), expected, **CLOSE)
    torch.testing.assert_close(tuple(s.cpu() for s in there(x.to(device))), expected, **CLOSE)
    assert gates.cell.device.type == device.type
