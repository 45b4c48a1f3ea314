"""A tagger: a label, or a number, for every step of a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError
from glasslstm.estimators.base import LSTMEstimator
from glasslstm.estimators.checks import check_labels, check_numbers, class_weights, indices_of, joined_steps
from glasslstm.estimators.examples import in_step
from glasslstm.estimators.settings import FLAG, WEIGHTS, choice, documented, setting
from glasslstm.estimators.stream import TagStream
from glasslstm.estimators.tasks import Classes, Goal, Numbers

__all__ = ["LSTMTagger"]


def _tells_probabilities(tagger: LSTMTagger) -> bool:
    if not tagger._tells_labels:
        raise AttributeError("predict_proba: this tagger is one of numbers, which have no probabilities")
    return True


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class LSTMTagger(LSTMEstimator):
    """Say something of every step of series of any length: a label, or a number.

    As :class:`LSTMClassifier`, with an answer from the hidden states of each step, of both directions where there are
    two. With ``causal=True`` an answer depends on the steps up to its own alone, so that it can be given as the steps
    come in.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_
        The labels, sorted, (K,); not there for numbers.
    history_
        As :class:`LSTMClassifier`, with valid_accuracy for labels and valid_rmse for numbers.
    n_features_in_, feature_names_in_, preparation_, network_, best_epoch_, n_iter_, interrupted_, record_, table_
        As :class:`LSTMClassifier`.

    Examples
    --------
    Whether the sum so far is above zero:

    >>> import numpy as np, glasslstm as gl
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(int(n), 1)) for n in rng.integers(5, 15, 60)]
    >>> y = [np.where(x[:, 0].cumsum() > 0, "above", "below") for x in X]
    >>> tagger = gl.LSTMTagger(causal=True, hidden_size=8, max_epochs=20, learning_rate=0.02, channel_shift=0,
    ...                        random_state=0, verbose=False).fit(X, y)
    >>> [tags.shape for tags in tagger.predict(X[:2])] == [(len(x),) for x in X[:2]]
    True
    >>> bool(tagger.score(X, y) > 0.85)                   # accuracy over all steps
    True
    """

    pooling: str = field(init=False, default="last")  # type: ignore[assignment] # each step has its own answer
    target: str = setting(
        "auto",
        choice("auto", "label", "number"),
        """What a step's target is: a 'label', a 'number', or 'auto': a number where `y` has any that is not whole.""",
    )
    causal: bool = setting(
        False, FLAG, "Let an answer depend on no later step: one direction, whatever bidirectional says."
    )
    class_weight: Mapping[Any, float] | str | None = setting(
        None,
        WEIGHTS,
        """How much the steps of each label count: None, all the same; 'balanced', inversely to how frequent the
        label is; or a dict.""",
    )

    classes_: NDArray[Any] = field(init=False)

    per_step = True

    def predict(self, X: Any) -> list[NDArray[Any]]:
        """Return the label, or the number, of every step: N arrays, (T_i,).

        Parameters
        ----------
        X
            As for :meth:`fit`; its targets are not needed.

        Raises
        ------
        DataError
            For series that cannot be used, or have other channels than the model.
        """
        series = self._known(X)
        answers = self._answers(series)
        flat = self.classes_[answers.argmax(1).numpy()] if self._tells_labels else answers[:, 0].numpy()
        return np.split(flat, series.offsets[1:-1])

    @available_if(_tells_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> list[NDArray[np.float64]]:
        """Return the probability of each label at every step: N arrays, (T_i, K).

        `X` and errors are as for :meth:`predict`.

        Raises
        ------
        AttributeError
            For a tagger of numbers.
        """
        series = self._known(X)
        return np.split(torch.softmax(self._answers(series).double(), dim=1).numpy(), series.offsets[1:-1])

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy over all steps of all series, or R squared for numbers.

        Parameters
        ----------
        X, y
            As for :meth:`fit`.
        sample_weight
            How much each series counts, (N,). Default: all the same.
        """
        series = self._known(X)
        truth = joined_steps(series.step_targets if y is None else y, series)
        found = np.concatenate(self.predict(series))
        weights = None if sample_weight is None else np.repeat(np.asarray(sample_weight), series.lengths)
        measure = accuracy_score if self._tells_labels else r2_score
        return float(measure(truth, found, sample_weight=weights))

    def stream(self, static: Sequence[Any] | NDArray[Any] | None = None) -> TagStream:
        """Return what answers the steps of one series as they come, for a tagger with ``causal=True``.

        Parameters
        ----------
        static
            The static features of the series, (G,), where the tagger was trained with such; categories as text.

        Raises
        ------
        ArgumentError
            For a tagger that is not causal, or has convolutions.

        Examples
        --------
        >>> import numpy as np, glasslstm as gl
        >>> X = np.random.default_rng(0).normal(size=(10, 6, 1))
        >>> y = np.where(X[..., 0] > 0, "up", "down")
        >>> tagger = gl.LSTMTagger(causal=True, hidden_size=4, max_epochs=2, random_state=0, verbose=False).fit(X, y)
        >>> stream = tagger.stream()
        >>> [stream.step(x_t) for x_t in X[0]] == tagger.predict(X[:1])[0].tolist()
        True
        """
        check_is_fitted(self, "network_")
        return TagStream(self, static)

    @property
    def _tells_labels(self) -> bool:
        return isinstance(self.task_, Classes) if hasattr(self, "task_") else self.target != "number"

    def _goal(self, y: Any, series: Sequences) -> Goal:
        flat = joined_steps(y, series)
        labels = self.target == "label" or (
            self.target == "auto" and not (flat.dtype.kind == "f" and (flat != flat.round()).any())
        )
        if labels:
            classes, indices = check_labels(flat, series.steps, "steps")
            weights = class_weights(self.class_weight, classes, indices)
            return Goal(
                Classes(len(classes)), in_step(indices, series), {"classes_": classes}, class_weights=weights
            )
        if self.class_weight is not None:
            raise ArgumentError("class_weight: the targets are numbers, which have no classes; leave it out")
        return Goal(Numbers(1), in_step(check_numbers(flat, series.steps, "steps"), series), {})

    def _encoded(self, y: Any, series: Sequences) -> NDArray[Any]:
        flat = joined_steps(y, series)
        if hasattr(self, "classes_"):
            return in_step(indices_of(flat, self.classes_, series.steps, "steps"), series)
        return in_step(check_numbers(flat, series.steps, "steps"), series)
