"""What an estimator checks before it trains, beside its parameters: names, weights, and targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError, DataError

__all__ = [
    "as_label_matrix",
    "check_channel_names",
    "check_labels",
    "check_members",
    "check_numbers",
    "check_weights",
    "class_weights",
    "indices_of",
    "joined_steps",
]


def check_labels(y: ArrayLike, count: int, what: str = "series") -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes, sorted, (K,), and the index of each label's class, (N,).

    Raises
    ------
    DataError
        For labels that are missing, of several types, not one for each of `count`, not discrete, or all the same.
    """
    labels = _one_kind(y)
    try:
        labels = column_or_1d(labels, warn=True)
        check_classification_targets(labels)
    except (ValueError, TypeError) as error:
        raise DataError(f"y: expected classes, text or whole numbers: {error}") from None
    if len(labels) != count:
        raise DataError(f"y: expected one label for each of the {count} {what}, got {len(labels)}")
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


def as_label_matrix(y: Any, count: int) -> NDArray[np.float32] | None:
    """Return several labels of each series as zeros and ones, (N, K); ``None`` where `y` is one label each.

    Raises
    ------
    DataError
        For a matrix of other numbers, or not one row for each of `count` series, or with a label that says nothing.
    """
    try:
        matrix = np.asarray(y)
    except ValueError:
        raise DataError(
            "y: expected one label for each series; or, where a series may have several, zeros and ones, (N, K), such "
            "as sklearn.preprocessing.MultiLabelBinarizer makes of lists of labels"
        ) from None
    if matrix.ndim != 2 or matrix.shape[1] < 2:
        return None
    if matrix.dtype.kind not in "biuf" or not np.isin(matrix, (0, 1)).all():
        raise DataError(
            "y: several labels for each series are given as zeros and ones, (N, K), a column for each label; "
            f"got {matrix.dtype} of shape {matrix.shape} with other values"
        )
    if len(matrix) != count:
        raise DataError(f"y: expected a row of labels for each of the {count} series, got {len(matrix)}")
    return matrix.astype(np.float32)


def check_numbers(y: Any, count: int, what: str = "series") -> NDArray[np.float64]:
    """Return numbers to predict, (N, M) float64.

    Raises
    ------
    DataError
        For values that are missing, infinite, no numbers, or not one row for each of `count`.
    """
    found = np.asarray(y)
    if found.dtype.kind == "c":
        raise DataError("y: Complex data not supported; give real numbers")
    try:
        numbers = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"y: expected numbers: {error}") from None
    if numbers.ndim not in (1, 2) or len(numbers) != count or not numbers.size:
        raise DataError(
            f"y: expected a number, or as many for each, of the {count} {what}, got shape {numbers.shape}"
        )
    one = what.removesuffix("s") if what == "steps" else what
    wrong = np.argwhere(~np.isfinite(numbers))
    if len(wrong):
        raise DataError(
            f"y: {one} {wrong[0][0]} has {numbers[tuple(wrong[0])]}. Input y contains NaN or infinity, {len(wrong)} of "
            f"{numbers.size} values; drop those {what}"
        )
    largest = np.abs(numbers).max()
    if largest > _LARGEST:
        raise DataError(
            f"y: has values up to {largest:.3g}, too large to standardise; give it in a larger unit"
        )
    return numbers[:, None] if numbers.ndim == 1 else numbers


# The squares of numbers up to this, and their sum, are far from what float64 can hold.
_LARGEST = 1e100


def check_weights(weights: ArrayLike | None, count: int) -> NDArray[np.float32]:
    """Return how much each series counts, (N,), 1 by default.

    Raises
    ------
    DataError
        For weights that are negative, infinite, all zero, or not one for each of `count` series.
    """
    if weights is None:
        return np.ones(count, np.float32)
    try:
        found = np.asarray(weights, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"sample_weight: expected numbers: {error}") from None
    if found.ndim == 0:
        found = np.full(count, found)
    if found.shape != (count,):
        raise DataError(
            f"sample_weight: expected one for each of the {count} series, got shape {found.shape}; "
            "Sample weights must be 1D array or scalar"
        )
    wrong = np.flatnonzero(~np.isfinite(found) | (found < 0))
    if len(wrong):
        raise DataError(
            f"sample_weight: expected finite numbers of 0 or more, got {found[wrong[0]]} for series {wrong[0]}"
        )
    if not found.any():
        raise DataError(
            "sample_weight: all weights are zero, and nothing is left to train on; give some more"
        )
    return found


def class_weights(
    given: Mapping[Any, float] | str | None, classes: NDArray[Any], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the weight of each class, (K,): as given, or inversely to how frequent the class is.

    Raises
    ------
    ArgumentError
        For a weight of something that is no class.
    """
    known = classes.tolist()
    unknown = [label for label in given if label not in known] if isinstance(given, Mapping) else []
    if unknown:
        raise ArgumentError(f"class_weight: {unknown[0]!r} is no class; expected some of {known}")
    return np.asarray(compute_class_weight(given, classes=classes, y=classes[labels]), np.float64)


def check_channel_names(names: Sequence[str] | None, channels: int) -> tuple[str, ...] | None:
    """Return the names, F different texts.

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
    return tuple(map(str, found))


def indices_of(y: ArrayLike, classes: NDArray[Any], count: int, what: str = "series") -> NDArray[np.int64]:
    """Return the index of each label's class, (N,).

    Raises
    ------
    DataError
        For a label that is no class, and for not one for each of `count`.
    """
    labels = np.asarray(y)
    if labels.shape != (count,):
        raise DataError(
            f"y: expected one label for each of the {count} {what}, got an array of shape {labels.shape}"
        )
    found, places = np.unique(labels, return_inverse=True)
    known = {label: index for index, label in enumerate(classes.tolist())}
    unknown = [label for label in found.tolist() if label not in known]
    if unknown:
        raise DataError(
            f"y: {unknown[0]!r} is no class of the model, which has {', '.join(map(repr, known))}"
        )
    return np.array([known[label] for label in found.tolist()], np.int64)[places]


def joined_steps(y: Any, series: Sequences) -> NDArray[Any]:
    """Return the targets of all steps, one series below the other, from those of each series, (T_i,).

    What is already in step with the rows of the series' values is cut to the steps of these series.

    Raises
    ------
    DataError
        For targets that are not one array for each series, one value for each step.
    """
    if isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype != object and y is series.step_targets:
        return y[series.rows()]
    try:
        parts = [np.asarray(part) for part in y]
    except TypeError:
        raise DataError(f"y: expected an array (T_i,) for each series, got {type(y).__name__}") from None
    if len(parts) != len(series):
        raise DataError(f"y: expected an array (T_i,) for each of the {len(series)} series, got {len(parts)}")
    for k, (part, length) in enumerate(zip(parts, series.lengths, strict=True)):
        if part.shape != (length,):
            raise DataError(
                f"y: series {k} has {length} steps; expected as many targets, got shape {part.shape}"
            )
    kinds = {"number" if part.dtype.kind in "biuf" else "other" for part in parts}
    if len(kinds) > 1:
        raise DataError("y: targets of several types; make them one type")
    return np.concatenate(parts)


def _one_kind(y: ArrayLike) -> NDArray[Any]:
    """Return `y` as an array whose labels are of one type, and none of them missing."""
    found = np.asarray(y, dtype=object if isinstance(y, (list, tuple)) else None)
    if found.dtype.kind not in "OfmM":
        return found
    if found.dtype.kind != "O":
        lost = ~np.isfinite(found.ravel())
        if lost.any():
            _refuse_label(int(lost.argmax()), found.ravel()[lost.argmax()])
        return found
    values = [label.item() if isinstance(label, np.generic) else label for label in found.ravel()]
    for k, label in enumerate(values):
        if label is None or label != label or label in (np.inf, -np.inf):  # noqa: PLR0124 - NaN alone differs
            _refuse_label(k, label)
    kinds = {float if type(label) is int else type(label) for label in values}
    if len(kinds) > 1:
        words = ", ".join(sorted({type(label).__name__ for label in values}))
        raise DataError(f"y: labels of several types ({words}); make them one type")
    return np.array(values).reshape(found.shape)


def _refuse_label(k: int, label: Any) -> NoReturn:
    raise DataError(f"y: label {k} is {label}. Input y contains NaN or infinity; drop those series")
