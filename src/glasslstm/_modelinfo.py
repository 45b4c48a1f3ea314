"""What ``model.json`` says, checked entry by entry, in the newest words whatever version it was written in."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, TypeAlias

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, StringConstraints, model_validator
from typing_extensions import Self

from glasslstm._columns import Texts
from glasslstm.estimators.tasks import Classes, Labels, Numbers, Quantiles

__all__ = [
    "FORMAT_VERSION",
    "MACHINE",
    "ForecastInfo",
    "ModelInfo",
    "Pairs",
    "PreparationInfo",
    "TaskInfo",
    "checksum",
    "info_of",
]

FORMAT_VERSION = 3
"""The format that models are written in; all before it are read."""

MACHINE = frozenset({"checkpoint", "device", "verbose"})
"""Parameters that belong to the machine or the moment, and not to the model."""

Scalar: TypeAlias = bool | int | float | str | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Pairs(_Strict):
    """A parameter that is a dict; its keys are of any type that a label has, and those of JSON are text."""

    pairs: tuple[tuple[Scalar, Scalar], ...]


class TaskInfo(_Strict):
    """What the model says, and in what units."""

    kind: Literal["classes", "labels", "numbers", "quantiles"]
    settings: Classes | Labels | Numbers | Quantiles

    @model_validator(mode="after")
    def _check_that_it_fits_together(self) -> Self:
        _refuse({"settings: of another kind": type(self.settings).__name__.lower() != self.kind})
        return self


class PreparationInfo(_Strict):
    """The columns: the channels, then the static features, then a step's duration."""

    channels: PositiveInt
    static: NonNegativeInt
    duration: bool
    names: tuple[str, ...] | None
    gaps: tuple[NonNegativeInt, ...]
    """Which columns had missing values in training, from 0."""
    categories: dict[int, tuple[str, ...]]
    """Of each column of categories its texts."""

    @property
    def columns(self) -> int:
        """How many there are."""
        return self.channels + self.static + self.duration

    @model_validator(mode="after")
    def _check_that_it_fits_together(self) -> Self:
        columns = self.columns
        _refuse(
            {
                "names: not one for each column": self.names is not None and len(self.names) != columns,
                "gaps: not the positions of columns": max(self.gaps, default=-1) >= columns,
                "categories: not the positions of columns": not all(
                    0 <= k < columns for k in self.categories
                ),
            }
        )
        return self


class ForecastInfo(_Strict):
    """What a forecaster knows beside its network."""

    target: NonNegativeInt
    """Which channel is forecast."""
    context: PositiveInt
    season_length: PositiveInt
    transform: Literal["none", "sqrt", "log1p", "log"]
    known: tuple[NonNegativeInt, ...]
    """The channels, the calendar's among them, that are known ahead."""
    calendar: NonNegativeInt
    """How many of the channels, the last ones, are calendar features."""
    alias: str | None
    step: float | None
    """Of the frequency, one of the two."""
    series: Texts
    """The columns of the series that forecasts go on from, one entry for each: id, steps, and static features."""
    trained: Texts
    """The columns of the series of the training: id, and until, the time stamp of the last step."""
    date_unit: str | None
    """Of their time stamps, where they are dates: the unit of numpy.datetime64."""
    categories: dict[str, tuple[str, ...]]


class ModelInfo(_Strict):
    """What ``model.json`` says; ``docs/modelfile.md`` explains each entry."""

    format: Literal["glasslstm"]
    format_version: Literal[1, 2, 3]
    """Of the file; what an older one says is here in the words of the newest."""
    library_version: str
    torch_version: str
    estimator: Literal["LSTMClassifier", "LSTMRegressor", "LSTMTagger", "LSTMForecaster"]
    parameters: dict[str, Scalar | tuple[Scalar, ...] | Pairs]
    task: TaskInfo
    classes: Annotated[list[str] | list[bool] | list[int] | list[float], Len(2)] | None
    class_dtype: Annotated[str, StringConstraints(pattern=r"^[<>|][Uiufb]\d+$")] | None
    flat: bool | None
    """Of a regressor: whether its one target was given as (N,)."""
    preparation: PreparationInfo
    forecast: ForecastInfo | None = None
    """Of a forecaster."""
    longest: PositiveInt | None
    """Steps of the longest training series, by which the network was laid out; older versions did not say."""
    table: dict[str, str | list[str] | bool | None] | None
    history: Annotated[list[dict[str, int | float]], Len(1)]
    best_epoch: PositiveInt
    interrupted: bool
    record: Texts | None
    """The record's columns in their order; of a column of text what texts it has."""
    weights_file: Annotated[str, StringConstraints(pattern=r"^weights-[0-9a-f]{16}\.safetensors$")]
    weights_sha256: str
    checksum: str
    """SHA-256 of the file's content without this entry."""

    @model_validator(mode="after")
    def _check_that_it_fits_together(self) -> Self:
        classes, task = self.classes or [], self.task
        labelled = task.kind in ("classes", "labels")
        beside = sorted(MACHINE & self.parameters.keys())
        _refuse(
            {
                f"parameters: {beside} belong to no model": bool(beside),
                f"task: {self.estimator} has none of {task.kind}": task.kind not in _KINDS[self.estimator],
                "classes: some are the same": len(set(classes)) < len(classes),
                "classes: not one for each output": labelled and len(classes) != task.settings.outputs,
                "classes: a model of numbers has none": not labelled and self.classes is not None,
                "class_dtype: belongs to classes": (self.class_dtype is None) != (self.classes is None),
                "flat: belongs to a regressor": (self.flat is None) == (self.estimator == "LSTMRegressor"),
                "forecast: belongs to a forecaster": (self.forecast is None)
                == (self.estimator == "LSTMForecaster"),
                "best_epoch: not in history": self.best_epoch > len(self.history),
            }
        )
        return self


def info_of(content: Any) -> ModelInfo:
    """Return what the JSON of a model's file says, checked; of versions 1 and 2 in the words of version 3.

    Raises
    ------
    ValueError
        For entries that are missing, unknown, of another type, or do not fit together.
    """
    if isinstance(content, dict) and content.get("format_version") in (1, 2):
        content = _in_newer_words(content)
    return ModelInfo.model_validate_json(json.dumps(content))


def checksum(content: dict[str, Any]) -> str:
    """Return what the entry `checksum` must be.

    Examples
    --------
    >>> checksum({"b": 1, "a": 2}) == checksum({"a": 2, "b": 1, "checksum": "?"})
    True
    """
    rest = {name: entry for name, entry in content.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _in_newer_words(old: dict[str, Any]) -> dict[str, Any]:
    """Return what a classifier's file of version 1, or of version 2 with its record, says in those of version 3."""
    if ("record" in old) != (old["format_version"] == 2):
        raise ValueError("record: is there in version 2, and not in 1")
    new = dict(old)
    try:
        channels, names = new.pop("channels"), new.pop("channel_names")
        parameters, outputs = _ONLY_WAY_BEFORE_3 | old["parameters"], len(old["classes"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"an entry is missing, or of another type: {error}") from None
    return new | {
        "parameters": parameters,
        "task": {"kind": "classes", "settings": {"outputs": outputs, "label_smoothing": 0.0}},
        "flat": None,
        "preparation": {
            "channels": channels,
            "static": 0,
            "duration": False,
            "names": names,
            "gaps": [],
            "categories": {},
        },
        "longest": None,
        "interrupted": False,
        "record": old.get("record"),
    }


def _refuse(wrong: dict[str, bool]) -> None:
    """Raise the first of the messages that is true."""
    for message, found in wrong.items():
        if found:
            raise ValueError(message)


_KINDS = {
    "LSTMClassifier": ("classes", "labels"),
    "LSTMRegressor": ("numbers", "quantiles"),
    "LSTMTagger": ("classes", "numbers"),
    "LSTMForecaster": ("numbers", "quantiles"),
}

# What those versions had no parameter for; written out, so that no new default changes an old model.
_ONLY_WAY_BEFORE_3 = {
    "pooling": "last",
    "conv_blocks": 0,
    "conv_filters": 32,
    "conv_kernel_size": 9,
    "conv_max_steps": 64,
    "channel_scale": 0.0,
    "max_updates": None,
    "layer_norm": False,
    "recurrent_dropout": 0.0,
    "initialisation": "orthogonal",
    "warmup_epochs": 0.0,
    "schedule": "auto",
    "missing": "error",
    "step_duration": False,
    "class_weight": None,
    "label_smoothing": 0.0,
}
