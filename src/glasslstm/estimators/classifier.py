"""A sequence classifier with scikit-learn's contract."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError, DataError
from glasslstm.estimators.checks import check_labels, check_parameters
from glasslstm.estimators.network import SequenceClassifier
from glasslstm.estimators.progress import shown
from glasslstm.estimators.training import Checkpoint, Labelled, Plan, State, train
from glasslstm.nn.trace import Trace

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["LSTMClassifier"]


class LSTMClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify series of any length by an LSTM's final hidden states.

    Each channel is standardised by the training data; the series go through a stack of LSTM layers; the
    last layer's hidden states after the last valid step, of both directions where there are two, go through
    a linear layer; softmax makes probabilities of it. Training stops when the loss on a validation part,
    cut from the data given to ``fit``, has not fallen for `patience` epochs.

    ``docs/defaults.md`` shows how the defaults were found, on training data alone.

    Parameters
    ----------
    hidden_size, num_layers, bidirectional
        As in :class:`glasslstm.LSTM`.
    dropout
        Share zeroed in training: of the final states, and of the output between layers.
    learning_rate, weight_decay
        Of AdamW (Loshchilov and Hutter 2019, "Decoupled weight decay regularization", ICLR).
    batch_size
        Series in a batch.
    max_epochs
        The most epochs of the search for the best one.
    patience
        Epochs without a lower validation loss after which the search ends.
    validation_fraction
        Share of the series of each class that the search is judged by, above 0 and below 1; or 0: no
        search, all series are trained on for `max_epochs`.
    refit
        Train once more from the start, on all series, for twice as many epochs as the search found best, with
        a learning rate that falls to zero along a cosine: its mean is half of the search's.
    input_noise
        Standard deviation of the Gaussian noise on every value in training, in standard deviations of its
        channel.
    channel_shift
        Standard deviation of a Gaussian shift in training that is the same for all steps of a series' channel,
        in standard deviations of the channel: makes the classifier care less for absolute levels.
    weight_averaging
        Decay of an exponential moving average of the weights over training steps; the average is what is
        validated and kept. 0: the weights themselves.
    gradient_clip
        The largest norm of the gradient; ``None``: no limit.
    device
        ``"auto"`` (an accelerator if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    precision
        What training computes in: ``"32-true"``, ``"bf16-mixed"``, or ``"16-mixed"`` (not on the CPU).
    checkpoint
        A folder where training leaves its state after every epoch. Where it holds one of the same data and
        parameters, ``fit`` goes on from there, to the same result as a run that was never stopped; a ``fit``
        that ends removes it. ``None``: no checkpoints.
    random_state
        Seed, or a numpy ``RandomState``; ``None``: another result with each fit. The same seed on the same
        machine gives the same model.
    verbose
        Show progress: a bar on a terminal, plain lines elsewhere.

    Attributes
    ----------
    classes_
        The labels, sorted, (K,).
    n_features_in_
        F, the number of channels.
    feature_names_in_
        The channels' names, where ``fit`` was given them.
    mean_, scale_
        Mean and standard deviation of each channel over all steps of the training data, (F,).
    network_
        The trained :class:`~glasslstm.estimators.network.SequenceClassifier`.
    history_
        One dict for each epoch of the search: epoch (from 1), train_loss, valid_loss, valid_accuracy,
        learning_rate, seconds.
    best_epoch_
        The epoch of the search with the lowest validation loss.
    n_iter_
        Epochs of the search that were run.
    interrupted_
        Whether Ctrl-C ended the training; the model is the best one till then.
    table_
        The columns of the table that the command line trained on, or ``None``.

    Examples
    --------
    >>> import numpy as np, glasslstm as gl
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["falls", "rises"], 20)
    >>> X = [rng.normal(size=(rng.integers(5, 9), 1)) * 0.1 + np.sign(k - 19.5) * np.arange(5)[:1] for k in range(40)]
    >>> X = [x + np.linspace(0, 1 if label == "rises" else -1, len(x))[:, None] for x, label in zip(X, y)]
    >>> clf = gl.LSTMClassifier(hidden_size=8, max_epochs=30, random_state=0, verbose=False).fit(X, y)
    >>> clf.predict(X[:1])
    array(['falls'], dtype='<U5')
    >>> clf.score(X, y)
    1.0
    """

    classes_: NDArray[Any]
    mean_: NDArray[np.float64]
    scale_: NDArray[np.float64]
    network_: SequenceClassifier
    history_: list[dict[str, float]]
    table_: dict[str, str] | None

    def __init__(
        self,
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.3,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        batch_size: int = 32,
        max_epochs: int = 300,
        patience: int = 40,
        validation_fraction: float = 0.2,
        refit: bool = True,
        input_noise: float = 0.0,
        channel_shift: float = 0.4,
        weight_averaging: float = 0.99,
        gradient_clip: float | None = 1.0,
        device: str = "auto",
        precision: str = "32-true",
        checkpoint: str | os.PathLike[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = True,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.refit = refit
        self.input_noise = input_noise
        self.channel_shift = channel_shift
        self.weight_averaging = weight_averaging
        self.gradient_clip = gradient_clip
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: ArrayLike, *, channel_names: Sequence[str] | None = None) -> LSTMClassifier:
        """Train on series and their labels.

        Parameters
        ----------
        X
            A list of (T_i, F) arrays of any length, or one (N, T, F) array; numpy or torch.
        y
            The label of each series, (N,): numbers or text.
        channel_names
            The names of the F channels, kept as ``feature_names_in_``.

        Raises
        ------
        DataError
            For series or labels that cannot be trained on, before training starts.
        ArgumentError
            For a parameter out of range, and for a checkpoint of other data or parameters.
        """
        check_parameters(self.get_params())
        series = Sequences.from_arrays(X)
        labels = self._take_labels(series, y)
        names = _channel_names(channel_names, series.channels)
        fabric = _fabric(self.device, self.precision)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            result = self._search(Labelled(series, labels), seed, fabric)
        self.n_features_in_ = series.channels
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.table_ = None
        self.history_, self.best_epoch_ = result.history, result.best_epoch
        self.n_iter_, self.interrupted_ = result.epoch, result.interrupted
        if self.checkpoint is not None and not result.interrupted:
            _remove_checkpoints(Path(self.checkpoint))
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, (N, K), columns in the order of ``classes_``."""
        return torch.softmax(self._logits(X).double(), dim=1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each series, (N,)."""
        indices = self._logits(X).argmax(1).numpy()
        chosen: NDArray[Any] = self.classes_[indices]
        return chosen

    def trace(self, X: Any) -> Trace:
        """Return every gate of every layer at every step; B is the number of series.

        The tensors are padded to the longest series, and zero past the length of each.
        """
        series = self._scaled(self._take_series(X))
        x, lengths = (torch.from_numpy(a) for a in series.pad(range(len(series))))
        device = next(self.network_.parameters()).device
        self.network_.eval()
        with torch.no_grad():
            trace: Trace = self.network_.lstm(x.to(device), lengths=lengths, return_trace=True)[2]
        return trace

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model into a folder; :func:`glasslstm.load` brings it back."""
        from glasslstm import modelfile  # noqa: PLC0415 - it knows the estimators

        modelfile.save(self, path)

    def _take_labels(self, series: Sequences, y: ArrayLike) -> NDArray[np.int64]:
        """Check the labels, and return the index of each one's class."""
        y = check_labels(y)
        if len(y) != len(series):
            raise DataError(f"y: expected one label for each of the {len(series)} series, got {len(y)}")
        classes, labels, counts = np.unique(y, return_inverse=True, return_counts=True)
        if len(classes) < 2:
            raise DataError(f"y: expected at least 2 classes, got 1 class: {classes[0].item()!r}")
        if self.validation_fraction and counts.min() < 2:
            lone = classes[counts.argmin()].item()
            raise DataError(
                f"y: class {lone!r} has one member, and the validation part needs one of each class too; add "
                "series of it, leave it out, or set validation_fraction=0"
            )
        self.classes_ = classes
        return labels.astype(np.int64)

    def _search(self, data: Labelled, seed: int, fabric: Fabric) -> State:
        """Train with a validation part to find the best epoch, and from the start on everything if asked to."""
        if not self.validation_fraction:
            return self._train("training", data, None, self.max_epochs, seed, fabric)
        n, k = len(data.labels), len(self.classes_)
        wanted = max(math.ceil(n * self.validation_fraction), k)
        parts = train_test_split(
            np.arange(n), test_size=min(wanted, n - k), stratify=data.labels, random_state=seed
        )
        part, held_out = (Labelled(data.series.select(rows), data.labels[rows]) for rows in parts)
        found = self._train("search", part, held_out, self.max_epochs, seed, fabric)
        if self.refit and not found.interrupted:
            kept = self.network_, self.mean_, self.scale_
            # Along a cosine the mean learning rate is half of the search's: twice the epochs make up for it.
            again = self._train("refit", data, None, 2 * found.best_epoch, seed, fabric)
            found.interrupted = again.interrupted
            if again.interrupted:
                self.network_, self.mean_, self.scale_ = kept
        return found

    def _train(
        self, name: str, data: Labelled, held_out: Labelled | None, epochs: int, seed: int, fabric: Fabric
    ) -> State:
        """Train one network from the start; what is scaled is scaled by `data` alone."""
        torch.manual_seed(seed)
        scaler = StandardScaler().fit(data.series.values)  # a channel that never changes is not divided
        self.mean_, self.scale_ = scaler.mean_, scaler.scale_
        self.network_ = self._new_network(data.series.channels)
        plan = Plan(
            max_epochs=epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=None if held_out is None else self.patience,
            decay=held_out is None,
            gradient_clip=self.gradient_clip,
            weight_averaging=self.weight_averaging,
            augment=partial(_perturb, noise=self.input_noise, shift=self.channel_shift),
        )
        checkpoint = None
        if self.checkpoint is not None:
            checkpoint = Checkpoint(Path(self.checkpoint) / f"{name}.ckpt", self._fingerprint(data, seed))
        with shown(self.verbose, epochs, name) as on_epoch:
            return train(
                self.network_,
                Labelled(self._scaled(data.series), data.labels),
                held_out and Labelled(self._scaled(held_out.series), held_out.labels),
                plan,
                fabric,
                on_epoch=on_epoch,
                checkpoint=checkpoint,
            )

    def _new_network(self, channels: int) -> SequenceClassifier:
        return SequenceClassifier(
            channels,
            len(self.classes_),
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
        )

    def _fingerprint(self, data: Labelled, seed: int) -> str:
        """Return what tells one training from another."""
        beside = ("checkpoint", "device", "random_state", "verbose")
        parameters = {name: value for name, value in self.get_params().items() if name not in beside}
        digest = hashlib.sha256(json.dumps(parameters | {"seed": seed}, sort_keys=True, default=str).encode())
        for array in (data.series.values, data.series.offsets, data.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _scaled(self, series: Sequences) -> Sequences:
        values = ((series.values - self.mean_) / self.scale_).astype(np.float32)
        return Sequences(values, series.offsets)

    def _take_series(self, X: Any) -> Sequences:
        check_is_fitted(self, "network_")
        series = Sequences.from_arrays(X)
        if series.channels != self.n_features_in_:
            names = getattr(self, "feature_names_in_", None)
            known = "" if names is None else f": {', '.join(names)}"
            raise DataError(
                f"X has {series.channels} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                f"features as input{known}; give the channels that it was trained on, in the same order"
            )
        return series

    def _logits(self, X: Any) -> Tensor:
        """Return the logits of each series, (N, K), on the CPU."""
        series = self._scaled(self._take_series(X))
        data = Labelled(series, np.zeros(len(series), np.int64))
        device = next(self.network_.parameters()).device
        self.network_.eval()
        with torch.no_grad():
            batches = [self.network_(x.to(device), n) for x, n, _ in data.batches(_PREDICTION_BATCH)]
        return torch.cat(batches).float().cpu()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


_PREDICTION_BATCH = 256


def _perturb(x: Tensor, *, noise: float, shift: float) -> Tensor:
    """Add noise to every value, and a shift to every channel of every series; padding is never read."""
    if shift:
        x = x + shift * torch.randn(1, *x.shape[1:], device=x.device)
    if noise:
        x = x + noise * torch.randn_like(x)
    return x


def _channel_names(names: Sequence[str] | None, channels: int) -> NDArray[Any] | None:
    if names is None:
        return None
    found = np.asarray(list(names), dtype=object)
    if len(found) != channels:
        raise DataError(f"channel_names: expected {channels}, one for each channel of X, got {len(found)}")
    return found


def _fabric(device: str, precision: str) -> Fabric:
    from lightning_fabric import Fabric  # noqa: PLC0415 - takes a second, and only training needs it

    kind, _, index = str(device).partition(":")
    place: dict[str, Any] = {"accelerator": kind, "devices": [int(index)] if index.isdecimal() else 1}
    try:
        found = Fabric(**place)
    except (ValueError, RuntimeError) as error:
        raise ArgumentError(f"device={device!r}: {error}") from None
    if precision == "16-mixed" and found.device.type == "cpu":
        raise ArgumentError("precision: '16-mixed' needs an accelerator; on the CPU use 'bf16-mixed'")
    return Fabric(**place | {"precision": precision})


def _remove_checkpoints(folder: Path) -> None:
    for name in ("training", "search", "refit"):
        (folder / f"{name}.ckpt").unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
