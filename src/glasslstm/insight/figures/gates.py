"""What the gates, the cells and the hidden states did: one quantity of all units, or all quantities of one unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.style import NEUTRAL, names_axis
from glasslstm.insight.figures.timeline import Row, colours, input_row, line, over_time, steps_of
from glasslstm.insight.figures.units import (
    ORDERS,
    SHOWN,
    Order,
    batched,
    colour_limits,
    only,
    unit_order,
)
from glasslstm.nn.trace import Trace

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

__all__ = ["ORDERS", "SHOWN", "gate_map", "unit", "unit_order"]


def gate_map(
    trace: Trace,
    quantity: str = "forget_gate",
    *,
    layer: int = 0,
    direction: int = 0,
    sequence: int = 0,
    order: Order = "half-life",
    units: Sequence[int] | None = None,
    inputs: ArrayLike | None = None,
    channel_names: Sequence[object] | None = None,
) -> go.Figure:
    """Draw one quantity of all units at all steps of one sequence, under the curves of the input.

    Parameters
    ----------
    trace
        The record of a call, batched or not.
    quantity
        One of :data:`SHOWN`. Default: the forget gate.
    layer, direction, sequence
        Which entry of `trace`, and which sequence of its batch. Default: the first of each.
    order
        How the units are sorted, by :func:`unit_order` over all sequences, so that a unit has the same row in each.
        With `proj_size` the hidden state has no such units, and is sorted by number.
    units
        The units to show. Default: all.
    inputs
        What the curves show: the sequence, (T, F), or the batch, (T, B, F), so that the channels (at most 8, those that
        vary most) and their scale are the same for each sequence. Default: what the trace recorded, if it did.
    channel_names
        F names. Default: channel 0, channel 1, ...

    Returns
    -------
    plotly.graph_objects.Figure
        The first trace is the heat map: `x` the steps, `y` the units from the top, `z` the numbers, (H, T). A curve for
        each channel follows, with the numbers as they came in `customdata`. The colour axis is `coloraxis`, its ends
        those of :func:`colour_limits`.

    Raises
    ------
    ArgumentError
        For a quantity, entry, sequence, order or unit that is not there, and inputs or names that do not fit.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> _, _, trace = gl.LSTM(3, 4)(torch.randn(5, 2, 3), return_trace=True)
    >>> figure = gate_map(trace, "cell", order="unit", units=[2, 3])
    >>> figure.data[0].z.shape, [curve.name for curve in figure.data[1:]]
    ((2, 5), ['channel 0', 'channel 1', 'channel 2'])
    """
    if quantity not in SHOWN:
        raise ArgumentError(f"quantity: expected one of {', '.join(SHOWN)}; got {quantity!r}")
    one = _Sequence(trace, layer, direction, sequence)
    panel = _units_row(one, quantity, order, units)
    return over_time(
        SHOWN[quantity].heading,
        one.place,
        len(one.steps),
        [panel],
        one.inputs(inputs, channel_names),
        reverse=one.gates.reverse,
        colour_axis=colours(_name(quantity), colour_limits(one.gates, quantity)),
    )


def _units_row(one: _Sequence, quantity: str, order: Order, units: Sequence[int] | None) -> Row:
    values = one.values(quantity)
    if len(values) != one.gates.cell.size(-1):  # projected: these rows are no units of the cell
        order = "unit"
    rows = unit_order(one.gates, order)
    rows = rows[rows < len(values)]
    if units is not None:
        rows = rows[np.isin(rows, _check_units(units, len(values)))]
    heat_map = go.Heatmap(
        x=one.numbers,
        y=[str(row) for row in rows],
        z=values[rows],
        name=_name(quantity),
        coloraxis="coloraxis",
        hovertemplate="unit %{y}, step %{x}: %{z:.4g}<extra></extra>",
    )
    some = "" if len(rows) == len(values) else f" ({len(rows)} of {len(values)})"
    height = float(np.clip(14 * len(rows), 100, 320))
    return Row(f"Units, {ORDERS[order]}", height, names_axis(f"unit{some}") | {"nticks": 14}, [heat_map])


def unit(
    trace: Trace,
    unit: int,
    *,
    layer: int = 0,
    direction: int = 0,
    sequence: int = 0,
    inputs: ArrayLike | None = None,
    channel_names: Sequence[object] | None = None,
) -> go.Figure:
    """Draw the six quantities of one unit over the steps of one sequence, under the curves of the input.

    Parameters
    ----------
    trace, layer, direction, sequence, inputs, channel_names
        As for :func:`gate_map`.
    unit
        Which unit. With `proj_size` its hidden state is the one before the projection, o tanh(c).

    Returns
    -------
    plotly.graph_objects.Figure
        First the six quantities in the order of :data:`SHOWN`: `x` the steps, `y` the numbers, (T,), each
        on its own axis, y to y6. A curve for each channel follows, on y7.

    Raises
    ------
    ArgumentError
        As :func:`gate_map`.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> _, _, trace = gl.LSTM(3, 4)(torch.randn(5, 2, 3), return_trace=True)
    >>> [curve.name for curve in unit(trace, 2).data[:3]]
    ['forget gate', 'input gate', 'candidate']
    """
    one = _Sequence(trace, layer, direction, sequence)
    (number,) = _check_units([unit], one.gates.cell.size(-1))
    return over_time(
        f"Unit {number}",
        one.place,
        len(one.steps),
        [_quantity_row(one, quantity, number) for quantity in SHOWN],
        one.inputs(inputs, channel_names),
        reverse=one.gates.reverse,
    )


def _quantity_row(one: _Sequence, quantity: str, number: int) -> Row:
    heading, symbol, limits = SHOWN[quantity]
    values = one.values(quantity, projected=False)[number]
    axis: dict[str, Any] = {"title": {"text": symbol}, "zeroline": True, "zerolinecolor": NEUTRAL}
    if limits:
        margin = 0.06 * (limits[1] - limits[0])  # a line at an end is to be seen
        axis |= {
            "range": [limits[0] - margin, limits[1] + margin],
            "tickvals": [limits[0], sum(limits) / 2, limits[1]],
        }
    else:
        axis["rangemode"] = "tozero"
    curve = line(
        one.numbers,
        values,
        _name(quantity),
        line={"width": 1.75},
        marker={"size": 4},
        hovertemplate="step %{x}: %{y:.4g}<extra></extra>",
        showlegend=False,
    )
    return Row(heading, 46, axis, [curve])


class _Sequence:
    """What one layer did with one sequence in one direction."""

    def __init__(self, trace: Trace, layer: int, direction: int, sequence: int) -> None:
        self.gates = batched(trace[layer, direction])
        """With all sequences of the batch."""
        self._trace, self._sequence = trace, sequence
        self.steps = steps_of(self._valid, sequence)
        self.numbers = self.steps + trace.start
        self._own = only(self.gates, sequence).numpy()
        way = "reverse" if self.gates.reverse else "forward"
        self.place = f"layer {layer}, {way}, sequence {sequence}"

    @property
    def _valid(self) -> NDArray[np.bool_]:
        valid: NDArray[np.bool_] = self.gates.valid.cpu().numpy()
        return valid

    def values(self, quantity: str, *, projected: bool = True) -> NDArray[np.floating]:
        """Return a quantity at the steps of the sequence, (H, T); the hidden state as (P, T) unless not `projected`."""
        found = self._own[quantity]
        if not projected and found.shape[-1] != self.gates.cell.size(-1):
            found = self._own["output_gate"] * np.tanh(self._own["cell"])
        own: NDArray[np.floating] = found[self.steps, 0].T
        return own

    def inputs(self, inputs: ArrayLike | None, channel_names: Sequence[object] | None) -> Row | None:
        """Return the panel of the input, by default of the one that was recorded; ``None`` where none was."""
        x = self._trace.input if inputs is None else inputs
        if x is None:
            return None
        return input_row(x, self._valid, self._sequence, channel_names, self._trace.start)


def _check_units(units: Sequence[int], count: int) -> list[int]:
    chosen = list(units)
    if not chosen or not set(chosen) <= set(range(count)):
        raise ArgumentError(f"units: expected units from 0 to {count - 1}; got {chosen}")
    return chosen


def _name(quantity: str) -> str:
    return quantity.replace("_", " ")
