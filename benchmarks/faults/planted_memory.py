"""Faults of the memory, of the gradient and of the numbers that go in."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import glasslstm as gl

from . import models, tasks
from .settings import Planted, at, deep, head, lstm, new, sick, spoilt
from .surgery import broken, integrating, jam, scale_recurrent

__all__ = ["MEMORY"]


def stamped(x: Tensor) -> Tensor:
    """Put a time in milliseconds on the first channel."""
    time = 1000.0 * torch.arange(x.shape[1]).expand(x.shape[:2])
    return torch.cat([time.unsqueeze(-1), x[..., 1:]], dim=-1)


def with_gap(x: Tensor) -> Tensor:
    """Put a NaN on one step of one sequence."""
    x = x.clone()
    x[3, 7, 0] = torch.nan
    return x


def last_loss(output: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of the last step."""
    return mse_loss(output[:, -1], targets)


def lost_gradient(output: Tensor, targets: Tensor) -> Tensor:
    """Return a loss with a term that is zero, and whose gradient is NaN."""
    return mse_loss(output, targets) + (output - output).square().sum().sqrt()


MEMORY: dict[str, Planted] = {
    "cell grows, half of one direction": Planted(
        "cell-grows",
        at("lstm", 0, 0, 8),
        lambda: new(lambda: head(integrating(lstm(bidirectional=True), 8))),
    ),
    "cell grows, below a projection": Planted(
        "cell-grows",
        at("lstm", 1, 0, 16),
        lambda: new(
            lambda: models.Stepwise(integrating(lstm(num_layers=2, proj_size=4), 16, "_l1"), 1), tasks.echo
        ),
    ),
    "gradient vanishes, torch's initialisation, T = 200": Planted(
        "gradient-vanishes",
        at("lstm", 0, 0),
        lambda: new(lambda: head(nn.LSTM(2, 32, batch_first=True)), partial(tasks.adding, steps=200)),
    ),
    "gradient vanishes, the upper layer alone": Planted(
        "gradient-vanishes",
        at("lstm", 1, 0),
        lambda: new(
            lambda: head(jam(jam(lstm(num_layers=2), "f", 5), "f", -2, at="_l1")),
            partial(tasks.levels, steps=100),
        ),
    ),
    "gradient explodes, recurrent weights far too large": Planted(
        "gradient-explodes",
        at("lstm", 0, 0),
        lambda: new(
            lambda: models.Stepwise(scale_recurrent(nn.LSTM(1, 64, batch_first=True), 8.0), 1),
            partial(tasks.echo, steps=100),
        ),
    ),
    "gradient explodes, the reverse direction alone": Planted(
        "gradient-explodes",
        at("lstm", 0, 1),
        lambda: new(
            lambda: models.Stepwise(scale_recurrent(lstm(bidirectional=True), 16.0, "_l0_reverse"), 1),
            partial(tasks.echo, steps=100),
        ),
    ),
    "memory too short, adding problem, T = 200": Planted(
        "memory-too-short",
        at("lstm"),
        lambda: sick(
            lambda: head(nn.LSTM(2, 32, batch_first=True)), partial(tasks.adding, steps=200), steps=25
        ),
    ),
    "memory too short, an LSTMCell": Planted(
        "memory-too-short",
        at("cell"),
        lambda: sick(
            lambda: models.CellLoop(nn.LSTMCell(2, 16), 1),
            partial(tasks.adding, steps=200),
            last_loss,
            steps=25,
        ),
    ),
    "memory too short, two layers, temporal order, T = 200": Planted(
        "memory-too-short",
        at("lstm"),
        lambda: sick(
            lambda: head(gl.LSTM(6, 32, num_layers=2, batch_first=True), 4),
            partial(tasks.temporal_order, steps=200),
            cross_entropy,
            steps=60,
        ),
        quick=False,
    ),
    "inputs not scaled, trained on raw values": Planted(
        "inputs-not-scaled",
        at("lstm", 0, 0),
        lambda: sick(
            lambda: head(nn.LSTM(1, 32, batch_first=True), 4),
            spoilt(tasks.waves, lambda x: 300 * x + 1000),
            cross_entropy,
            steps=60,
        ),
    ),
    "inputs not scaled, one channel of four, the reverse direction too": Planted(
        "inputs-not-scaled",
        at("lstm", 0, 1),
        lambda: new(
            lambda: head(gl.LSTM(4, 16, bidirectional=True, batch_first=True), 4),
            spoilt(tasks.bump, stamped),
            cross_entropy,
        ),
    ),
    "not finite, a weight of one direction": Planted(
        "not-finite",
        at("lstm", 1, 1),
        lambda: new(lambda: head(broken(deep(), "weight_hh_l1_reverse", 5))),
    ),
    "not finite, a gap in the input": Planted(
        "not-finite",
        at("lstm", 0, 0),
        lambda: new(lambda: models.Stepwise(lstm(), 1), spoilt(tasks.echo, with_gap)),
    ),
    "not finite, the gradient of the loss alone": Planted(
        "not-finite",
        at("lstm", 1, 0),
        lambda: new(lambda: models.Stepwise(lstm(num_layers=2), 1), tasks.echo, lost_gradient),
    ),
}
"""Name -> the fault."""
