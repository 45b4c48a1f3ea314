"""Is the LSTM worth it? The same answers by a constant, by persistence, and by a linear model on simple summaries."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.answers import Answers
from glasslstm.insight.scores import Score

require("sklearn", extra="report")
require("scipy", extra="report")

from scipy import stats  # noqa: E402
from sklearn.base import BaseEstimator, RegressorMixin  # noqa: E402
from sklearn.dummy import DummyClassifier, DummyRegressor  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

__all__ = ["Baseline", "Verdict", "baselines", "summaries"]

Verdict = Literal["better", "worse", "no clear difference"]

_MOST_ROWS = 20_000
"""A linear model is fitted on at most so many steps: more would take minutes and change little."""


@dataclass(frozen=True)
class Baseline:
    """A simple model on the same answers, and the model beside it."""

    name: str
    fitted: str
    """On what it was fitted."""
    score: Score
    """Of the same name as that of the model."""
    p: float
    """Of the difference to the model, by a paired test."""
    verdict: Verdict
    """On the model: better or worse than the baseline where `p` is at most 0.05."""
    told: bool = False
    """Whether it is told true answers that a model may not know."""


def baselines(
    answers: Answers,
    series: Sequence[ArrayLike],
    train: tuple[Sequence[ArrayLike], Sequence[ArrayLike] | ArrayLike] | None = None,
) -> list[Baseline]:
    """Answer the same questions by simple models, and compare.

    The majority class or the median; persistence, that is the last value of the one channel that is best on the data
    fitted on (numbers); where each step has an answer, the true answer of the step before, which a model may not know;
    and a logistic or ridge regression, on :func:`summaries` or on the step's own channels. Several answers on a
    sequence that are not about its steps, such as a forecast, are answered by a model each. Each is compared with the
    model by a paired test: McNemar's, exact, for one class each; otherwise the signs of the differences are flipped
    sequence by sequence.

    Parameters
    ----------
    answers
        Of the model, on B sequences.
    series
        The sequences, B arrays (T_i, F); NaN is filled in by the mean.
    train
        Series and targets to fit on; targets are class indices or numbers as in `answers.true`, one for each series or
        an array with one for each step. ``None``: 5-fold cross-validation over the sequences of the sample itself.

    Raises
    ------
    ArgumentError
        Fewer than two sequences or classes to fit on, or series that do not fit the answers.

    Examples
    --------
    >>> import torch
    >>> from glasslstm.insight.answers import answers_of
    >>> level = torch.arange(40.0) % 2
    >>> series = [np.full((5, 1), float(value)) for value in level]
    >>> answers = answers_of(torch.zeros(40, 2), level.long())
    >>> for found in baselines(answers, series):
    ...     print(found.name, found.score.value, found.verdict)
    majority class 0.5 no clear difference
    linear model 1.0 worse
    """
    matrices = _Series(map(_matrix, series))
    if train is not None:
        train = _Series(map(_matrix, train[0])), train[1]
    if answers.step is None or answers.of_steps:
        found = _answered(answers, matrices, train)
    else:
        found = _each_answered(answers, answers.step, matrices, train)
    return [_baseline(answers, name, *own) for name, own in found.items()]


_TOLD = "last true answer"

_Answered: TypeAlias = dict[str, tuple[str, NDArray[Any]]]
"""By the name of a baseline how it was fitted, and what it answers, (N,)."""


def _answered(answers: Answers, series: _Series, train: Any) -> _Answered:
    task = _task(answers, series, train)
    rows = task.rows()
    name = "majority class" if answers.task == "classes" else "median"
    found = {name: _constant(answers, task)}
    if answers.step is not None:
        told = _previous(answers, answers.step, found[name][1])
        found[_TOLD] = ("told the true answer of the step before", told)
    elif answers.task == "numbers":
        found["persistence"] = (task.fitted(), task.predict(_filled(_BestChannel()), task.last_values()))
    linear = LogisticRegression(max_iter=1000) if answers.task == "classes" else Ridge()
    model = _filled(StandardScaler(), linear)
    found["linear model"] = (task.fitted(_MOST_ROWS), task.predict(model, rows, _MOST_ROWS))
    return found


def _constant(answers: Answers, task: _Task) -> tuple[str, NDArray[Any]]:
    """Return the one answer that is best on the training data; without them, on the sample, which flatters it."""
    own = len(task.folds) > 1
    fitted = answers.true if own else task.true[task.folds[0][0]]
    dummy = (
        DummyClassifier(strategy="most_frequent")
        if answers.task == "classes"
        else DummyRegressor(strategy="median")
    )
    answer = dummy.fit(np.zeros((len(fitted), 1)), fitted).predict(np.zeros((len(answers.true), 1)))
    return "to the sample itself" if own else task.fitted(), answer


def _each_answered(answers: Answers, step: NDArray[np.int64], series: _Series, train: Any) -> _Answered:
    """Answer each of several questions about a whole sequence, as of a forecast, by a model of its own."""
    found: _Answered = {}
    for which in np.unique(step):
        own = step == which
        part = answers.about(int(which))
        targets = None if train is None else [np.asarray(y).reshape(-1)[which] for y in train[1]]
        for name, (fitted, predicted) in _answered(part, series, train and (train[0], targets)).items():
            found.setdefault(name, (fitted, np.zeros_like(answers.true)))[1][own] = predicted
    return found


def summaries(series: ArrayLike) -> NDArray[np.float64]:
    """Return mean, standard deviation, least, largest, first, last value and slope of each channel, and the length.

    Parameters
    ----------
    series
        (T, F). What is not finite is left out; what cannot be known, such as the slope of one step, is NaN.

    Returns
    -------
    numpy.ndarray
        (7 F + 1,).

    Examples
    --------
    >>> summaries([[1.0], [3.0], [5.0]]).round(3).tolist()
    [3.0, 1.633, 1.0, 5.0, 1.0, 5.0, 2.0, 3.0]
    """
    x = np.asarray(series, dtype=float)
    if not len(x):
        return np.append(np.full(7 * x.shape[1], np.nan), 0.0)
    known = np.isfinite(x)
    x = np.where(known, x, np.nan)
    t = np.where(known, np.arange(len(x))[:, None], np.nan)
    first, last = known.argmax(axis=0), len(x) - 1 - known[::-1].argmax(axis=0)
    channels = np.arange(x.shape[1])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of a channel without a finite value
        mean, later = np.nanmean(x, axis=0), t - np.nanmean(t, axis=0)
        slope = np.nanmean(later * (x - mean), axis=0) / np.nanmean(later**2, axis=0)
        extent = np.nanstd(x, axis=0), np.nanmin(x, axis=0), np.nanmax(x, axis=0)
    return np.concatenate([mean, *extent, x[first, channels], x[last, channels], slope, [len(x)]])


class _Series(list[NDArray[np.float64]]):
    """Series, (T_i, F) each, with their summaries, computed once."""

    @cached_property
    def summaries(self) -> NDArray[np.float64]:
        return np.stack([summaries(x) for x in self])


class _Task(NamedTuple):
    """Questions about series with their true answers; which of them to fit on, and which to answer then."""

    parts: tuple[_Series, ...]
    """Those fitted on, and those of the model, one after the other."""
    sequence: NDArray[np.int64]
    step: NDArray[np.int64] | None
    true: NDArray[Any]
    folds: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    asked: int
    """The last questions, so many, are those of the model."""

    def rows(self) -> NDArray[np.float64]:
        """Return the features of each question: summaries of its series, or the channels at its step."""
        if self.step is None:
            rows = self._summaries()[self.sequence]
        else:
            starts = np.cumsum([0, *map(len, self.series)])
            rows = np.concatenate(self.series)[starts[self.sequence] + self.step]
        return np.where(np.isfinite(rows), rows, np.nan)

    def last_values(self) -> NDArray[np.float64]:
        """Return the last finite value of each channel."""
        found = self._summaries()[:, :-1]
        return found.reshape(len(found), 7, -1)[:, 5][self.sequence]

    @property
    def series(self) -> list[NDArray[np.float64]]:
        return [x for part in self.parts for x in part]

    def _summaries(self) -> NDArray[np.float64]:
        return np.concatenate([part.summaries for part in self.parts if part])

    def predict(self, model: Any, rows: NDArray[np.float64], most: int | None = None) -> NDArray[Any]:
        predicted = np.zeros_like(self.true)
        for fit, test in self.folds:
            chosen = _some(fit, most)
            own = self.true[chosen]
            if own.dtype.kind == "i" and np.ptp(own) == 0:  # which LogisticRegression refuses
                predicted[test] = own[0]
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
                predicted[test] = model.fit(rows[chosen], own).predict(rows[test])
        return predicted[-self.asked :]

    def fitted(self, most: int | None = None) -> str:
        thinned = most is not None and max(len(fit) for fit, _ in self.folds) > most
        part = f", {most:,} of its steps" if thinned else ""
        if len(self.folds) == 1:
            return f"on the training data{part}"
        return f"by {len(self.folds)}-fold cross-validation on the sample itself{part}"


def _some(rows: NDArray[np.int64], most: int | None) -> NDArray[np.int64]:
    """Return at most so many rows, drawn at random: evenly chosen, they would be of a few steps alone."""
    if most is None or len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _task(answers: Answers, series: _Series, train: Any) -> _Task:
    if len(series) != answers.batch_size:
        raise ArgumentError(
            f"series: got {len(series)}; expected one for each of the {answers.batch_size} sequences"
        )
    asked = len(answers.true)
    if train is None:
        task = _Task((series,), answers.sequence, answers.step, answers.true, [], asked)
        task = task._replace(folds=_folds(answers.task, task.true, task.sequence))
    else:
        more = train[0]
        sequence, step, true = _training_answers(answers, more, train[1])
        task = _Task(
            (more, series),
            np.concatenate([sequence, answers.sequence + len(more)]),
            None if answers.step is None else np.concatenate([step, answers.step]),
            np.concatenate([true, answers.true]),
            [(np.arange(len(true)), len(true) + np.arange(asked))],
            asked,
        )
    _check(answers, task)
    return task


def _training_answers(answers: Answers, series: list[NDArray[np.float64]], targets: Any) -> Any:
    """Return sequence, step and true answer of every training question, without those of -100 or NaN."""
    if len(series) != len(targets):
        raise ArgumentError(
            f"train: got {len(series)} series and {len(targets)} targets; expected as many of both"
        )
    own = [np.asarray(y, dtype=float).reshape(-1) for y in targets]
    if answers.task == "classes":
        known = np.concatenate(own) if own else np.zeros(0)
        wrong = known[~np.isin(known, [-100, *range(len(answers.names))])]
        if len(wrong):
            raise ArgumentError(
                f"train: got the target {wrong[0]:g}; expected classes 0 to {len(answers.names) - 1}, as the model has"
            )
        own = [y.astype(np.int64) for y in own]
    if answers.step is not None:
        own = [y[: len(x)] for x, y in zip(series, own, strict=True)]
    elif any(len(y) != 1 for y in own):
        raise ArgumentError(
            "train: got targets of several numbers; expected one for each series, as the answers have"
        )
    true = np.concatenate([*own, answers.true[:0]])
    step = np.concatenate([*(np.arange(len(y)) for y in own), np.arange(0)])
    known = ~np.isnan(true) if answers.task == "numbers" else true != -100
    return np.repeat(np.arange(len(own)), [len(y) for y in own])[known], step[known], true[known]


def _folds(task: str, true: NDArray[Any], sequence: NDArray[np.int64]) -> list[Any]:
    """Cut the answers into at most five parts, whole sequences each, with about the same classes."""
    most = [5, len(np.unique(sequence))]
    if task == "classes":
        most.append(int(np.bincount(true).max()))
    if min(most) < 2:
        raise ArgumentError(
            "baselines: the sample has too few sequences to fit a model on some and score it on others; give at "
            "least two of a class, or the training data"
        )
    cut = StratifiedGroupKFold if task == "classes" else GroupKFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer answers than there are folds
        folds = cut(min(most), shuffle=True, random_state=0).split(true, true, sequence)
        return [(fit, test) for fit, test in folds if len(fit) and len(test)]


def _check(answers: Answers, task: _Task) -> None:
    widths = {x.shape[1] for x in task.series}
    if len(widths) != 1:
        raise ArgumentError(f"series: got {sorted(widths)} channels; expected as many in each series")
    lengths = np.array([len(x) for x in task.series])
    if task.step is not None and (task.step >= lengths[task.sequence]).any():
        raise ArgumentError(
            "series: some are shorter than the answers about them; baselines of each step need a row for each answer"
        )
    fitted = task.true[np.unique(np.concatenate([fit for fit, _ in task.folds]))]
    if not len(fitted):
        raise ArgumentError("train: got no answers to fit on; give at least two sequences")
    if answers.task == "classes" and np.ptp(fitted) == 0:
        raise ArgumentError(
            f"baselines: all answers to fit on are of the class {answers.names[fitted[0]]!r}; with one class there is "
            "nothing to learn"
        )


def _matrix(series: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(series, dtype=float)
    if x.ndim != 2:
        raise ArgumentError(f"series: got one of the shape {x.shape}; expected (T, F), steps by channels")
    return x


def _filled(*steps: Any) -> Any:
    return make_pipeline(SimpleImputer(keep_empty_features=True), *steps)


class _BestChannel(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts the channel whose mean absolute error was least on the data fitted on."""

    def fit(self, X: NDArray[np.float64], y: NDArray[np.float64]) -> _BestChannel:
        self.channel_ = int(np.abs(X - y[:, None]).mean(axis=0).argmin())
        return self

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        return X[:, self.channel_]


def _previous(answers: Answers, step: NDArray[np.int64], first: NDArray[Any]) -> NDArray[Any]:
    """Return the true answer before each in its sequence, and of the first one what is given for it."""
    order = np.lexsort((step, answers.sequence))
    follows = np.diff(answers.sequence[order]) == 0
    previous = np.array(first)
    previous[order[1:][follows]] = answers.true[order[:-1][follows]]
    return previous


def _baseline(answers: Answers, name: str, fitted: str, predicted: NDArray[Any]) -> Baseline:
    theirs = replace(answers, predicted=predicted, probability=None)
    p = _paired(answers, theirs)
    ahead = (answers.score.value > theirs.score.value) == answers.score.more_is_better
    verdict: Verdict = "no clear difference" if p > 0.05 else "better" if ahead else "worse"
    return Baseline(name, fitted, theirs.score, p, verdict, told=name == _TOLD)


def _paired(ours: Answers, theirs: Answers) -> float:
    if ours.task == "classes" and ours.step is None:
        ahead, behind = int((ours.each > theirs.each).sum()), int((ours.each < theirs.each).sum())
        return float(stats.binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0
    sums = np.bincount(ours.sequence, ours.each - theirs.each)
    sums = sums[np.unique(ours.sequence)]
    if not sums.any():
        return 1.0
    flipped = stats.permutation_test(
        (sums,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=1999,
        batch=500,
        random_state=0,
    )
    return float(flipped.pvalue)
