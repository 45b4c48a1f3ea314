"""The forecast network: the seasonal naive forecast before training, no way back in time, quantiles in order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from glasslstm.estimators.tasks import Numbers, Quantiles
from glasslstm.forecasting.network import ForecastNetwork

L, H, B, F = 10, 5, 3, 4
TARGET = 2


def make(quantiles: tuple[float, ...] | None = (0.1, 0.5, 0.9), **parameters: Any) -> ForecastNetwork:
    torch.manual_seed(0)
    horizon = parameters.get("horizon", H)
    units = (0.0,) * horizon, (1.0,) * horizon
    task = Numbers(horizon, "huber", *units) if quantiles is None else Quantiles(horizon, quantiles, *units)
    chosen = {"context": L, "horizon": H, "season_length": 4, "target_input": TARGET, "hidden_size": 6} | {
        "bidirectional": False
    }
    middle = quantiles.index(0.5) if quantiles and 0.5 in quantiles else 0
    layout = {"answer": task.answer(), "middle": middle} | chosen | parameters
    return ForecastNetwork(F, len(quantiles or (0,)), **layout).eval()


def inputs(horizon: int = H, seed: int = 1) -> Tensor:
    return torch.randn(L + horizon, B, F, generator=torch.Generator().manual_seed(seed))


def said(network: ForecastNetwork, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = network(x, torch.full((x.shape[1],), len(x)))
    return found


def seasonal_naive(x: Tensor, season: int, horizon: int) -> Tensor:
    """Return the last season of the target's past over and over, (B, H), step by step."""
    past = x[:L, :, TARGET]
    return torch.stack([past[L - season + step % season] for step in range(horizon)], dim=1)


@pytest.mark.parametrize(("season", "horizon"), [(1, 5), (4, 3), (4, 9), (10, 12), (7, 1)])
def test_the_linear_model_starts_as_the_seasonal_naive_forecast_exactly(season: int, horizon: int) -> None:
    network, x = make(season_length=season, horizon=horizon), inputs(horizon)
    found = network.autoregression(x[:L, :, TARGET].T)
    assert torch.equal(found, seasonal_naive(x, season, horizon))


@pytest.mark.parametrize(
    "quantiles", [None, (0.5,), (0.1, 0.5, 0.9), (0.02, 0.1, 0.5, 0.9, 0.98), (0.5, 0.9)]
)
def test_an_untrained_network_says_the_seasonal_naive_forecast(quantiles: Any) -> None:
    network, x = make(quantiles), inputs()
    found = said(network, x)
    middle = found if quantiles is None else found[..., quantiles.index(0.5)]
    expected = seasonal_naive(x, 4, H).double()
    assert (middle - expected).abs().max() < 0.2  # a tenth of what a head begins with
    nn.init.zeros_(network.head.weight)
    middle = said(network, x) if quantiles is None else said(network, x)[..., quantiles.index(0.5)]
    torch.testing.assert_close(middle, expected, rtol=0, atol=1e-6)


def test_the_answer_is_the_linear_model_and_the_lstm_over_past_and_future() -> None:
    network, x = make(num_layers=2), inputs()
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.5)
    reference = nn.LSTM(F, 6, 2)
    reference.load_state_dict(network.lstm.state_dict())
    output = reference(x)[0][L:]  # (H, B, 6)
    numbers = network.head(output).permute(1, 0, 2)
    linear = x[:L, :, TARGET].T @ network.autoregression.weight.T + network.autoregression.bias
    lowest = numbers[..., 0] + linear
    step = nn.functional.softplus(numbers[..., 1:])
    expected = torch.stack([lowest, lowest + step[..., 0], lowest + step.sum(-1)], dim=-1)
    torch.testing.assert_close(said(network, x), expected.detach().double(), rtol=1e-5, atol=1e-5)


def test_the_linear_model_reads_the_past_of_the_target_alone() -> None:
    network, x = make(), inputs()
    nn.init.normal_(network.autoregression.weight)
    nn.init.zeros_(network.head.weight)
    before = said(network, x)
    other = inputs(seed=2)
    other[:L, :, TARGET] = x[:L, :, TARGET]
    assert torch.equal(said(network, other), before)
    other[L - 1, 0, TARGET] += 1
    assert not torch.equal(said(network, other)[0], before[0])
    assert torch.equal(said(network, other)[1:], before[1:])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_later_step_says_nothing_of_an_earlier_one_unless_it_is_read_backward(bidirectional: bool) -> None:
    network, x = make(bidirectional=bidirectional), inputs()
    before = said(network, x)
    for step in range(H):
        other = x.clone()
        other[L + step, :, 0] += 1.0
        changed = (said(network, other) != before).any(-1).any(0).tolist()
        assert changed == [bidirectional or later >= step for later in range(H)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(1e-3, 1e6), st.integers(1, 7))
def test_quantiles_never_cross(seed: int, size: float, count: int) -> None:
    levels = tuple((k + 1) / (count + 1) for k in range(count))
    network = make(levels)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(generator=torch.Generator().manual_seed(seed)).mul_(3)
    found = said(network, inputs(seed=seed % 100) * size)
    assert found.shape == (B, H, count)
    assert found.isfinite().all()
    assert (found.diff(dim=-1) >= 0).all()


def test_it_learns_what_is_not_in_the_seasonal_naive_forecast() -> None:
    network, x = make(None, season_length=1), inputs()
    truth = (x[L:, :, 0].T * 2).double()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
    before = after = 0.0
    for update in range(60):
        loss = (network(x, torch.full((B,), L + H)) - truth).square().mean()
        before, after = (loss.item() if update == 0 else before), loss.item()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert after < 0.1 * before
