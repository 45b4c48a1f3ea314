"""What the estimators share: their parameters, fit, and what can be asked of a fitted one."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from glasslstm._files import written_whole
from glasslstm.data.arrays import ranges
from glasslstm.data.sequences import Missing, Sequences
from glasslstm.errors import ArgumentError, DataError
from glasslstm.estimators.checks import check_channel_names, check_weights
from glasslstm.estimators.devices import make_fabric
from glasslstm.estimators.examples import Examples, in_step
from glasslstm.estimators.front import ConvolutionalFront
from glasslstm.estimators.network import Pooling, SequenceNetwork
from glasslstm.estimators.preparation import Preparation
from glasslstm.estimators.run import Run, Trained
from glasslstm.estimators.settings import (
    AMOUNT,
    COUNT,
    COUNT_OR_NONE,
    FLAG,
    FOLDER,
    LIMIT,
    RATE,
    SEED,
    SHARE,
    TEXT,
    WHOLE,
    check_parameters,
    choice,
    setting,
)
from glasslstm.estimators.tasks import Goal, Task
from glasslstm.insight.diagnose import diagnose
from glasslstm.insight.findings import Diagnosis
from glasslstm.insight.record import table
from glasslstm.insight.subject import Subject
from glasslstm.nn.trace import Trace

__all__ = ["LSTMEstimator"]

Self = TypeVar("Self", bound="LSTMEstimator")


@dataclass(kw_only=True, eq=False, repr=False)
class LSTMEstimator(BaseEstimator):  # type: ignore[misc]
    """The base of the estimators; see :class:`LSTMClassifier`, :class:`LSTMRegressor`, :class:`LSTMTagger`."""

    hidden_size: int = setting(64, COUNT, "Units of each layer and direction.")
    num_layers: int = setting(1, COUNT, "Layers, each reading the one below.")
    bidirectional: bool = setting(True, FLAG, "Read each series backward too.")
    pooling: Pooling = setting(
        "max",
        choice("last", "mean", "max", "attention"),
        """What the answer is read from: the hidden states after the last valid step, of both directions ('last'); their
        mean or largest value over the valid steps ('mean', 'max'); or a mean with learned weights ('attention').""",
    )
    conv_blocks: int = setting(
        0,
        WHOLE,
        """Blocks of convolution, batch norm and ReLU before the LSTM, each of which adds what it reads: they find local
        shapes, and make long series shorter. For few series, 5 of them, with max_updates=300, validation_fraction=0,
        channel_shift=0.2 and channel_scale=0.2, did best.""",
    )
    conv_filters: int = setting(32, COUNT, "Output channels of each of these blocks.")
    conv_kernel_size: int = setting(9, COUNT, "Steps that an output of such a block is made from.")
    conv_max_steps: int = setting(
        64,
        COUNT,
        """A block takes every second step where the longest training series, as it reaches the block, has more than
        this; never where each step has an answer.""",
    )
    layer_norm: bool = setting(False, FLAG, "Normalise what the answer is read from over its units.")
    dropout: float = setting(
        0.3, SHARE, "Share zeroed in training: of what the answer is read from, and between layers."
    )
    recurrent_dropout: float = setting(
        0.0,
        SHARE,
        "Share of the weights from the hidden state to the gates that is zeroed in a training step.",
    )
    initialisation: str = setting(
        "orthogonal",
        choice("orthogonal", "chrono", "torch"),
        """Initial weights: orthogonal recurrent ones and a forget gate that keeps ('orthogonal'); the same with biases
        spread for memories of up to the longest series ('chrono'); or those of torch.nn.LSTM ('torch').""",
    )
    learning_rate: float = setting(
        2e-3, RATE, "Of AdamW (Loshchilov and Hutter 2019, Decoupled weight decay regularization, ICLR)."
    )
    weight_decay: float = setting(0.01, AMOUNT, "Of AdamW.")
    warmup_epochs: float = setting(
        0.0, AMOUNT, "Epochs in which the learning rate rises from 0, along a line."
    )
    schedule: str = setting(
        "auto",
        choice("auto", "constant", "cosine"),
        """Of the learning rate after that: constant, or falling to 0 along a cosine over max_epochs; 'auto': constant
        in a search for the best epoch, and a cosine in a training of a known number of epochs.""",
    )
    batch_size: int = setting(
        32, COUNT, "Series in a batch; of all processes together, where there are several."
    )
    max_epochs: int = setting(
        300, COUNT, "The most epochs of the search for the best one, or of a training without a search."
    )
    max_updates: int | None = setting(
        None,
        COUNT_OR_NONE,
        """The most steps of the optimiser, in whole epochs, at least one: so that few series can be trained on for more
        epochs than many are. None: max_epochs alone.""",
    )
    patience: int = setting(40, COUNT, "Epochs without a lower validation loss after which the search ends.")
    validation_fraction: float = setting(
        0.2,
        SHARE,
        """Share of the series that the search is judged by, above 0 and below 1; or 0: no search, all series are
        trained on for max_epochs.""",
    )
    refit: bool = setting(
        True,
        FLAG,
        """Train once more from the start, on all series, for twice as many epochs as the search found best, with a
        learning rate that falls to zero along a cosine: its mean is half of the search's.""",
    )
    weight_averaging: float = setting(
        0.99,
        SHARE,
        """Decay of an exponential moving average of the weights over training steps; the average is what is validated
        and kept. 0: the weights themselves.""",
    )
    gradient_clip: float | None = setting(1.0, LIMIT, "The largest norm of the gradient; None: no limit.")
    input_noise: float = setting(
        0.0,
        AMOUNT,
        "Standard deviation of Gaussian noise on every value in training, in those of its channel.",
    )
    channel_scale: float = setting(
        0.0,
        AMOUNT,
        """Standard deviation of a Gaussian factor in training, around 1, that is the same for all steps of a series'
        channel: makes the answer depend less on the size of what happens.""",
    )
    channel_shift: float = setting(
        0.4,
        AMOUNT,
        """Standard deviation of a Gaussian shift in training that is the same for all steps of a series' channel, in
        those of the channel: makes the answer depend less on absolute levels.""",
    )
    missing: Missing = setting(
        "error",
        choice("error", "mask"),
        """Missing values, NaN: refuse them ('error'); or fill each with the last one before it, else the training mean,
        and tell the network where they were by one more input for each channel that has any ('mask').""",
    )
    step_duration: bool = setting(
        False,
        FLAG,
        "Give the network the time since the step before as one more input, from the time stamps.",
    )
    device: str = setting(
        "auto", TEXT, "'auto' (an accelerator if there is one), 'cpu', 'cuda', 'cuda:1', ..."
    )
    precision: str = setting(
        "32-true",
        choice("32-true", "bf16-mixed", "16-mixed"),
        "What training computes in; '16-mixed' not on the CPU.",
    )
    checkpoint: str | os.PathLike[str] | None = setting(
        None,
        FOLDER,
        """A folder where training leaves its state after every epoch, and every minute within a longer one. Where it
        holds one of the same data and parameters, fit goes on from there, to the same result as a run that was never
        stopped; a fit that ends takes its files away.""",
    )
    random_state: int | np.random.RandomState | None = setting(
        None,
        SEED,
        """Seed, or a numpy RandomState; None: another result with each fit. The same seed on the same machine gives the
        same model; but not to fits in several threads of one process, which share torch's generator: use processes.""",
    )
    verbose: bool = setting(True, FLAG, "Show progress: a bar on a terminal, plain lines elsewhere.")

    n_features_in_: int = field(init=False)
    preparation_: Preparation = field(init=False)
    network_: SequenceNetwork = field(init=False)
    task_: Task = field(init=False)
    longest_: int = field(init=False)
    history_: list[dict[str, float]] = field(init=False)
    best_epoch_: int = field(init=False)
    n_iter_: int = field(init=False)
    interrupted_: bool = field(init=False)
    record_: dict[str, NDArray[Any]] = field(init=False)
    table_: dict[str, Any] | None = field(init=False)

    per_step = False  # whether an answer belongs to a step,
    causal = False  # and depends on no later one

    @abstractmethod
    def _goal(self, y: Any, series: Sequences) -> Goal:
        """Check the targets of a training, and say what is to be learned."""

    @abstractmethod
    def _encoded(self, y: Any, series: Sequences) -> NDArray[Any]:
        """Check targets for what was learned, and encode them as :class:`Goal` does."""

    def fit(
        self: Self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: ArrayLike | None = None,
        validation: Any = None,
        channel_names: Sequence[str] | None = None,
        record: bool | str | os.PathLike[str] = False,
        loggers: Any = (),
    ) -> Self:
        """Train on series and their targets.

        Parameters
        ----------
        X
            A list of (T_i, F) arrays of any length, one (N, T, F) array, or :class:`glasslstm.data.Sequences`.
        y
            The targets; default: those that the sequences have.
        sample_weight
            How much each series counts, (N,), 0 or more. Default: all the same.
        validation
            What to judge the search by, in place of a random part: sequences with targets, or a pair (X, y). With
            ``refit``, the second training is on everything, this too.
        channel_names
            The names of the F channels, kept as ``feature_names_in_``; default: those that the sequences have.
        record
            Keep in ``record_``, epoch by epoch, how the gates, the memory and the gradients of the network do on up
            to 32 series of the validation part, or of the training data where there is none. The model is the same
            with it and without, and a checkpoint goes on with either. A folder: for TensorBoard too, each training in
            a folder of its own inside.
        loggers
            Loggers of ``lightning_fabric.loggers``, or alike, that get the row of each epoch.

        Raises
        ------
        DataError
            For series or targets that cannot be trained on, before training starts.
        ArgumentError
            For a parameter out of range, and for a checkpoint of other data or parameters.
        TrainingError
            When the loss is no longer a number, and when a checkpoint cannot be written.
        MissingExtraError
            For a folder to record to where TensorBoard is not installed.
        """
        check_parameters(self)
        if not isinstance(record, (bool, str, os.PathLike)):
            raise ArgumentError(f"record: expected True, False or the name of a folder, got {record!r}")
        series = self._taken(X, channel_names)
        goal = self._goal(self._targets(y, series), series)
        data = self._examples(
            series, goal.targets, check_weights(sample_weight, len(series)), goal.class_weights
        )
        held_out = None if validation is None else self._validation(validation, goal, series)
        return self._trained(data, held_out, goal, series, record, loggers)

    def _trained(
        self: Self,
        data: Examples,
        held_out: Examples | None,
        goal: Goal,
        series: Sequences,
        record: bool | str | os.PathLike[str],
        loggers: Any,
    ) -> Self:
        """Train on what was checked, and keep what was found."""
        fabric = make_fabric(self.device, self.precision, loggers)
        seed = int(fabric.broadcast(self._seed() if fabric.is_global_zero else 0))
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            found = Run(self, goal, seed, fabric, record).search(data, held_out)
        # Only now, so that a fit that fails leaves the estimator as it was.
        self._remember(found, goal, series, record is not False)
        if self.checkpoint is not None and not self.interrupted_ and fabric.is_global_zero:
            for name in ("seed", "training.ckpt", "search.ckpt", "refit.ckpt"):
                (Path(self.checkpoint) / name).unlink(missing_ok=True)
        return self

    def trace(self, X: Any) -> Trace:
        """Return every gate of every layer at every step.

        B is the number of series, T the steps of the longest; past the length of each the tensors are zero. Behind
        convolutions the steps are those that the LSTM reads, which may be fewer.

        Parameters
        ----------
        X
            As for :meth:`fit`.

        Raises
        ------
        DataError
            For series that cannot be used, or have other channels than the model.
        """
        series = self._known(X)
        network = self.network_.eval()
        x, lengths = self._inputs(series, np.arange(len(series)))
        with torch.no_grad():
            x, lengths = network.read(x, lengths)
            trace: Trace = network.lstm(x, lengths=lengths, return_trace=True)[2]
        return trace

    def diagnose(self, X: Any, y: Any = None, *, codes: Sequence[str] | None = None) -> Diagnosis:
        """Look for what is wrong with the network, as :func:`glasslstm.diagnose` does for any model.

        Parameters
        ----------
        X
            As for :meth:`fit`. Of more than 64 series, 64 that stand evenly spread over them are looked at.
        y
            The targets; the loss is then the one of the training. Default: none, and what needs to know whether the
            model is any good is not looked for.
        codes
            What to look for. Default: everything.

        Raises
        ------
        DataError
            For series that cannot be used, and targets that the model does not know.
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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model into a folder of its own, whole or not at all; :func:`glasslstm.load` brings it back.

        Raises
        ------
        ArgumentError
            Where `path` is a file or holds other things, and for labels that JSON cannot hold.
        """
        from glasslstm import modelfile  # noqa: PLC0415 - it knows the estimators

        modelfile.save(self, path)

    def _subject(self, X: Any, y: Any = None) -> Subject:
        """Return what :func:`glasslstm.report` shows: the series as they came, and all answers."""
        from glasslstm.estimators.subject import subject_of  # noqa: PLC0415 - it knows the estimators

        series = self._known(X)
        if y is None:
            y = series.step_targets if self.per_step else series.targets
        return subject_of(self, series, None if y is None else self._encoded(y, series))

    def _targets(self, y: Any, X: Any) -> Any:
        """Return the targets that were given, or else those that the series have."""
        own = (
            None
            if y is not None or not isinstance(X, Sequences)
            else X.step_targets
            if self.per_step
            else X.targets
        )
        if y is None and own is None:
            other = isinstance(X, Sequences) and (X.targets if self.per_step else X.step_targets) is not None
            kinds = ("each series", "each step") if self.per_step else ("each step", "each series")
            hint = f"; X has targets of {kinds[0]}, and it needs one of {kinds[1]}" if other else ""
            raise DataError(
                f"y: {type(self).__name__} requires y to be passed, but the target y is None{hint}"
            )
        return own if y is None else y

    def _taken(self, X: Any, channel_names: Sequence[str] | None = None) -> Sequences:
        """Check the series of a training."""
        series = Sequences.from_arrays(X, missing=self.missing)
        names = check_channel_names(channel_names, series.channels)
        return series if names is None else replace(series, channel_names=names)

    def _known(self, X: Any) -> Sequences:
        """Check the series of a prediction."""
        check_is_fitted(self, "network_")
        series = Sequences.from_arrays(X, missing=self.missing)
        self.preparation_.check(series, type(self).__name__)
        return series

    def _inputs(self, series: Sequences, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return what the network reads of some series: (T, B, inputs) where it computes, and lengths."""
        x = torch.from_numpy(self.preparation_.batch(series, rows))
        return x.to(next(self.network_.parameters()).device), torch.from_numpy(series.lengths[rows])

    def _answers(self, series: Sequences) -> Tensor:
        """Return the answers, on the CPU: (N, ...), or (sum of T_i, ...) where each step has one."""
        answers: Tensor | None = None
        offsets = series.offsets
        for rows, found in self._batched(series):
            if answers is None:
                answers = found.new_empty(
                    (int(offsets[-1]) if self.per_step else len(series), *found.shape[1:])
                )
            places = ranges(offsets[rows], series.lengths[rows]) if self.per_step else rows
            answers[torch.from_numpy(places)] = found
        assert answers is not None
        return answers

    @torch.no_grad()
    def _batched(self, series: Sequences) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Yield the rows of some series, and their answers; of each step, one series below the other."""
        network = self.network_.eval()
        for rows in series.batches(_PREDICTION_SERIES, _PREDICTION_STEPS):
            x, lengths = self._inputs(series, rows)
            found = network(x, lengths).cpu()
            if self.per_step:
                found = found.transpose(0, 1)[torch.arange(len(x)) < lengths[:, None]]
            yield rows, found

    def _examples(
        self,
        series: Sequences,
        targets: NDArray[Any],
        weights: NDArray[np.float32],
        by_class: NDArray[np.float64] | None = None,
    ) -> Examples:
        """Put together what is gone through, with the weight of each series and of each class."""
        if self.per_step:
            weights = in_step(np.repeat(weights, series.lengths), series)
        if by_class is not None:
            weights = weights * by_class.astype(np.float32)[targets]
        read = replace(  # and nothing else, in which a validation part may differ
            series,
            ids=np.unique(series.ids, return_inverse=True)[1],  # which windows are of one series
            times=series.times if self.step_duration else None,
            targets=None,
            step_targets=None,
            target_names=(),
            horizon=0,
        )
        return Examples(read, targets, weights, self.per_step)

    def _validation(self, validation: Any, goal: Goal, series: Sequences) -> Examples:
        """Check what was given to judge the search by."""
        if not self.validation_fraction:
            raise ArgumentError(
                "validation: validation_fraction=0 asks for a training without a search; leave out one"
            )
        X, y = validation if isinstance(validation, tuple) and len(validation) == 2 else (validation, None)
        held_out = Sequences.from_arrays(X, missing=self.missing)
        if held_out.channels != series.channels or held_out.static_names != series.static_names:
            raise DataError(
                f"validation: expected the {series.channels} channels and {len(series.static_names)} static features "
                f"of X, got {held_out.channels} and {len(held_out.static_names)}"
            )
        if None in (held_out.channel_names, series.channel_names):
            held_out = replace(held_out, channel_names=series.channel_names)
        if held_out.channel_names != series.channel_names:
            raise DataError(
                f"validation: expected the channels of X, {series.channel_names}, got {held_out.channel_names}"
            )
        if held_out.categories.keys() != series.categories.keys():
            raise DataError(
                f"validation: expected the categories of X, {sorted(series.categories)}, got "
                f"{sorted(held_out.categories)}"
            )
        if self.step_duration and held_out.times is None:
            raise DataError("validation: step_duration=True needs time stamps, and there are none")
        fresh = replace(self)
        for name, value in goal.learned.items():
            setattr(fresh, name, value)
        targets = fresh._encoded(self._targets(y, held_out), held_out)
        return self._examples(held_out, targets, np.ones(len(held_out), np.float32), goal.class_weights)

    def _seed(self) -> int:
        """Draw the seed; without a number to draw it from, take the one that a checkpoint was begun with."""
        noted = None if self.checkpoint is None else Path(self.checkpoint) / "seed"
        try:
            if noted and noted.exists() and not isinstance(self.random_state, (int, np.integer)):
                return int(noted.read_text(encoding="ascii"))
            seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
            if noted:
                with written_whole(noted) as partial_file:
                    partial_file.write_text(str(seed), encoding="ascii")
        except (OSError, ValueError) as error:
            raise ArgumentError(
                f"checkpoint: {self.checkpoint} cannot be used as a folder: {error}"
            ) from None
        return seed

    def _remember(self, found: Trained, goal: Goal, series: Sequences, recorded: bool) -> None:
        for name in getattr(self, "_learned", ()):  # by an earlier fit, perhaps on targets of another kind
            delattr(self, name)
        for name, value in goal.learned.items():
            setattr(self, name, value)
        self._learned = tuple(goal.learned)
        self.task_, self.n_features_in_, self.longest_ = found.task, series.channels, found.longest
        self._trained_with = self.get_params()  # set_params may follow; what is saved is what was trained
        if series.channel_names is not None:
            self.feature_names_in_ = np.array(series.channel_names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.network_, self.preparation_ = found.network, found.preparation
        self.history_, self.best_epoch_ = found.state.history, found.state.best_epoch
        self.n_iter_, self.interrupted_ = found.state.epoch, found.state.interrupted
        self.table_ = None
        if recorded:
            self.record_ = table(found.record)
        elif hasattr(self, "record_"):
            del self.record_

    def _epochs(self, series: int) -> int:
        """Return the most epochs of a training on so many series."""
        if self.max_updates is None:
            return self.max_epochs
        return min(self.max_epochs, max(1, self.max_updates // -(-series // self.batch_size)))

    def _network(self, preparation: Preparation, task: Task, longest: int) -> SequenceNetwork:
        """Return a network for the parameters, and for series of up to `longest` steps."""
        return SequenceNetwork(
            preparation.inputs, task.outputs, pooling=self.pooling, **self._layout(preparation, task, longest)
        )

    def _layout(self, preparation: Preparation, task: Task, longest: int) -> dict[str, Any]:
        """Return what a network is made of, beside what it reads and how it answers."""
        front = None
        if self.conv_blocks:
            front = ConvolutionalFront(
                preparation.inputs,
                blocks=int(self.conv_blocks),
                filters=int(self.conv_filters),
                kernel_size=int(self.conv_kernel_size),
                longest=longest,
                max_steps=None if self.per_step else int(self.conv_max_steps),
                causal=self.causal,
            )
        return {
            "hidden_size": int(self.hidden_size),
            "num_layers": int(self.num_layers),
            "bidirectional": bool(self.bidirectional) and not self.causal,
            "dropout": float(self.dropout),
            "recurrent_dropout": float(self.recurrent_dropout),
            "layer_norm": bool(self.layer_norm),
            "per_step": self.per_step,
            "answer": task.answer(),
            "initialisation": self.initialisation,
            "max_steps": longest,
            "front": front,
        }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.target_tags.required = True
        return tags


# The most series in a batch of a prediction, and the most steps, padding included.
_PREDICTION_SERIES, _PREDICTION_STEPS = 256, 65_536

# The most series that a diagnosis looks at.
_DIAGNOSED = 64
