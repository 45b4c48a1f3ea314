"""A sequence classifier with scikit-learn's contract."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from glasslstm._files import written_whole
from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError, DataError
from glasslstm.estimators.checks import check_channel_names, check_labels, check_members, check_parameters
from glasslstm.estimators.devices import make_fabric
from glasslstm.estimators.network import SequenceClassifier
from glasslstm.estimators.progress import shown
from glasslstm.estimators.scaling import Scaling
from glasslstm.estimators.training import Checkpoint, Labelled, Plan, State, train
from glasslstm.insight.diagnose import diagnose
from glasslstm.insight.findings import Diagnosis
from glasslstm.insight.record import Record, Row, table
from glasslstm.insight.subject import Subject
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
        that ends takes its files away. ``None``: no checkpoints.
    random_state
        Seed, or a numpy ``RandomState``; ``None``: another result with each fit. The same seed on the same
        machine gives the same model; but not to fits in several threads of one process, which share torch's
        generator: use processes.
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
    scaling_
        Mean and standard deviation of each channel over all steps of the training data, ``scaling_.mean`` and
        ``scaling_.scale``, (F,) each.
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
    record_
        Where ``fit`` was asked for it: the columns of :meth:`glasslstm.insight.record.Record.table`, from epoch
        0, before training, on; beside them ``training``, which is "search" and then "refit", or "training"
        without a validation part, and what ``history_`` has. Saved with the model.
    table_
        The columns of the table that the command line trained on, or ``None``.

    Examples
    --------
    Series that rise or fall, of 5 to 8 steps and one channel:

    >>> import numpy as np, glasslstm as gl
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["falls", "rises"], 20)
    >>> ends = np.where(y == "rises", 1, -1)
    >>> X = [np.linspace(0, end, 5 + k % 4)[:, None] + rng.normal(0, 0.1) for k, end in enumerate(ends)]
    >>> clf = gl.LSTMClassifier(hidden_size=8, max_epochs=30, random_state=0, verbose=False).fit(X, y)
    >>> clf.predict(X[:1])
    array(['falls'], dtype='<U5')
    >>> clf.predict_proba(X).shape
    (40, 2)
    >>> clf.score(X, y)
    1.0
    >>> clf.trace(X[:3])[0, 0].forget_gate.shape
    torch.Size([7, 3, 8])
    """

    classes_: NDArray[Any]
    scaling_: Scaling
    network_: SequenceClassifier
    history_: list[dict[str, float]]
    table_: dict[str, str] | None
    record_: dict[str, NDArray[Any]]

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

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        channel_names: Sequence[str] | None = None,
        record: bool | str | os.PathLike[str] = False,
    ) -> LSTMClassifier:
        """Train on series and their labels.

        Parameters
        ----------
        X
            A list of (T_i, F) arrays of any length, or one (N, T, F) array; numpy or torch.
        y
            The label of each series, (N,): numbers or text.
        channel_names
            The names of the F channels, kept as ``feature_names_in_``.
        record
            Keep in ``record_``, epoch by epoch, how the gates, the memory and the gradients of the network do on up
            to 32 series of the validation part, or of the training data where there is none. The model is the same
            with it and without, and a checkpoint goes on with either. A folder: for TensorBoard too, each training in
            a folder of its own inside.

        Raises
        ------
        DataError
            For series or labels that cannot be trained on, before training starts.
        ArgumentError
            For a parameter out of range, and for a checkpoint of other data or parameters.
        TrainingError
            When the loss is no longer a number.
        MissingExtraError
            For a folder to record to where TensorBoard is not installed.
        """
        check_parameters(self.get_params())
        if not isinstance(record, (bool, str, os.PathLike)):
            raise ArgumentError(f"record: expected True, False or the name of a folder, got {record!r}")
        series = Sequences.from_arrays(X)
        classes, labels = check_labels(y, len(series))
        if self.validation_fraction:
            check_members(classes, labels)
        names = check_channel_names(channel_names, series.channels)
        fabric = make_fabric(self.device, self.precision)
        seed = self._seed()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            found = self._search(Labelled(series, labels), seed, fabric, record)
        # Only now, so that a fit that fails leaves the estimator as it was.
        self.classes_, self.n_features_in_ = classes, series.channels
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.network_, self.scaling_ = found.network, found.scaling
        self.history_, self.best_epoch_ = found.state.history, found.state.best_epoch
        self.n_iter_, self.interrupted_ = found.state.epoch, found.state.interrupted
        self.table_ = None
        if record is not False:
            self.record_ = table(found.record)
        elif hasattr(self, "record_"):
            del self.record_
        if self.checkpoint is not None and not self.interrupted_:
            for name in ("seed", "training.ckpt", "search.ckpt", "refit.ckpt"):
                (Path(self.checkpoint) / name).unlink(missing_ok=True)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class.

        Parameters
        ----------
        X
            As for :meth:`fit`; its labels are not needed.

        Returns
        -------
        ndarray
            (N, K), columns in the order of ``classes_``, rows that add up to 1.

        Raises
        ------
        DataError
            For series that cannot be used, or have other channels than the model.
        """
        return torch.softmax(self._logits(X).double(), dim=1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each series, (N,); `X` and errors as for :meth:`predict_proba`."""
        indices = self._logits(X).argmax(1).numpy()
        chosen: NDArray[Any] = self.classes_[indices]
        return chosen

    def trace(self, X: Any) -> Trace:
        """Return every gate of every layer at every step; `X` and errors as for :meth:`predict_proba`.

        B is the number of series, T the steps of the longest; past the length of each the tensors are zero.
        """
        series = self._take_series(X)
        x, lengths = (torch.from_numpy(a) for a in series.pad(range(len(series))))
        device = next(self.network_.parameters()).device
        self.network_.eval()
        with torch.no_grad():
            trace: Trace = self.network_.lstm(x.to(device), lengths=lengths, return_trace=True)[2]
        return trace

    def diagnose(
        self, X: Any, y: ArrayLike | None = None, *, codes: Sequence[str] | None = None
    ) -> Diagnosis:
        """Look for what is wrong with the network, as :func:`glasslstm.diagnose` does for any model.

        Parameters
        ----------
        X
            As for :meth:`fit`. Of more than 64 series, 64 that stand evenly spread over them are looked at.
        y
            The label of each series, (N,); the loss is then the cross-entropy. Default: no labels, and what needs to
            know whether the model is any good is not looked for.
        codes
            What to look for. Default: everything.

        Raises
        ------
        DataError
            For series that cannot be used, and labels that the model does not know.
        ArgumentError
            For a code that there is not.

        Examples
        --------
        >>> import numpy as np, glasslstm as gl
        >>> X, y = np.random.default_rng(0).normal(size=(12, 5, 2)), np.repeat(["a", "b"], 6)
        >>> clf = gl.LSTMClassifier(hidden_size=4, max_epochs=2, random_state=0, verbose=False).fit(X, y)
        >>> print(clf.diagnose(X, y, codes=["one-end-only"]))
        nothing found; 1 codes looked for
        """
        subject = self._subject(X, y)
        inputs, targets = subject.take(subject.rows(_DIAGNOSED))
        return diagnose(self.network_, inputs, targets, subject.loss, codes=codes)

    def _subject(self, X: Any, y: ArrayLike | None = None) -> Subject:
        """Return what :func:`glasslstm.report` shows: the series as they came, and all answers."""
        given, series = Sequences.from_arrays(X), self._take_series(X)
        labels = None if y is None else torch.from_numpy(self._known_labels(y, len(series)))
        device = next(self.network_.parameters()).device

        def take(rows: NDArray[np.int64]) -> tuple[Any, Any]:
            x, lengths = (torch.from_numpy(array) for array in series.pad(rows))
            return (x.to(device), lengths), None if labels is None else labels[rows].to(device)

        return Subject(
            model=self.network_,
            series=[given[k] for k in range(len(given))],
            answer=partial(self._logits, X),
            targets=labels,
            take=take,
            loss=None if labels is None else nn.functional.cross_entropy,
            channel_names=getattr(self, "feature_names_in_", None),
            class_names=self.classes_.tolist(),
            history=self.history_,
            best_epoch=self.best_epoch_,
            record=getattr(self, "record_", {}),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model into a folder of its own, whole or not at all; :func:`glasslstm.load` brings it back.

        Raises
        ------
        ArgumentError
            Where `path` is a file or holds other things, and for labels that JSON cannot hold.
        """
        from glasslstm import modelfile  # noqa: PLC0415 - it knows the estimators

        modelfile.save(self, path)

    def _seed(self) -> int:
        """Draw the seed; without a number to draw it from, take the one that a checkpoint was begun with."""
        noted = None if self.checkpoint is None else Path(self.checkpoint) / "seed"
        try:
            if noted and noted.exists() and not isinstance(self.random_state, (int, np.integer)):
                return int(noted.read_text(encoding="ascii"))
            seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
            if noted:
                with written_whole(noted) as partial:
                    partial.write_text(str(seed), encoding="ascii")
        except (OSError, ValueError) as error:
            raise ArgumentError(
                f"checkpoint: {self.checkpoint} cannot be used as a folder: {error}"
            ) from None
        return seed

    def _search(
        self, data: Labelled, seed: int, fabric: Fabric, record: bool | str | os.PathLike[str]
    ) -> _Trained:
        """Train with a validation part to find the best epoch, and from the start on everything if asked to."""
        run = partial(self._train, seed=seed, fabric=fabric, record=record)
        if not self.validation_fraction:
            return run("training", data, None, self.max_epochs)
        part, held_out = map(data.select, _split(data.labels, self.validation_fraction, seed))
        found = run("search", part, held_out, self.max_epochs)
        if not self.refit or found.state.interrupted:
            return found
        try:
            # Along a cosine the mean learning rate is half of the search's: twice the epochs make up for it.
            again = run("refit", data, None, 2 * found.state.best_epoch)
        except KeyboardInterrupt:
            found.state.interrupted = True
            return found
        if again.state.interrupted:
            found.state.interrupted = True
            return found
        return _Trained(again.network, again.scaling, found.state, found.record + again.record)

    def _train(
        self,
        name: str,
        data: Labelled,
        held_out: Labelled | None,
        epochs: int,
        *,
        seed: int,
        fabric: Fabric,
        record: bool | str | os.PathLike[str],
    ) -> _Trained:
        """Train one network from the start; what is scaled is scaled by `data` alone."""
        torch.manual_seed(seed)
        scaling = Scaling.of(data.series)
        network = SequenceClassifier(
            data.series.channels,
            int(data.labels.max()) + 1,
            hidden_size=int(self.hidden_size),
            num_layers=int(self.num_layers),
            bidirectional=bool(self.bidirectional),
            dropout=float(self.dropout),
        )
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
        training = Labelled(scaling.apply(data.series), data.labels)
        validation = held_out and Labelled(scaling.apply(held_out.series), held_out.labels)
        folder = None if isinstance(record, bool) else Path(record) / name
        recorder = partial(_record, probe=validation or training, fabric=fabric, writer=folder)
        with shown(self.verbose, epochs, name) as on_epoch:
            state = train(
                network,
                training,
                validation,
                plan,
                fabric,
                on_epoch=on_epoch,
                checkpoint=checkpoint,
                recorder=None if record is False else recorder,
            )
        return _Trained(network, scaling, state, [{"training": name} | row for row in state.record])

    def _fingerprint(self, data: Labelled, seed: int) -> str:
        """Return what tells one training from another."""
        beside = ("checkpoint", "device", "random_state", "verbose")
        parameters = {name: value for name, value in self.get_params().items() if name not in beside}
        digest = hashlib.sha256(json.dumps(parameters | {"seed": seed}, sort_keys=True, default=str).encode())
        for array in (data.series.values, data.series.offsets, data.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _take_series(self, X: Any) -> Sequences:
        """Check the series of a prediction, and return them standardised."""
        check_is_fitted(self, "network_")
        series = Sequences.from_arrays(X)
        if series.channels != self.n_features_in_:
            names = getattr(self, "feature_names_in_", None)
            known = "" if names is None else f": {', '.join(names)}"
            raise DataError(
                f"X has {series.channels} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                f"features as input{known}; give the channels that it was trained on, in the same order"
            )
        return self.scaling_.apply(series)

    def _known_labels(self, y: ArrayLike, count: int) -> NDArray[np.int64]:
        """Return the index of each label's class, (N,)."""
        labels = np.asarray(y)
        if labels.shape != (count,):
            raise DataError(
                f"y: expected one label for each of the {count} series, got an array of shape {labels.shape}"
            )
        known = {label: index for index, label in enumerate(self.classes_.tolist())}
        unknown = [label for label in labels.tolist() if label not in known]
        if unknown:
            raise DataError(
                f"y: {unknown[0]!r} is no class of the model, which has {', '.join(map(repr, known))}"
            )
        return np.array([known[label] for label in labels.tolist()], np.int64)

    def _logits(self, X: Any) -> Tensor:
        """Return the logits of each series, (N, K), on the CPU."""
        series = self._take_series(X)
        device = next(self.network_.parameters()).device
        logits = torch.empty(len(series), self.network_.head.out_features)
        self.network_.eval()
        with torch.no_grad():
            for indices in series.batches(_PREDICTION_SERIES, _PREDICTION_STEPS):
                x, lengths = (torch.from_numpy(array) for array in series.pad(indices))
                logits[torch.from_numpy(indices)] = self.network_(x.to(device), lengths).cpu()
        return logits

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


class _Trained(NamedTuple):
    """What a training gives."""

    network: SequenceClassifier
    scaling: Scaling
    state: State
    record: list[Row]


# The most series in a batch of a prediction, and the most steps, padding included.
_PREDICTION_SERIES, _PREDICTION_STEPS = 256, 65_536

# The most series that a diagnosis looks at.
_DIAGNOSED = 64

# The most series that a record looks at.
_PROBE_SERIES = 32


def _record(network: nn.Module, *, probe: Labelled, fabric: Fabric, writer: Path | None) -> Record:
    """Return a record of `network` on series that are spread evenly over `probe`."""
    count = len(probe.labels)
    rows = np.linspace(0, count - 1, min(count, _PROBE_SERIES)).astype(np.int64)
    (batch,) = probe.select(rows).batches(_PROBE_SERIES)
    x, lengths, labels = fabric.to_device(batch)
    return Record(network, (x, lengths), labels, nn.functional.cross_entropy, writer=writer)


def _split(labels: NDArray[np.int64], fraction: float, seed: int) -> list[NDArray[np.int64]]:
    """Return the rows to train on and to validate with: shares alike in each class, and one of each at least."""
    n, k = len(labels), int(labels.max()) + 1
    wanted = min(max(math.ceil(n * fraction), k), n - k)
    parts: list[NDArray[np.int64]] = train_test_split(
        np.arange(n), test_size=wanted, stratify=labels, random_state=seed
    )
    for rare in range(k):  # too rare, that is, for its share to come to one
        for lacks, has in ((0, 1), (1, 0)):
            if rare not in labels[parts[lacks]]:
                row = parts[has][labels[parts[has]] == rare][0]
                parts[lacks] = np.append(parts[lacks], row)
                parts[has] = parts[has][parts[has] != row]
    return parts


def _perturb(x: Tensor, *, noise: float, shift: float) -> Tensor:
    """Add noise to every value, and a shift to every channel of every series; padding is never read."""
    if shift:
        x = x + shift * torch.randn(1, *x.shape[1:], device=x.device)
    if noise:
        x = x + noise * torch.randn_like(x)
    return x
