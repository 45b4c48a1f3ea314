"""What a model answered and what was right, read from its output and targets, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from glasslstm.errors import ArgumentError
from glasslstm.insight.reading import kind_of, layout_of, names_of
from glasslstm.insight.scores import Bin, Calibration, Score, interval, mean, ratio_over, share

__all__ = ["Answers", "answers_of", "default_loss"]


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
    of_steps
        Whether several answers on a sequence are about its steps.
    batch_size
        How many sequences there were, those without an answer included.
    loss_name
        What such a model is usually trained with: ``"cross-entropy"``, ``"binary cross-entropy"`` or ``"mean squared
        error"``.
    taken_as
        What the output was taken to be: ``"logits"``, ``"log-probabilities"``, ``"probabilities"``, ``"one logit"``,
        ``"one probability"`` or ``"numbers"``.
    questions
        What the several answers on a sequence are about where it is not its steps, such as the names of several
        targets; `step` says which. Empty where that is not known.
    scale
        What an error is divided by, (N,), so that those of several units have a mean.
    quantiles
        By its level what was answered as each quantile, (N,); empty where none was.
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
    of_steps: bool = True
    questions: tuple[str, ...] = ()
    scale: NDArray[np.float64] | float = 1.0
    quantiles: Mapping[float, NDArray[np.float64]] = field(default_factory=dict)

    def about(self, question: int) -> Answers:
        """Return the answers to one of several questions about each sequence, in its own unit."""
        own = self.step == question
        return replace(
            self,
            true=self.true[own],
            predicted=self.predicted[own],
            probability=None if self.probability is None else self.probability[own],
            sequence=self.sequence[own],
            step=None,
            questions=(),
            scale=1.0,
            quantiles={level: values[own] for level, values in self.quantiles.items()},
        )

    def called(self, names: Sequence[object] | None) -> Answers:
        """Return the same with names for the classes, or for the several labels; numbers have none."""
        if names is None or self.task == "numbers":
            return self
        if self.questions:
            return replace(self, questions=names_of(names, len(self.questions)))
        return replace(self, names=names_of(names, len(self.names)))

    @cached_property
    def each(self) -> NDArray[np.float64]:
        """What the score is the mean of, (N,): 1 for a right and 0 for a wrong class, or the absolute error."""
        if self.task == "classes":
            return np.asarray(self.true == self.predicted, dtype=float)
        return np.asarray(np.abs(self.predicted - self.true) / self.scale)

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
            return Score("accuracy", *share(each, sequence), more_is_better=True)
        return Score("mean absolute error" + self._unit, *mean(each, sequence))

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """The score; then cross-entropy (in nats) and Brier score, or what :attr:`_of_numbers` are."""
        if self.probability is not None:
            likely = np.maximum(self.probability[np.arange(len(self.true)), self.true], np.finfo(float).eps)
            squares = (self.probability - np.eye(len(self.names))[self.true]) ** 2
            brier = squares.sum(axis=1) / (2 if len(self.names) == 2 else 1)  # as scikit-learn has it
            return (
                self.score,
                Score("cross-entropy", *mean(-np.log(likely), self.sequence)),
                Score("Brier score", *mean(brier, self.sequence)),
            )
        return (self.score, *self._of_numbers)

    @property
    def _unit(self) -> str:
        """What the errors of several units are measured in."""
        return "" if np.ndim(self.scale) == 0 else " in standard deviations"

    @property
    def _of_numbers(self) -> Iterator[Score]:
        """The root mean squared error; R² where the numbers vary; and the pinball loss of quantiles."""
        error, low, high = np.sqrt(mean(self.each**2, self.sequence)).tolist()
        yield Score("root mean squared error" + self._unit, error, low, high)
        spread = ((self.true - self._usual) / self.scale) ** 2
        if spread.sum() > 0:
            missed, low, high = interval(*ratio_over(self.each**2, spread, self.sequence))
            yield Score("R²", 1 - missed, 1 - high, 1 - low, more_is_better=True)
        if self.quantiles:
            missed_by = [
                np.maximum(level * (self.true - found), (level - 1) * (self.true - found)) / self.scale
                for level, found in self.quantiles.items()
            ]
            yield Score("pinball loss" + self._unit, *mean(np.mean(missed_by, axis=0), self.sequence))

    @property
    def _usual(self) -> NDArray[np.float64]:
        """The mean of what is right; of each question by itself, where these have names."""
        if not self.questions or self.step is None:
            return np.asarray(self.true.mean())
        sums, counts = np.bincount(self.step, self.true), np.bincount(self.step)
        return np.asarray((sums / np.maximum(counts, 1))[self.step])

    @cached_property
    def coverage(self) -> dict[float, Score]:
        """By the level of each quantile the share of what is right that lies at or below it."""
        return {
            level: Score("share", *share((self.true <= found).astype(float), self.sequence))
            for level, found in self.quantiles.items()
        }

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
    loss: Any = None,
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
    loss
        What the model is trained with: torch's losses tell by their names one logit from one probability and from a
        number. Default: the values tell.

    Raises
    ------
    ArgumentError
        The output and the targets fit none of these, an output is NaN or infinite, no target is left, or a class has
        no score or name.

    Examples
    --------
    >>> import torch
    >>> answers = answers_of(torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), torch.tensor([0, 1, 1]))
    >>> answers.task, answers.taken_as, answers.predicted.tolist()
    ('classes', 'logits', [0, 1, 0])
    >>> round(answers.score.value, 3), round(answers.score.low, 3), round(answers.score.high, 3)
    (0.667, 0.208, 0.939)
    """
    layout = layout_of(outputs, targets, lengths, batch_axis)
    rows = layout.rows(outputs, targets)
    kind = kind_of(rows.scores, classes=layout.classes, loss=loss)
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
        names=() if probability is None else names_of(class_names, probability.shape[1]),
        sequence=rows.sequence.cpu().numpy(),
        step=rows.step.cpu().numpy() if layout.steps > 1 else None,
        batch_size=layout.batch_size,
        loss_name=kind.loss_name,
        taken_as=kind.name,
        of_steps=layout.of_steps,
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
    >>> import torch
    >>> loss = default_loss(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
    >>> loss.__name__, round(float(loss(torch.zeros(3, 2), torch.tensor([0, 1, 1]))), 3)
    ('cross-entropy', 0.693)
    """
    try:
        layout = layout_of(outputs, targets, lengths, batch_axis)
        kind = kind_of(layout.rows(outputs, targets).scores, classes=layout.classes)
    except ArgumentError:
        return None

    def loss(outputs: Any, targets: Any) -> Tensor:
        here = layout_of(outputs, targets, None, layout.batch_axis)
        same = (here.batch_size, here.steps) == (layout.batch_size, layout.steps)
        rows = (layout if same else here).rows(outputs, targets)
        true = rows.true if kind.loss_name == "cross-entropy" else rows.true.to(rows.scores.dtype)
        return kind.loss(rows.scores, true)

    loss.__name__ = kind.loss_name
    return loss
