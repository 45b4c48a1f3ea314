"""What the explorers of the page choose from: of some sequences every gate, and why the answer came.

The page has to stay small: where there is too much, fewer sequences, units and at last steps are kept, and said to be.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from glasslstm.errors import GlassLSTMError
from glasslstm.insight import figures
from glasslstm.insight.case import Entry
from glasslstm.insight.figures.gates import ORDERS, SHOWN, unit_order
from glasslstm.insight.figures.timeline import input_row
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import arrayed

__all__ = ["Extent", "explored", "extent_of", "packed", "quantities"]

_LEVELS = 65534  # what 16 bits can tell apart, less one for what is no number
_BYTES = 2 * 4 / 3  # of a number in base64
_OF_A_STEP = 100  # numbers beside the gates: input (twice), three methods, 20 channels (twice), steps

# From all that a page may have down to the least that still tells something: sequences, and units of each layer.
_EXTENTS = [
    (12, 256),
    (12, 128),
    (8, 128),
    (8, 64),
    (6, 64),
    (6, 48),
    (4, 48),
    (4, 32),
    (2, 32),
    (1, 32),
    (1, 16),
]


class Extent(NamedTuple):
    """How much of the traces a page has."""

    sequences: int
    units: int
    steps: int


def extent_of(looks: Sequence[Look], limit: int) -> Extent:
    """Return how much of the traces fits into so many bytes."""
    if not looks:
        return Extent(0, 0, 0)
    longest = max(len(one) for look in looks for one in look.series)
    for sequences, units in _EXTENTS:
        size = sum(_bytes(look, sequences, units) for look in looks)
        if size <= limit:
            break
    return Extent(
        min(sequences, len(looks[0].shown)), units, min(longest, max(1, int(longest * limit / size)))
    )


def _bytes(look: Look, sequences: int, units: int) -> float:
    steps = sum(len(one) for one in look.series[:sequences])
    cells = sum(len(SHOWN) * min(units, entry.gates.cell.size(-1)) for entry in look.shown_entries)
    return _BYTES * steps * (cells + _OF_A_STEP)


def quantities() -> dict[str, Any]:
    """Return how the page puts the six quantities and the orders of the units."""
    return {
        "quantities": {
            name: {"heading": shown.heading, "name": name.replace("_", " "), "limits": shown.limits}
            for name, shown in SHOWN.items()
        },
        "orders": ORDERS,
    }


def explored(look: Look, extent: Extent) -> dict[str, Any]:
    """Return what the page has of one model, as what JSON can hold."""
    series = look.series[: extent.sequences]
    firsts = [max(0, len(one) - extent.steps) for one in series]
    return {
        "sequences": [look.label(int(row)) for row in look.shown[: len(series)]],
        "firsts": firsts,
        "curves": [_curves(look, k, first) for k, first in enumerate(firsts)],
        "places": [_place(look, entry, firsts, extent.units) for entry in look.shown_entries],
        "why": _why(look, firsts),
    }


def _curves(look: Look, k: int, first: int) -> list[dict[str, Any]]:
    """Return the curves of the input of one sequence, as the figures draw them."""
    batch, valid = look.padded
    traces = input_row(batch, valid, look.columns[k], look.channel_names).traces
    return [{"y": packed(one.y[first:]), "customdata": packed(one.customdata[first:])} for one in traces]


def _place(look: Look, entry: Entry, firsts: Sequence[int], most: int) -> dict[str, Any]:
    """Return one layer in one direction: the orders of its units, and its six quantities in each sequence."""
    H = entry.gates.cell.size(-1)
    orders = {order: unit_order(entry.gates, order) for order in ORDERS}
    evenly = np.unique(np.linspace(0, H - 1, min(H, most)).round().astype(np.int64))
    kept = np.sort(orders["half-life"][evenly])  # so that what keeps long and what keeps shortly is there
    at = {int(unit): k for k, unit in enumerate(kept)}
    return {
        "module": entry.module,
        "layer": entry.layer,
        "direction": entry.direction,
        "whole": H,
        "projected": None if entry.gates.hidden.size(-1) == H else entry.gates.hidden.size(-1),
        "units": kept.tolist(),
        "orders": {order: [at[u] for u in units.tolist() if u in at] for order, units in orders.items()},
        "values": {
            name: [
                packed(_one(getattr(entry.gates, name), entry, column, first, kept))
                for column, first in zip(look.columns, firsts, strict=False)
            ]
            for name in SHOWN
        },
    }


def _one(values: Tensor, entry: Entry, column: int, first: int, units: NDArray[Any]) -> NDArray[Any]:
    """Return a quantity of one sequence, (units, T); of a hidden state that is projected the first values."""
    found = values[first : int(entry.lengths[column]), column].detach().float().cpu().numpy()
    whole = found.shape[1] == entry.gates.cell.size(-1)
    return np.ascontiguousarray((found[:, units] if whole else found[:, : len(units)]).T)


def _why(look: Look, firsts: Sequence[int]) -> list[Any] | None:
    """Return the figure of the explanation for each sequence shown; ``None`` where there is none."""
    try:
        explanation = look.explanation
    except GlassLSTMError:
        return None
    drawn = (
        figures.explanation(
            explanation,
            look.explained_inputs,
            sequence=look.position(k),
            unit=look.score_unit,
            channel_names=look.channel_names,
            input_names=look.input_names,
        )
        for k in range(len(firsts))
    )
    return [
        _packed_figure(_from_step(one, first).to_plotly_json())
        for one, first in zip(drawn, firsts, strict=True)
    ]


def _from_step(drawn: Any, first: int) -> Any:
    """Leave the steps before the first that is shown out of a figure."""
    for trace in drawn.data if first else ():
        for name in ("x", "y", "z", "customdata"):
            values = getattr(trace, name, None)
            along = name != "y" or trace.type != "heatmap"
            if values is not None and along:
                trace[name] = np.asarray(values)[..., first:]
    return drawn


def _packed_figure(value: Any) -> Any:
    """Pack every array of a figure, and leave out its template."""
    if isinstance(value, Mapping) and "bdata" in value:
        return _packed_figure(arrayed(value))
    if isinstance(value, Mapping):
        return {key: _packed_figure(part) for key, part in value.items() if key != "template"}
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return packed(value)
    if isinstance(value, (list, tuple)):
        return [_packed_figure(part) for part in value]
    return value


def packed(values: NDArray[Any]) -> dict[str, Any]:
    """Pack numbers into 16 bits each, between their least and their largest.

    Real numbers are exact to 1/131,068 of that range, whole numbers to the last digit (below 65,534 of them).

    Examples
    --------
    >>> packed(np.array([[0.0, 1.0], [0.5, np.nan]]))
    {'shape': [2, 2], 'low': 0.0, 'high': 1.0, 'whole': False, 'packed': 'AAD+//9///8='}
    """
    whole = np.asarray(values).dtype.kind in "iu"
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    shares = (np.where(finite, values, low) - low) / ((high - low) or 1.0)
    bits = np.where(finite, np.rint(shares * _LEVELS), _LEVELS + 1).astype("<u2")
    return {
        "shape": list(values.shape),
        "low": float(low),
        "high": float(high),
        "whole": whole,
        "packed": base64.b64encode(bits.tobytes()).decode("ascii"),
    }
