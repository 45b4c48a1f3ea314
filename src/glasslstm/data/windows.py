"""Windows of long series, on the same values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from glasslstm.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from glasslstm.data.sequences import Sequences

__all__ = ["windows_of"]


def windows_of(
    series: Sequences, length: int, stride: int, horizon: int, target: str | int | None
) -> Sequences:
    """Return all windows of some series; see :meth:`Sequences.windows`."""
    channel = _checked(series, length, stride, horizon, target)
    counts = (series.lengths - length - horizon) // stride + 1
    owner = np.repeat(np.arange(len(series)), counts)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = series.starts[owner] + stride * nth
    windows = replace(series.select(owner), starts=starts, stops=starts + length, horizon=horizon)
    if channel is None:
        return windows
    following = series.values[windows.stops[:, None] + np.arange(horizon), channel]
    return replace(windows, targets=following[:, 0] if horizon == 1 else following, target_names=())


def _checked(
    series: Sequences, length: int, stride: int, horizon: int, target: str | int | None
) -> int | None:
    for name, value, least in (("length", length, 1), ("stride", stride, 1), ("horizon", horizon, 0)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ArgumentError(f"{name}: expected a whole number of {least} or more, got {value!r}")
    channel = None if target is None else _channel(series, target)
    if target is not None and not horizon:
        raise ArgumentError("horizon: a target needs one of 1 or more, got 0")
    if series.horizon:
        raise ArgumentError(
            f"these are windows with a horizon of {series.horizon} already; make windows of the series they are from"
        )
    short = np.flatnonzero(series.lengths < length + horizon)
    if len(short):
        raise DataError(
            f"series {series.ids[short[0]]} has {series.lengths[short[0]]} steps, and a window of {length} with a "
            f"horizon of {horizon} needs {length + horizon}; {len(short)} of {len(series)} series are too short: drop "
            "them, or choose shorter windows"
        )
    return channel


def _channel(series: Sequences, target: str | int) -> int:
    names = series.channel_names or ()
    if isinstance(target, str) and target in names:
        return names.index(target)
    if isinstance(target, (int, np.integer)) and 0 <= target < series.channels:
        return int(target)
    known = ", ".join(names) or f"0 to {series.channels - 1}"
    raise ArgumentError(f"target: {target!r} is no channel; expected one of {known}")
