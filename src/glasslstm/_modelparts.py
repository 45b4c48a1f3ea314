"""A trained estimator taken apart into entries for JSON and tensors, and put together again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glasslstm._columns import columns_from_tensors, columns_to_tensors
from glasslstm._modelforecast import forecast_put_back, forecast_taken_apart, window_preparation
from glasslstm._modelinfo import MACHINE, ModelInfo, Pairs, PreparationInfo
from glasslstm.errors import ArgumentError
from glasslstm.estimators import LSTMClassifier, LSTMRegressor, LSTMTagger
from glasslstm.estimators.base import LSTMEstimator
from glasslstm.estimators.preparation import Preparation
from glasslstm.estimators.settings import check_parameters
from glasslstm.estimators.tasks import Classes, Labels

__all__ = ["put_together", "taken_apart"]


def taken_apart(estimator: LSTMEstimator) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what :class:`ModelInfo` has of a fitted estimator, and its tensors.

    Raises
    ------
    ArgumentError
        For labels, and a record, that have no place in the file.
    """
    record, columns = columns_to_tensors(getattr(estimator, "record_", {}))
    preparation, task = estimator.preparation_, estimator.task_
    entries = {
        "estimator": type(estimator).__name__,
        "parameters": _parameters(estimator),
        "task": {"kind": type(task).__name__.lower(), "settings": asdict(task)},  # type: ignore[call-overload]
        **_classes(estimator),
        "flat": estimator.flat_ if isinstance(estimator, LSTMRegressor) else None,
        "preparation": {
            "channels": preparation.channels,
            "static": preparation.static,
            "duration": preparation.duration,
            "names": preparation.names,
            "gaps": np.flatnonzero(preparation.gaps).tolist(),
            "categories": preparation.categories,
        },
        "longest": estimator.longest_,
        "table": estimator.table_,
        "history": estimator.history_,
        "best_epoch": estimator.best_epoch_,
        "interrupted": estimator.interrupted_,
        "record": record or None,
    }
    more: dict[str, Tensor] = {}
    if entries["estimator"] == "LSTMForecaster":
        entries["forecast"], more = forecast_taken_apart(estimator)
    weights = {name: w.detach().cpu().contiguous() for name, w in estimator.network_.state_dict().items()}
    scaling = {name: torch.from_numpy(getattr(preparation, name)) for name in _SCALING}
    return entries, weights | scaling | more | {_RECORD + name: column for name, column in columns.items()}


def put_together(info: ModelInfo, tensors: Mapping[str, Tensor]) -> LSTMEstimator:
    """Return the estimator whose parts these are, on the CPU.

    Raises
    ------
    ArgumentError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError
        For parts that do not belong together.
    """
    parameters = {
        name: dict(value.pairs) if isinstance(value, Pairs) else value
        for name, value in info.parameters.items()
    }
    estimator: LSTMEstimator = _class_of(info.estimator)(**parameters)
    check_parameters(estimator)
    estimator._trained_with = estimator.get_params()
    rest = dict(tensors)
    if info.record is not None:
        estimator.record_ = columns_from_tensors(info.record, _taken(rest, _RECORD))
    for name, value in _learned(info).items():
        setattr(estimator, name, value)
    estimator.preparation_ = _preparation(info.preparation, *(rest.pop(name).numpy() for name in _SCALING))
    if info.forecast is not None:
        estimator.preparation_ = window_preparation(info, estimator.preparation_)
        forecast_put_back(estimator, info, rest)
    estimator.task_ = info.task.settings
    estimator.network_ = estimator._network(estimator.preparation_, estimator.task_, info.longest or 1)
    estimator.network_.load_state_dict(rest)
    return estimator


def _learned(info: ModelInfo) -> dict[str, Any]:
    """Return the attributes that :meth:`LSTMEstimator.fit` leaves, but for what holds tensors."""
    task, channels, names = info.task.settings, info.preparation.channels, info.preparation.names
    found: dict[str, Any] = {
        "n_features_in_": channels,
        "longest_": info.longest,
        "table_": info.table,
        "history_": info.history,
        "best_epoch_": info.best_epoch,
        "n_iter_": len(info.history),
        "interrupted_": info.interrupted,
    }
    if names is not None:
        found["feature_names_in_"] = np.array(names[:channels], dtype=object)
    if info.classes is not None:
        found["classes_"] = np.array(info.classes, dtype=info.class_dtype)
    if info.estimator == "LSTMClassifier":
        found["multilabel_"] = isinstance(task, Labels)
    if info.estimator == "LSTMRegressor":
        found |= {"n_outputs_": task.count, "flat_": info.flat}  # type: ignore[union-attr]
    return found


def _preparation(info: PreparationInfo, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> Preparation:
    for name, array in zip(_SCALING, (mean, scale), strict=True):
        if array.shape != (info.columns,) or array.dtype != np.float64:
            raise ValueError(
                f"{name}: {array.dtype} of shape {array.shape}, expected float64, ({info.columns},)"
            )
    return Preparation(
        info.channels,
        info.static,
        info.names,
        mean,
        scale,
        np.isin(np.arange(info.columns), info.gaps),
        info.categories,
        info.duration,
    )


def _classes(estimator: LSTMEstimator) -> dict[str, Any]:
    if not isinstance(estimator.task_, (Classes, Labels)):
        return {"classes": None, "class_dtype": None}
    classes: NDArray[Any] = estimator.classes_
    if classes.dtype.kind not in "Uiufb":
        raise ArgumentError(
            f"labels of type {classes.dtype} cannot be saved; train on text, numbers or booleans"
        )
    return {"classes": classes.tolist(), "class_dtype": classes.dtype.str}


def _parameters(estimator: LSTMEstimator) -> dict[str, Any]:
    """Return the parameters of the training; set_params may have been called since."""
    trained = {name: value for name, value in estimator._trained_with.items() if name not in MACHINE}
    if isinstance(trained["random_state"], np.random.RandomState):
        trained["random_state"] = None  # a generator's state is no parameter
    return {name: _in_json(value) for name, value in trained.items()}


def _in_json(value: Any) -> Any:
    """Return a parameter as JSON has it: see :class:`Pairs` for a dict."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {"pairs": [[_in_json(key), _in_json(entry)] for key, entry in value.items()]}
    if hasattr(value, "__iter__") and not isinstance(value, str):
        return [_in_json(entry) for entry in value]
    return value


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take the tensors whose names begin with `prefix` out, and return them without it."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}


def _class_of(name: str) -> Any:
    if name == "LSTMForecaster":
        from glasslstm.forecasting import LSTMForecaster  # noqa: PLC0415 - it needs an extra

        return LSTMForecaster
    return _ESTIMATORS[name]


_ESTIMATORS = {kind.__name__: kind for kind in (LSTMClassifier, LSTMRegressor, LSTMTagger)}
_RECORD = "record."
_SCALING = ("mean", "scale")
