"""Backtests with a rolling origin: a model forecasts from several origins in the past, and knows nothing later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from glasslstm.data.checks import named
from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError, DataError
from glasslstm.forecasting.backtest import Answer, Backtest
from glasslstm.forecasting.baselines import BASELINES
from glasslstm.forecasting.origins import Windows, rolling_origin

if TYPE_CHECKING:
    from glasslstm.forecasting.forecaster import LSTMForecaster

__all__ = ["backtested", "fitted_alike"]


def backtested(
    model: LSTMForecaster,
    X: Any,
    windows: int,
    stride: int | None,
    baselines: Sequence[str],
    *,
    overlap: bool,
    refit: bool,
) -> Backtest:
    """Return how a model does; see :meth:`LSTMForecaster.backtest`."""
    unknown = [name for name in baselines if name not in BASELINES]
    if unknown:
        raise ArgumentError(f"baselines: got {unknown[0]!r}; expected some of {', '.join(BASELINES)}")
    series = model._known_steps(X)
    cut = _cut(model, series, windows, stride)
    last = cut.origins.reshape(len(series), -1)[:, -1]
    model._check(replace(series, stops=series.starts + last))  # what came after may be anything
    if not (overlap or refit):
        _refuse_trained_on(model, cut)
    lstm = _refitted(model, series, cut) if refit else model._answer(_around(model, series, cut))
    answers = {"lstm": lstm}
    for name in baselines:
        answers[name] = BASELINES[name](cut.histories, model._reach, cut.season_length, model._levels)
    return cut.backtest(answers, model._levels)


def _cut(model: LSTMForecaster, series: Sequences, windows: int, stride: int | None) -> Windows:
    assert series.times is not None
    targets = [values[:, model.preparation_.target].astype(np.float64) for values in series]
    times = [series.times[a:b] for a, b in zip(series.starts, series.stops, strict=True)]
    return rolling_origin(
        series.ids,
        targets,
        times,
        horizon=model._reach,
        windows=windows,
        stride=stride,
        season_length=model.preparation_.season_length,
        history=model.preparation_.context,
    )


def _around(model: LSTMForecaster, series: Sequences, cut: Windows) -> Sequences:
    """Return a window around each origin; the network sees of what comes after it only what is known ahead."""
    origins = series.starts[cut.series] + cut.origins
    windows = replace(
        series.select(cut.series), starts=origins - model.preparation_.context, stops=origins + model._reach
    )
    return model._marked(windows)


def fitted_alike(model: LSTMForecaster, past: Sequences) -> LSTMForecaster:
    """Return a fresh model with the same parameters, trained on `past`, whose series count all the same.

    Raises
    ------
    KeyboardInterrupt
        Where the training is interrupted: half a training compares with nothing.
    """
    parameters = getattr(model, "_trained_with", None) or model.get_params()
    fresh: LSTMForecaster = clone(type(model)(**parameters | {"checkpoint": None})).fit(past)
    if fresh.interrupted_:
        raise KeyboardInterrupt
    return fresh


def _refuse_trained_on(model: LSTMForecaster, cut: Windows) -> None:
    """Refuse windows that begin before the end of a training series; 7 and "7" are one id, as a CSV file has both."""
    ends = dict(zip(map(str, model.trained_ids_), model.trained_until_.tolist(), strict=True))
    first = cut.times[:, 0].astype(model.trained_until_.dtype).tolist()
    seen = [
        name
        for name, start in zip(cut.ids.tolist(), first, strict=True)
        if str(name) in ends and start <= ends[str(name)]
    ]
    if seen:
        names = list(dict.fromkeys(seen))
        raise DataError(
            f"X: {len(seen)} windows of {len(names)} series overlap what the model knows of them: {named(names)}; "
            "leave the end of the series out of the training, take fewer windows, or ask for it with overlap=True "
            "(--overlap) or refit=True"
        )


def _refitted(model: LSTMForecaster, series: Sequences, cut: Windows) -> Answer:
    """Return the answers of a model for each origin, counted from the end, that knows nothing after it."""
    count = len(cut) // len(series)
    points, quantiles = np.empty(cut.truth.shape), np.empty((*cut.truth.shape, len(model._levels)))
    for nth in range(count):
        rows: NDArray[np.int64] = np.arange(nth, len(cut), count)
        past = replace(series, stops=series.starts + cut.origins[rows])
        try:
            fresh = fitted_alike(model, past)
        except DataError as error:
            raise DataError(f"refit before {cut.times[rows[0], 0]}: {error}") from None
        part = replace(cut, series=cut.series[rows], origins=cut.origins[rows])
        answer = fresh._answer(_around(fresh, series, part))
        points[rows], quantiles[rows] = answer.point, answer.quantiles
    return Answer(points, quantiles)
