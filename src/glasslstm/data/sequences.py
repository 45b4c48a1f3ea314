"""The one container for series of different lengths: flat values and offsets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glasslstm.errors import ArgumentTypeError, DataError

__all__ = ["Sequences"]


@dataclass(frozen=True)
class Sequences:
    """Series of any length over the same channels.

    Attributes
    ----------
    values
        All steps of all series, one below the other, (sum of T_i, F), floating point.
    offsets
        Where each series starts, and the end of the last, (N + 1,) int64.

    Examples
    --------
    >>> import numpy as np
    >>> series = Sequences.from_arrays([np.zeros((3, 2)), np.ones((5, 2))])
    >>> len(series), series.channels, series.lengths.tolist()
    (2, 2, [3, 5])
    >>> padded, lengths = series.pad([1, 0])
    >>> padded.shape
    (5, 2, 2)
    """

    values: NDArray[np.floating]
    offsets: NDArray[np.int64]

    @classmethod
    def from_arrays(cls, X: Any) -> Sequences:
        """Check `X` and take it over.

        Parameters
        ----------
        X
            A list of (T_i, F) arrays of any length, or one (N, T, F) array; numpy, torch, or what numpy reads.

        Raises
        ------
        DataError
            For no series, an empty one, another number of dimensions or channels, values that are not
            numbers, NaN and infinity; with the series (its position, from 0), step and channel.
        """
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
        offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        series = cls(np.concatenate(arrays), offsets)
        series._check_finite()
        return series

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, k: int) -> NDArray[np.floating]:
        """Return series `k` as a (T_k, F) view."""
        k = range(len(self))[k]
        return self.values[self.offsets[k] : self.offsets[k + 1]]

    @property
    def channels(self) -> int:
        """F, the number of channels."""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """T_i, the steps of each series, (N,)."""
        return np.diff(self.offsets)

    def select(self, indices: Sequence[int] | NDArray[np.integer]) -> Sequences:
        """Return the series at `indices`, in that order."""
        parts = [self[int(k)] for k in indices]
        offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return Sequences(np.concatenate(parts) if parts else self.values[:0], offsets)

    def pad(
        self, indices: Sequence[int] | NDArray[np.integer]
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Return the series at `indices` side by side, (T, B, F), zero past each length, and the lengths."""
        chosen = np.asarray(indices, dtype=np.int64)
        lengths = self.offsets[chosen + 1] - self.offsets[chosen]
        padded = np.zeros((int(lengths.max()), len(chosen), self.channels), self.values.dtype)
        for b, k in enumerate(chosen):
            padded[: lengths[b], b] = self[int(k)]
        return padded, lengths

    def batches(self, size: int, steps: int) -> Iterator[NDArray[np.int64]]:
        """Yield the indices of at most `size` series at a time, those of similar length together.

        Padded, a batch has at most `steps` steps in all (more only where it is one series), so that a long
        series among short ones costs no memory for them.
        """
        order = np.argsort(self.lengths, kind="stable")
        lengths = self.lengths[order]
        start = 0
        while start < len(order):
            widths = lengths[start : start + size] * np.arange(1, min(size, len(order) - start) + 1)
            count = max(1, int(np.searchsorted(widths, steps, side="right")))
            yield order[start : start + count]
            start += count

    def first_not_finite(self) -> tuple[int, int, int] | None:
        """Return series, step and channel of the first NaN or infinity, each from 0; ``None`` without one."""
        finite = np.isfinite(self.values)
        if finite.all():
            return None
        row, channel = (int(index[0]) for index in np.nonzero(~finite))
        k = int(np.searchsorted(self.offsets, row, side="right")) - 1
        return k, row - int(self.offsets[k]), channel

    def _check_finite(self) -> None:
        place = self.first_not_finite()
        if place is None:
            return
        k, step, channel = place
        value = "NaN" if np.isnan(self[k][step, channel]) else "infinity (inf)"
        count = int((~np.isfinite(self.values)).sum())
        raise DataError(
            f"X: series {k} has {value} at step {step}, channel {channel} (all counted from 0; {count} of "
            f"{self.values.size} values are NaN or infinite); fill or drop them first"
        )


def _items(X: Any) -> Any:
    """Return what can be gone through, series by series."""
    if isinstance(X, Sequences):
        return [X[k] for k in range(len(X))]
    if hasattr(X, "nnz"):
        raise DataError("X: sparse matrices are not supported; expected a list of dense (T_i, F) arrays")
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        return X  # numpy's way to hold arrays of different lengths
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
    try:
        array = np.asarray(item)
    except ValueError as error:
        raise DataError(f"X: series {k} is no array: {error}") from None
    if array.dtype == object or array.dtype.kind in "biu":
        try:
            array = array.astype(np.float64)
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
