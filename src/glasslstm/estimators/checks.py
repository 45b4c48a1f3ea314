"""What an estimator checks before it trains: its parameters, and the labels."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from glasslstm.errors import ArgumentError, DataError

__all__ = ["check_channel_names", "check_labels", "check_members", "check_parameters"]


def check_parameters(parameters: dict[str, Any]) -> None:
    """Refuse parameters out of range, all of them at once."""
    wrong = [
        f"{name}: expected {rule.allowed}, got {parameters[name]!r}"
        for name, rule in _RULES.items()
        if not rule.fits(parameters[name])
    ]
    if wrong:
        raise ArgumentError("; ".join(wrong))


def check_labels(y: ArrayLike, count: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes, sorted, (K,), and the index of each label's class, (N,).

    Raises
    ------
    DataError
        For labels that are missing, of several types, not one for each of `count` series, not discrete, or
        all the same.
    """
    if y is None:
        raise DataError("y: LSTMClassifier requires y to be passed, but the target y is None")
    labels = _one_kind(y)
    try:
        labels = column_or_1d(labels, warn=True)
        check_classification_targets(labels)
    except (ValueError, TypeError) as error:
        raise DataError(f"y: expected classes, text or whole numbers: {error}") from None
    if len(labels) != count:
        raise DataError(f"y: expected one label for each of the {count} series, got {len(labels)}")
    classes, indices = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError(
            f"y: expected at least 2 classes, got 1 class: {classes[0].item()!r}; there is nothing to tell apart"
        )
    return classes, indices.astype(np.int64)


def check_members(classes: NDArray[Any], labels: NDArray[np.int64]) -> None:
    """Refuse a class with one member, which cannot be both trained on and validated.

    Raises
    ------
    DataError
        With the class.
    """
    counts = np.bincount(labels)
    if counts.min() < 2:
        raise DataError(
            f"y: class {classes[counts.argmin()].item()!r} has one member, and each class needs one to train on and "
            "one to validate with; add series of it, leave it out, or set validation_fraction=0"
        )


def check_channel_names(names: Sequence[str] | None, channels: int) -> NDArray[Any] | None:
    """Return the names as scikit-learn keeps them, (F,) of text.

    Raises
    ------
    DataError
        For names that are no text, not one for each channel, or the same.
    """
    if names is None:
        return None
    found = [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    if len(found) != channels:
        raise DataError(f"channel_names: expected {channels}, one for each channel of X, got {len(found)}")
    if not all(isinstance(name, str) for name in found) or len(set(found)) < len(found):
        raise DataError(f"channel_names: expected different names, as text, got {found}")
    return np.array(found, dtype=object)


def _one_kind(y: ArrayLike) -> NDArray[Any]:
    """Return `y` as an array whose labels are of one type, and none of them missing."""
    found = np.asarray(y, dtype=object if isinstance(y, (list, tuple)) else None)
    if found.dtype.kind not in "OfmM":
        return found
    values = [label.item() if isinstance(label, np.generic) else label for label in found.ravel()]
    for k, label in enumerate(values):
        if label is None or label != label or label in (np.inf, -np.inf):  # noqa: PLR0124 - NaN alone differs
            raise DataError(f"y: label {k} is {label}. Input y contains NaN or infinity; drop those series")
    kinds = {float if type(label) is int else type(label) for label in values}
    if len(kinds) > 1:
        words = ", ".join(sorted({type(label).__name__ for label in values}))
        raise DataError(f"y: labels of several types ({words}); make them one type")
    return np.array(values).reshape(found.shape) if found.dtype == object else found


class _Rule(NamedTuple):
    allowed: str
    fits: Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


_COUNT = _Rule("a whole number of 1 or more", lambda value: _whole(value) and value >= 1)
_AMOUNT = _Rule("a number of 0 or more", lambda value: _number(value) and 0 <= value < math.inf)
_SHARE = _Rule("a number from 0 to below 1", lambda value: _number(value) and 0 <= value < 1)
_FLAG = _Rule("True or False", lambda value: isinstance(value, (bool, np.bool_)))
_RULES = {
    "hidden_size": _COUNT,
    "num_layers": _COUNT,
    "bidirectional": _FLAG,
    "dropout": _SHARE,
    "learning_rate": _Rule(
        "a number above 0, and at most 1", lambda value: _number(value) and 0 < value <= 1
    ),
    "weight_decay": _AMOUNT,
    "batch_size": _COUNT,
    "max_epochs": _COUNT,
    "patience": _COUNT,
    "validation_fraction": _SHARE,
    "refit": _FLAG,
    "weight_averaging": _SHARE,
    "input_noise": _AMOUNT,
    "channel_shift": _AMOUNT,
    "gradient_clip": _Rule(
        "None, or a number above 0", lambda value: value is None or (_number(value) and 0 < value < math.inf)
    ),
    "precision": _Rule(
        "'32-true', 'bf16-mixed' or '16-mixed'", lambda value: value in ("32-true", "bf16-mixed", "16-mixed")
    ),
    "checkpoint": _Rule(
        "None, or the name of a folder",
        lambda value: value is None or (isinstance(value, (str, os.PathLike)) and value != ""),
    ),
    "random_state": _Rule(
        "None, a whole number from 0 to 4294967295, or a numpy RandomState",
        lambda value: (
            value is None
            or isinstance(value, np.random.RandomState)
            or (_whole(value) and 0 <= value < 2**32)
        ),
    ),
    "verbose": _FLAG,
}
