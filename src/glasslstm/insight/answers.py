"""What a model answered and what was right, read from its output and targets, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.running import described, first_tensor

require("scipy", extra="report")

from scipy import stats  # noqa: E402

__all__ = ["Answers", "Bin", "Calibration", "Score", "answers_of", "default_loss"]

_IGNORED = -100  # the ignore_index of torch's losses


@dataclass(frozen=True)
class Score:
    """A score with its 95 % interval over sequences; of a single sequence of many steps the ends are NaN."""

    name: str
    value: float
    low: float
    high: float
    more_is_better: bool = False


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence lies in one tenth of [0, 1]."""

    confidence: float
    """Their mean confidence: the probability that was given to the class that was predicted."""
    right: Score
    """The share of them that is right."""
    count: int


@dataclass(frozen=True)
class Calibration:
    """How far confidence can be believed."""

    bins: tuple[Bin, ...]
    """Of equal width: those of equal count would crowd at 1, where most confidences lie. Empty ones are left out."""
    error: float
    """The expected calibration error: |confidence - share right|, the mean over answers (Naeini et al. 2015)."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answered to N questions, and what was right; made by :func:`answers_of`.

    Attributes
    ----------
    task
        ``"classes"`` or ``"numbers"``.
    true, predicted
        Class indices or numbers, (N,).
    probability
        Of each class, (N, K); ``None`` for numbers.
    names
        Of the K classes; empty for numbers.
    sequence
        The index of the sequence that each answer belongs to, (N,), below `batch_size`.
    step
        The step that it is about, (N,); ``None`` where each sequence has one answer.
    batch_size
        How many sequences there were, those without an answer included.
    loss_name
        What such a model is usually trained with: ``"cross-entropy"``, ``"binary cross-entropy"`` or ``"mean squared
        error"``.
    taken_as
        What the output was taken to be: ``"logits"``, ``"log-probabilities"``, ``"probabilities"``, ``"one logit"``,
        ``"one probability"`` or ``"numbers"``.
    """

    task: Literal["classes", "numbers"]
    true: NDArray[Any]
    predicted: NDArray[Any]
    probability: NDArray[np.float64] | None
    names: tuple[str, ...]
    sequence: NDArray[np.int64]
    step: NDArray[np.int64] | None
    batch_size: int
    loss_name: str
    taken_as: str

    @cached_property
    def each(self) -> NDArray[np.float64]:
        """What the score is the mean of, (N,): 1 for a right and 0 for a wrong class, or the absolute error."""
        if self.task == "classes":
            return np.asarray(self.true == self.predicted, dtype=float)
        return np.asarray(np.abs(self.predicted - self.true))

    @cached_property
    def score(self) -> Score:
        """The accuracy, or of numbers the mean absolute error: it has their unit, also in a slice of little variance.

        Intervals are over sequences, as steps of one sequence are alike. Accuracy of one answer each: Wilson's; of
        steps: Korn and Graubard's (1998), exact for as many independent answers as vary as much as these. Any other
        mean: Student's t by the linearised ratio of two sums over sequences (Cochran 1977, Sampling Techniques, 6.3).
        """
        return self.score_of(np.ones(len(self.true), dtype=bool))

    def score_of(self, chosen: NDArray[np.bool_]) -> Score:
        """Return the score of some of the answers, chosen by a mask, (N,)."""
        each, sequence = self.each[chosen], self.sequence[chosen]
        if self.task == "classes":
            return Score("accuracy", *_share(each, sequence), more_is_better=True)
        return Score("mean absolute error", *_mean(each, sequence))

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """The score; then cross-entropy (in nats) and Brier score, or R² where the numbers vary."""
        if self.probability is not None:
            likely = np.maximum(self.probability[np.arange(len(self.true)), self.true], np.finfo(float).eps)
            squares = (self.probability - np.eye(len(self.names))[self.true]) ** 2
            brier = squares.sum(axis=1) / (2 if len(self.names) == 2 else 1)  # as scikit-learn has it
            return (
                self.score,
                Score("cross-entropy", *_mean(-np.log(likely), self.sequence)),
                Score("Brier score", *_mean(brier, self.sequence)),
            )
        errors, spread = (self.predicted - self.true) ** 2, (self.true - self.true.mean()) ** 2
        if spread.sum() == 0:
            return (self.score,)
        missed, low, high = _interval(*_ratio(errors, spread, self.sequence))
        return self.score, Score("R²", 1 - missed, 1 - high, 1 - low, more_is_better=True)

    @cached_property
    def calibration(self) -> Calibration:
        """How often answers of each confidence are right.

        Raises
        ------
        ArgumentError
            The answers are numbers, which come without a confidence.
        """
        if self.probability is None:
            raise ArgumentError(
                "calibration: the answers are numbers without probabilities; it needs classes"
            )
        confidence = self.probability.max(axis=1)
        tenth = np.searchsorted(np.linspace(0, 1, 11)[1:-1], confidence)  # as sklearn's calibration_curve
        members = [tenth == k for k in np.unique(tenth)]
        bins = tuple(Bin(confidence[own].mean(), self.score_of(own), int(own.sum())) for own in members)
        gaps = [abs(b.confidence - b.right.value) * b.count for b in bins]
        return Calibration(bins, sum(gaps) / len(self.true))


def answers_of(
    outputs: Any,
    targets: Any,
    *,
    class_names: Sequence[object] | None = None,
    lengths: ArrayLike | Tensor | None = None,
    batch_axis: int | None = None,
) -> Answers:
    """Say what a model answered, by looking at its output and the targets.

    ============================================= ================================== ==============================
    targets                                       output                             is taken as
    ============================================= ================================== ==============================
    whole numbers (B,)                            (B, K), K at least 2               logits; log-probabilities or
                                                                                     probabilities where each row
                                                                                     sums to 1 as such
    0 and 1 or booleans (B,)                      (B,) or (B, 1)                     one logit; one probability
                                                                                     where all lie in [0, 1]
    other real numbers (B,)                       (B,) or (B, 1)                     numbers
    any of these for each step, (B, T) or (T, B)  the same, or (B, K, T) of classes  the same
    ============================================= ================================== ==============================

    Targets of -100 (torch's ``ignore_index``) or NaN are left out. Several numbers of a sequence are taken as its
    steps, which have one unit; (B, T, M) with M > 1 is refused, as errors of several units have no mean.

    Parameters
    ----------
    outputs
        What the model returned; of a tuple or dict the first tensor of real numbers.
    targets
        A tensor or array of numbers, see above.
    class_names
        K names; default: "0", "1", ...
    lengths
        Valid steps of each sequence, (B,); steps beyond them are left out where each step has a target.
    batch_axis
        Which axis of targets for each step counts the sequences. Default: the first that has as many as `lengths`;
        without them 0.

    Raises
    ------
    ArgumentError
        The output and the targets fit none of these, an output is NaN or infinite, no target is left, or a class has
        no score or name.

    Examples
    --------
    >>> answers = answers_of(torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), torch.tensor([0, 1, 1]))
    >>> answers.task, answers.taken_as, answers.predicted.tolist()
    ('classes', 'logits', [0, 1, 0])
    >>> round(answers.score.value, 3), round(answers.score.low, 3), round(answers.score.high, 3)
    (0.667, 0.208, 0.939)
    """
    layout = _layout(outputs, targets, lengths, batch_axis)
    rows = layout.rows(outputs, targets)
    kind = _kind(rows.scores, classes=layout.classes)
    scores = rows.scores.detach().double().cpu()
    probability = None if kind.probability is None else kind.probability(scores).numpy()
    if not np.isfinite(scores.numpy() if probability is None else probability).all():
        raise ArgumentError(
            "outputs: the model's output holds NaN or infinite numbers; they cannot be scored"
        )
    return Answers(
        task="numbers" if probability is None else "classes",
        true=rows.true.cpu().numpy().astype(float if probability is None else np.int64),
        predicted=scores.numpy() if probability is None else probability.argmax(axis=1),
        probability=probability,
        names=() if probability is None else _names(class_names, probability.shape[1]),
        sequence=rows.sequence.cpu().numpy(),
        step=rows.step.cpu().numpy() if layout.steps > 1 else None,
        batch_size=layout.batch_size,
        loss_name=kind.loss_name,
        taken_as=kind.name,
    )


def default_loss(
    outputs: Any,
    targets: Any,
    *,
    lengths: ArrayLike | Tensor | None = None,
    batch_axis: int | None = None,
) -> Callable[[Any, Any], Tensor] | None:
    """Return the loss that fits a model's output and targets, ``None`` where :func:`answers_of` understands neither.

    It takes outputs and targets of any number of sequences, knows the lengths of as many as these alone, and is the
    mean of ``__name__``, which is as :attr:`Answers.loss_name`, over what `answers_of` does not leave out.

    Examples
    --------
    >>> loss = default_loss(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
    >>> loss.__name__, round(float(loss(torch.zeros(3, 2), torch.tensor([0, 1, 1]))), 3)
    ('cross-entropy', 0.693)
    """
    try:
        layout = _layout(outputs, targets, lengths, batch_axis)
        kind = _kind(layout.rows(outputs, targets).scores, classes=layout.classes)
    except ArgumentError:
        return None

    def loss(outputs: Any, targets: Any) -> Tensor:
        here = _layout(outputs, targets, None, layout.batch_axis)
        same = (here.batch_size, here.steps) == (layout.batch_size, layout.steps)
        rows = (layout if same else here).rows(outputs, targets)
        true = rows.true if kind.loss_name == "cross-entropy" else rows.true.to(rows.scores.dtype)
        return kind.loss(rows.scores, true)

    loss.__name__ = kind.loss_name
    return loss


class _Kind(NamedTuple):
    """What scores are, which loss is meant, and how they become probabilities (N, K)."""

    name: str
    loss_name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    probability: Callable[[Tensor], Tensor] | None


def _nll(probability: Tensor, true: Tensor) -> Tensor:
    return functional.nll_loss(probability.clamp_min(torch.finfo(probability.dtype).tiny).log(), true)


def _both(probability: Tensor) -> Tensor:
    return torch.stack([1 - probability, probability], dim=-1)


_LOGITS = _Kind("logits", "cross-entropy", functional.cross_entropy, lambda scores: scores.softmax(-1))
_LOG_PROBABILITIES = _Kind("log-probabilities", "cross-entropy", functional.nll_loss, Tensor.exp)
_PROBABILITIES = _Kind("probabilities", "cross-entropy", _nll, Tensor.clone)
_LOGIT = _Kind(
    "one logit",
    "binary cross-entropy",
    functional.binary_cross_entropy_with_logits,
    lambda score: _both(score.sigmoid()),
)
_PROBABILITY = _Kind("one probability", "binary cross-entropy", functional.binary_cross_entropy, _both)
_NUMBERS = _Kind("numbers", "mean squared error", functional.mse_loss, None)


def _kind(scores: Tensor, *, classes: bool) -> _Kind:
    if not classes:
        return _NUMBERS
    scores = scores.detach().double()
    if scores.dim() == 1:
        return _PROBABILITY if bool(((scores >= 0) & (scores <= 1)).all()) else _LOGIT
    if bool((scores.logsumexp(-1).abs() < 1e-3).all()):
        return _LOG_PROBABILITIES
    if bool((scores >= 0).all() and ((scores.sum(-1) - 1).abs() < 1e-3).all()):
        return _PROBABILITIES
    return _LOGITS


class _Rows(NamedTuple):
    """The answers one by one: scores (N, K) or (N,), and of each what is true, its sequence and its step."""

    scores: Tensor
    true: Tensor
    sequence: Tensor
    step: Tensor


@dataclass(frozen=True)
class _Layout:
    """Where in an output and its targets the answers stand."""

    classes: bool
    class_axis: int | None
    """Of the output; ``None`` where it has one score for each answer."""
    batch_axis: int
    """Of the targets."""
    batch_size: int
    steps: int
    lengths: Tensor | None

    def rows(self, outputs: Any, targets: Any) -> _Rows:
        output, true = _tensors(outputs, targets)
        true = self._grid(true)
        if self.class_axis is None:
            scores = self._grid(output)
        else:
            scores = output.movedim(self.class_axis, -1)
            scores = scores.unsqueeze(1) if scores.dim() == 2 else scores.movedim(self.batch_axis, 0)
        kept = true != _IGNORED if self.classes else ~true.isnan()
        if self.lengths is not None:
            step = torch.arange(self.steps, device=true.device)
            kept = kept & (step < self.lengths.to(true.device)[:, None])
        sequence, step = kept.nonzero(as_tuple=True)
        if not len(sequence):
            raise ArgumentError(
                "targets: none is left without those of -100 or NaN, and steps past the lengths"
            )
        true = true[kept].long() if self.classes else true[kept]
        _check_classes(true, scores.shape[-1] if self.class_axis is not None else 2, self.classes)
        return _Rows(scores[kept], true, sequence, step)

    def _grid(self, values: Tensor) -> Tensor:
        """(B,), (B, 1), (B, T), (T, B) and either with a last axis of one -> (B, T)."""
        if self.batch_axis == 0:
            return values.reshape(self.batch_size, self.steps)
        return values.reshape(self.steps, self.batch_size).T


def _layout(outputs: Any, targets: Any, lengths: Any, batch_axis: int | None) -> _Layout:
    output, true = _tensors(outputs, targets)
    shape = tuple(true.shape[:-1] if true.dim() == 3 and true.shape[-1] == 1 else true.shape)
    single = output.numel() == true.numel() and tuple(output.shape[: len(shape)]) == shape
    class_axis = None if single else _class_axis(tuple(output.shape), shape)
    yes_or_no = bool(torch.isin(true[true.isfinite()], _marks(true)).all())
    whole = not true.is_floating_point()
    if len(shape) not in (1, 2) or not (
        yes_or_no or not whole if single else whole and class_axis is not None
    ):
        raise ArgumentError(
            f"targets: got {described(true)} beside the model's output, {described(output)}; understood are a class "
            "(output (B, K), whole targets (B,)), yes or no (output (B,), targets (B,) of 0 and 1) or a number (output "
            "(B,), targets (B,) of real numbers) for each sequence, or one for each of its steps"
        )
    lengths = None if lengths is None else torch.as_tensor(lengths).detach().flatten()
    axis = _batch_axis(shape, lengths, 0 if class_axis == 1 else batch_axis)  # (B, K, T) begins with B
    batch_size, steps = shape[axis], shape[1 - axis] if len(shape) == 2 else 1
    if lengths is not None and (steps == 1 or steps < int(lengths.max())):
        lengths = None  # the answers are not about the steps of the input
    return _Layout(not single or yes_or_no, class_axis, axis, batch_size, steps, lengths)


def _marks(true: Tensor) -> Tensor:
    """0, 1 and what marks a target to leave out."""
    return torch.tensor([0, 1, _IGNORED], dtype=true.dtype, device=true.device)


def _class_axis(output: tuple[int, ...], targets: tuple[int, ...]) -> int | None:
    """Return the last axis, or the second of torch's (B, K, T); ``None`` where neither fits or holds one class."""
    if output[:-1] == targets and output[-1] > 1:
        return len(output) - 1
    return 1 if len(output) == 3 and (output[0], output[2]) == targets and output[1] > 1 else None


def _batch_axis(shape: tuple[int, ...], lengths: Tensor | None, given: int | None) -> int:
    axes = range(len(shape)) if given is None or len(shape) == 1 else [given]
    fitting = [axis for axis in axes if lengths is None or shape[axis] == len(lengths)]
    if not fitting:
        raise ArgumentError(
            f"lengths: got {len(lengths) if lengths is not None else 0} of them beside targets of the shape {shape}; "
            "expected one for each sequence"
        )
    return fitting[0]


def _tensors(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    output = first_tensor(outputs)
    if output is None:
        raise ArgumentError(
            f"outputs: got {described(outputs)}, without a tensor of real numbers; nothing can be scored"
        )
    try:
        true = torch.as_tensor(targets).detach().to(output.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"targets: got {described(targets)}; expected one tensor or array of numbers ({error})"
        ) from error
    if true.is_complex() or not true.numel():
        raise ArgumentError(f"targets: got {described(true)}; expected at least one real number")
    return output, true.long() if not true.is_floating_point() else true


def _check_classes(true: Tensor, count: int, classes: bool) -> None:
    if classes and (int(true.min()) < 0 or int(true.max()) >= count):
        raise ArgumentError(
            f"targets: got the classes {int(true.min())} to {int(true.max())} where the model scores {count}, from 0 "
            f"to {count - 1}; number the classes from 0, and mark what to leave out by {_IGNORED}"
        )


def _names(names: Sequence[object] | None, count: int) -> tuple[str, ...]:
    names = range(count) if names is None else names
    if len(names) != count:
        raise ArgumentError(
            f"class_names: got {len(names)} names; expected one for each of the {count} classes"
        )
    return tuple(map(str, names))


def _share(right: NDArray[np.float64], sequence: NDArray[np.int64]) -> tuple[float, float, float]:
    share, error, sequences = _ratio(right, np.ones(len(right)), sequence)
    answers = len(right)
    if sequences == answers:
        ends = stats.binomtest(int(right.sum()), answers).proportion_ci(method="wilson")
        return share, float(ends.low), float(ends.high)
    if sequences == 1:
        return share, np.nan, np.nan
    independent = min(answers, share * (1 - share) / error**2) if error > 0 else sequences
    independent *= (stats.t.ppf(0.975, answers - 1) / stats.t.ppf(0.975, sequences - 1)) ** 2
    hits, misses = share * independent, (1 - share) * independent
    low = stats.beta.ppf(0.025, hits, misses + 1) if hits > 0 else 0.0
    high = stats.beta.ppf(0.975, hits + 1, misses) if misses > 0 else 1.0
    return share, float(low), float(high)


def _mean(values: NDArray[np.float64], sequence: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return the mean of numbers that cannot be negative, and its interval."""
    mean, low, high = _interval(*_ratio(values, np.ones(len(values)), sequence))
    return mean, low if np.isnan(low) else max(low, 0.0), high


def _interval(value: float, error: float, sequences: int) -> tuple[float, float, float]:
    if sequences < 2:
        return value, np.nan, np.nan
    half = float(stats.t.ppf(0.975, sequences - 1)) * error
    return value, value - half, value + half


def _ratio(
    top: NDArray[np.float64], bottom: NDArray[np.float64], sequence: NDArray[np.int64]
) -> tuple[float, float, int]:
    """Return the ratio of two sums, its standard error over sequences, and their number."""
    _, own = np.unique(sequence, return_inverse=True)
    tops, bottoms = np.bincount(own, top), np.bincount(own, bottom)
    ratio, n = float(tops.sum() / bottoms.sum()), len(tops)
    rest = (tops - ratio * bottoms) / bottoms.mean()
    return ratio, float(np.sqrt((rest**2).sum() / max(n - 1, 1) / n)), n
