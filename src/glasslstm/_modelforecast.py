"""What a forecaster has beside the other estimators, taken apart for its file and put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glasslstm._columns import columns_from_tensors, columns_to_tensors
from glasslstm._modelinfo import ForecastInfo, ModelInfo
from glasslstm.data.checks import check_finite
from glasslstm.data.sequences import Sequences
from glasslstm.estimators.preparation import Preparation

if TYPE_CHECKING:
    from glasslstm.forecasting import LSTMForecaster

__all__ = ["forecast_put_back", "forecast_taken_apart", "window_preparation"]

_SERIES, _TRAINED = "series.", "trained."
_VALUES, _TIMES = "steps.values", "steps.times"


def forecast_taken_apart(model: LSTMForecaster) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what :class:`ForecastInfo` has of a fitted forecaster, and the tensors of its series."""
    found, series, frequency = model.preparation_, model.series_, model.frequency_
    columns: dict[str, NDArray[Any]] = {"id": _signed(series.ids), "steps": series.lengths}
    if series.static is not None:
        columns |= dict(zip(map(_static, series.static_names), series.static.T, strict=True))
    texts, tensors = columns_to_tensors(columns)
    times, until = series.times, model.trained_until_
    assert times is not None
    dated = times.dtype.kind == "M"
    ends = {
        "id": _signed(model.trained_ids_),
        "until": until.astype(times.dtype).view(np.int64) if dated else until,
    }
    trained, more = columns_to_tensors(ends)
    entries = {
        "target": found.target,
        "context": found.context,
        "season_length": found.season_length,
        "transform": found.transform,
        "known": found.known,
        "calendar": found.channels - model.n_features_in_,
        "alias": frequency.alias,
        "step": frequency.step,
        "series": texts,
        "trained": trained,
        "date_unit": np.datetime_data(times.dtype)[0] if dated else None,
        "categories": series.categories,
    }
    steps = {
        _VALUES: torch.from_numpy(np.ascontiguousarray(series.values)),
        _TIMES: torch.from_numpy(times.view(np.int64) if dated else times.copy()),
    }
    tensors = {_SERIES + name: column for name, column in tensors.items()}
    return entries, steps | tensors | {_TRAINED + name: column for name, column in more.items()}


def forecast_put_back(model: LSTMForecaster, info: ModelInfo, tensors: dict[str, Tensor]) -> None:
    """Give a forecaster its frequency and its series, whose tensors are taken out of `tensors`.

    Raises
    ------
    DataError, LookupError, ValueError
        For parts that do not belong together.
    """
    from glasslstm.forecasting.frequency import Frequency  # noqa: PLC0415 - it needs an extra

    about = _of(info)
    parts = {name: tensors.pop(_SERIES + name) for name in about.series}
    columns = columns_from_tensors(about.series, parts)
    ends = {name: tensors.pop(_TRAINED + name) for name in about.trained}
    trained = columns_from_tensors(about.trained, ends)
    times = tensors.pop(_TIMES).numpy()
    names = info.preparation.names or ()
    static = names[info.preparation.channels :]
    _check_columns(columns, about)
    stops = np.cumsum(columns["steps"])
    model.frequency_ = Frequency(about.alias, about.step)
    channels = names[: info.preparation.channels - about.calendar]
    model.n_outputs_ = info.task.settings.count  # type: ignore[union-attr]
    model.n_features_in_, model.feature_names_in_ = len(channels), np.array(channels, dtype=object)
    model.series_ = Sequences(
        tensors.pop(_VALUES).numpy(),
        stops - columns["steps"],
        stops,
        ids=columns["id"],
        channel_names=channels,
        times=_dated(times, about.date_unit),
        static=np.stack([columns[_static(name)] for name in static], axis=1) if static else None,
        static_names=static,
        categories=about.categories,
    )
    _check_series(model.series_, info)
    model.trained_ids_, model.trained_until_ = trained["id"], _dated(trained["until"], about.date_unit)


def _dated(times: NDArray[Any], unit: str | None) -> NDArray[Any]:
    return times if unit is None else times.view(f"M8[{unit}]")


def _signed(ids: NDArray[Any]) -> NDArray[Any]:
    return ids.astype(np.int64) if ids.dtype.kind == "u" else ids


def _check_columns(columns: dict[str, NDArray[Any]], about: ForecastInfo) -> None:
    """Refuse what no series could be made of."""
    steps = columns["steps"]
    if steps.dtype.kind != "i" or (steps != about.context).any():
        raise ValueError(f"series: not {about.context} steps each")
    if len(np.unique(columns["id"])) < len(steps):
        raise ValueError("series: some ids are the same")
    if (about.date_unit is None) != (about.alias is None):
        raise ValueError("forecast: dates have an alias, and numbers a step")


def _check_series(series: Sequences, info: ModelInfo) -> None:
    """Refuse series whose steps do not rise, whose values are infinite, or whose categories are none."""
    assert series.times is not None
    steps = series.times.reshape(len(series), -1)
    if len(series.values) != series.steps or not (steps[:, 1:] > steps[:, :-1]).all():
        raise ValueError("series: their time stamps do not rise, or are not those of the values")
    check_finite(series, "mask")
    if series.static is not None and not np.isfinite(series.static).all():
        raise ValueError("series: static features are missing")
    names = [*(series.channel_names or ()), *series.static_names]
    expected = {
        name for k, name in enumerate(info.preparation.names or ()) if k in info.preparation.categories
    }
    if set(series.categories) != expected:
        raise ValueError("categories: not those of the preparation")
    for k, name in enumerate(names):
        if name in series.categories:
            column = (
                series.values[:, k] if k < series.channels else _static_of(series)[:, k - series.channels]
            )
            if not np.isin(column[~np.isnan(column)], np.arange(len(series.categories[name]))).all():
                raise ValueError(f"series: {name!r} has codes that are no categories")


def _static_of(series: Sequences) -> NDArray[np.float64]:
    assert series.static is not None
    return series.static


def window_preparation(info: ModelInfo, found: Preparation) -> Preparation:
    """Return the preparation of a forecaster's windows, of which `found` has the part that all estimators have."""
    from glasslstm.forecasting.preparation import WindowPreparation  # noqa: PLC0415 - it needs an extra

    about = _of(info)
    own = found.channels - about.calendar
    if not about.target < own or about.target in found.categories or about.season_length > about.context:
        raise ValueError(
            "forecast: its target is no channel of numbers, or its season is longer than the context"
        )
    known = about.known
    if (
        sorted(set(known)) != list(known)
        or about.target in known
        or not all(k < found.channels for k in known)
    ):
        raise ValueError("forecast: what is known ahead are no covariates")
    shared = {name: getattr(found, name) for name in Preparation.__dataclass_fields__}
    fields = ("target", "context", "season_length", "transform", "known")
    return WindowPreparation(**shared, **{name: getattr(about, name) for name in fields})


def _of(info: ModelInfo) -> ForecastInfo:
    assert info.forecast is not None  # ModelInfo has checked it
    return info.forecast


def _static(name: str) -> str:
    return f"static {name}"
