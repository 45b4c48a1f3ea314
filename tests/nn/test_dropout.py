"""Dropout between layers: in training only, torch's own draws, the right statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import glasslstm as gl

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True}, {"proj_size": 2}, {"batch_first": True}], ids=str
)
@pytest.mark.parametrize("dropout", [0.3, 1.0])
def test_the_same_seed_drops_what_torch_drops(
    options: dict[str, Any], dropout: float, twin: Callable[..., Any], results: Callable[..., Any], equal: Any
) -> None:
    ours, theirs = twin(3, 4, 3, dropout=dropout, **options)
    x, found = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True), []
    for module in (ours, theirs):
        torch.manual_seed(7)
        found.append(results(module, x, inputs=[x]))
    equal(*found)


def test_eval_drops_nothing(kernel: str, twin: Callable[..., Any]) -> None:
    ours, _ = twin(3, 4, 2, dropout=0.9)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    bare = gl.LSTM(3, 4, 2, dtype=torch.float64)
    bare.load_state_dict(ours.state_dict())
    assert torch.equal(ours.eval()(x)[0], bare(x)[0])
    assert not torch.allclose(ours.train()(x)[0], bare(x)[0])


def test_dropout_may_change_between_calls(kernel: str) -> None:
    lstm = gl.LSTM(3, 4, 2, dropout=0.5)
    x = torch.randn(5, 2, 3)
    dropped = lstm(x)[0]
    lstm.dropout = 0.0
    whole = lstm(x)[0]
    assert not torch.allclose(dropped, whole)
    assert torch.equal(whole, lstm.eval()(x)[0])
    lstm.train().dropout = 0.9
    assert not torch.allclose(lstm(x)[0], whole)


@pytest.mark.parametrize("call", [{}, {"lengths": [5, 0, 3]}], ids=["padded", "ragged"])
def test_a_dropout_of_one_stays_finite(
    call: dict[str, Any], kernel: str, results: Callable[..., Any]
) -> None:
    lstm = gl.LSTM(3, 4, 2, dropout=1.0, bidirectional=True)
    x = torch.randn(5, 3, 3, requires_grad=True)
    found = results(lstm, x, inputs=[x], **call)
    assert all(value.isfinite().all() for value in found.values())
    # The second layer sees zeros only: its output is what it would be for an input of zeros.
    second = gl.LSTM(8, 4, bidirectional=True)
    second.load_state_dict({n.replace("_l1", "_l0"): w for n, w in lstm.state_dict().items() if "_l1" in n})
    torch.testing.assert_close(found["output"], second(torch.zeros(5, 3, 8), **call)[0], atol=1e-6, rtol=0)
    assert (
        not found["d input 0"].any() or found["d weight_ih_l0"].any()
    )  # through h_n and c_n of layer 0 only


@pytest.mark.parametrize("call", [{}, {"lengths": [30] * 150 + [10] * 50}], ids=["padded", "ragged"])
def test_a_share_of_dropout_is_zeroed_and_the_rest_scaled(call: dict[str, Any], kernel: str) -> None:
    """Seen through a second layer that is linear to first order in its input."""
    lstm = gl.LSTM(1, 20, 2, dropout=0.25, bias=False, dtype=torch.float64)
    with torch.no_grad():
        for name, weight in lstm.named_parameters():
            weight.zero_()
            if name == "weight_ih_l0":
                weight.fill_(1.0)
            if name == "weight_ih_l1":
                weight[40:60] = 1e-3 * torch.eye(20)  # the candidate alone: c_1 is half of what comes in
        x = torch.ones(30, 200, 1, dtype=torch.float64)
        seen = torch.ones(30, 200, dtype=torch.bool)
        if call:
            seen = torch.arange(30).unsqueeze(1) < torch.tensor(call["lengths"])
        lower = lstm.eval()(x, **call)[1][0][0, 0, 0]  # h of the first layer after the last step
        whole = lstm(x[:1].expand(1, 200, 1))[0][0]
        dropped = lstm.train()(x[:1].expand(1, 200, 1))[0][0]
        ratio = dropped / whole
        kept = ratio[ratio.abs() > 0.5]
        torch.testing.assert_close(kept, torch.full_like(kept, 4 / 3), atol=1e-4, rtol=0)
        share = 1 - len(kept) / ratio.numel()
        assert share == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / ratio.numel()) ** 0.5)
        # Over all steps the mean stays what it is without dropout, and nothing leaks into the padding.
        outputs = [lstm.train(mode)(x, **call)[0] for mode in (True, False)]
    assert lower > 0
    assert outputs[0][seen].mean().item() == pytest.approx(outputs[1][seen].mean().item(), rel=0.02)
    assert not outputs[0][~seen].any()


def test_each_call_and_each_step_draws_afresh(kernel: str) -> None:
    lstm, x = gl.LSTM(3, 50, 2, dropout=0.5), torch.randn(1, 1, 3).expand(4, 1, 3)
    assert not torch.equal(lstm(x)[0], lstm(x)[0])
    torch.manual_seed(3)
    first = lstm(x)[0]
    torch.manual_seed(3)
    assert torch.equal(lstm(x)[0], first)


def test_the_last_layer_is_never_dropped(kernel: str) -> None:
    with pytest.warns(UserWarning, match="no effect"):
        lstm = gl.LSTM(3, 4, dropout=0.9)
    x = torch.randn(5, 2, 3)
    assert torch.equal(lstm(x)[0], lstm.eval()(x)[0])
    deep = gl.LSTM(3, 200, 2, dropout=0.9)
    assert deep(x)[0].ne(0).all()


def test_the_states_of_the_lower_layer_are_not_dropped(kernel: str) -> None:
    """Dropout is on the way up; h_n of layer 0 is what it is without."""
    lstm, x = gl.LSTM(3, 4, 2, dropout=0.9), torch.randn(5, 2, 3)
    _, (h_n, c_n) = lstm(x)
    _, (whole_h, whole_c) = lstm.eval()(x)
    torch.testing.assert_close((h_n[0], c_n[0]), (whole_h[0], whole_c[0]), atol=1e-6, rtol=0)


def test_the_trace_shows_what_the_layer_computed_before_the_dropout() -> None:
    lstm, x = gl.LSTM(3, 4, 2, dropout=0.9), torch.randn(5, 2, 3)
    _, (h_n, _), trace = lstm(x, return_trace=True)
    assert torch.equal(trace[0, 0].hidden[-1], h_n[0])
    assert trace[0, 0].hidden.ne(0).all()
