"""A sequence classifier with scikit-learn's contract: one of several classes, or any of several labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin

from glasslstm.data.sequences import Sequences
from glasslstm.errors import DataError
from glasslstm.estimators.base import LSTMEstimator
from glasslstm.estimators.checks import (
    as_label_matrix,
    check_labels,
    check_members,
    class_weights,
    indices_of,
)
from glasslstm.estimators.settings import SHARE, WEIGHTS, documented, setting
from glasslstm.estimators.tasks import Classes, Goal, Labels, Task

__all__ = ["LSTMClassifier"]


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class LSTMClassifier(ClassifierMixin, LSTMEstimator):  # type: ignore[misc]
    """Classify series of any length by the hidden states of an LSTM.

    Each channel is standardised by the training data; the series go through a stack of LSTM layers; what `pooling`
    says of the last layer's hidden states goes through a linear layer; softmax makes probabilities of it, or, where
    a series may have any of several labels, the logistic function of each. Training stops when the loss on a
    validation part, cut from the data given to ``fit``, has not fallen for `patience` epochs.

    ``docs/defaults.md`` shows how the defaults were found, on training data alone.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_
        The labels, sorted, (K,); where a series may have several, the columns of `y`: 0 to K - 1, or their names.
    multilabel_
        Whether a series may have several labels.
    n_features_in_
        F, the number of channels.
    feature_names_in_
        The channels' names, where ``fit`` was given them.
    preparation_
        What the training data said of the channels, such as ``preparation_.mean`` and ``preparation_.scale``, (F,).
    network_
        The trained :class:`~glasslstm.estimators.network.SequenceNetwork`.
    history_
        One dict for each epoch of the search: epoch (from 1), train_loss, valid_loss, valid_accuracy (with
        several labels valid_label_accuracy, the share of all labels that are right), learning_rate, seconds.
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

    class_weight: Mapping[Any, float] | str | None = setting(
        None,
        WEIGHTS,
        """How much the series of each class count: None, all the same; 'balanced', inversely to how frequent the class
        is; or a dict. Where a series may have several labels it is the weight of having the label.""",
    )
    label_smoothing: float = setting(
        0.0,
        SHARE,
        """Share of the target that is spread over all classes (Szegedy et al. 2016, Rethinking the inception
        architecture for computer vision, CVPR, section 7).""",
    )

    classes_: NDArray[Any] = field(init=False)
    multilabel_: bool = field(init=False)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, or of each label.

        Parameters
        ----------
        X
            As for :meth:`fit`; its labels are not needed.

        Returns
        -------
        ndarray
            (N, K), columns in the order of ``classes_``, rows that add up to 1; with several labels each column is a
            probability by itself.

        Raises
        ------
        DataError
            For series that cannot be used, or have other channels than the model.
        """
        logits = self._answers(self._known(X)).double()
        return (torch.sigmoid(logits) if self.multilabel_ else torch.softmax(logits, dim=1)).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each series, (N,); `X` and errors as for :meth:`predict_proba`.

        With several labels: those of a probability above 1/2, as zeros and ones, (N, K).
        """
        logits = self._answers(self._known(X))
        if self.multilabel_:
            return (logits > 0).numpy().astype(np.int64)
        chosen: NDArray[Any] = self.classes_[logits.argmax(1).numpy()]
        return chosen

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy: the share of series whose label, or whose labels all together, are right.

        Parameters
        ----------
        X, y
            As for :meth:`fit`.
        sample_weight
            How much each series counts, (N,). Default: all the same.
        """
        return float(super().score(X, self._targets(y, X), sample_weight))

    def _goal(self, y: Any, series: Sequences) -> Goal:
        matrix = as_label_matrix(y, len(series))
        if matrix is not None:
            columns = [str(name) for name in getattr(y, "columns", series.target_names)]
            named = columns if len(columns) == matrix.shape[1] else None
            classes = np.arange(matrix.shape[1]) if named is None else np.array(named)
            never = np.flatnonzero((matrix == matrix[0]).all(axis=0))
            if len(never):
                raise DataError(
                    f"y: label {classes[never[0]]} is the same in all series; there is nothing to tell apart"
                )
            task: Task = Labels(matrix.shape[1], self._positive_weights(matrix, classes))
            return Goal(task, matrix, {"classes_": classes, "multilabel_": True})
        classes, labels = check_labels(y, len(series))
        if self.validation_fraction:
            check_members(classes, labels)
        task = Classes(len(classes), float(self.label_smoothing))
        weights = class_weights(self.class_weight, classes, labels)
        return Goal(task, labels, {"classes_": classes, "multilabel_": False}, labels, weights)

    def _encoded(self, y: Any, series: Sequences) -> NDArray[Any]:
        if not self.multilabel_:
            return indices_of(y, self.classes_, len(series))
        matrix = as_label_matrix(y, len(series))
        if matrix is None or matrix.shape[1] != len(self.classes_):
            raise DataError(f"y: expected zeros and ones, (N, {len(self.classes_)}), got shape {np.shape(y)}")
        return matrix

    def _positive_weights(self, matrix: NDArray[np.float32], classes: NDArray[Any]) -> tuple[float, ...]:
        """Return the weight of having each label."""
        if isinstance(self.class_weight, str):
            return tuple(((1 - matrix).sum(0) / matrix.sum(0)).tolist())
        return tuple(class_weights(self.class_weight, classes, np.arange(len(classes))).tolist())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
