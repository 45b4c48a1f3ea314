"""What a model answers as columns of a table, and how good its answers are, by scikit-learn's metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    hamming_loss,
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    precision_recall_fscore_support,
    r2_score,
    recall_score,
    root_mean_squared_error,
)

from glasslstm.cli.settings import task_of
from glasslstm.cli.tables import truth_of, with_labels
from glasslstm.data import Sequences
from glasslstm.errors import DataError
from glasslstm.estimators.base import LSTMEstimator
from glasslstm.estimators.checks import as_label_matrix, check_numbers
from glasslstm.estimators.classifier import LSTMClassifier
from glasslstm.estimators.regressor import LSTMRegressor
from glasslstm.estimators.tagger import LSTMTagger

__all__ = ["answers", "known_targets", "scores"]

Columns = dict[str, NDArray[Any]]


def answers(estimator: LSTMEstimator, series: Sequences) -> Columns:
    """Return the table of a model's answers: a row for each series, or for each step of a tagger's."""
    if not estimator.per_step:
        return {"id": series.ids} | _answers(estimator, series)
    rows = series.rows()
    first = np.repeat(series.starts, series.lengths)
    time = rows - first if series.times is None else series.times[rows]
    return {"id": np.repeat(series.ids, series.lengths), "time": time} | _answers(estimator, series)


def known_targets(estimator: LSTMEstimator, series: Sequences) -> Sequences:
    """Return the series with their targets as the model knows them.

    Raises
    ------
    DataError
        For targets that the model cannot be compared with.
    """
    if _tells_one_label(estimator):
        return with_labels(series, estimator.classes_)
    truth, rows = truth_of(estimator, series), len(series.values) if estimator.per_step else len(series)
    if isinstance(estimator, LSTMClassifier):
        matrix = as_label_matrix(truth, rows)
        found = 1 if matrix is None else matrix.shape[1]
        count = len(estimator.classes_)
    else:
        found = check_numbers(truth, rows).shape[1]
        count = getattr(estimator, "n_outputs_", 1)
    if found != count:
        raise DataError(f"--target: expected the {count} targets of the model, got {found}")
    return series


def scores(estimator: LSTMEstimator, series: Sequences) -> dict[str, Any]:
    """Return how well a model answers for series with targets that it knows, as :func:`known_targets` gives them."""
    truth = truth_of(estimator, series)
    assert truth is not None
    about = {"task": task_of(estimator), "n_series": len(series)}
    if estimator.per_step:
        truth = truth[series.rows()]
        about["n_steps"] = series.steps
    if _tells_one_label(estimator):
        return about | _of_classes(truth, _probability(estimator, series), estimator.classes_)
    if isinstance(estimator, LSTMClassifier):
        return about | _of_labels(truth, estimator.predict_proba(series), estimator.classes_)
    names = _target_names(estimator)
    return about | _of_numbers(truth.reshape(len(truth), -1), estimator, series, names)


def _answers(estimator: LSTMEstimator, series: Sequences) -> Columns:
    if isinstance(estimator, LSTMClassifier) and estimator.multilabel_:
        probability = estimator.predict_proba(series)
        names = [str(name) for name in estimator.classes_]
        chosen = {f"label_{name}": (probability[:, k] > 0.5).astype(np.int64) for k, name in enumerate(names)}
        return chosen | _columns("probability_", names, probability)
    if _tells_one_label(estimator):
        classes = estimator.classes_
        probability = _probability(estimator, series)
        word = "label" if estimator.per_step else "class"
        return {word: classes[probability.argmax(axis=1)]} | _columns("probability_", classes, probability)
    names = [f"_{name}" if name else "" for name in _target_names(estimator)]
    if _levels(estimator):
        found = _quantiles(estimator, series)
        parts = (
            _columns(f"prediction{name}_", [f"q{100 * level:g}" for level in _levels(estimator)], found[:, k])
            for k, name in enumerate(names)
        )
        return {name: column for part in parts for name, column in part.items()}
    return _columns("prediction", names, _numbers(estimator, series))


def _columns(prefix: str, names: Iterable[object], found: NDArray[Any]) -> Columns:
    return {f"{prefix}{name}": found[:, k] for k, name in enumerate(names)}


def _tells_one_label(estimator: LSTMEstimator) -> bool:
    return hasattr(estimator, "classes_") and not getattr(estimator, "multilabel_", False)


def _probability(estimator: LSTMEstimator, series: Sequences) -> NDArray[np.float64]:
    """Return the probability of each class, of each series or step."""
    found: Any = estimator.predict_proba(series)
    joined: NDArray[np.float64] = np.concatenate(found) if estimator.per_step else found
    return joined


def _levels(estimator: LSTMEstimator) -> tuple[float, ...]:
    return getattr(estimator.task_, "quantiles", ())


def _quantiles(estimator: LSTMEstimator, series: Sequences) -> NDArray[np.float64]:
    """Return (N, M, Q)."""
    assert isinstance(estimator, LSTMRegressor)
    return estimator.predict_quantiles(series).reshape(len(series), -1, len(_levels(estimator)))


def _numbers(estimator: LSTMEstimator, series: Sequences) -> NDArray[np.float64]:
    """Return (N, M), or (S, 1) of the steps."""
    if isinstance(estimator, LSTMTagger):
        flat: NDArray[np.float64] = np.concatenate(estimator.predict(series))
        return flat[:, None]
    assert isinstance(estimator, LSTMRegressor)
    return estimator.predict(series).reshape(len(series), -1)


def _target_names(estimator: LSTMEstimator) -> list[str]:
    """Return what each of the numbers is called, or nothing where there is one."""
    count = getattr(estimator, "n_outputs_", 1)
    known = (estimator.table_ or {}).get("target")
    if count == 1:
        return [""]
    return list(known) if isinstance(known, list) and len(known) == count else [str(k) for k in range(count)]


def _of_classes(
    truth: NDArray[Any], probability: NDArray[np.float64], classes: NDArray[Any]
) -> dict[str, Any]:
    known = {name: k for k, name in enumerate(classes.tolist())}
    distinct, places = np.unique(truth, return_inverse=True)
    true = np.array([known[name] for name in distinct.tolist()])[places]
    found = probability.argmax(axis=1)
    every = np.arange(len(classes))
    return {
        "accuracy": float(accuracy_score(true, found)),
        "balanced_accuracy": float(
            recall_score(true, found, labels=np.unique(true), average="macro", zero_division=0)
        ),
        "log_loss": float(log_loss(true, probability, labels=every)),
        "classes": _table("class", classes, true, found, labels=every),
        "confusion_matrix": confusion_matrix(true, found, labels=every).tolist(),
    }


def _of_labels(
    truth: NDArray[Any], probability: NDArray[np.float64], classes: NDArray[Any]
) -> dict[str, Any]:
    truth, found = truth.astype(int), (probability > 0.5).astype(int)
    losses = [log_loss(truth[:, k], probability[:, k], labels=[0, 1]) for k in range(len(classes))]
    return {
        "accuracy": float(accuracy_score(truth, found)),
        "hamming_loss": float(hamming_loss(truth, found)),
        "log_loss": float(np.mean(losses)),
        "labels": _table("label", classes, truth, found, labels=None),
    }


def _table(
    word: str, classes: NDArray[Any], truth: NDArray[Any], found: NDArray[Any], labels: Any
) -> list[dict[str, Any]]:
    columns = precision_recall_fscore_support(truth, found, labels=labels, average=None, zero_division=0)
    names = (word, "precision", "recall", "f1", "support")
    return [
        dict(zip(names, row, strict=True)) for row in zip(classes.tolist(), *map(_list, columns), strict=True)
    ]


def _list(column: Any) -> list[Any]:
    return list(np.asarray(column).tolist())


def _of_numbers(
    truth: NDArray[np.float64], estimator: LSTMEstimator, series: Sequences, names: Sequence[str]
) -> dict[str, Any]:
    found = _numbers(estimator, series)
    scored = _errors(truth, found)
    if len(names) > 1:
        one = [{"target": name} | _errors(truth[:, k], found[:, k]) for k, name in enumerate(names)]
        scored["targets"] = one
    levels = _levels(estimator)
    if levels:
        quantiles = _quantiles(estimator, series)
        rows = [
            ({"target": name} if name else {})
            | {
                "quantile": level,
                "pinball_loss": float(mean_pinball_loss(truth[:, m], quantiles[:, m, q], alpha=level)),
                "coverage": float(np.mean(truth[:, m] <= quantiles[:, m, q])),
            }
            for m, name in enumerate(names)
            for q, level in enumerate(levels)
        ]
        scored |= {"pinball_loss": float(np.mean([row["pinball_loss"] for row in rows])), "quantiles": rows}
    return scored


def _errors(truth: NDArray[np.float64], found: NDArray[np.float64]) -> dict[str, Any]:
    """Return the errors, the mean over the targets where there are several."""
    return {
        "rmse": float(root_mean_squared_error(truth, found)),
        "mae": float(mean_absolute_error(truth, found)),
        "r2": float(r2_score(truth, found)) if len(truth) > 1 else None,
    }
