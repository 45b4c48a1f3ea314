"""Blocks of series become one: in memory, or in a temporary file that vanishes by itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from glasslstm.data.sequences import Sequences
from glasslstm.errors import DataError

__all__ = ["gather"]


def gather(
    blocks: Iterator[Sequences], rows: int, *, wide: Sequence[int], where: str, memory: int
) -> Sequences:
    """Return the series of all blocks, `rows` steps in all, values in float32.

    If their values and times are over `memory` bytes, they go into temporary files. The channels `wide` are those that
    float32 may blur.

    Raises
    ------
    DataError
        If it does blur one, and if there is no room for the file.
    """
    first = next(blocks)
    in_file = rows * (first.channels * 4 + 8) > memory
    values, times, steps = (_Stack(rows, in_file=in_file) for _ in range(3))
    moments = _Moments()
    ids, lengths, targets, static = [], [], [], []
    for block in chain([first], blocks):
        moments.add(block.values[:, wide])
        values.add(_float32(block.values))
        times.add(block.times)
        steps.add(block.step_targets)
        ids.append(block.ids)
        lengths.append(block.lengths)
        targets.append(block.targets)
        static.append(block.static)
    _refuse_blur(moments, wide, first.channel_names or (), where)
    stops = np.cumsum(np.concatenate(lengths))
    return replace(
        first,
        values=np.asarray(values.array),
        starts=np.concatenate(([0], stops[:-1])),
        stops=stops,
        ids=np.concatenate(ids),
        times=times.array,
        targets=_joined(targets),
        step_targets=steps.array,
        static=_joined(static),
    )


class _Stack:
    """An array of `rows` rows that is filled from its beginning, of a type that widens with what comes."""

    def __init__(self, rows: int, *, in_file: bool) -> None:
        self.array: NDArray[Any] | None = None
        self._rows, self._in_file, self._filled = rows, in_file, 0

    def add(self, part: NDArray[Any] | None) -> None:
        if part is None:
            return
        array = self._wide_enough(part)
        array[self._filled : self._filled + len(part)] = part
        self._filled += len(part)

    def _wide_enough(self, part: NDArray[Any]) -> NDArray[Any]:
        old = self.array
        kind = part.dtype if old is None else np.result_type(old, part)  # longer texts
        if old is not None and kind == old.dtype:
            return old
        self.array = _room((self._rows, *part.shape[1:]), kind, in_file=self._in_file)
        if old is not None:
            self.array[: self._filled] = old[: self._filled]
        return self.array


def _room(shape: tuple[int, ...], kind: DTypeLike, *, in_file: bool) -> NDArray[Any]:
    """Return an empty array, in memory or in a file that nobody else sees and that goes with the array."""
    if not in_file:
        return np.empty(shape, kind)
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and a crash in the mapped file
                os.posix_fallocate(file.fileno(), 0, size)
            return np.asarray(np.memmap(file, kind, "w+", shape=shape))
    except OSError as error:
        raise DataError(
            f"{size / 1e9:.1f} GB do not fit into a temporary file in {tempfile.gettempdir()} ({error.strerror}); make "
            "room, set TMPDIR to a folder with more, or read into memory with a larger memory="
        ) from error


class _Moments:
    """Number, mean, sum of squares, largest size and largest rounding of each channel's values, block by block.

    T. Chan, G. Golub and R. LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1.
    """

    def __init__(self) -> None:
        self.count: Any = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0
        self.largest: Any = 0.0
        self.rounding: Any = 0.0

    def add(self, values: NDArray[np.floating]) -> None:
        known = ~np.isnan(values)
        count = known.sum(axis=0)
        mean = values.sum(axis=0, where=known, dtype=np.float64) / np.maximum(count, 1)
        both, step = np.maximum(self.count + count, 1), mean - self.mean
        with np.errstate(over="ignore", invalid="ignore"):  # of values that are too large for 32 bits anyway
            squares = np.square(values - mean).sum(axis=0, where=known)
            self.squares = self.squares + squares + np.square(step) * self.count * count / both
            rounding = np.abs(values - values.astype(np.float32))
        self.rounding = np.maximum(self.rounding, rounding.max(axis=0, where=known, initial=0.0))
        self.mean = self.mean + step * count / both
        self.count = self.count + count
        self.largest = np.maximum(self.largest, np.abs(values).max(axis=0, where=known, initial=0.0))


def _refuse_blur(moments: _Moments, wide: Sequence[int], names: Sequence[str], where: str) -> None:
    """Raise an error where :func:`glasslstm.data.arrays.narrowed` would have kept float64."""
    spread = np.sqrt(moments.squares / np.maximum(moments.count, 1))
    blurred = (moments.rounding > 1e-4 * spread) & (spread > 0) | np.isinf(moments.rounding)
    if blurred.any():
        k = int(np.argmax(blurred))
        raise DataError(
            f"{where}: channel {names[wide[k]]!r} has values up to {moments.largest[k]:g} and a standard deviation of "
            f"{spread[k]:.3g}, which 32 bits cannot tell apart; what does not fit into memory is read in 32 bits: "
            f"subtract an offset first, such as {moments.mean[k]:g}, or divide where the values are huge"
        )


def _float32(values: NDArray[np.floating]) -> NDArray[np.floating]:
    with np.errstate(over="ignore"):  # _refuse_blur tells it
        return values.astype(np.float32, copy=False)


def _joined(parts: list[NDArray[Any] | None]) -> NDArray[Any] | None:
    found = [part for part in parts if part is not None]
    return np.concatenate(found) if found else None
