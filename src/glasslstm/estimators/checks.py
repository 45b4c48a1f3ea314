"""What an estimator checks before it trains: its parameters, and the labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from glasslstm.errors import ArgumentError, DataError

__all__ = ["check_labels", "check_parameters"]


def check_parameters(parameters: dict[str, Any]) -> None:
    """Refuse parameters out of range, all of them at once."""
    wrong = [
        f"{name}: expected {rule.allowed}, got {parameters[name]!r}"
        for name, rule in _RULES.items()
        if not rule.fits(parameters[name])
    ]
    if wrong:
        raise ArgumentError("; ".join(wrong))


def check_labels(y: ArrayLike) -> NDArray[Any]:
    """Return the labels of a classifier as an array, (N,).

    Raises
    ------
    DataError
        For labels that are missing, of several types, not one for each series, or not discrete.
    """
    if y is None:
        raise DataError("y: LSTMClassifier requires y to be passed, but the target y is None")
    try:
        found: NDArray[Any] = column_or_1d(y, warn=True)
    except ValueError as error:
        raise DataError(f"y: {error}") from None
    _refuse_missing(found)
    try:
        check_classification_targets(found)
    except ValueError as error:
        raise DataError(f"y: {error}") from None
    return np.array(found.tolist()) if found.dtype == object and _all_text(found) else found


def _refuse_missing(labels: NDArray[Any]) -> None:
    missing = labels != labels  # noqa: PLR0124 - NaN alone differs from itself
    if labels.dtype.kind == "f":
        missing |= np.isinf(labels)
    if np.any(missing):
        k = int(np.flatnonzero(missing)[0])
        raise DataError(f"y: label {k} is {labels[k]}. Input y contains NaN or infinity; drop those series")


def _all_text(labels: NDArray[Any]) -> bool:
    kinds = {type(label) for label in labels}
    if len(kinds) > 1:
        raise DataError(
            f"y: labels of several types, {', '.join(sorted(kind.__name__ for kind in kinds))}; make them one type"
        )
    return issubclass(kinds.pop(), str)


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
    "learning_rate": _Rule("a number above 0", lambda value: _number(value) and 0 < value < math.inf),
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
        "None, or a number above 0", lambda value: value is None or (_number(value) and value > 0)
    ),
    "precision": _Rule(
        "'32-true', 'bf16-mixed' or '16-mixed'", lambda value: value in ("32-true", "bf16-mixed", "16-mixed")
    ),
    "verbose": _FLAG,
}
