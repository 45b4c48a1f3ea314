"""Arrays as users have them, each checked with one clear error, become what :class:`Sequences` holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from glasslstm.errors import ArgumentTypeError, DataError

__all__ = [
    "column_in",
    "first_not_finite",
    "joined",
    "names_in",
    "narrowed",
    "ranges",
    "series_in",
    "static_in",
    "steps_in",
    "unpadded",
]

_ROWS = 1 << 16  # steps that are looked at at once


def series_in(X: Any) -> list[NDArray[np.floating]]:
    """Return the series in `X`, (T_i, F) each, at least one, all of them with the same channels."""
    arrays = [_series(k, item) for k, item in enumerate(_items(X))]
    if not arrays:
        raise DataError("X: expected at least one series, got none")
    channels = arrays[0].shape[1]
    for k, array in enumerate(arrays):
        if array.shape[1] != channels:
            raise DataError(
                f"X: series {k} has {array.shape[1]} channels and series 0 has {channels}; "
                "all series need the same channels, in the same order"
            )
    return arrays


def unpadded(array: Any, lengths: ArrayLike) -> list[Any]:
    """Return the first `lengths` steps of each row of a padded (N, T, F) array, each as it is: masked, a tensor."""
    padded = array if hasattr(array, "ndim") else _as_array("array", array)
    sizes = _as_array("lengths", lengths)
    if padded.ndim != 3:
        raise DataError(f"array: expected shape (N, T, F), got {tuple(padded.shape)}")
    if sizes.shape != (len(padded),) or sizes.dtype.kind not in "iu":
        raise DataError(
            f"lengths: expected a whole number for each of the {len(padded)} series, got {sizes.dtype} of "
            f"shape {sizes.shape}"
        )
    wrong = np.flatnonzero((sizes < 1) | (sizes > padded.shape[1]))
    if len(wrong):
        raise DataError(f"lengths: series {wrong[0]} has {sizes[wrong[0]]}; expected 1 to {padded.shape[1]}")
    return [row[:size] for row, size in zip(padded, sizes.tolist(), strict=True)]


def narrowed(values: NDArray[np.floating], channels: Sequence[int] | None = None) -> NDArray[np.floating]:
    """Return the values in float32, or in float64 where float32 would blur the differences within one of `channels`.

    By default that is any of them. A channel is blurred if the rounding changes a value by more than 10^-4 of the
    channel's standard deviation. Whole numbers below 2^24 and a channel that never changes are not; what float32 makes
    infinite is. Nothing is copied that has its type already.
    """
    if values.dtype.itemsize <= 4:
        return values.astype(np.float32, copy=False)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return values.astype(np.float64 if _blurs(values, channels) else np.float32, copy=False)


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return start, start + 1, ... of each, as many as its length, one after the other."""
    found: NDArray[np.int64] = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    found += np.arange(len(found))
    return found


def first_not_finite(values: NDArray[np.floating], *, nan: bool) -> tuple[int, int] | None:
    """Return row and column of the first infinity, or NaN where `nan` says so; ``None`` without one."""
    fine = np.isfinite(values) if nan else ~np.isinf(values)
    if fine.all():
        return None
    row, column = np.unravel_index(int(fine.argmin()), fine.shape)
    return int(row), int(column)


def names_in(argument: str, names: Sequence[str] | None, count: int, of: str) -> tuple[str, ...] | None:
    """Return `count` names, all different, or ``None`` for none."""
    if names is None:
        return None
    found = [names] if isinstance(names, str) or not hasattr(names, "__iter__") else list(names)
    if len(found) != count:
        raise DataError(f"{argument}: expected {count}, one for each {of}, got {len(found)}")
    if not all(isinstance(name, str) for name in found) or len(set(found)) < len(found):
        raise DataError(f"{argument}: expected different names, as text, got {found}")
    return tuple(map(str, found))


def column_in(argument: str, values: ArrayLike, count: int, *, dimensions: int = 1) -> NDArray[Any]:
    """Return an array with an entry for each of `count` series, of at most so many dimensions."""
    column = _as_array(argument, values)
    if not 1 <= column.ndim <= dimensions or len(column) != count:
        raise DataError(f"{argument}: expected one for each of the {count} series, got shape {column.shape}")
    return column


def static_in(static: ArrayLike, count: int) -> NDArray[np.float64]:
    """Return finite numbers that do not change within a series, (N, G)."""
    try:
        features = np.asarray(static, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"static: expected numbers, (N, G): {error}") from None
    if features.ndim != 2 or len(features) != count:
        raise DataError(
            f"static: expected (N, G) with a row for each of the {count} series, got {features.shape}"
        )
    place = first_not_finite(features, nan=True)
    if place is not None:
        k, column = place
        raise DataError(f"static: series {k} has {features[place]} in column {column}; fill or drop it first")
    return features


def steps_in(argument: str, arrays: Sequence[ArrayLike], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """Join what each series has for its steps, (T_i,), to one array, (S,)."""
    if not hasattr(arrays, "__iter__") or not hasattr(arrays, "__len__") or len(arrays) != len(lengths):
        count = len(arrays) if hasattr(arrays, "__len__") else type(arrays).__name__
        raise DataError(f"{argument}: expected one array for each of the {len(lengths)} series, got {count}")
    found = [_as_array(argument, one) for one in arrays]
    for k, (one, length) in enumerate(zip(found, lengths.tolist(), strict=True)):
        if one.shape != (length,):
            raise DataError(
                f"{argument}: series {k} has {length} steps; expected shape ({length},), got {one.shape}"
            )
    return joined(argument, found)


def joined(argument: str, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Join arrays along the first axis, all of one kind: numpy would make text of the numbers beside it."""
    kinds = {"number" if one.dtype.kind in "biuf" else one.dtype.kind: one.dtype for one in arrays}
    shapes = {one.shape[1:]: one.shape for one in arrays}
    if len(kinds) > 1 or len(shapes) > 1:
        got = " and ".join(map(str, kinds.values() if len(kinds) > 1 else shapes.values()))
        raise DataError(f"{argument}: expected one type and width in all, got {got}")
    return np.concatenate(arrays)


def _as_array(argument: str, values: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # the last two: ragged, and a tensor with a gradient
        raise DataError(f"{argument}: this is no array: {error}") from None


def _blurs(values: NDArray[np.floating], channels: Sequence[int] | None) -> bool:
    """Return whether float32 blurs a channel: in blocks, since a copy of all values may not fit."""
    rows = range(0, len(values), _ROWS)
    chosen = slice(None) if channels is None else list(channels)
    error, count, total, squares = np.zeros((4, values.shape[1]))[:, chosen]
    low, high = np.full_like(total, np.inf), np.full_like(total, -np.inf)
    for row in rows:
        block, known = _columns(values[row : row + _ROWS, chosen])
        rounding = np.abs(block - block.astype(np.float32))
        error = np.maximum(error, rounding.max(axis=1, where=known, initial=0))
        low = np.minimum(low, block.min(axis=1, where=known, initial=np.inf))
        high = np.maximum(high, block.max(axis=1, where=known, initial=-np.inf))
        count += known.sum(axis=1)
        total += block.sum(axis=1, where=known)
    if not error.any():
        return False
    mean = total / np.maximum(count, 1)
    for row in rows:
        block, known = _columns(values[row : row + _ROWS, chosen])
        squares += np.square(block - mean[:, None]).sum(axis=1, where=known)
    spread = np.sqrt(squares / np.maximum(count, 1))
    return bool((np.isinf(error) | (error > 1e-4 * spread) & (low < high)).any())


def _columns(block: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Return the channels one below the other, which numpy goes through four times as fast, and what is finite."""
    turned = np.ascontiguousarray(block.T)
    return turned, np.isfinite(turned)


def _items(X: Any) -> Any:
    """Return what can be gone through, series by series."""
    if hasattr(X, "nnz"):
        raise DataError("X: sparse matrices are not supported; expected a list of dense (T_i, F) arrays")
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        return X  # numpy's way to hold arrays of different lengths
    if hasattr(X, "columns"):
        raise DataError(
            "X: got a dataframe; read it with glasslstm.data.read_series, which takes it as it is"
        )
    if hasattr(X, "ndim") and X.ndim != 3:
        raise DataError(
            f"X: expected a list of (T_i, F) arrays or one (N, T, F) array, got one array of shape {tuple(X.shape)}. "
            "Reshape your data: one series of T steps is [X], N series of one channel are X[:, :, None]"
        )
    if isinstance(X, (str, bytes, dict)) or not hasattr(X, "__iter__") or not hasattr(X, "__len__"):
        raise DataError(
            f"X: expected a list of (T_i, F) arrays or one (N, T, F) array, got {type(X).__name__}; "
            "read a table with glasslstm.data.read_series"
        )
    return X


def _series(k: int, item: Any) -> NDArray[np.floating]:
    if isinstance(item, Tensor):
        item = item.detach().cpu()
        item = item.float() if item.dtype == torch.bfloat16 else item  # numpy has no bfloat16
    if np.ma.isMaskedArray(item):
        item = np.ma.filled(np.ma.asarray(item, dtype=np.float64), np.nan)  # what is masked is missing
    array = _as_array(f"X: series {k}", item)
    if array.dtype == object or array.dtype.kind in "biu":
        try:  # float32 holds whole numbers of two bytes
            array = array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
        except TypeError as error:
            raise ArgumentTypeError(f"X: series {k} has values that are not numbers: {error}") from None
        except ValueError as error:
            raise DataError(f"X: series {k} has values that are not numbers: {error}") from None
    if array.dtype.kind == "c":
        raise DataError(f"X: series {k} has complex values. Complex data not supported; give real channels")
    if array.dtype.kind != "f":
        raise DataError(f"X: series {k} has values of type {array.dtype}, expected real numbers")
    if array.ndim != 2:
        raise DataError(
            f"X: series {k} has shape {array.shape}, expected (T, F): steps, then channels; "
            "a single channel is array[:, None]"
        )
    if len(array) == 0:
        raise DataError(f"X: series {k} is empty, shape {array.shape}; expected at least one step; drop it")
    if array.shape[1] == 0:
        raise DataError(
            f"X: series {k} has 0 feature(s) (shape={array.shape}) while a minimum of 1 is required: "
            "a series needs at least one channel"
        )
    return array
