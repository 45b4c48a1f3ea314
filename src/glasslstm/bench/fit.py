"""A classifier's fit against the loop that a user of plain torch writes: same series, weights, batches and epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from glasslstm._extras import require
from glasslstm.bench.measure import Pair, Side
from glasslstm.bench.shapes import Shape

__all__ = ["PLAIN", "fit"]

PLAIN = "a plain loop, torch.nn.LSTM"
FIT = "glasslstm, LSTMClassifier.fit"
_CLASSES, _BATCHES, _EPOCHS = 5, 8, 2


def fit(shape: Shape) -> Iterator[Pair]:
    """Train a classifier on ragged series, T/5 to T steps: 8 batches an epoch, 2 epochs."""
    require("sklearn", extra="train")
    sides = _Sides(shape)
    ours = Side(FIT, sides.ours, sides.truth)
    yield Pair(ours, Side(PLAIN, sides.theirs, sides.truth), goal=2.0)


class _Sides:
    """Two ways to the same losses of the epochs."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        rng = np.random.default_rng(0)
        lengths = rng.integers(max(1, shape.T // 5), shape.T + 1, _BATCHES * shape.B)
        self.X = [rng.normal(size=(length, shape.I)).astype(np.float32) for length in lengths]
        self.y = np.arange(len(self.X)) % _CLASSES

    def ours(self) -> Sequence[float]:
        """Fit the estimator."""
        self._classifier.fit(self.X, self.y)
        return self._losses

    def theirs(self) -> Sequence[float]:
        """Train in a plain loop."""
        return self._plain(torch.float32)

    def truth(self) -> Sequence[Tensor]:
        """Do the same in float64."""
        return [torch.tensor(loss, dtype=torch.float64) for loss in self._plain(torch.float64)]

    @cached_property
    def _classifier(self):  # type: ignore[no-untyped-def]
        from glasslstm.estimators import LSTMClassifier  # noqa: PLC0415 - an extra

        return LSTMClassifier(
            hidden_size=self.shape.H,
            num_layers=self.shape.L,
            bidirectional=self.shape.D == 2,
            pooling="last",
            batch_size=self.shape.B,
            max_epochs=_EPOCHS,
            validation_fraction=0,
            schedule="constant",
            dropout=0.0,
            channel_shift=0.0,
            weight_averaging=0.0,
            device="cpu",
            random_state=0,
            verbose=False,
        )

    @property
    def _losses(self) -> list[float]:
        return [row["train_loss"] for row in self._classifier.history_]

    def _plain(self, dtype: torch.dtype) -> list[float]:
        """Standardise, then go through the batches that the estimator goes through, packed."""
        from glasslstm.estimators.examples import batches_of  # noqa: PLC0415 - an extra

        seed = int(np.random.RandomState(0).randint(np.iinfo(np.int32).max))
        network = _Plain(self.shape).to(dtype)
        network.load_state_dict(self._first_weights(seed))
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
        steps = np.concatenate(self.X).astype(np.float64)
        mean, scale = steps.mean(0), steps.std(0)
        X = [torch.from_numpy((x - mean) / scale).to(dtype) for x in self.X]
        y, lengths = torch.from_numpy(self.y), np.array([len(x) for x in X])
        losses = []
        for epoch in range(_EPOCHS):
            draw = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            total = 0.0
            for rows in batches_of(lengths, self.shape.B, draw):
                x = pad_sequence([X[k] for k in rows])
                packed = pack_padded_sequence(x, torch.from_numpy(lengths[rows]), enforce_sorted=False)
                loss = nn.functional.cross_entropy(network(packed), y[rows])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                total += loss.item() * len(rows)
            losses.append(total / len(X))
        return losses

    def _first_weights(self, seed: int) -> dict[str, Tensor]:
        from glasslstm.data import Sequences  # noqa: PLC0415 - an extra
        from glasslstm.estimators.preparation import Preparation  # noqa: PLC0415 - an extra
        from glasslstm.estimators.tasks import Classes  # noqa: PLC0415 - an extra

        preparation = Preparation.of(Sequences.from_arrays(self.X))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = self._classifier._network(preparation, Classes(_CLASSES), self.shape.T)
        return dict(network.state_dict())


class _Plain(nn.Module):
    """Logits from the final hidden states, as a user of torch writes it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.lstm = nn.LSTM(shape.I, shape.H, shape.L, bidirectional=shape.D == 2)
        self.head = nn.Linear(shape.H * shape.D, _CLASSES)

    def forward(self, packed: nn.utils.rnn.PackedSequence) -> Tensor:
        _, (h_n, _) = self.lstm(packed)
        directions = 2 if self.lstm.bidirectional else 1
        return self.head(torch.cat(tuple(h_n[-directions:]), dim=-1))  # type: ignore[no-any-return]
