"""A regressor of series: one or several numbers of each, or their quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError, DataError
from glasslstm.estimators.base import LSTMEstimator
from glasslstm.estimators.checks import check_numbers
from glasslstm.estimators.settings import QUANTILES, choice, documented, setting
from glasslstm.estimators.tasks import Goal, Numbers, Quantiles

__all__ = ["LSTMRegressor"]


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class LSTMRegressor(RegressorMixin, LSTMEstimator):  # type: ignore[misc]
    """Predict numbers from series of any length by the hidden states of an LSTM.

    As :class:`LSTMClassifier`, with numbers in the place of classes: the targets are standardised in training, and the
    answers are in the targets' units.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    n_outputs_
        M, how many numbers are predicted of each series.
    history_
        As :class:`LSTMClassifier`, with valid_rmse, or valid_pinball_loss for quantiles, in the targets' units.
    n_features_in_, feature_names_in_, preparation_, network_, best_epoch_, n_iter_, interrupted_, record_, table_
        As :class:`LSTMClassifier`.

    Examples
    --------
    The slope of noisy lines:

    >>> import numpy as np, glasslstm as gl
    >>> rng = np.random.default_rng(0)
    >>> y = rng.uniform(-1, 1, 60)
    >>> X = [slope * np.arange(5 + k % 4)[:, None] + rng.normal(0, 0.1) for k, slope in enumerate(y)]
    >>> model = gl.LSTMRegressor(hidden_size=8, max_epochs=80, channel_shift=0, random_state=0, verbose=False)
    >>> model.fit(X, y).predict(X).shape
    (60,)
    >>> bool(model.score(X, y) > 0.9)                     # R squared
    True

    Quantiles, the same data:

    >>> model = gl.LSTMRegressor(quantiles=(0.1, 0.5, 0.9), hidden_size=8, max_epochs=2, random_state=0, verbose=False)
    >>> low, middle, high = model.fit(X, y).predict_quantiles(X[:1])[0]
    >>> bool(low <= middle <= high)
    True
    """

    loss: str = setting(
        "squared_error",
        choice("squared_error", "absolute_error", "huber"),
        """What is made small: 'squared_error', for the mean; 'absolute_error', for the median; or 'huber', squared up
        to one standard deviation of the target and linear beyond, which cares less for outliers.""",
    )
    quantiles: Sequence[float] | None = setting(
        None,
        QUANTILES,
        """Levels of the quantiles to predict, rising, such as (0.1, 0.5, 0.9), by the pinball loss, in place of `loss`;
        they never cross.""",
    )

    n_outputs_: int = field(init=False)
    flat_: bool = field(init=False)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the prediction for each series, (N,), or (N, M) for several targets.

        With `quantiles` it is the median, or the quantile next to it.

        Parameters
        ----------
        X
            As for :meth:`fit`; its targets are not needed.

        Raises
        ------
        DataError
            For series that cannot be used, or have other channels than the model.
        """
        found: NDArray[np.float64] = self._answers(self._known(X)).numpy()
        if isinstance(self.task_, Quantiles):
            found = found[..., np.abs(np.array(self.task_.quantiles) - 0.5).argmin()]
        return found[:, 0] if self.flat_ else found

    def predict_quantiles(self, X: Any) -> NDArray[np.float64]:
        """Return the quantiles for each series, (N, Q), or (N, M, Q) for several targets; `X` as for :meth:`predict`.

        Raises
        ------
        ArgumentError
            For a model that was trained without `quantiles`.
        DataError
            As :meth:`predict`.
        """
        series = self._known(X)
        if not isinstance(self.task_, Quantiles):
            raise ArgumentError(
                "the model predicts no quantiles; fit it with quantiles=(0.1, 0.5, 0.9) or the like"
            )
        found: NDArray[np.float64] = self._answers(series).numpy()
        return found[:, 0] if self.flat_ else found

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return R squared, the mean over the targets: 1 is perfect, 0 as good as their means.

        Parameters
        ----------
        X, y
            As for :meth:`fit`.
        sample_weight
            How much each series counts, (N,). Default: all the same.
        """
        return float(super().score(X, self._targets(y, X), sample_weight))

    def _goal(self, y: Any, series: Sequences) -> Goal:
        targets = check_numbers(y, len(series))
        count = targets.shape[1]
        task = (
            Numbers(count, self.loss)
            if self.quantiles is None
            else Quantiles(count, tuple(float(level) for level in self.quantiles))
        )
        return Goal(task, targets, {"n_outputs_": count, "flat_": np.asarray(y).ndim == 1})

    def _encoded(self, y: Any, series: Sequences) -> NDArray[Any]:
        targets = check_numbers(y, len(series))
        if targets.shape[1] != self.n_outputs_:
            raise DataError(f"y: expected {self.n_outputs_} numbers for each series, got {targets.shape[1]}")
        return targets

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
