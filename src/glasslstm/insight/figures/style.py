"""What all figures share: the templates of the light and the dark page, names that are safe to show, and axes."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

import numpy as np

from glasslstm._extras import require

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

__all__ = ["DARK", "LIGHT", "NEUTRAL", "labels", "layout", "line_style", "names_axis", "whole_numbers"]


def _template(
    ink: str, faint: str, lines: list[str], sequential: list[str], diverging: list[str]
) -> go.layout.Template:
    axis = {
        "gridcolor": faint,
        "linecolor": faint,
        "zeroline": False,
        "ticks": "",
        "ticklabelstandoff": 4,
        "automargin": True,
        "tickfont": {"size": 11},
        "exponentformat": "e",
        "title": {"font": {"size": 12}},
    }
    return go.layout.Template(
        layout={
            "font": {"color": ink, "family": "system-ui, sans-serif", "size": 13},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": lines,
            "colorscale": {"sequential": _scale(sequential), "diverging": _scale(diverging)},
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"font": {"size": 11}},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": ink, "activecolor": lines[0]},
        }
    )


def _scale(colours: list[str]) -> list[tuple[float, str]]:
    return [(float(at), colour) for at, colour in zip(np.linspace(0, 1, len(colours)), colours, strict=True)]


# Lightness orders the sequential scales and each half of the diverging ones (blue, orange), so they survive
# colour blindness; zero has the colour of the page. Lines: the hues of Okabe and Ito, darker or lighter where the page
# asks for it; a line is told from the others by its dashes and marks too.
LIGHT = _template(
    ink="#1c2530",
    faint="#d5dce4",
    lines=["#0072b2", "#c45500", "#00775a", "#9c4a78", "#7a5c00", "#3f5f7f"],
    sequential=["#e4eef2", "#b0d9de", "#62b4cb", "#3c81b5", "#3d4f94", "#26234f"],
    diverging=["#0b4a83", "#4f93c6", "#b4d2e6", "#f7f7f5", "#f3c9a6", "#d9803b", "#8c3d06"],
)
"""The template of every figure: dark ink on transparent paper."""

DARK = _template(
    ink="#e3e9ef",
    faint="#303b46",
    lines=["#56b4e9", "#f0983c", "#2fc59a", "#e39cc4", "#e5d552", "#a9b8c8"],
    sequential=["#272e45", "#303a69", "#3b5a9a", "#4590bd", "#7cc5d2", "#e2f5f2"],
    diverging=["#a9dcff", "#4f9fd9", "#275478", "#20262c", "#7d4a22", "#d98b45", "#ffdcb3"],
)
"""The template for a dark page."""

NEUTRAL = "#808a94"
"""A grey that can be seen on both pages: for thresholds and marks that are no data."""

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross")


def line_style(k: int) -> dict[str, Any]:
    """Return dashes and marks of the k-th line; its colour comes from the template, in the order of the traces."""
    return {
        "line": {"dash": _DASHES[k % len(_DASHES)]},
        "marker": {"symbol": _SYMBOLS[k % len(_SYMBOLS)], "size": 6},
    }


_AT_THE_TOP = {"y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 12}}


def layout(title: str, height: float, **more: Any) -> dict[str, Any]:
    """Return the layout of a figure: title, height in pixels, template, margins, a legend above."""
    return {
        "title": {"text": title, "font": {"size": 14}} | _AT_THE_TOP,
        "template": LIGHT,
        "height": height,
        "margin": {"t": 60, "r": 16, "b": 50, "l": 60},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        **more,
    }


def labels(names: Iterable[object], longest: int = 14) -> list[str]:
    """Return names short, told apart (an axis merges equals), and with plotly's HTML and TeX disarmed.

    Examples
    --------
    >>> labels(["left", "a name that is long", "a name that is longer", "<b>"])
    ['left', 'a name that i…', 'a name th… (2)', '&lt;b&gt;']
    """
    found: dict[str, None] = {}
    for name in names:
        text = (
            str(name).encode("utf-8", "replace").decode().strip() or "(empty)"
        )  # half of a surrogate pair is no text
        short, count = _cut(text, longest), 1
        while short in found:
            count += 1
            mark = f" ({count})"
            short = _cut(text, longest - len(mark)) + mark
        found[short] = None
    return [html.escape(short).replace("$", "&#36;").replace("{", "&#123;") for short in found]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: max(longest - 1, 1)] + "…"


def names_axis(title: str) -> dict[str, Any]:
    """Return an axis with a name at each row, the first on top."""
    return {"type": "category", "autorange": "reversed", "showgrid": False, "title": {"text": title}}


def whole_numbers(count: int) -> dict[str, Any]:
    """Return an axis of so many whole numbers, with ticks at whole numbers alone."""
    return {"dtick": 1} if count <= 10 else {"nticks": 10}
