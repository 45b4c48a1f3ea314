"""How far forecasts were from the truth.

Truths are (W, H), W windows of H steps, and each metric is one number; truths (..., W, H) have one for each group of
windows, (...). NaN is a missing truth, left out. A forecast that is NaN where the truth is known makes its metric NaN,
and an interval that is NaN does not hold the truth: nothing is gained by leaving a step out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "coverage",
    "mae",
    "mase",
    "rmse",
    "rmsse",
    "scalable",
    "seasonal_scales",
    "smape",
    "weighted_quantile_loss",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def mae(truth: Floats, predicted: Floats) -> Floats:
    """Return the mean absolute error over all known truths; NaN where there is none.

    Examples
    --------
    >>> float(mae(np.array([[1.0, 2.0, np.nan]]), np.array([[2.0, 4.0, 9.0]])))
    1.5
    """
    return _mean(np.abs(truth - predicted), ~np.isnan(truth))


def rmse(truth: Floats, predicted: Floats) -> Floats:
    """Return the root of the mean squared error over all known truths; NaN where there is none.

    Examples
    --------
    >>> float(rmse(np.array([[1.0, 2.0]]), np.array([[2.0, 9.0]])))
    5.0
    """
    return np.sqrt(_mean((truth - predicted) ** 2, ~np.isnan(truth)))


def mase(truth: Floats, predicted: Floats, scales: Floats) -> Floats:
    """Return the mean absolute scaled error: of each window, its mean absolute error over its scale, then the mean.

    `scales`, (..., W), are the mean absolute seasonal differences of the histories, as :func:`seasonal_scales` gives
    them. Windows that :func:`scalable` refuses are left out; NaN where none remains. Below 1, the forecasts are better
    than the seasonal naive ones were within the histories, one season ahead.

    References
    ----------
    Hyndman and Koehler (2006), Another look at measures of forecast accuracy, International Journal of Forecasting
    22(4); with the season in the scale, as in the M4 competition.

    Examples
    --------
    >>> float(mase(np.array([[1.0, 2.0], [5.0, 5.0]]), np.array([[2.0, 4.0], [5.0, 5.0]]), np.array([3.0, 0.0])))
    0.5
    """
    return _mean(*_scaled(np.abs(truth - predicted), truth, scales), axis=-1)


def rmsse(truth: Floats, predicted: Floats, scales: Floats) -> Floats:
    """Return the root mean squared scaled error: the mean over the windows, each by its own scale.

    That of a window is the root of its mean squared error over its scale. `scales`, (..., W), are the mean squared
    seasonal differences of the histories, as :func:`seasonal_scales` gives them. Windows that :func:`scalable` refuses
    are left out; NaN where none remains.

    References
    ----------
    Makridakis, Spiliotis and Assimakopoulos (2022), M5 accuracy competition: Results, findings, and conclusions,
    International Journal of Forecasting 38(4); there with a season of 1 and weights for the series.

    Examples
    --------
    >>> float(rmsse(np.array([[1.0, 2.0]]), np.array([[2.0, 9.0]]), np.array([4.0])))
    2.5
    """
    ratio, counted = _scaled((truth - predicted) ** 2, truth, scales)
    return _mean(np.sqrt(ratio), counted, axis=-1)


def smape(truth: Floats, predicted: Floats) -> Floats:
    """Return the symmetric mean absolute percentage error in percent, from 0 to 200, over all known truths.

    It is 0 where truth and forecast both are 0; NaN where no truth is known.

    References
    ----------
    Makridakis, Spiliotis and Assimakopoulos (2020), The M4 competition: 100,000 time series and 61 forecasting methods,
    International Journal of Forecasting 36(1).

    Examples
    --------
    >>> float(smape(np.array([[1.0, 0.0, 2.0]]), np.array([[3.0, 0.0, 0.0]])))
    100.0
    """
    size = np.abs(truth) + np.abs(predicted)
    errors = np.divide(np.abs(truth - predicted), size, out=np.zeros_like(size), where=size != 0)
    return _mean(200.0 * errors, ~np.isnan(truth))


def weighted_quantile_loss(truth: Floats, quantiles: Floats, levels: Sequence[float]) -> Floats:
    """Return the mean over the levels of twice the sum of the pinball losses over the sum of the absolute truths.

    `quantiles` are (..., W, H, Q), Q `levels`. NaN where all known truths are 0. At the level 0.5 alone it is the
    sum of the absolute errors over that of the truths.

    References
    ----------
    Salinas, Flunkert, Gasthaus and Januschowski (2020), DeepAR: probabilistic forecasting with autoregressive recurrent
    networks, International Journal of Forecasting 36(3): the rho-risk, here as a mean over the levels.

    Examples
    --------
    >>> float(weighted_quantile_loss(np.array([[4.0]]), np.array([[[2.0, 5.0]]]), (0.5, 0.9)))
    0.275
    """
    known = ~np.isnan(truth)
    errors = truth[..., None] - quantiles
    level = np.asarray(levels)
    losses = np.maximum(level * errors, (level - 1) * errors).mean(axis=-1)
    total = np.where(known, np.abs(truth), 0).sum(axis=_ALL)
    found: Floats = 2 * np.where(known, losses, 0).sum(axis=_ALL) / np.where(total > 0, total, np.nan)
    return found


def coverage(truth: Floats, low: Floats | float, high: Floats) -> Floats:
    """Return the share of the known truths from `low` to `high`, both included; NaN where no truth is known.

    Examples
    --------
    >>> float(coverage(np.array([[1.0, 2.0, 3.0, np.nan]]), np.full((1, 4), 2.0), np.full((1, 4), 2.5)))
    0.3333333333333333
    """
    return _mean((low <= truth) & (truth <= high), ~np.isnan(truth))


def scalable(truth: Floats, scales: Floats) -> Flags:
    """Return which windows MASE and RMSSE have, (..., W): those with a known truth and a scale above 0.

    Examples
    --------
    >>> scalable(np.array([[1.0], [1.0], [np.nan]]), np.array([2.0, 0.0, 2.0]))
    array([ True, False, False])
    """
    return (scales > 0) & ~np.isnan(truth).all(axis=-1)  # NaN is not above 0


def seasonal_scales(history: Floats, season_length: int) -> tuple[float, float]:
    """Return the mean absolute and the mean squared difference of a history, (T,), from itself one season before.

    Of the pairs both of whose values are known; NaN where there is none, such as in a history within one season.
    Differences of the size of rounding errors are none.

    Examples
    --------
    >>> seasonal_scales(np.array([1.0, 2.0, 2.0, np.nan, 5.0]), 2)
    (2.0, 5.0)
    """
    differences = history[season_length:] - history[:-season_length]
    known = ~np.isnan(differences)
    rounding = 16 * np.finfo(np.float64).eps * np.nanmax(np.abs(history), initial=0.0)
    differences = np.where(np.abs(differences) <= rounding, 0.0, differences)
    return float(_mean(np.abs(differences), known, -1)), float(_mean(differences**2, known, -1))


def _scaled(errors: Floats, truth: Floats, scales: Floats) -> tuple[Floats, Flags]:
    """Return the mean of each window's errors over its scale, (..., W), and which windows count."""
    counted = scalable(truth, scales)
    return _mean(errors, ~np.isnan(truth), axis=-1) / np.where(counted, scales, 1), counted


_ALL = (-2, -1)  # the windows and the steps


def _mean(values: NDArray[Any], known: Flags, axis: int | tuple[int, ...] = _ALL) -> Floats:
    """Return the mean of the known values; NaN, without a warning, where there is none."""
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)
    return found
