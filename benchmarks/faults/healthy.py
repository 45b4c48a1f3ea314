"""Healthy models of many kinds and sizes: trained until they clearly beat guessing, or fresh from their class."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import glasslstm as gl
from glasslstm.data import load_japanese_vowels
from glasslstm.nn.init import chrono_, forget_bias_

from . import models, tasks
from .training import Patient, examined, labels, streamed, trained

__all__ = ["FRESH", "HEALTHY", "fresh", "healthy"]


def vowels() -> Patient:
    """Train the classifier of the demo for a few epochs; it is shown a padded batch of the test part."""
    X, y = load_japanese_vowels("train")
    clf = gl.LSTMClassifier(
        hidden_size=32, max_epochs=25, refit=False, random_state=0, device="cpu", verbose=False
    ).fit(X, y)
    X, y = load_japanese_vowels("test")
    chosen = range(0, len(X), 8)
    series = [torch.from_numpy((X[k] - clf.scaling_.mean) / clf.scaling_.scale).float() for k in chosen]
    lengths = torch.tensor([len(x) for x in series])
    targets = torch.from_numpy(np.searchsorted(clf.classes_, y[list(chosen)]))
    inputs = (nn.utils.rnn.pad_sequence(series), lengths)
    return examined(clf.network_, inputs, targets, cross_entropy, 0.5)


HEALTHY: dict[str, Callable[[], Patient]] = {
    "classifier, last state": partial(
        trained,
        lambda: models.Joined(nn.LSTM(1, 32, batch_first=True), 4),
        partial(tasks.waves, steps=40),
        cross_entropy,
        steps=800,
    ),
    "classifier, last output, two layers": partial(
        trained,
        lambda: models.Joined(
            forget_bias_(gl.LSTM(4, 24, num_layers=2, batch_first=True)), 4, models.last_step
        ),
        tasks.bump,
        cross_entropy,
        steps=600,
    ),
    "classifier, both ends joined": partial(
        trained,
        lambda: models.Joined(gl.LSTM(1, 16, bidirectional=True), 4),
        tasks.time_first(tasks.waves),
        cross_entropy,
        steps=400,
    ),
    "classifier, H = 128, temporal order": partial(
        trained,
        lambda: models.Joined(forget_bias_(nn.LSTM(6, 128, batch_first=True)), 4),
        partial(tasks.temporal_order, steps=30),
        cross_entropy,
        steps=400,
        rate=0.003,
    ),
    "classifier, packed, both directions, two layers": partial(
        trained,
        lambda: models.Packed(nn.LSTM(1, 24, num_layers=2, bidirectional=True, batch_first=True), 4),
        tasks.ragged(partial(tasks.waves, steps=40), 0.5),
        cross_entropy,
        steps=300,
    ),
    "classifier, attention over outputs": partial(
        trained,
        lambda: models.Attention(gl.LSTM(17, 32, batch_first=True, bidirectional=True), 8, 8),
        tasks.marked_token,
        cross_entropy,
    ),
    "classifier, CNN in front, T = 300": partial(
        trained,
        lambda: models.Convolved(nn.LSTM(16, 48, batch_first=True), 3),
        tasks.chirp,
        cross_entropy,
    ),
    "classifier, the same LSTM on two sequences": partial(
        trained,
        lambda: models.Twins(nn.LSTM(1, 32, batch_first=True), 2),
        tasks.pairs,
        cross_entropy,
        steps=300,
    ),
    "classifier, Japanese Vowels": vowels,
    "regressor, H = 8, T = 10": partial(
        trained,
        lambda: models.Joined(nn.LSTM(1, 8, batch_first=True), 1),
        partial(tasks.levels, steps=10),
        steps=300,
    ),
    "regressor, ragged, gathered at the last valid step": partial(
        trained,
        lambda: models.Gathered(nn.LSTM(1, 16, batch_first=True), 1),
        tasks.ragged(tasks.levels),
    ),
    "regressor, an LSTM on what an LSTM made of the parts": partial(
        trained,
        lambda: models.Hierarchy(gl.LSTM(1, 16, batch_first=True), gl.LSTM(16, 16, batch_first=True), 1),
        tasks.several,
        steps=300,
    ),
    "regressor, masked mean, lengths=": partial(
        trained,
        lambda: models.MaskedMean(gl.LSTM(1, 8, batch_first=True), 1),
        tasks.ragged(tasks.levels),
    ),
    "regressor, lengths all equal": partial(
        trained,
        lambda: models.MaskedMean(gl.LSTM(1, 16, batch_first=True, bidirectional=True), 1),
        tasks.ragged(tasks.levels, 1.0),
    ),
    "regressor, adding problem, T = 50": partial(
        trained,
        lambda: models.Joined(forget_bias_(gl.LSTM(2, 32, batch_first=True)), 1),
        tasks.adding,
        steps=1500,
    ),
    "regressor, chrono initialisation, adding problem, T = 120": partial(
        trained,
        lambda: models.Joined(chrono_(gl.LSTM(2, 64), 120), 1),
        tasks.time_first(partial(tasks.adding, steps=120)),
        steps=1200,
    ),
    "tagger, flip-flop": partial(
        trained,
        lambda: models.Stepwise(nn.LSTM(3, 32, batch_first=True), 3),
        tasks.flip_flop,
        steps=300,
    ),
    "tagger, three layers, dropout between": partial(
        trained,
        lambda: models.Stepwise(nn.LSTM(3, 32, num_layers=3, dropout=0.2, batch_first=True), 3),
        partial(tasks.flip_flop, steps=60),
        steps=300,
    ),
    "tagger, both directions, embedding, packed": partial(
        trained,
        lambda: models.LanguageModel(nn.LSTM(24, 32, bidirectional=True, batch_first=True), 12, 2),
        tasks.ragged(tasks.enclosed),
        labels,
        steps=250,
    ),
    "denoiser, both directions, layer norm behind, T = 300": partial(
        trained,
        lambda: models.Stepwise(gl.LSTM(1, 24, bidirectional=True, batch_first=True), 1, norm=True),
        partial(tasks.noisy_waves, steps=300),
    ),
    "language model, embedding": partial(
        trained,
        lambda: models.LanguageModel(nn.LSTM(32, 64, batch_first=True), 12, 12),
        tasks.grammar,
        labels,
    ),
    "language model, projection, two layers": partial(
        trained,
        lambda: models.LanguageModel(nn.LSTM(16, 64, num_layers=2, proj_size=16, batch_first=True), 12, 12),
        tasks.grammar,
        labels,
    ),
    "forecaster, encoder hands its states to a decoder": partial(
        trained,
        lambda: models.Forecaster(gl.LSTM(1, 48, batch_first=True), gl.LSTMCell(1, 48), 15),
        tasks.forecast,
        steps=300,
    ),
    "autoencoder": partial(
        trained,
        lambda: models.Autoencoder(nn.LSTM(2, 32, batch_first=True), nn.LSTM(32, 32, batch_first=True)),
        tasks.curves,
        steps=300,
    ),
    "LSTMCell in a loop, echo": partial(
        trained,
        lambda: models.CellLoop(nn.LSTMCell(1, 24), 1),
        tasks.echo,
        steps=300,
    ),
    "stream, states handed on": partial(
        streamed,
        lambda: models.Streamed(gl.LSTM(3, 24, batch_first=True), 3),
        partial(tasks.flip_flop, steps=200),
        steps=300,
        chunk=50,
    ),
    "one unbatched sequence, T = 300": partial(
        trained,
        lambda: models.Unbatched(gl.LSTM(1, 16), 1),
        tasks.unbatched(tasks.spring),
        steps=300,
        batch=1,
        show=1,
    ),
}
"""Name -> the model with data to look at it with, trained when it is called."""


@cache
def healthy(name: str) -> Patient:
    """Return a model of :data:`HEALTHY`, trained once."""
    return HEALTHY[name]()


def fresh(
    lstm: Callable[[], Any], steps: int, head: Callable[[Any, int], nn.Module] | None = None
) -> Patient:
    """Return a model with new weights, and random data: the LSTM itself, or with a head on it and a regression."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = lstm()
        model = layer if head is None else head(layer, 2)
        x = torch.randn(*((16, steps) if layer.batch_first else (steps, 16)), layer.input_size)
        if head is None:
            return Patient(model, x)
        with torch.no_grad():
            targets = torch.randn_like(model(x))
    return Patient(model, x, targets, mse_loss)


FRESH: dict[str, Callable[[], Patient]] = {
    "H = 8, T = 10": partial(fresh, lambda: nn.LSTM(4, 8), 10),
    "H = 32, T = 100": partial(fresh, lambda: gl.LSTM(4, 32), 100),
    "H = 128, T = 300": partial(fresh, lambda: nn.LSTM(4, 128, batch_first=True), 300),
    "H = 32, T = 50, both directions, three layers": partial(
        fresh, lambda: gl.LSTM(4, 32, num_layers=3, bidirectional=True, batch_first=True), 50
    ),
    "H = 64, T = 50, projection": partial(fresh, lambda: gl.LSTM(4, 64, num_layers=2, proj_size=16), 50),
    "H = 32, T = 20, last state": partial(fresh, lambda: nn.LSTM(4, 32, batch_first=True), 20, models.Joined),
    "H = 32, T = 60, both ends joined": partial(
        fresh, lambda: gl.LSTM(4, 32, bidirectional=True, batch_first=True), 60, models.Joined
    ),
    "H = 48, T = 60, two layers, last state": partial(
        fresh, lambda: nn.LSTM(4, 48, num_layers=2, dropout=0.1, batch_first=True), 60, models.Joined
    ),
    "H = 32, T = 100, every step": partial(fresh, lambda: gl.LSTM(4, 32), 100, models.Stepwise),
    "H = 16, T = 30, both directions, every step": partial(
        fresh, lambda: nn.LSTM(4, 16, bidirectional=True, batch_first=True), 30, models.Stepwise
    ),
}
"""Name -> a model as torch's default initialisation makes it, without any training."""
