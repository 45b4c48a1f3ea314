"""One offline HTML page: how good a classifier is, how it learnt, and what its LSTM did at every step."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm._files import written_whole
from glasslstm.errors import ArgumentError
from glasslstm.nn.trace import Trace

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402
from plotly.io.json import to_json_plotly  # noqa: E402
from plotly.offline import get_plotlyjs  # noqa: E402

from glasslstm.insight import figures  # noqa: E402

__all__ = ["write_report"]

_TRACE_CELLS = 120_000  # numbers of the trace that the page shows at most: with them it stays below 8 MB
_TABLE_ROWS = 1000


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, object],
    history: Sequence[Mapping[str, Any]],
    best_epoch: int | None,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    classes: Sequence[Any],
    trace: Trace,
    inputs: ArrayLike,
    channel_names: Sequence[str] | None,
    trace_title: str,
) -> Path:
    """Write the report of a classifier: one HTML file that opens anywhere and loads nothing.

    The file is written whole or not at all, and its folder is made where there is none. Of a trace with
    very many steps or units a part is shown, and the page says which.

    Parameters
    ----------
    path
        The file to write, such as ``"report.html"``.
    title
        The page's heading.
    summary
        Labels and values that stand at the top, such as ``{"test accuracy": 0.98, "n_test": 370}``.
    history, best_epoch
        As for :func:`glasslstm.insight.figures.learning_curves`.
    y_true, y_pred, classes
        As for :func:`glasslstm.insight.figures.confusion_matrix`.
    trace, inputs, channel_names
        As for :func:`glasslstm.insight.figures.gate_panels`; the first sequence of the batch is shown.
    trace_title
        A sentence that says which sequence that is.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ArgumentError
        The path is a folder, or the data do not fit together.

    Examples
    --------
    >>> import tempfile, torch, glasslstm as gl
    >>> x = torch.randn(5, 1, 2)
    >>> _, _, trace = gl.LSTM(2, 3)(x, return_trace=True)
    >>> path = write_report(
    ...     tempfile.mkdtemp() + "/report.html",
    ...     title="Two classes",
    ...     summary={"accuracy": 0.5},
    ...     history=[{"epoch": 1, "train_loss": 0.7}],
    ...     best_epoch=1,
    ...     y_true=["a", "b"],
    ...     y_pred=["a", "a"],
    ...     classes=["a", "b"],
    ...     trace=trace,
    ...     inputs=x[:, 0],
    ...     channel_names=["left", "right"],
    ...     trace_title="A random sequence.",
    ... )
    >>> path.name
    'report.html'
    """
    path = Path(path)
    if path.is_dir():
        raise ArgumentError(f"path: got the folder {path}; expected a file, such as {path / 'report.html'}")
    counts = figures.confusion_counts(y_true, y_pred, classes)
    names = [str(name) for name in classes]
    page = Template(files("glasslstm.insight").joinpath("report.html").read_text("utf-8")).substitute(
        title=html.escape(title),
        result=_result(counts, names),
        summary="".join(
            f"<div><dt>{_text(label)}</dt><dd>{_text(value)}</dd></div>" for label, value in summary.items()
        ),
        confusions=_confusions(figures.confusion_matrix(y_true, y_pred, classes), counts, names),
        training=_training(history, best_epoch),
        trace_title=html.escape(trace_title),
        inside=_inside(trace, inputs, channel_names),
        templates=_json({"light": figures.LIGHT, "dark": figures.DARK}),
        plotly=get_plotlyjs(),
    )
    with written_whole(path) as partial:
        partial.write_text(page, "utf-8", errors="replace")  # a name may hold half of a surrogate pair
    return path


def _result(counts: NDArray[np.int64], names: list[str]) -> str:
    total, right = counts.sum(), counts.trace()
    wrong = counts - np.diag(counts.diagonal())
    sentence = f"Of {total} sequences, {right} got the right class: an accuracy of {right / total:.1%}."
    if not wrong.any():
        return sentence
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    true, predicted = html.escape(names[row]), html.escape(names[column])
    return (
        f"{sentence} No confusion is more frequent than “{true}” taken for “{predicted}”: "
        f"{wrong.max()} of {counts[row].sum()}."
    )


def _confusions(figure: go.Figure, counts: NDArray[np.int64], names: list[str]) -> str:
    caption = (
        "A row holds the sequences of one true class, a column what they were taken for: the diagonal is right. "
        "The colour is the share of the row."
    )
    matrix = _table(
        "How many sequences of a true class (row) were taken for a class (column)",
        ["true \\ predicted", *names],
        _rows(names, counts),
    )
    return _figure(figure, caption, matrix) + _recall_and_precision(counts, names)


def _recall_and_precision(counts: NDArray[np.int64], names: list[str]) -> str:
    columns = zip(names, counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0), strict=True)
    rows = [(name, _share(right, true), _share(right, taken)) for name, right, true, taken in columns]
    caption = "Recall: the share of a true class that was found. Precision: the share of a prediction that was right."
    return _table(caption, ["class", "recall", "precision"], rows)


def _share(part: int, whole: int) -> str | None:
    return f"{part / whole:.1%} ({part} of {whole})" if whole else None


def _training(history: Sequence[Mapping[str, Any]], best_epoch: int | None) -> str:
    figure = figures.learning_curves(history, best_epoch)
    columns = list(dict.fromkeys(key for epoch in history for key in epoch))
    rows = [[epoch.get(column) for column in columns] for epoch in history]
    caption = "The loss is the mean cross-entropy."
    if best_epoch is not None:
        caption += " The dotted line marks the best epoch, the one with the lowest validation loss."
    return _figure(figure, caption, _table("Each epoch", columns, rows))


def _inside(trace: Trace, inputs: ArrayLike, channel_names: Sequence[str] | None) -> str:
    layers = {layer: "" for layer, _ in trace}
    for layer, direction in trace:
        panels = figures.gate_panels(
            trace, inputs, layer=layer, direction=direction, channel_names=channel_names
        )
        panels = _fit(panels, _TRACE_CELLS // len(trace))
        layers[layer] += _figure(figures.gates(panels), _DIRECTIONS[direction], *map(_panel_table, panels))
    return "".join(
        f'<h3>Layer {layer}</h3><div class="pair">{drawn}</div>' for layer, drawn in layers.items()
    )


_DIRECTIONS = (
    "<strong>Forward</strong> reads from the first step to the last.",
    "<strong>Reverse</strong> reads from the last step to the first; follow it from right to left.",
)


def _fit(panels: list[figures.Panel], cells: int) -> list[figures.Panel]:
    """Clip the panels to `cells` numbers in all: first units, down to 16 of them, then steps."""
    steps = panels[0].values.shape[1]
    each = cells // len(panels)
    rows = int(np.clip(each // steps, 16, 128))
    return [panel.clip(rows, max(1, each // rows)) for panel in panels]


def _panel_table(panel: figures.Panel) -> str:
    caption = f"{panel.title}: {panel.row_title} (row), {panel.step_title} (column)"
    steps = range(panel.values.shape[1])
    return _table(caption, [panel.kind, *steps], _rows(panel.names, panel.values))


def _figure(figure: go.Figure, caption: str, *tables: str) -> str:
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<div class="plot" style="min-height:{figure.layout.height:.0f}px"></div>'
        f'<script type="application/json">{_json(figure)}</script>'
        f"<details><summary>The numbers of this figure</summary>{''.join(tables)}</details></figure>"
    )


def _json(value: object) -> str:
    """Return JSON that cannot end the script element which holds it."""
    return str(to_json_plotly(value, engine="json")).replace("<", "\\u003c")


def _rows(names: Iterable[object], values: NDArray[Any]) -> list[list[object]]:
    return [[name, *row] for name, row in zip(names, values.tolist(), strict=True)]


def _table(caption: str, head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    if len(rows) > _TABLE_ROWS:
        caption = f"{caption} (the first {_TABLE_ROWS} of {len(rows)})"
    columns = "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
    body = "\n".join(
        f'<tr><th scope="row">{_text(first)}</th>'
        + "".join(f"<td>{_text(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows[:_TABLE_ROWS]
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(caption)}">'
        f"<table><caption>{_text(caption)}</caption><thead><tr>{columns}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _text(value: object) -> str:
    """Return a value as HTML text: four digits of a real number, n/a for what there is none of."""
    if value is None:
        return "n/a"
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return html.escape(str(value))
