"""A trained estimator as a folder: ``model.json`` beside one safetensors file. Never pickle.

``model.json`` names the weights file by its SHA-256 and is itself written last, in one rename: a crash at any
moment leaves the old model or the new one. ``docs/modelfile.md`` has the format.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Len
from pydantic import (
    BaseModel,
    ConfigDict,
    PositiveInt,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.torch import load as parse_weights
from safetensors.torch import save as weights_as_bytes
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import Self

from glasslstm._columns import Texts, columns_from_tensors, columns_to_tensors
from glasslstm._files import written_whole
from glasslstm._version import __version__
from glasslstm.errors import ArgumentError, GlassLSTMError, ModelFileError
from glasslstm.estimators.checks import check_parameters
from glasslstm.estimators.classifier import LSTMClassifier
from glasslstm.estimators.network import SequenceClassifier
from glasslstm.estimators.scaling import Scaling

__all__ = ["FORMAT_VERSION", "ModelInfo", "check_target", "inspect", "load", "save"]

FORMAT_VERSION = 2
"""The newest format; a model that an older one can hold is written in that one."""

_JSON = "model.json"


class ModelInfo(BaseModel):
    """What ``model.json`` says; ``docs/modelfile.md`` explains each entry."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    format: Literal["glasslstm"] = "glasslstm"
    format_version: Literal[1, 2] = 1
    library_version: str = __version__
    torch_version: str = str(torch.__version__)
    estimator: Literal["LSTMClassifier"]
    parameters: dict[str, bool | int | float | str | None]
    classes: Annotated[list[str] | list[bool] | list[int] | list[float], Len(2)]
    class_dtype: Annotated[str, StringConstraints(pattern=r"^[<>|][Uiufb]\d+$")]
    channels: PositiveInt
    channel_names: list[str] | None
    table: dict[str, str] | None
    history: Annotated[list[dict[str, int | float]], Len(1)]
    best_epoch: PositiveInt
    record: Texts | None = None
    """From version 2 on: the record's columns in their order; of a column of text what texts it has."""
    weights_file: Annotated[str, StringConstraints(pattern=r"^weights-[0-9a-f]{16}\.safetensors$")]
    weights_sha256: str
    checksum: str = ""
    """SHA-256 of this file's content without this entry."""

    @model_validator(mode="after")
    def _check_that_it_fits_together(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: some are the same")
        if self.channel_names is not None and len(self.channel_names) != self.channels:
            raise ValueError("channel_names: not one for each channel")
        if self.best_epoch > len(self.history):
            raise ValueError("best_epoch: not in history")
        if (self.record is None) != (self.format_version == 1):
            raise ValueError("record: is there in version 2, and not in version 1")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_what_version_1_lacks(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {name: value for name, value in content.items() if name != "record" or value is not None}

    def expected_checksum(self) -> str:
        """Return what `checksum` must be."""
        content = json.dumps(self.model_dump(exclude={"checksum"}), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def save(estimator: LSTMClassifier, path: str | os.PathLike[str]) -> None:
    """Save a trained estimator into the folder `path`, which is made or brought up to date.

    Parameters
    ----------
    estimator
        A fitted :class:`glasslstm.LSTMClassifier`.
    path
        A folder of the model's own.

    Raises
    ------
    ArgumentError
        Where `path` is a file, or a folder with something else in it; or for labels that JSON cannot hold.
    OSError
        Where the file system refuses; what was there before is still there.

    Examples
    --------
    See :func:`load`.
    """
    folder = Path(path)
    check_target(folder)
    check_is_fitted(estimator, "network_")
    weights = weights_as_bytes(_tensors(estimator))
    info = _describe(estimator, hashlib.sha256(weights).hexdigest())
    with written_whole(folder / info.weights_file) as partial:
        partial.write_bytes(weights)
    before = _weights_named(folder)
    with written_whole(folder / _JSON) as partial:
        partial.write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if before and before != info.weights_file:
        (folder / before).unlink(missing_ok=True)
    _remove_leftovers(folder, info.weights_file)


def load(path: str | os.PathLike[str]) -> LSTMClassifier:
    """Load a trained estimator from the folder that :func:`save` wrote.

    It computes on the CPU until it is fitted anew.

    Raises
    ------
    ModelFileError
        For a folder that holds no model, a damaged, truncated or changed file, and a newer format.

    Examples
    --------
    >>> import tempfile, numpy as np, glasslstm as gl
    >>> X, y = np.random.default_rng(0).normal(size=(12, 5, 2)), np.repeat(["a", "b"], 6)
    >>> clf = gl.LSTMClassifier(hidden_size=4, max_epochs=2, random_state=0, verbose=False).fit(X, y)
    >>> folder = tempfile.mkdtemp()
    >>> clf.save(folder)
    >>> bool((gl.load(folder).predict_proba(X) == clf.predict_proba(X)).all())
    True
    """
    info, content = _read(Path(path))
    try:
        check_parameters(LSTMClassifier().get_params() | info.parameters)
        estimator = LSTMClassifier(**info.parameters)  # type: ignore[arg-type]
        tensors = parse_weights(content)
        if info.record is not None:
            estimator.record_ = columns_from_tensors(info.record, _taken(tensors, _RECORD))
        estimator.scaling_ = Scaling(*(tensors.pop(name).numpy() for name in ("mean", "scale")))
        estimator.network_ = SequenceClassifier(
            info.channels,
            len(info.classes),
            **{name: info.parameters[name] for name in _ARCHITECTURE},  # type: ignore[arg-type]
        )
        estimator.network_.load_state_dict(tensors)
    except (GlassLSTMError, SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: weights and description do not belong together: {error}") from None
    estimator.classes_ = np.array(info.classes, dtype=info.class_dtype)
    estimator.n_features_in_ = info.channels
    if info.channel_names is not None:
        estimator.feature_names_in_ = np.array(info.channel_names, dtype=object)
    estimator.table_ = info.table
    estimator.history_, estimator.best_epoch_ = info.history, info.best_epoch
    estimator.n_iter_, estimator.interrupted_ = len(info.history), False
    return estimator


def inspect(path: str | os.PathLike[str]) -> ModelInfo:
    """Return what the folder says of its model, checked, without the weights.

    Raises
    ------
    ModelFileError
        As for :func:`load`.
    """
    file = Path(path) / _JSON
    if not file.is_file():
        raise ModelFileError(
            f"{path}: no model here (no {_JSON}); give the folder that save() or train wrote"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ModelFileError(f"{file}: damaged, it is no JSON; save the model again") from None
    version = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelFileError(
            f"{file}: format version {version} is newer than this library's {FORMAT_VERSION} "
            f"(written by glasslstm {content.get('library_version')}); update glasslstm"
        )
    try:
        info = ModelInfo.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ModelFileError(
            f"{file}: no model of this library, or damaged: {place}: {first['msg']}"
        ) from None
    if info.checksum != info.expected_checksum():
        raise ModelFileError(f"{file}: the checksum does not fit, the file was changed; save the model again")
    return info


def check_target(folder: Path) -> None:
    """Refuse a place where a model cannot be saved: a file, or a folder with something else in it.

    Raises
    ------
    ArgumentError
        With what is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"{folder}: is a file; a model is saved into a folder of its own")
    if folder.is_dir() and not (folder / _JSON).exists():
        others = [file.name for file in folder.iterdir() if not _OURS.fullmatch(file.name)]
        if others:
            raise ArgumentError(
                f"{folder}: holds other things ({sorted(others)[0]}); a model is saved into a folder of its own"
            )


def _read(folder: Path) -> tuple[ModelInfo, bytes]:
    """Return the description and the weights, checked."""
    info = inspect(folder)
    file = folder / info.weights_file
    while not file.is_file():
        again = inspect(folder)
        if again == info:
            raise ModelFileError(f"{file}: the weights are missing; copy the whole folder")
        info, file = again, folder / again.weights_file  # another process has just saved a new model
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != info.weights_sha256:
        raise ModelFileError(
            f"{file}: the checksum does not fit, the weights are damaged; copy or save them again"
        )
    return info, content


def _weights_named(folder: Path) -> str | None:
    """Return the weights file that the folder's present model counts on."""
    try:
        return inspect(folder).weights_file
    except ModelFileError:
        return None


def _remove_leftovers(folder: Path, keep: str) -> None:
    """Remove what a save that was killed left behind, but not what one under way has just written."""
    for file in folder.iterdir():
        if _OURS.fullmatch(file.name) and file.name not in (keep, _JSON):
            with suppress(FileNotFoundError):
                if time() - file.stat().st_mtime > _STALE_SECONDS:
                    file.unlink()


def _describe(estimator: LSTMClassifier, digest: str) -> ModelInfo:
    if estimator.classes_.dtype.kind not in "Uiufb":
        raise ArgumentError(
            f"labels of type {estimator.classes_.dtype} cannot be saved; train on text, numbers or booleans"
        )
    names = getattr(estimator, "feature_names_in_", None)
    record = _record(estimator)
    try:
        info = ModelInfo(
            format_version=1 if record is None else 2,
            estimator="LSTMClassifier",
            parameters=_parameters(estimator),
            classes=estimator.classes_.tolist(),
            class_dtype=estimator.classes_.dtype.str,
            channels=estimator.n_features_in_,
            channel_names=None if names is None else [str(name) for name in names],
            table=estimator.table_,
            history=estimator.history_,
            best_epoch=estimator.best_epoch_,
            record=None if record is None else record[0],
            weights_file=f"weights-{digest[:16]}.safetensors",
            weights_sha256=digest,
        )
        info.checksum = info.expected_checksum()
        return ModelInfo.model_validate_json(info.model_dump_json())  # what cannot be read is not written
    except ValueError as error:
        raise ArgumentError(
            f"the model cannot be described in JSON: {' '.join(str(error).split())}"
        ) from None


def _tensors(estimator: LSTMClassifier) -> dict[str, Tensor]:
    weights = {name: w.detach().cpu().contiguous() for name, w in estimator.network_.state_dict().items()}
    mean, scale = map(torch.from_numpy, estimator.scaling_)
    _, record = _record(estimator) or ({}, {})
    return weights | {"mean": mean, "scale": scale} | {_RECORD + name: w for name, w in record.items()}


def _record(estimator: LSTMClassifier) -> tuple[Texts, dict[str, Tensor]] | None:
    """Return the record of the training, taken apart, or nothing where none was kept."""
    columns = getattr(estimator, "record_", None)
    return None if columns is None else columns_to_tensors(columns)


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take the tensors whose names begin with `prefix` out, and return them without it."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}


def _parameters(estimator: LSTMClassifier) -> dict[str, Any]:
    """Return the constructor's arguments, but for those that belong to the machine or the moment."""
    parameters = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in estimator.get_params().items()
        if name not in ("checkpoint", "device", "verbose")
    }
    if not isinstance(parameters["random_state"], (int, type(None))):
        parameters["random_state"] = None  # a generator's state is no parameter
    # set_params may have been called since the fit: what was trained counts.
    lstm, dropout = estimator.network_.lstm, estimator.network_.dropout.p
    return parameters | {name: getattr(lstm, name) for name in _ARCHITECTURE[:3]} | {"dropout": dropout}


_ARCHITECTURE = ("hidden_size", "num_layers", "bidirectional", "dropout")
_OURS = re.compile(r"model\.json|weights-[0-9a-f]{16}\.safetensors|\..*\.partial")
_RECORD = "record."
_STALE_SECONDS = 3600
