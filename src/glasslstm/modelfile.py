"""A trained estimator as a folder: ``model.json`` beside one safetensors file. Never pickle.

``model.json`` names the weights file by its SHA-256 and is itself written last, in one rename: a crash at any
moment leaves the old model or the new one. ``docs/modelfile.md`` has the format.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_weights
from safetensors.torch import save as weights_as_bytes
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from glasslstm._files import written_whole
from glasslstm._version import __version__
from glasslstm.errors import ArgumentError, ModelFileError
from glasslstm.estimators.classifier import LSTMClassifier

__all__ = ["FORMAT_VERSION", "ModelInfo", "check_target", "inspect", "load", "save"]

FORMAT_VERSION = 1
_JSON = "model.json"
_LABELS = {"U": "text", "i": "integer", "u": "integer", "f": "float", "b": "boolean"}


class ModelInfo(BaseModel):
    """What ``model.json`` says."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["glasslstm"] = "glasslstm"
    format_version: int = FORMAT_VERSION
    library_version: str = __version__
    torch_version: str = str(torch.__version__)
    estimator: Literal["LSTMClassifier"]
    parameters: dict[str, bool | int | float | str | None]
    classes: list[str] | list[bool] | list[int] | list[float]
    class_type: Literal["text", "integer", "float", "boolean"]
    channels: int
    channel_names: list[str] | None
    table: dict[str, str] | None
    history: list[dict[str, int | float]]
    best_epoch: int
    weights_file: Annotated[str, StringConstraints(pattern=r"^weights-[0-9a-f]{16}\.safetensors$")]
    weights_sha256: str
    checksum: str = ""
    """SHA-256 of this file's content without this entry."""

    def expected_checksum(self) -> str:
        """Return what `checksum` must be."""
        content = json.dumps(self.model_dump(exclude={"checksum"}), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def save(estimator: LSTMClassifier, path: str | os.PathLike[str]) -> None:
    """Save a trained estimator into the folder `path`, which is made or brought up to date.

    Raises
    ------
    ArgumentError
        Where `path` is a file, or a folder with something else in it; or for labels that JSON cannot hold.
    """
    folder = Path(path)
    check_target(folder)
    check_is_fitted(estimator, "network_")
    weights = weights_as_bytes(_tensors(estimator))
    digest = hashlib.sha256(weights).hexdigest()
    info = ModelInfo(
        estimator="LSTMClassifier",
        parameters=_parameters(estimator),
        classes=estimator.classes_.tolist(),
        class_type=_class_type(estimator.classes_),  # type: ignore[arg-type]
        channels=estimator.n_features_in_,
        channel_names=_names(estimator),
        table=estimator.table_,
        history=estimator.history_,
        best_epoch=estimator.best_epoch_,
        weights_file=f"weights-{digest[:16]}.safetensors",
        weights_sha256=digest,
    )
    info.checksum = info.expected_checksum()
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / info.weights_file) as partial:
        partial.write_bytes(weights)
    with written_whole(folder / _JSON) as partial:
        partial.write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for old in folder.glob("weights-*.safetensors"):
        if old.name != info.weights_file:
            old.unlink()


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
    info = inspect(path)
    tensors = _read_weights(Path(path) / info.weights_file, info)
    estimator = LSTMClassifier(**info.parameters)  # type: ignore[arg-type]
    estimator.classes_ = np.array(info.classes)
    estimator.n_features_in_ = info.channels
    if info.channel_names is not None:
        estimator.feature_names_in_ = np.array(info.channel_names, dtype=object)
    estimator.table_ = info.table
    estimator.history_, estimator.best_epoch_ = info.history, info.best_epoch
    estimator.n_iter_, estimator.interrupted_ = len(info.history), False
    try:
        estimator.mean_, estimator.scale_ = (tensors.pop(name).numpy() for name in ("mean", "scale"))
        estimator.network_ = estimator._new_network(info.channels)
        estimator.network_.load_state_dict(tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path}: weights and description do not belong together: {error}") from None
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
    except ValueError:
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
    if folder.is_dir() and not (folder / _JSON).exists() and any(folder.iterdir()):
        raise ArgumentError(f"{folder}: holds other things; a model is saved into a folder of its own")


def _read_weights(file: Path, info: ModelInfo) -> dict[str, Tensor]:
    if not file.is_file():
        raise ModelFileError(f"{file}: the weights are missing; copy the whole folder")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != info.weights_sha256:
        raise ModelFileError(
            f"{file}: the checksum does not fit, the weights are damaged; copy or save them again"
        )
    try:
        return parse_weights(content)
    except SafetensorError as error:
        raise ModelFileError(f"{file}: damaged: {error}") from None


def _tensors(estimator: LSTMClassifier) -> dict[str, Tensor]:
    weights = {name: w.detach().cpu().contiguous() for name, w in estimator.network_.state_dict().items()}
    return weights | {"mean": torch.from_numpy(estimator.mean_), "scale": torch.from_numpy(estimator.scale_)}


def _parameters(estimator: LSTMClassifier) -> dict[str, Any]:
    """Return the constructor's arguments, but for those that belong to the machine or the moment."""
    parameters = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in estimator.get_params().items()
        if name not in ("checkpoint", "device", "verbose")
    }
    if not isinstance(parameters["random_state"], (int, type(None))):
        parameters["random_state"] = None  # a generator's state is no parameter
    return parameters


def _class_type(classes: Any) -> str:
    if classes.dtype.kind not in _LABELS:
        raise ArgumentError(
            f"labels of type {classes.dtype} cannot be saved; train on text, whole numbers, numbers or booleans"
        )
    return _LABELS[classes.dtype.kind]


def _names(estimator: LSTMClassifier) -> list[str] | None:
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]
