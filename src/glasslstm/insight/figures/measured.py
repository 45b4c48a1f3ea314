"""What was measured behind a finding, one number for each unit, step or the like, drawn beside its limit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from glasslstm._extras import require
from glasslstm.insight.figures.style import NEUTRAL, labels, line_style, names_axis, whole_numbers
from glasslstm.insight.findings import Measured

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402
from plotly.subplots import make_subplots  # noqa: E402

__all__ = ["GAP", "height", "stacked"]

GAP = 104
"""Pixels between two, for the axis of the upper and a heading of the lower one."""
_ROWS = 10  # numbered things that still get a row each, with the figure beside it


def stacked(shown: Sequence[Measured]) -> go.Figure:
    """Return a figure with each beneath the other; the layout is left to the caller."""
    heights = [height(measured) for measured in shown]
    whole = sum(heights) + GAP * (len(shown) - 1)
    figure = make_subplots(rows=len(shown), row_heights=heights, vertical_spacing=min(1, GAP / whole))
    for row, measured in enumerate(shown, start=1):
        for trace in _traces(measured):
            figure.add_trace(trace, row=row, col=1)
        across, up = _axes(measured)
        figure.update_xaxes(across, row=row, col=1).update_yaxes(up, row=row, col=1)
        if measured.limit is not None:
            _mark(figure, measured, row)
    return figure


def height(measured: Measured) -> int:
    """Return the pixels that the plot needs, between its axes."""
    return int(np.clip(28 * len(measured.values) + 26, 110, 310)) if _in_rows(measured) else 180


def _in_rows(measured: Measured) -> bool:
    """Tell whether each figure gets a row: those of things with names, or of few that are counted."""
    named = any(isinstance(place, str) for place in measured.at)
    return named or (len(measured.values) <= _ROWS and not measured.is_curve)


def _logarithmic(measured: Measured) -> bool:
    """Tell whether to draw on a logarithmic axis: there a point at zero would be lost, the end of a curve is not."""
    positive = [value > 0 for value in measured.values]
    return measured.logarithmic and (any(positive) if measured.is_curve else all(positive))


def _traces(measured: Measured) -> list[go.Scatter | go.Bar]:
    places: Sequence[Any] = measured.at or range(len(measured.values))
    if measured.is_curve:
        everywhere = range(len(measured.values))
        curve = _scatter(measured, places, everywhere, measured.quantity, curve=True)
        found = _scatter(measured, places, measured.beyond, "affected")
        return [curve, found] if measured.beyond else [curve]
    if _in_rows(measured):
        places = labels(places, 24)
    draw = _bar if _in_rows(measured) and not _logarithmic(measured) else _scatter
    return [draw(measured, places, which, name) for name, which in _groups(measured)]


def _groups(measured: Measured) -> list[tuple[str, Sequence[int]]]:
    """Return the positions of what is found, and those of the others."""
    found = set(measured.beyond)
    others = [k for k in range(len(measured.values)) if k not in found]
    if not found:
        return [(measured.quantity, others)]
    return [("affected", measured.beyond)] + ([("others", others)] if others else [])


def _bar(measured: Measured, places: Sequence[Any], which: Iterable[int], name: str) -> go.Bar:
    pattern = {"shape": "/", "fillmode": "replace"} if name == "others" else {}
    values = [measured.values[k] for k in which]
    return go.Bar(
        x=values,
        y=[places[k] for k in which],
        orientation="h",
        width=0.6,
        name=name,
        text=[f"{value:.3g}" for value in values],
        textposition="outside",
        cliponaxis=False,
        marker={"pattern": pattern} | _colour(name),
        hovertemplate=f"%{{y}}: %{{x:.4g}}<extra>{name}</extra>",
    )


def _scatter(
    measured: Measured, places: Sequence[Any], which: Iterable[int], name: str, *, curve: bool = False
) -> go.Scatter:
    values, at = [measured.values[k] for k in which], [places[k] for k in which]
    style = (
        line_style(0 if curve else 1)
        if name != "others"
        else {"marker": {"symbol": "circle-open", "size": 6}}
    )
    rows = _in_rows(measured)
    mode = (
        ("lines+markers" if len(values) == 1 else "lines") if curve else "markers+text" if rows else "markers"
    )
    return go.Scatter(
        x=values if rows else at,
        y=at if rows else values,
        orientation="h" if rows else None,  # says to whoever makes a table of it that x has the figures
        name=name,
        mode=mode,
        text=[f"{value:.3g}" for value in values] if rows else None,
        textposition="middle right",
        cliponaxis=curve,
        line=style.get("line"),
        marker=style["marker"] | _colour(name),
        hovertemplate=f"%{{x}}: %{{y:.4g}}<extra>{name}</extra>",
    )


def _colour(name: str) -> dict[str, str]:
    return {"color": NEUTRAL} if name == "others" else {}


def _axes(measured: Measured) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the horizontal and the vertical axis."""
    rows = _in_rows(measured)
    along = measured.along.split(" (")[0] if rows else measured.along  # there is less room at the side
    along, quantity = (labels([text], 34)[0] for text in (along, measured.quantity))
    values = {"title": _title(quantity), "nticks": 6} | _span(measured)
    if not rows:
        last = int(float(measured.at[-1])) if measured.at else len(measured.values) - 1
        ticks = whole_numbers(last + 1) | {"nticks": 6, "tickangle": 0}
        return {"title": _title(along)} | ticks, values
    names = labels(measured.at or range(len(measured.values)), 24)
    headroom = 0.5 if measured.limit is None else 1.1
    names_at = {"autorange": False, "range": [len(names) - 0.5, -headroom], "categoryarray": names}
    title = {"title": _title(along) | {"standoff": 10}}
    return values | {"tickangle": 0}, names_axis(along) | {"categoryorder": "array"} | names_at | title


def _title(text: str) -> dict[str, Any]:
    return {"text": text, "font": {"size": 12}}


def _span(measured: Measured) -> dict[str, Any]:
    """Return type and range of the axis of the figures: with the limit, and with room for what is written beside."""
    values = [*measured.values, *([] if measured.limit is None else [measured.limit])]
    room = 0.3 if _in_rows(measured) else 0.06
    if not _logarithmic(measured):
        low, high = min(0.0, *values), max(0.0, *values) or 1.0
        return {"range": [low * (1 + room), high + (high - low) * room]}
    logs = [math.log10(value) for value in values if value > 0]
    low, high = min(logs), max(logs)
    if measured.is_curve and measured.limit is not None:  # what is far beneath it need not be told apart
        low = max(low, math.log10(measured.limit) - 5)
    wide = max(high - low, 1.0)
    return {
        "type": "log",
        "range": [low - 0.08 * wide, low + (1 + room) * wide],
        "exponentformat": "e",
        "dtick": math.ceil(wide / 4),
    }


def _mark(figure: go.Figure, measured: Measured, row: int) -> None:
    """Draw the limit, with its figure: at its upper end, or at its right one."""
    limit = measured.limit
    assert limit is not None
    line = {"dash": "dash", "width": 1.5, "color": NEUTRAL}
    where = math.log10(limit) if _logarithmic(measured) else limit
    low, high = _span(measured)["range"]
    share = (where - low) / (high - low)
    if _in_rows(measured):
        figure.add_vline(x=limit, line=line, row=row, col=1)
        side = "right" if share > 1 / 2 else "left"
        at = {
            "text": f"limit {limit:g}",
            "x": where,
            "xanchor": side,
            "y": 1,
            "yref": "y domain",
            "yanchor": "top",
        }
    else:
        figure.add_hline(y=limit, line=line, row=row, col=1)
        side = "bottom" if share < 1 / 6 else "top" if share > 5 / 6 else "middle"
        at = {
            "text": f"limit<br>{limit:g}",
            "y": where,
            "yanchor": side,
            "x": 1,
            "xref": "x domain",
            "xanchor": "left",
        }
    figure.add_annotation(at, showarrow=False, align="left", font={"size": 11}, row=row, col=1)
