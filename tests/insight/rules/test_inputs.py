from __future__ import annotations

import pytest
import torch
from torch import nn

import glasslstm as gl

CODES = ["inputs-not-scaled"]
OTHERS = ["forget-gate-shut", "forget-gate-open", "input-gate-stuck", "output-gate-stuck", "dead-units"]
OTHERS += ["duplicate-units", "cell-grows", "gradient-vanishes", "gradient-explodes"]


def data(*shape):
    torch.manual_seed(1)
    return torch.randn(*shape)


def with_raw(channel, mean=3000.0, std=500.0):
    x = data(30, 8, 4)
    x[..., channel] = mean + std * x[..., channel]
    return x


@pytest.mark.parametrize("kind", [gl.LSTM, nn.LSTM], ids=["ours", "torch"])
def test_names_the_channel_with_its_figures(kind):
    torch.manual_seed(0)
    x = with_raw(2)
    found = gl.diagnose(kind(4, 16, 2, bidirectional=True), x, codes=CODES)
    assert [(finding.place.layer, finding.place.direction) for finding in found] == [(0, 0), (0, 1)]
    assert {finding.severity for finding in found} == {"error"}
    mean, std = x[..., 2].double().mean(), x[..., 2].double().std(correction=0)
    assert found[0].evidence.endswith(
        f"by itself; channel 2 has mean {mean:.3g} and standard deviation {std:.3g}"
    )
    assert f"mean, std = torch.tensor([{mean:.4g}]), torch.tensor([{std:.4g}])" in found[0].snippet


def test_the_code_in_the_change_undoes_it():
    torch.manual_seed(0)
    lstm, x = gl.LSTM(4, 16), with_raw(1)
    code = gl.diagnose(lstm, x, codes=CODES)[0].snippet
    exec(code, {"x": x, "torch": torch})
    assert x[..., 1].std() == pytest.approx(1, abs=0.01)
    assert not gl.diagnose(lstm, x, codes=CODES)


def test_a_constant_channel_is_not_divided_by_zero():
    found = gl.diagnose(gl.LSTM(4, 16), with_raw(3, std=0.0), codes=CODES)
    assert "torch.tensor([3000]), torch.tensor([1])" in found[0].change


def test_the_share_by_hand():
    torch.manual_seed(0)
    lstm, x = gl.LSTM(4, 16).double(), 40 * data(30, 8, 4).double()
    lstm.weight_hh_l0.data *= 20
    with torch.no_grad():
        output, _ = lstm(x)
        from_x = x @ lstm.weight_ih_l0.T + lstm.bias_ih_l0
        before = torch.cat([torch.zeros_like(output[:1]), output[:-1]])
        from_h = before @ lstm.weight_hh_l0.T
        share = ((from_x.abs() > 6) & (from_x.abs() > 3 * from_h.abs())).double().mean().item()
    found = gl.diagnose(lstm, x, codes=CODES)
    assert found[0].value == pytest.approx(share)
    assert f"saturates {share:.0%} of the gates' values" in found[0].evidence


@pytest.mark.parametrize(
    ("count", "severities"), [(3, []), (4, ["warning"]), (8, ["warning"]), (9, ["error"])]
)
def test_the_share_of_the_gates_decides(count, severities):
    """Of 16 values of gates, `count` read an input of 100 with a weight of 1."""
    lstm = gl.LSTM(1, 4)
    for weight in lstm.parameters():
        nn.init.zeros_(weight)
    lstm.weight_ih_l0.data[:count] = 1.0
    found = gl.diagnose(lstm, torch.full((9, 2, 1), 100.0), codes=CODES)
    assert [finding.severity for finding in found] == severities


@pytest.mark.parametrize(("size", "count"), [(9.9, 0), (10.1, 1)])
def test_large_weights_are_not_the_inputs_fault(size, count):
    lstm = gl.LSTM(1, 4)
    nn.init.constant_(lstm.weight_ih_l0, 5.0)
    assert len(gl.diagnose(lstm, torch.full((9, 2, 1), size), codes=CODES)) == count


def test_padding_does_not_count():
    x = data(20, 3, 4)
    x[5:] = 1e6
    lengths = torch.tensor([5, 0, 3])
    assert not gl.diagnose(gl.LSTM(4, 8, bidirectional=True), {"input": x, "lengths": lengths}, codes=CODES)
    lengths[0] = 9
    assert gl.diagnose(gl.LSTM(4, 8), {"input": x, "lengths": lengths}, codes=CODES)


def test_only_the_first_layer_reads_the_input():
    found = gl.diagnose(gl.LSTM(4, 8, 3), with_raw(0), codes=CODES)
    assert [finding.place.layer for finding in found] == [0]


def test_other_codes_do_not_tell_it_again():
    torch.manual_seed(0)
    found = gl.diagnose(gl.LSTM(4, 8), with_raw(0), codes=CODES + OTHERS)
    assert [finding.code for finding in found] == CODES


def test_scaled_inputs_let_a_model_learn(made):
    """The sum of three numbers that come with an offset of 1000."""

    def train(scale):
        torch.manual_seed(0)
        model = made(
            lambda m, x: m.head(m.lstm(scale(x))[0][-1]).squeeze(-1),
            lstm=gl.LSTM(1, 16),
            head=nn.Linear(16, 1),
        )
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(80):
            x = 1000 + 100 * torch.randn(3, 64, 1)
            y = (x - 1000).sum((0, 2)) / 100
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item(), len(gl.diagnose(model, x, y, nn.functional.mse_loss, codes=CODES))

    raw, found_before = train(lambda x: x)
    scaled, found_after = train(lambda x: (x - torch.tensor([1000.0])) / torch.tensor([100.0]))
    assert (found_before, found_after) == (1, 0)
    assert scaled < 0.3 * raw
