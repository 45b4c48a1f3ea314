from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import glasslstm as gl

X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))


def look(model):
    return gl.diagnose(model, X, codes=["dropout-without-effect"])


@pytest.fixture(params=[nn.LSTM, gl.LSTM], ids=["torch", "glasslstm"])
def lstm(request):
    def make(**options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both say it when they are made
            return request.param(3, 4, **options)

    return make


def model(lstm, made, share=0.3):
    parts = {"lstm": lstm, "drop": nn.Dropout(share), "head": nn.Linear(4, 2)}
    return made(lambda self, x: self.head(self.drop(self.lstm(x)[0][-1])), **parts)


def test_one_layer(lstm, made) -> None:
    (found,) = look(model(lstm(dropout=0.2), made))
    assert (found.code, found.severity, str(found.place)) == ("dropout-without-effect", "warning", "lstm")
    assert found.value == 0.2
    assert (
        found.evidence
        == "dropout=0.2 with num_layers=1: an LSTM drops between its layers, never behind the last"
    )
    assert found.change == "Give the LSTM num_layers=2, or drop out behind it: `torch.nn.Dropout(0.2)`"


def test_switched_off(lstm, made) -> None:
    training = model(lstm(num_layers=2, dropout=0.2), made)
    training.drop.eval()
    (found,) = look(training)
    assert (str(found.place), found.value) == ("drop", 0.3)
    assert (
        found.evidence == "p=0.3, but the module is in eval() while the model around it is in training mode"
    )
    assert "model.train()" in found.change
    training.lstm.eval()
    assert [str(found.place) for found in look(training)] == ["lstm", "drop"]
    assert [module.training for module in (training, training.lstm, training.drop)] == [True, False, False]


def test_silent_where_it_works_or_nobody_trains(lstm, made) -> None:
    assert not look(model(lstm(num_layers=2, dropout=0.2), made))
    assert not look(model(lstm(), made))
    assert not look(model(lstm(num_layers=2, dropout=0.2), made).eval())
    nothing = model(lstm(), made, share=0.0)
    nothing.drop.eval()
    assert not look(nothing)
    frozen = model(lstm(num_layers=2, dropout=0.2).requires_grad_(False), made)
    frozen.lstm.eval()
    assert not look(frozen)


def test_what_stands_in_a_frozen_part_is_its_own_matter(lstm, made) -> None:
    inner = model(lstm(num_layers=2, dropout=0.2), made)
    outer = made(lambda self, x: self.inner(x), inner=inner)
    inner.eval()
    assert not look(outer)


def test_a_cell_has_no_dropout(made) -> None:
    loop = made(lambda self, x: self.cell(x[0])[0], cell=nn.LSTMCell(3, 4))
    assert not look(loop)
