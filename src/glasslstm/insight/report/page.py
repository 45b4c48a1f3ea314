"""The building blocks of the page: safe text, figures, tables, code to copy, and what cannot be shown."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glasslstm._extras import require
from glasslstm.errors import GlassLSTMError

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402
from plotly.io.json import to_json_plotly  # noqa: E402
from plotly.offline import get_plotlyjs  # noqa: E402

from glasslstm.insight.figures.style import DARK, LIGHT  # noqa: E402
from glasslstm.insight.report.tables import plain, tables  # noqa: E402

__all__ = [
    "arrayed",
    "block",
    "code",
    "figure",
    "grid",
    "notice",
    "number",
    "page",
    "paragraph",
    "select",
    "table",
    "text",
    "to_json",
]


SIZE_OF_PLOTLY = len(get_plotlyjs())
"""Bytes of a page that the drawing of figures takes."""


def page(title: str, lead: str, sections: Mapping[str, tuple[str, str]], data: Any) -> str:
    """Return the whole page.

    Parameters
    ----------
    title
        The heading, as plain text.
    lead
        What stands below it, as HTML.
    sections
        By identifier the heading, as plain text, and the body, as HTML.
    data
        What the explorers show, as what JSON can hold.
    """
    source = files("glasslstm.insight.report")
    parts = "".join(
        f'<section id="{name}"><h2>{text(heading)}</h2>{body}</section>'
        for name, (heading, body) in sections.items()
    )
    contents = "".join(
        f'<li><a href="#{name}">{text(heading)}</a></li>' for name, (heading, _) in sections.items()
    )
    return Template(source.joinpath("page.html").read_text("utf-8")).substitute(
        title=text(title),
        lead=lead,
        contents=contents,
        sections=parts,
        style=source.joinpath("page.css").read_text("utf-8"),
        script=source.joinpath("page.js").read_text("utf-8"),
        plotly=get_plotlyjs(),
        templates=to_json({"light": LIGHT, "dark": DARK}),
        data=to_json(data),
    )


def block(build: Callable[[], str]) -> str:
    """Return what `build` makes; where that cannot be shown, the reason."""
    try:
        return build()
    except GlassLSTMError as reason:
        return notice(str(reason))


def notice(reason: str) -> str:
    """Say what cannot be shown, and why."""
    return f'<p class="notice"><strong>Not shown.</strong> {text(_sentence(reason))}</p>'


def _sentence(reason: str) -> str:
    """Return a reason as a sentence, without the name of the argument that an error begins with."""
    words = re.sub(r"^[\w, ]{1,30}: ", "", reason)
    words = words[:1].upper() + words[1:]
    return words if words.endswith((".", "!", "?")) else words + "."


def paragraph(words: str, kind: str = "") -> str:
    """Return plain text as a paragraph."""
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def grid(cells: Iterable[str]) -> str:
    """Put blocks side by side where there is room."""
    found = [f"<div>{cell}</div>" for cell in cells]
    return f'<div class="grid">{"".join(found)}</div>'


def code(source: str) -> str:
    """Return code with a button that copies it; nothing where there is none."""
    return source and (
        f'<div class="code"><pre tabindex="0"><code>{text(source)}</code></pre>'
        '<button type="button" class="copy">Copy</button></div>'
    )


def figure(drawn: go.Figure, caption: str = "", *, chosen: bool = False) -> str:
    """Return a figure with its heading, caption and numbers; the page draws it.

    Parameters
    ----------
    drawn
        The figure; its title becomes the heading.
    caption
        What to see in it, as plain text.
    chosen
        Whether the reader chooses what it shows: then the page makes the table of its numbers.
    """
    drawn = go.Figure(drawn)
    heading, subtitle = _headings(drawn.layout.title)
    drawn.layout.title = None
    saved = _TITLE + _SUBTITLE * bool(subtitle)
    named = drawn.layout.showlegend is not False and sum(bool(trace.name) for trace in drawn.data) > 1
    above = _LEGEND if named else _ABOVE  # a legend of more lines makes it grow
    drawn.update_layout(margin={"t": above}, height=drawn.layout.height - saved)
    if chosen:  # its numbers come from what the reader chooses
        for trace in drawn.data:
            trace.update(x=[], y=[], customdata=None, **({"z": [[]]} if trace.type == "heatmap" else {}))
    about = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    if subtitle or chosen:
        about += f'<p class="place quiet"{" aria-live=polite" if chosen else ""}>{text(subtitle)}</p>'
    numbers = (
        '<div class="scroll" role="region" tabindex="0"></div>'
        if chosen
        else "".join(table(found.caption, found.head, list(found.rows.values())) for found in tables(drawn))
    )
    return (
        f"<figure><h4>{text(heading)}</h4>{about}"
        f'<div class="plot" style="height:{drawn.layout.height:.0f}px"></div>'
        f'<script type="application/json">{to_json(drawn)}</script>'
        f"<details><summary>The numbers of this figure</summary>{numbers}</details></figure>"
    )


_TITLE, _SUBTITLE, _ABOVE, _LEGEND = (
    32,
    18,
    6,
    28,
)  # pixels: what a heading took of a figure, and the margin that is left


def _headings(title: Any) -> tuple[str, str]:
    """Return the title of a figure and its subtitle as plain text."""
    heading, _, rest = (title.text or "").partition("<br>")
    return plain(heading), plain(title.subtitle.text or rest.removeprefix("<sub>").removesuffix("</sub>"))


def select(name: str, label: str, options: Mapping[Any, object], chosen: Any = None) -> str:
    """Return a list to choose from: what the page is told, and what the reader reads."""
    choices = "".join(
        f'<option value="{text(value)}"{" selected" if value == chosen else ""}>{text(shown)}</option>'
        for value, shown in options.items()
    )
    return f'<label>{text(label)}<select data-control="{name}">{choices}</select></label>'


def table(caption: str, head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; the first cell of a row names it."""
    if len(rows) > _MOST_ROWS:
        caption = f"{caption} (the first {_MOST_ROWS} of {len(rows)} rows)"
    columns = "".join(f'<th scope="col">{number(name)}</th>' for name in head)
    body = "\n".join(
        f'<tr><th scope="row">{number(first)}</th>' + "".join(f"<td>{number(c)}</td>" for c in rest) + "</tr>"
        for first, *rest in rows[:_MOST_ROWS]
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}">'
        f"<table><caption>{text(caption)}</caption><thead><tr>{columns}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


_MOST_ROWS = 1000


_NOTHING = 1e-300  # what stands for zero on a logarithmic axis


def number(value: object) -> str:
    """Return a value as HTML text: four digits of a real number, n/a for what there is none of."""
    if value is None:
        return "n/a"
    if isinstance(value, (float, np.floating)):
        if np.isnan(value):
            return "n/a"
        return "0" if abs(value) < _NOTHING else f"{value:.4g}"
    return text(value)


def text(value: object) -> str:
    """Return anything as HTML text; half of a surrogate pair, which is no text, as a question mark."""
    return html.escape(str(value).encode("utf-8", "replace").decode())


def to_json(value: Any) -> str:
    """Return JSON that cannot end the script element which holds it, with numbers of six digits."""
    if isinstance(value, go.Figure):
        value = value.to_plotly_json()
        value["layout"].pop("template", None)  # the page has both, and chooses
    return str(to_json_plotly(_plain(value), engine="json")).replace("<", "\\u003c")


def arrayed(packed: Mapping[str, Any]) -> NDArray[Any]:
    """Return the array that plotly has packed."""
    flat = np.frombuffer(base64.b64decode(packed["bdata"]), np.dtype(packed["dtype"]))
    return flat.reshape([int(size) for size in str(packed.get("shape", flat.size)).split(",")])


def _plain(value: Any) -> Any:
    """Turn arrays, those that plotly has packed too, to lists, and shorten numbers."""
    if isinstance(value, Mapping):
        if "bdata" in value:
            return _plain(arrayed(value))
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
