"""Faults of gates and of units."""

from __future__ import annotations

from torch import nn

from glasslstm.nn.init import forget_bias_

from . import models, tasks
from .settings import Planted, at, deep, head, hurt, lstm, new, sick
from .surgery import constant, copy_unit, jam, silence

__all__ = ["GATES"]

TAGGER = "tagger, flip-flop"
STACK = "classifier, last output, two layers"
ENDS = "classifier, both ends joined"
LOOP = "LSTMCell in a loop, echo"
DECODER = "forecaster, encoder hands its states to a decoder"

GATES: dict[str, Planted] = {
    "forget gate shut, one direction of the upper layer": Planted(
        "forget-gate-shut",
        at("lstm", 1, 1, 16),
        lambda: new(lambda: head(jam(deep(), "f", -20, at="_l1_reverse"))),
    ),
    "forget gate shut, a third of a trained tagger": Planted(
        "forget-gate-shut",
        at("lstm", 0, 0, 10),
        lambda: hurt(TAGGER, lambda model: jam(model.lstm, "f", -40, range(10))),
        quick=False,
    ),
    "forget gate shut, two units of a trained LSTMCell": Planted(
        "forget-gate-shut",
        at("cell", 0, 0, (1, 5)),
        lambda: hurt(LOOP, lambda model: jam(model.cell, "f", -40, (1, 5), "")),
        quick=False,
    ),
    "forget gate open, one direction of the upper layer": Planted(
        "forget-gate-open",
        at("lstm", 1, 0, 16),
        lambda: new(lambda: head(jam(deep(), "f", 20, at="_l1"))),
    ),
    "forget gate open from the start of a training": Planted(
        "forget-gate-open",
        at("lstm", 0, 0),
        lambda: sick(
            lambda: models.Stepwise(forget_bias_(nn.LSTM(3, 32, batch_first=True), 20.0), 3),
            tasks.flip_flop,
            steps=40,
        ),
    ),
    "input gate shut, most of one direction": Planted(
        "input-gate-stuck",
        at("lstm", 0, 1, 12),
        lambda: new(lambda: head(jam(deep(), "i", -20, range(12), "_l0_reverse"))),
    ),
    "input gate shut, the decoder of a trained forecaster": Planted(
        "input-gate-stuck",
        at("decoder", 0, 0, 48),
        lambda: hurt(DECODER, lambda model: jam(model.decoder, "i", -40, at="")),
        quick=False,
    ),
    "output gate shut, the upper layer": Planted(
        "output-gate-stuck",
        at("lstm", 1, 0, 16),
        lambda: new(lambda: head(jam(lstm(num_layers=2), "o", -20, at="_l1"))),
    ),
    "output gate shut, two units of a trained classifier's reverse direction": Planted(
        "output-gate-stuck",
        at("lstm", 0, 1, (2, 3)),
        lambda: hurt(ENDS, lambda model: jam(model.lstm, "o", -40, (2, 3), "_l0_reverse")),
        quick=False,
    ),
    "dead units, half of the lower layer": Planted(
        "dead-units",
        at("lstm", 0, 0, 9),
        lambda: new(lambda: head(silence(lstm(num_layers=2), range(9)))),
    ),
    "dead units, two of a trained classifier's upper layer": Planted(
        "dead-units",
        at("lstm", 1, 0, (4, 9)),
        lambda: hurt(STACK, lambda model: silence(model.lstm, (4, 9), "_l1")),
        quick=False,
    ),
    "duplicate units, constant weights at the start of a training": Planted(
        "duplicate-units",
        at("lstm", 0, 0, 32),
        lambda: sick(
            lambda: constant(models.Stepwise(nn.LSTM(3, 32, batch_first=True), 3)), tasks.flip_flop, steps=40
        ),
    ),
    "duplicate units, two of a trained classifier's lower layer": Planted(
        "duplicate-units",
        at("lstm", 0, 0, (3, 11)),
        lambda: hurt(STACK, lambda model: copy_unit(model.lstm, 3, [11])),
        quick=False,
    ),
    "duplicate units, one direction": Planted(
        "duplicate-units",
        at("lstm", 0, 1, (0, 1, 2, 3)),
        lambda: new(lambda: head(copy_unit(deep(), 0, (1, 2, 3), "_l0_reverse"))),
    ),
}
"""Name -> the fault."""
