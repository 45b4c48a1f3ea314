"""Panels over one time axis, under the curves of the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.style import labels, layout, line_style, whole_numbers

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

__all__ = ["Row", "channel_labels", "colours", "input_row", "line", "over_time", "steps_of"]

_MOST_CURVES = 8
_HEADING, _TITLE, _LEGEND_LINE, _BELOW, _BAR = 22, 58, 19, 46, 34  # pixels
_SMALL = {"size": 12}


@dataclass(frozen=True)
class Row:
    """One panel: its heading, its height in pixels, its y axis, and what it shows."""

    heading: str
    height: float
    axis: dict[str, Any]
    traces: Sequence[go.Scatter | go.Bar | go.Heatmap]


def over_time(
    title: str,
    subtitle: str,
    steps: int,
    rows: Sequence[Row],
    inputs: Row | None = None,
    *,
    reverse: bool = False,
    colour_axis: dict[str, Any] | None = None,
) -> go.Figure:
    """Return panels over one time axis, with the input's panel above them.

    The k-th row has the axis y{k}, from 1. The traces and the axis of the input come after all others, so that these
    are the same where there is no input.
    """
    from_top = [row for row in (inputs, *rows) if row]
    ends = np.cumsum([_HEADING + row.height for row in from_top])
    above, under = _TITLE + _legend_height(inputs), _BELOW + _BAR * (colour_axis is not None)
    options = layout(
        title,
        float(ends[-1]) + above + under,
        margin={"t": above, "r": 16, "b": under, "l": 60},
        xaxis={
            "title": {"text": _step_title(reverse), "standoff": 6},
            "anchor": f"y{len(rows)}",
            "showgrid": False,
        }
        | whole_numbers(steps),
        bargap=0,
        showlegend=_legend_height(inputs) > 0,
    )
    options["title"] |= {"yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 6}}
    options["title"]["subtitle"] = {"text": subtitle, "font": _SMALL}
    options["legend"] |= {"font": {"size": 11}}
    if colour_axis:
        options["coloraxis"] = colour_axis
    figure = go.Figure(layout=options)
    numbers = ([len(rows) + 1] if inputs else []) + [*range(1, len(rows) + 1)]
    for number, row, end in sorted(
        zip(numbers, from_top, 1 - ends / ends[-1], strict=True), key=lambda e: e[0]
    ):
        top = float(end + row.height / ends[-1])
        figure.update_layout(
            {f"yaxis{number}": {"nticks": 4, **row.axis, "domain": [max(0.0, float(end)), top]}}
        )
        figure.add_annotation(_heading(row.heading, top))
        for trace in row.traces:
            figure.add_trace(trace.update(yaxis=f"y{number}"))
    return figure.update_xaxes(title_font=_SMALL).update_yaxes(title_font=_SMALL)


def _legend_height(inputs: Row | None) -> int:
    """Return the pixels of a legend of the input's channels at 330 px; 0 where one needs none."""
    names = [trace.name for trace in inputs.traces] if inputs else []
    if len(names) < 2:
        return 0
    in_line = max(1, int(270 // (45 + 6.5 * max(map(len, names)))))
    return _LEGEND_LINE * -(-len(names) // in_line)


def _step_title(reverse: bool) -> str:
    return "step (read from right to left)" if reverse else "step"


def _heading(text: str, top: float) -> dict[str, Any]:
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": top, "yref": "paper", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "font": _SMALL, **place}


def line(steps: NDArray[np.integer], values: NDArray[np.floating], name: str, **more: Any) -> go.Scatter:
    """Return a line over the steps, with marks where they are few enough to be told apart."""
    mode = "lines+markers" if len(steps) <= 40 else "lines"
    return go.Scatter(x=steps, y=values, name=name, mode=mode, **more)


def colours(title: str, limits: tuple[float, float]) -> dict[str, Any]:
    """Return a colour axis whose short bar lies below the plot."""
    bar = {
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "xpad": 0,
        "len": 0.6,
        "thickness": 8,
        "outlinewidth": 0,
    }
    place = {"y": 0, "yref": "container", "yanchor": "bottom", "ypad": 6}
    ticks = {
        "tickvals": [limits[0], sum(limits) / 2, limits[1]],
        "tickformat": ".2~g",
        "tickfont": {"size": 11},
    }
    name = {"title": {"text": f"{title}\u2003", "font": _SMALL}}  # the space keeps it off the ticks
    ends = {"cmin": limits[0], "cmax": limits[1]}
    return {"autocolorscale": True, **ends, "colorbar": bar | place | ticks | name}


def input_row(
    inputs: ArrayLike,
    valid: NDArray[np.bool_],
    sequence: int,
    channel_names: Sequence[object] | None = None,
    first: int = 0,
) -> Row:
    """Return the curves of one sequence of the input: at most 8 channels, those with the largest spread.

    Several channels are drawn in standard deviations from their mean; `customdata` has the numbers as they came.

    Parameters
    ----------
    inputs
        The sequence, (T, F), or the whole batch, (T, B, F): then the channels that are drawn and their standard
        deviations are those of the batch, the same for each of its sequences.
    valid
        Where there is a step and no padding, (T, B).
    sequence
        Which of the B sequences.
    channel_names
        F names. Default: channel 0, channel 1, ...
    first
        The number of the first step.

    Raises
    ------
    ArgumentError
        For inputs or names that do not fit, and a sequence that is not there or has no steps.
    """
    steps = steps_of(valid, sequence)
    one, batch = _one_and_all(inputs, valid, sequence, steps)
    names = channel_labels(channel_names, one.shape[1])
    known = np.ma.masked_invalid(batch)
    mean, spread = (np.ma.filled(found, 0.0) for found in (known.mean(0), known.std(0)))
    drawn = np.sort(np.argsort(-spread, kind="stable")[:_MOST_CURVES])
    alone = len(names) == 1
    scaled = one if alone else (one - mean) / np.where(spread > 0, spread, 1.0)
    curves = [
        _curve(int(channel), steps + first, names[channel], scaled[:, channel], one[:, channel])
        for channel in drawn
    ]
    heading = (
        "Input, standardised" if len(drawn) == len(names) else f"Input: {len(drawn)} of {len(names)} channels"
    )
    axis = {"title": {"text": "value" if alone else "std. dev."}}
    return Row(f"Input: {names[0]}" if alone else heading, 64, axis, curves)


def _one_and_all(
    inputs: ArrayLike, valid: NDArray[np.bool_], sequence: int, steps: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the steps of one sequence, (T, F), and those of all that came, (N, F)."""
    x = inputs.detach().cpu().numpy() if isinstance(inputs, torch.Tensor) else np.asarray(inputs)
    x = x.astype(np.float64)
    if x.ndim == 2 and len(x) > steps[-1]:
        return x[steps], x[steps]
    if x.ndim == 3 and x.shape[:2] == valid.shape:
        return x[steps, sequence], x[valid]
    T, B = valid.shape
    raise ArgumentError(
        f"inputs: expected (T, F) with the T = {steps[-1] + 1} steps of the sequence, or the batch, ({T}, {B}, F); "
        f"got the shape {x.shape}"
    )


def _curve(
    k: int,
    steps: NDArray[np.integer],
    name: str,
    shown: NDArray[np.floating],
    values: NDArray[np.floating],
) -> go.Scatter:
    style = line_style(k + k // 6)  # after six lines the colours come back, with other dashes
    return line(
        steps,
        shown,
        name,
        customdata=values,
        hovertemplate=f"{name}, step %{{x}}: %{{customdata:.4g}}<extra></extra>",
        line={**style["line"], "width": 1.5},
        marker={**style["marker"], "size": 4},
        meta={"colour": k},  # for the report, in which a channel has one colour in all figures
    )


def channel_labels(names: Sequence[object] | None, count: int) -> list[str]:
    """Return what the channels are called, safe to show."""
    if names is None:
        return [f"channel {k}" for k in range(count)]
    if len(names) != count:
        raise ArgumentError(
            f"channel_names: got {len(names)} names; expected one for each of the {count} channels"
        )
    return labels(names)


def steps_of(valid: NDArray[np.bool_], sequence: int) -> NDArray[np.integer]:
    """Return the steps of one sequence, of the mask (T, B)."""
    B = valid.shape[1]
    if not 0 <= sequence < B:
        raise ArgumentError(f"sequence: got {sequence}; expected one of the {B} that there are, 0 to {B - 1}")
    steps = np.flatnonzero(valid[:, sequence])
    if not len(steps):
        raise ArgumentError(f"sequence: {sequence} has no steps, so nothing happened; choose a longer one")
    return steps
