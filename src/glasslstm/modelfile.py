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
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_weights
from safetensors.torch import save as weights_as_bytes
from sklearn.utils.validation import check_is_fitted

from glasslstm._files import written_whole
from glasslstm._modelinfo import FORMAT_VERSION, ModelInfo, checksum, info_of
from glasslstm._modelparts import put_together, taken_apart
from glasslstm._version import __version__
from glasslstm.errors import ArgumentError, GlassLSTMError, MissingExtraError, ModelFileError
from glasslstm.estimators.base import LSTMEstimator

__all__ = ["FORMAT_VERSION", "ModelInfo", "check_target", "inspect", "load", "save"]

_JSON = "model.json"


def save(estimator: LSTMEstimator, path: str | os.PathLike[str]) -> None:
    """Save a trained estimator into the folder `path`, which is made or brought up to date.

    Parameters
    ----------
    estimator
        A fitted :class:`glasslstm.LSTMClassifier`, :class:`glasslstm.LSTMRegressor`, :class:`glasslstm.LSTMTagger` or
        :class:`glasslstm.LSTMForecaster`.
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
    entries, tensors = taken_apart(estimator)
    weights = weights_as_bytes(tensors)
    content = _described(entries, hashlib.sha256(weights).hexdigest())
    name = content["weights_file"]
    with written_whole(folder / name) as partial:
        partial.write_bytes(weights)
    before = _weights_named(folder)
    with written_whole(folder / _JSON) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if before and before != name:
        (folder / before).unlink(missing_ok=True)
    _remove_leftovers(folder, name)


def load(path: str | os.PathLike[str]) -> Any:
    """Load a trained estimator from the folder that :func:`save` wrote, in this version or an older one.

    It is of the class that was saved, has the parameters of its training, and computes on the CPU until it is
    fitted anew.

    Raises
    ------
    ModelFileError
        For a folder that holds no model, a damaged, truncated or changed file, and a newer format.
    MissingExtraError
        For a forecaster, where pandas or statsmodels is not installed.

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
        return put_together(info, parse_weights(content))
    except MissingExtraError:
        raise
    except (
        GlassLSTMError,
        SafetensorError,
        ArithmeticError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ModelFileError(f"{path}: weights and description do not belong together: {error}") from None


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
        info = info_of(content)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{file}: no model of this library, or damaged: {_first(error)}") from None
    if info.checksum != checksum(content):
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


def _described(entries: dict[str, Any], digest: str) -> dict[str, Any]:
    """Return the whole content of ``model.json``; what could not be read is not written."""
    content: dict[str, Any] = {
        "format": "glasslstm",
        "format_version": FORMAT_VERSION,
        "library_version": __version__,
        "torch_version": str(torch.__version__),
        **entries,
        "weights_file": f"weights-{digest[:16]}.safetensors",
        "weights_sha256": digest,
    }
    try:
        content = json.loads(json.dumps(content))  # tuples are lists now, as they will be read
        content["checksum"] = checksum(content)
        info_of(content)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"the model cannot be described in JSON: {_first(error)}") from None
    return content


def _first(error: Exception) -> str:
    """Return in one line what is wrong; of several things the first, and where."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


_OURS = re.compile(r"model\.json|weights-[0-9a-f]{16}\.safetensors|\..*\.partial")
_STALE_SECONDS = 3600
