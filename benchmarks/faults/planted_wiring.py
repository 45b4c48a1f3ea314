"""Faults in how an LSTM is called and read."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.functional import cross_entropy

import glasslstm as gl
from glasslstm.nn.init import forget_bias_

from . import miswired, models, tasks
from .settings import Planted, at, deep, head, hurt, lstm, new, sick

__all__ = ["WIRING"]


def dropping(module: Any, share: float = 0.3) -> Any:
    """Give an LSTM of one layer a dropout; its constructor warns, so it is set here."""
    module.dropout = share
    return module


WIRING: dict[str, Planted] = {
    "padding matters, the last row is read": Planted(
        "padding-matters",
        at("lstm"),
        lambda: sick(
            lambda: miswired.LastRow(forget_bias_(nn.LSTM(1, 32, batch_first=True)), 1),
            tasks.ragged(tasks.levels),
            steps=60,
        ),
    ),
    "padding matters, the reverse direction starts in it": Planted(
        "padding-matters",
        at("lstm"),
        lambda: new(
            lambda: miswired.IgnoresLengths(gl.LSTM(1, 16, bidirectional=True, batch_first=True), 1),
            tasks.ragged(tasks.levels),
        ),
    ),
    "padding matters, packed, and then output[:, -1]": Planted(
        "padding-matters",
        at("lstm"),
        lambda: new(
            lambda: miswired.Repacked(gl.LSTM(1, 16, batch_first=True), 1, models.last_step),
            tasks.ragged(tasks.levels),
        ),
    ),
    "axes mixed, batch_first forgotten": Planted(
        "axes-mixed",
        at("lstm"),
        lambda: sick(
            lambda: models.Joined(nn.LSTM(1, 32), 4, models.last_step), tasks.waves, cross_entropy, steps=40
        ),
    ),
    "axes mixed, batch_first on time-first data": Planted(
        "axes-mixed",
        at("lstm"),
        lambda: new(lambda: models.Joined(lstm(), 1, miswired.last_row), tasks.time_first(tasks.levels)),
    ),
    "axes mixed, reshape where transpose is meant": Planted(
        "axes-mixed",
        at("lstm"),
        lambda: new(lambda: miswired.Reshaped(nn.LSTM(1, 16), 1)),
    ),
    "axes mixed, the final states viewed as (N, L * H)": Planted(
        "axes-mixed",
        at("lstm"),
        lambda: new(lambda: miswired.ViewedStates(lstm(num_layers=2), 1)),
    ),
    "state carried over, kept in the model": Planted(
        "state-carried-over",
        at("lstm"),
        lambda: new(lambda: miswired.CarriedStates(lstm(num_layers=2), 1)),
    ),
    "state carried over, an LSTMCell": Planted(
        "state-carried-over",
        at("cell"),
        lambda: sick(lambda: miswired.CarriedCells(nn.LSTMCell(1, 16), 1), tasks.levels, steps=30),
    ),
    "state carried over, from each sequence of a batch to the next": Planted(
        "state-carried-over",
        at("lstm"),
        lambda: new(lambda: miswired.Chained(lstm(), 1)),
    ),
    "one end only, output[:, -1]": Planted(
        "one-end-only",
        at("lstm", 0, 1),
        lambda: sick(
            lambda: models.Joined(gl.LSTM(1, 16, bidirectional=True, batch_first=True), 4, models.last_step),
            tasks.waves,
            cross_entropy,
            steps=100,
        ),
    ),
    "one end only, h_n[-1]": Planted(
        "one-end-only",
        at("lstm", 1, 0),
        lambda: new(lambda: models.Joined(deep(), 1, miswired.reverse_only, features=16)),
    ),
    "one end only, the last valid step of a packed batch": Planted(
        "one-end-only",
        at("lstm", 0, 1),
        lambda: new(
            lambda: miswired.Repacked(lstm(bidirectional=True), 1, miswired.last_valid),
            tasks.ragged(tasks.levels),
        ),
    ),
    "dropout without effect, one layer": Planted(
        "dropout-without-effect",
        at("lstm"),
        lambda: new(lambda: head(dropping(lstm()))),
    ),
    "dropout without effect, left in eval()": Planted(
        "dropout-without-effect",
        at("lstm"),
        lambda: new(lambda: head(lstm(num_layers=2, dropout=0.3).eval())),
    ),
    "dropout without effect, the decoder of a trained autoencoder": Planted(
        "dropout-without-effect",
        at("decoder"),
        lambda: hurt("autoencoder", lambda model: dropping(model.decoder)),
        quick=False,
    ),
}
"""Name -> the fault."""
