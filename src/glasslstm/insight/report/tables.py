"""The numbers of a figure as tables, made from the figure itself, so that the two cannot differ."""

from __future__ import annotations

import html
import re
from collections import Counter
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

    The heads are the titles of the axes and the names of the traces. The numbers of a heat map are in its `customdata`,
    where it has any; those of another trace where its `meta` is ``{"numbers": "customdata"}``. A point of a cloud has
    its name there.

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
    """Add the numbers of a trace: as columns, whose rows a pair of axes shares, or a cloud of points as rows."""
    axes, cloud = (trace.xaxis or "x", trace.yaxis or "y"), _is_cloud(trace)
    flat = trace.orientation == "h" or (not cloud and _are_names(trace.y))
    at, value = ("y", "x") if flat else ("x", "y")
    titles = {letter: _axis_title(figure, trace, letter) for letter in "xy"}
    if cloud:
        table = found.setdefault(
            axes, Table(f"{titles['x']} and {titles['y']}", ["", titles["x"], titles["y"]])
        )
        names = range(len(trace.x)) if trace.customdata is None else trace.customdata
        for name, x, y in zip(names, trace.x, trace.y, strict=True):
            table.rows[trace.name, name] = [f"{plain(trace.name)} {name}".strip(), x, y]
        return
    table = found.setdefault(axes, Table(titles[value], [titles[at]]))
    columns = dict(_columns(trace, value, plain(trace.name) or titles[value]))
    start = len(table.head)
    table.head += columns
    visits: Counter[Any] = Counter()
    for k, where in enumerate(_places(trace, at, len(next(iter(columns.values()))))):
        if where is None:  # a gap between two pieces of a line
            continue
        visits[where] += 1  # a line of several pieces may come again
        row = table.rows.setdefault(where if visits[where] == 1 else (where, visits[where]), [where])
        row.extend([None] * (start - len(row)) + [column[k] for column in columns.values()])
    for row in table.rows.values():
        row.extend([None] * (len(table.head) - len(row)))


def _is_cloud(trace: Any) -> bool:
    """Tell whether a trace is points between two axes of numbers."""
    marks = getattr(trace, "mode", None) == "markers" and trace.x is not None
    return marks and not _are_names(trace.x) and not _are_names(trace.y)


def _are_names(values: Any) -> bool:
    return values is not None and len(values) > 0 and isinstance(values[0], str)


def _columns(trace: Any, value: str, name: str) -> Iterator[tuple[str, Sequence[Any]]]:
    numbers = getattr(trace, value)
    real = isinstance(trace.meta, dict) and trace.meta.get("numbers") == "customdata"
    yield name, [*(trace.customdata if real else numbers)]
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
