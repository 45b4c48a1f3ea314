"""What was measured behind the findings of a diagnosis, beside the limits."""

from __future__ import annotations

import math
from typing import Any

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.measured import GAP, height, stacked
from glasslstm.insight.figures.style import labels, layout
from glasslstm.insight.findings import Diagnosis, Finding, Measured

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

__all__ = ["diagnosis", "finding"]

_MOST = 12  # findings in one figure


def finding(found: Finding) -> go.Figure:
    """Draw what was measured behind a finding, and the limit.

    What is found is a trace of its own, told apart by colour and by its marks. Over steps and lags the figures are a
    curve; of few things each has a row; of many, as of units, each is a point. Where the finding has nothing
    but its value, that stands beside the threshold.

    Parameters
    ----------
    found
        One of what :func:`glasslstm.diagnose` returns.

    Raises
    ------
    ArgumentError
        No figure of it is finite.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm = gl.LSTM(3, 16)
    >>> _ = lstm.bias_ih_l0.data[16:20].fill_(-20)       # the forget gate of the first four units
    >>> figure = finding(gl.diagnose(lstm, torch.randn(20, 8, 3), codes=["forget-gate-shut"])[0])
    >>> [(trace.name, len(trace.x)) for trace in figure.data]
    [('affected', 4), ('others', 12)]
    """
    measured = _figures(found)
    figure = stacked([measured])
    for trace in figure.data:
        trace.showlegend = trace.name in ("affected", "others")  # the axis names the rest
    return figure.update_layout(_layout(_title(found, measured), height(measured), top=60))


def diagnosis(found: Diagnosis) -> go.Figure:
    """Draw what was measured behind each finding of a diagnosis, one beneath the other.

    Parameters
    ----------
    found
        What :func:`glasslstm.diagnose` returned. Of more than 12 findings the first are drawn, that is the worst; those
        without a finite figure are left out. Where nothing was found, the figure says so.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> figure = diagnosis(gl.diagnose(gl.LSTM(3, 16), torch.randn(20, 8, 3)))
    >>> figure.layout.annotations[0].text
    'Nothing found.'
    """
    shown = [(one, measured) for one in found if (measured := _measured(one)) is not None][:_MOST]
    if not shown:
        return _nothing(found)
    figure = stacked([measured for _, measured in shown])
    for row, (one, _) in enumerate(shown, start=1):
        figure.add_annotation(_heading(one), row=row, col=1)
    plots = sum(height(measured) for _, measured in shown) + GAP * (len(shown) - 1)
    whole = _layout(_count(found, len(shown)), plots, top=110)
    whole["title"] |= {
        "subtitle": {"text": "filled: affected; open or hatched: others"},
        "y": 1 - 22 / whole["height"],
        "yref": "container",
    }
    return figure.update_layout(whole, showlegend=False)


def _count(found: Diagnosis, shown: int) -> str:
    title = f"{len(found)} finding{'s' if len(found) > 1 else ''}"
    return title if shown == len(found) else f"{title}, {shown} of them shown"


def _layout(title: str, plots: int, *, top: int) -> dict[str, Any]:
    """Return the layout around what is so high, with room for the names of the limits at its right."""
    margin = {"t": top, "r": 56, "b": 50, "l": 60}
    return layout(title, plots + top + 50, margin=margin, barmode="overlay")


def _figures(found: Finding) -> Measured:
    measured = _measured(found)
    if measured is None:
        raise ArgumentError(
            f"found: {found.code} has no finite figure to draw: its value is {found.value}, its threshold "
            f"{found.threshold}; read its evidence"
        )
    return measured


def _measured(found: Finding) -> Measured | None:
    """Return the figures of a finding, or else its value and threshold; ``None`` where these are not finite."""
    if found.measured is not None and found.measured.values:
        return found.measured
    pair = (float(found.value), float(found.threshold))
    if not all(map(math.isfinite, pair)):
        return None
    apart = max(pair) > 30 * min(pair)
    return Measured("value", pair, "figure", ("measured", "threshold"), logarithmic=apart)


def _title(found: Finding, measured: Measured) -> str:
    if found.measured is not measured:
        return labels([found.title], 44)[0]
    along = "" if measured.at and isinstance(measured.at[0], str) else f" by {measured.along.split(' (')[0]}"
    words = measured.quantity.split(" (")[0] + along
    return labels([words[:1].upper() + words[1:]], 44)[0]


def _heading(found: Finding) -> dict[str, Any]:
    title, place = (labels([text], 42)[0] for text in (found.title, found.place))
    where = {"x": 0, "xref": "x domain", "xanchor": "left", "y": 1, "yref": "y domain", "yanchor": "bottom"}
    text = f"{title}<br><span style='font-size:11px'>{found.severity}: {place}</span>"
    return {"text": text, "showarrow": False, "align": "left", "xshift": -50, "yshift": 2, **where}


def _nothing(found: Diagnosis) -> go.Figure:
    text = "The findings have no finite figure to draw." if found.findings else "Nothing found."
    middle = {"x": 0.5, "xref": "paper", "y": 0.5, "yref": "paper", "showarrow": False}
    figure = go.Figure(layout=layout("Findings", 220, xaxis={"visible": False}, yaxis={"visible": False}))
    return figure.add_annotation(text=text, font={"size": 15}, **middle)
