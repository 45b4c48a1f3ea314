"""What every forecast is measured against: the seasonal naive forecast and the theta method, with quantiles."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError, DataError
from glasslstm.forecasting.backtest import Answer
from glasslstm.forecasting.metrics import Floats, seasonal_scales

require("statsmodels", extra="forecast")

if TYPE_CHECKING:
    from statsmodels.tsa.forecasting.theta import ThetaModelResults

__all__ = ["seasonal_naive", "theta"]

_FEWEST = 5  # known values from which theta's step, slope and spread are found


def seasonal_naive(
    histories: Sequence[Floats], horizon: int, season_length: int, levels: Sequence[float] = ()
) -> Answer:
    """Forecast the value of the last season at the same place.

    Where that is missing, it is the one of the season before, and so on back; where the history has none at that place,
    its last known value. The quantiles are of a normal distribution: its standard deviation is the root of the mean
    squared seasonal difference of the history, times the root of the seasons between the step and the value.
    A history without two known values a season apart is forecast as if its season were 1; one without neighbours that
    are both known has no spread, and its quantiles are the forecast itself.

    Parameters
    ----------
    histories
        What is known before each of W origins, arrays (T_i,), NaN where a value is missing.
    horizon
        H, the steps to forecast.
    season_length
        Steps of a season; 1 gives the naive forecast, the last known value.
    levels
        Q levels of the quantiles, above 0 and below 1.

    Raises
    ------
    ArgumentError
        For a horizon or season below 1, and levels that are not between 0 and 1.
    DataError
        For histories without a known value.

    References
    ----------
    Hyndman and Athanasopoulos (2021), Forecasting: principles and practice, 3rd edition, sections 5.2 and 5.5.

    Examples
    --------
    >>> seasonal_naive([np.array([1.0, 5.0, 2.0, 7.0])], 3, season_length=2).point
    array([[2., 7., 2.]])
    """
    _check(histories, horizon, season_length, levels)
    found = [_seasonal_naive(history, horizon, season_length) for history in histories]
    return _normal(found, levels)


def theta(
    histories: Sequence[Floats], horizon: int, season_length: int, levels: Sequence[float] = ()
) -> Answer:
    """Forecast by the theta method, the winner of the M3 competition, as ``statsmodels`` has it.

    Missing values within a history are interpolated on a line, those at its end are the last known value, those at its
    start are dropped. From two full seasons on, a season that shows in the autocorrelation is taken out first, by
    division where all values are positive. Histories that are constant or have less than 5 known values get the
    seasonal naive forecast. Where the search for the smoothing does not converge, its last step is taken.

    The quantiles are of a normal distribution with the variance of exponential smoothing with drift, which theta is:
    that of its one-step errors in the history, times ``1 + (h - 1) alpha^2`` at step h. They are not those of
    ``ThetaModelResults.prediction_intervals``: its errors have the season in them, and its variance grows by
    ``1 + (1 - alpha)^2`` a step, so that its intervals hold more truths than they should where there is a season.

    Parameters and errors are those of :func:`seasonal_naive`. A history of some hundred steps takes about 20 ms.

    References
    ----------
    Assimakopoulos and Nikolopoulos (2000), The theta model, International Journal of Forecasting 16(4). Hyndman and
    Billah (2003), Unmasking the Theta method, International Journal of Forecasting 19(2): theta with its drift.

    Examples
    --------
    >>> theta([np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], 2, season_length=1).point.round(2)
    array([[6.5, 7. ]])
    """
    _check(histories, horizon, season_length, levels)
    found = [_theta(history, horizon, season_length) for history in histories]
    return _normal(found, levels)


Spread = tuple[Floats, Floats]
"""The forecast of one history, and its standard deviation, (H,) each."""


def _seasonal_naive(history: Floats, horizon: int, season_length: int) -> Spread:
    squared = seasonal_scales(history, season_length)[1]
    if np.isnan(squared) and season_length > 1:
        return _seasonal_naive(history, horizon, 1)
    known = np.flatnonzero(~np.isnan(history))
    latest = np.full(season_length, known[-1])
    latest[known % season_length] = known  # of several at a place, the last one stays
    steps = len(history) + np.arange(horizon)
    source = latest[steps % season_length]
    seasons = np.ceil((steps - source) / season_length)
    return history[source], np.sqrt(seasons * np.nan_to_num(squared))


def _theta(history: Floats, horizon: int, season_length: int) -> Spread:
    # Here, and not above: it takes a second, which every start of the command line would wait for.
    from statsmodels.tools.sm_exceptions import ConvergenceWarning  # noqa: PLC0415
    from statsmodels.tsa.forecasting.theta import ThetaModel  # noqa: PLC0415

    known = ~np.isnan(history)
    values = _filled(history)
    if known.sum() < _FEWEST or _repeats(values, 1) or _repeats(values, season_length):
        return _seasonal_naive(history, horizon, season_length)
    size = float(values.std())
    values = values / size  # what the search finds depends on the size of the numbers
    seasonal = season_length > 1 and len(values) >= 2 * season_length
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = ThetaModel(values, period=season_length, deseasonalize=seasonal).fit()
    deviation = _deviation(found, values, known[-len(values) :], horizon)
    return size * np.asarray(found.forecast(horizon)), size * deviation


def _filled(history: Floats) -> Floats:
    """Return a history from its first known value on, without gaps."""
    known = np.flatnonzero(~np.isnan(history))
    return np.interp(np.arange(known[0], len(history)), known, history[known])


def _repeats(values: Floats, season_length: int) -> bool:
    """Return whether every season is the one before, up to rounding: theta has nothing to smooth then."""
    rounding = 1e-9 * np.abs(values).max()
    return bool(
        seasonal_scales(values, season_length)[1] <= rounding**2
    )  # NaN, of less than a season, is not


def _deviation(found: ThetaModelResults, values: Floats, known: NDArray[np.bool_], horizon: int) -> Floats:
    """Return the standard deviation of the error at each step to come, from the one-step errors at the known values."""
    slope, alpha = np.asarray(found.params)
    period, count = found.model.period, len(values)
    season = np.asarray(found.forecast_components(period).seasonal)  # of the steps after the history
    season = season[(np.arange(count + horizon) - count) % period]
    multiplicative = found.model.method.startswith("mul")
    adjusted = values / season[:count] if multiplicative else values - season[:count]
    errors = np.empty(count)
    level = adjusted[0]
    for step, value in enumerate(adjusted):
        errors[step] = value - level
        level += slope / 2 + alpha * errors[step]
    # The first error is 0 by the start; the slope and alpha are found from the others.
    variance = (errors[known] ** 2).sum() / (known.sum() - 3)
    deviation = np.sqrt(variance * (1 + np.arange(horizon) * alpha**2))
    return np.asarray(deviation * np.abs(season[count:]) if multiplicative else deviation)


def _normal(found: Sequence[Spread], levels: Sequence[float]) -> Answer:
    point, deviation = (np.stack(part) for part in zip(*found, strict=True))
    scores = np.array([NormalDist().inv_cdf(level) for level in levels])
    return Answer(point, point[..., None] + deviation[..., None] * scores)


def _check(histories: Sequence[Floats], horizon: int, season_length: int, levels: Sequence[float]) -> None:
    for name, size in (("horizon", horizon), ("season_length", season_length)):
        if size < 1:
            raise ArgumentError(f"{name}: expected 1 or more, got {size}")
    if not all(0 < level < 1 for level in levels):
        raise ArgumentError(f"levels: expected numbers above 0 and below 1, got {tuple(levels)}")
    if not len(histories):
        raise DataError("histories: there are none; give one for each window")
    unknown = [str(k) for k, history in enumerate(histories) if np.isnan(history).all()]
    if unknown:
        words = ", ".join(unknown[:10]) + (", ..." if len(unknown) > 10 else "")
        raise DataError(
            f"histories: {len(unknown)} of {len(histories)} have no known value (at {words}); leave them out"
        )


BASELINES = {"seasonal_naive": seasonal_naive, "theta": theta}
"""By name."""
