"""The figures that a rule hands on with what it found, for a small figure: finite, and not too many."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from glasslstm.insight.findings import Measured

__all__ = ["aligned", "by_reading", "measured"]

_POINTS, _ON_A_CURVE = 512, 200  # on a curve neighbours are much alike


def measured(
    quantity: str,
    values: Tensor | Sequence[float],
    *,
    along: str = "unit",
    at: Sequence[float | str] = (),
    beyond: Tensor | Collection[int] = (),
    limit: float | None = None,
    logarithmic: bool = False,
) -> Measured | None:
    """Make a :class:`Measured` of plain numbers; ``None`` where none is finite.

    Values that are not finite are left out, and `at` tells which are there. Of more than 512 (200 over steps or lags)
    evenly spaced ones are kept, the first and the last, and as many of those in `beyond`, positions or booleans.
    """
    numbers = [float(value) for value in (values.tolist() if isinstance(values, Tensor) else values)]
    found = set(beyond.nonzero().flatten().tolist() if isinstance(beyond, Tensor) else beyond)
    finite = [k for k, number in enumerate(numbers) if math.isfinite(number)]
    most = _ON_A_CURVE if along.startswith(Measured.CURVES) else _POINTS
    kept = sorted({*_spread(finite, most), *_spread([k for k in finite if k in found], most)})
    if not kept:
        return None
    names = at or (range(len(numbers)) if len(kept) < len(numbers) else ())
    return Measured(
        quantity,
        tuple(numbers[k] for k in kept),
        along,
        tuple(names[k] for k in kept) if names else (),
        tuple(n for n, k in enumerate(kept) if k in found),
        limit,
        logarithmic,
    )


def aligned(values: Tensor, place: Tensor, counted: Tensor) -> Tensor:
    """Move what stands at each (t, b) to (place[t, b], b), (T, B); NaN where nothing goes that is counted."""
    rows = torch.where(counted, place, len(values))
    room = values.new_full((len(values) + 1, values.size(1)), math.nan)
    return room.scatter_(0, rows, values)[:-1]


def by_reading(reverse: bool) -> str:
    """Return what the steps are called in the order in which a direction reads them."""
    return "step from the end" if reverse else "step"


def _spread(positions: list[int], most: int) -> list[int]:
    last = len(positions) - 1
    if last < most:
        return positions
    return [positions[round(k * last / (most - 1))] for k in range(most)]
