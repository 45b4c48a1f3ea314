from __future__ import annotations

import pytest
import torch
from torch import nn

import glasslstm as gl

CODES = ["cell-grows"]


def growing(hidden_size=4, rate=0.5, units=None, **options):
    """An LSTM whose cells gain `rate` at every step, in float64."""
    lstm = gl.LSTM(1, hidden_size, dtype=torch.float64, **options)
    with torch.no_grad():
        for weight in lstm.parameters():
            weight.zero_()
        for name, bias in lstm.named_parameters():
            if name.startswith("bias_ih"):
                gates = bias.view(4, -1)
                gates[1] = 50
                gates[2, units] = torch.atanh(torch.tensor(2 * rate, dtype=torch.float64))
    return lstm


def zeros(T, B=2):
    return torch.zeros(T, B, 1, dtype=torch.float64)


def test_the_figures_by_hand():
    """c = t / 4, so that quarters of 40 steps average to 15.5 / 4 and 35.5 / 4."""
    found = gl.diagnose(growing(rate=0.25), zeros(40), codes=CODES)
    assert found[0].value == pytest.approx(35.5 / 4)
    assert found[0].evidence == (
        "|c| is 3.88 on average in the second quarter of the steps and 8.88 in the last, in 4 of 4 units: "
        "it grows to the end"
    )
    assert (found[0].severity, found[0].place.units) == ("warning", (0, 1, 2, 3))
    assert "c_n.square().mean()" in found[0].change


@pytest.mark.parametrize(("rate", "count"), [(5.01 / 35.5, 1), (4.99 / 35.5, 0)])
def test_just_below_the_threshold_is_not_found(rate, count):
    assert len(gl.diagnose(growing(rate=rate), zeros(40), codes=CODES)) == count


def test_a_cell_that_comes_to_rest_is_not_found():
    """With f = 0.8 and i g near 1 the cell rests at 4.9 / (1 - 0.8)."""
    lstm = growing(rate=0.499)
    for k, value in ((0, 20.0), (1, 2.5)):
        lstm.bias_ih_l0.data.view(4, -1)[k] = value
    x = zeros(200)
    assert lstm(x)[1][1].min() > 10
    assert not gl.diagnose(lstm, x, codes=CODES)


def test_a_random_walk_is_not_found():
    torch.manual_seed(0)
    lstm, x = growing(16), torch.randn(400, 16, 1, dtype=torch.float64)
    lstm.bias_ih_l0.data.view(4, -1)[2] = 0
    lstm.bias_ih_l0.data.view(4, -1)[0] = 20
    lstm.weight_ih_l0.data.view(4, -1)[2] = 10
    assert lstm(x)[1][1].abs().mean() > 10
    assert not gl.diagnose(lstm, x, codes=CODES)


@pytest.mark.parametrize(("units", "count"), [(range(3), 0), (range(4), 1)])
def test_a_fifth_of_the_units_may(units, count):
    found = gl.diagnose(growing(16, units=list(units)), zeros(40), codes=CODES)
    assert [finding.place.units for finding in found] == [tuple(units)] * count


def test_the_reverse_direction_is_read_from_the_end():
    found = gl.diagnose(
        growing(bidirectional=True), {"input": zeros(40, 3), "lengths": [40, 30, 0]}, codes=CODES
    )
    assert [finding.place.direction for finding in found] == [0, 1]
    assert found[0].evidence == found[1].evidence


@pytest.mark.parametrize("T", [1, 7])
def test_short_sequences_are_left_out(T):
    lstm = growing(rate=0.4999)
    lstm.bias_ih_l0.data.view(4, -1)[0] = 50
    x, state = zeros(T), torch.full((1, 2, 4), 9.0, dtype=torch.float64)
    assert not gl.diagnose(lstm, (x, (torch.zeros_like(state), state)), codes=CODES)


def test_severity_by_what_the_model_has_learnt(made):
    torch.manual_seed(0)
    model = made(lambda m, x: m.head(m.lstm(x)[0][-1]) + x[-1], lstm=growing(), head=nn.Linear(4, 1).double())
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    x = torch.randn(40, 16, 1, dtype=torch.float64)
    x[-1, :, 0] = torch.tensor(8 * [1.0, -1.0])
    noise = torch.tensor(4 * [1.0, 1.0, -1.0, -1.0], dtype=torch.float64).unsqueeze(1)
    # The model says x_T.
    for y, severity in ((noise, "error"), (x[-1] + 1.2 * noise, "warning"), (x[-1] + 0.1 * noise, "note")):
        found = gl.diagnose(model, x, y, nn.functional.mse_loss, codes=CODES)
        assert [finding.severity for finding in found] == [severity]


def test_the_penalty_keeps_the_cells_small(made):
    torch.manual_seed(0)
    lstm = growing(8, rate=0.3)
    x = torch.randn(30, 8, 1, dtype=torch.float64)
    assert gl.diagnose(lstm, x, codes=CODES)
    optimizer = torch.optim.Adam(lstm.parameters(), 0.05)
    sizes = []
    for _ in range(80):
        _, (_, c_n) = lstm(x)
        loss = 1e-3 * c_n.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sizes.append(loss.item())
    assert sizes[-1] < 0.1 * sizes[0]
    assert not gl.diagnose(lstm, x, codes=CODES)
