"""The numbers of a figure as tables, made from the figure itself, so that the two cannot differ."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glasslstm._extras import require

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

__all__ = ["Table", "plain", "tables"]


@dataclass
class Table:
    """One table: the first cell of a row says what the row is about."""

    caption: str
    head: list[str]
    rows: dict[Any, list[Any]] = field(default_factory=dict)
    """The cells of each row, by what it is about."""


def tables(figure: go.Figure) -> list[Table]:
    """Return a table for each pair of axes of a figure: of its heat map, or of its lines, bars and points together.

    The heads are the titles of the axes and the names of the traces. A trace with `customdata` has its numbers there.

    Examples
    --------
    >>> bars = go.Bar(x=["a", "b"], y=[1.5, 2.0], name="counts")
    >>> (table,) = tables(go.Figure(bars, {"xaxis": {"title": {"text": "class"}}, "yaxis": {"title": {"text": "n"}}}))
    >>> table.caption, table.head, table.rows
    ('n', ['class', 'counts'], {'a': ['a', 1.5], 'b': ['b', 2.0]})
    """
    found: dict[tuple[str, str], Table] = {}
    for trace in figure.data:
        if trace.hoverinfo == "skip":  # a line that guides the eye
            continue
        if trace.type == "heatmap":
            found[trace.xaxis or "x", trace.yaxis or "y"] = _matrix(figure, trace)
        else:
            _add(figure, trace, found)
    return list(found.values())


def _matrix(figure: go.Figure, trace: go.Heatmap) -> Table:
    numbers = np.asarray(trace.z if trace.customdata is None else trace.customdata, dtype=object)
    rows, columns = (_axis_title(figure, trace, letter) for letter in "yx")
    steps = range(numbers.shape[1]) if trace.x is None else trace.x
    names = [*map(str, range(len(numbers)))] if trace.y is None else [*map(plain, trace.y)]
    table = Table(plain(trace.name) or rows, [f"{rows} \\ {columns}", *map(plain, steps)])
    table.rows = {k: [name, *row] for k, (name, row) in enumerate(zip(names, numbers.tolist(), strict=True))}
    return table


def _add(figure: go.Figure, trace: Any, found: dict[tuple[str, str], Table]) -> None:
    """Add the numbers of a trace as columns; the rows of a pair of axes are shared."""
    at, value = ("y", "x") if trace.orientation == "h" else ("x", "y")
    titles = _axis_title(figure, trace, at), _axis_title(figure, trace, value)
    table = found.setdefault((trace.xaxis or "x", trace.yaxis or "y"), Table(titles[1], [titles[0]]))
    columns = dict(_columns(trace, value, plain(trace.name) or titles[1]))
    start = len(table.head)
    table.head += columns
    for k, where in enumerate(_places(trace, at, len(next(iter(columns.values()))))):
        key = (plain(trace.name), k) if getattr(trace, "mode", None) == "markers" else where
        row = table.rows.setdefault(key, [where])
        row.extend([None] * (start - len(row)) + [column[k] for column in columns.values()])
    for row in table.rows.values():
        row.extend([None] * (len(table.head) - len(row)))


def _columns(trace: Any, value: str, name: str) -> Iterator[tuple[str, Sequence[Any]]]:
    numbers = getattr(trace, value)
    flat = trace.customdata is not None and np.ndim(trace.customdata) == 1
    yield name, [*(trace.customdata if flat else numbers)]
    error = getattr(trace, f"error_{value}")
    if error.array is None:
        return
    values = np.asarray(numbers, float)
    lower = error.array if error.arrayminus is None else error.arrayminus
    yield f"{name}, lower end", (values - np.asarray(lower, float)).tolist()
    yield f"{name}, upper end", (values + np.asarray(error.array, float)).tolist()


def _places(trace: Any, at: str, count: int) -> list[Any]:
    found = getattr(trace, at)
    if found is None:
        return [*range(count)]
    return [plain(place) if isinstance(place, str) else place for place in np.asarray(found).tolist()]


def _axis_title(figure: go.Figure, trace: Any, letter: str) -> str:
    name = getattr(trace, f"{letter}axis") or letter
    return plain(figure.layout[f"{letter}axis{name[1:]}"].title.text)


def plain(label: Any) -> str:
    """Return the text of a label that plotly would read as HTML."""
    return html.unescape(re.sub(r"<br ?/?>", " ", "" if label is None else str(label)))
