"""Figures of a training run, of a classifier's errors, and of what an LSTM did at every step.

Each function returns a plotly figure in the template :data:`LIGHT`;
``figure.update_layout(template=DARK)`` turns it into its dark twin, colour scales included.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.nn.trace import Trace

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402
from plotly.subplots import make_subplots  # noqa: E402

__all__ = [
    "DARK",
    "LIGHT",
    "Panel",
    "confusion_counts",
    "confusion_matrix",
    "gate_panels",
    "gates",
    "learning_curves",
]


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
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": ink, "activecolor": lines[0]},
        }
    )


def _scale(colours: list[str]) -> list[tuple[float, str]]:
    return [(float(at), colour) for at, colour in zip(np.linspace(0, 1, len(colours)), colours, strict=True)]


# Lightness orders the sequential scales and each half of the diverging ones (blue, orange), so they survive
# colour blindness; zero has the colour of the page. Lines: Okabe and Ito, validation twice (loss, accuracy).
LIGHT = _template(
    ink="#1c2530",
    faint="#d5dce4",
    lines=["#0072b2", "#d55e00", "#d55e00"],
    sequential=["#f3f7f9", "#b5dde0", "#62b4cb", "#3c81b5", "#3d4f94", "#26234f"],
    diverging=["#0b4a83", "#4f93c6", "#b4d2e6", "#f7f7f5", "#f3c9a6", "#d9803b", "#8c3d06"],
)
"""The template of every figure: dark ink on transparent paper."""

DARK = _template(
    ink="#e3e9ef",
    faint="#303b46",
    lines=["#56b4e9", "#e69f00", "#e69f00"],
    sequential=["#1b2229", "#2c3360", "#3b5a9a", "#4590bd", "#7cc5d2", "#e2f5f2"],
    diverging=["#a9dcff", "#4f9fd9", "#275478", "#20262c", "#7d4a22", "#d98b45", "#ffdcb3"],
)
"""The template for a dark page."""


def learning_curves(history: Sequence[Mapping[str, Any]], best_epoch: int | None = None) -> go.Figure:
    """Draw the losses and the validation accuracy of each epoch.

    Parameters
    ----------
    history
        One mapping an epoch, as in ``LSTMClassifier.history_``: ``epoch``, ``train_loss`` and, where
        there was a validation part, ``valid_loss`` and ``valid_accuracy`` (in [0, 1]).
    best_epoch
        The epoch to mark, the one with the lowest validation loss.

    Raises
    ------
    ArgumentError
        `history` is empty or lacks ``epoch`` or ``train_loss``; `best_epoch` is not an epoch of it.

    Examples
    --------
    >>> figure = learning_curves([{"epoch": 1, "train_loss": 0.9}, {"epoch": 2, "train_loss": 0.4}])
    >>> list(figure.data[0].y)
    [0.9, 0.4]
    """
    _check_history(history, best_epoch)
    recorded = {key for epoch in history for key, value in epoch.items() if value is not None}
    curves = [curve for curve in _CURVES if curve[0] in recorded]
    axes = list(dict.fromkeys(axis for _, axis, _ in curves))
    figure = make_subplots(rows=len(axes), shared_xaxes=True, vertical_spacing=0.08)
    for key, axis, name in curves:
        row = 1 + axes.index(axis)
        figure.add_trace(_curve(history, key, name, legend=row == 1), row=row, col=1)
        figure.update_yaxes(title={"text": axis}, row=row, col=1)
    first, last = history[0]["epoch"], history[-1]["epoch"]
    room = max(0.5, (last - first) / 50)
    figure.update_xaxes(_whole_numbers(len(history)), range=[first - room, last + room])
    figure.update_xaxes(title={"text": "epoch"}, row=len(axes), col=1)
    if best_epoch is not None:
        _mark_epoch(figure, best_epoch, left=best_epoch > (first + last) / 2)
    return figure.update_layout(
        template=LIGHT,
        height=180 + 150 * len(axes),
        margin={"t": 40, "r": 16, "b": 50, "l": 60},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        hovermode="x unified",
    )


_CURVES = [
    ("train_loss", "loss", "training"),
    ("valid_loss", "loss", "validation"),
    ("valid_accuracy", "accuracy", "validation"),
]


def _curve(history: Sequence[Mapping[str, Any]], key: str, name: str, *, legend: bool) -> go.Scatter:
    return go.Scatter(
        x=[epoch["epoch"] for epoch in history],
        y=[epoch.get(key) for epoch in history],
        name=name,
        mode="lines+markers",
        marker={"size": 5},
        showlegend=legend,
        hovertemplate="%{y:.4g}",
    )


def _check_history(history: Sequence[Mapping[str, Any]], best_epoch: int | None) -> None:
    epochs = [epoch.get("epoch") for epoch in history if epoch.get("train_loss") is not None]
    if len(epochs) == 0 or len(epochs) < len(history) or None in epochs:
        raise ArgumentError(
            f"history: got {len(history)} epochs, {len(epochs)} of them with a 'train_loss'; expected a list "
            "of at least one mapping with 'epoch' and 'train_loss', as in LSTMClassifier.history_"
        )
    if best_epoch is not None and best_epoch not in epochs:
        raise ArgumentError(
            f"best_epoch: got {best_epoch}, which is not an epoch of history ({epochs[0]} to {epochs[-1]})"
        )


def _mark_epoch(figure: go.Figure, epoch: int, *, left: bool) -> None:
    figure.add_vline(x=epoch, line={"dash": "dot", "width": 1.5, "color": "#808a94"})
    figure.add_annotation(
        text=f"best epoch: {epoch}",
        x=epoch,
        y=1,
        yref="y domain",
        showarrow=False,
        xanchor="right" if left else "left",
        xshift=-6 if left else 6,
        yanchor="top",
    )


def confusion_matrix(y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence[Any]) -> go.Figure:
    """Draw how often each class was taken for each class.

    The colour is the share of the row, that is of the sequences which truly are of that class; a cell
    shows the count and, where there is any, that share.

    Parameters
    ----------
    y_true, y_pred
        The true and the predicted labels, (N,).
    classes
        The labels in the order of the rows and columns, K of them.

    Raises
    ------
    ArgumentError
        As for :func:`confusion_counts`.

    Examples
    --------
    >>> figure = confusion_matrix(["a", "a", "b"], ["a", "b", "b"], ["a", "b"])
    >>> figure.data[0].z.tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    counts = confusion_counts(y_true, y_pred, classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = _labels(classes)
    legible = len(names) <= 25
    cells = go.Heatmap(
        x=names,
        y=names,
        z=shares,
        customdata=counts,
        text=np.vectorize(_cell)(counts, shares) if legible else None,
        texttemplate="%{text}" if legible else None,
        hovertemplate="true %{y}, predicted %{x}<br>%{customdata} (%{z:.1%} of row)<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )
    layout = {
        "template": LIGHT,
        "height": int(np.clip(110 + 46 * len(names), 220, 760)),
        "margin": {"t": 34, "r": 16, "b": 50, "l": 60},
        "xaxis": {"type": "category", "showgrid": False, "title": {"text": "predicted class"}},
        "yaxis": _names_axis("true class"),
        "coloraxis": {"autocolorscale": True, "cmin": 0, "cmax": 1, "showscale": not legible},
    }
    return go.Figure(cells, layout)


def confusion_counts(y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence[Any]) -> NDArray[np.int64]:
    """Count how often each true class (row) was predicted as each class (column).

    Parameters
    ----------
    y_true, y_pred
        The true and the predicted labels, (N,).
    classes
        The labels in the order of the rows and columns, K of them.

    Returns
    -------
    numpy.ndarray
        The counts, (K, K).

    Raises
    ------
    ArgumentError
        The labels are none, differ in number, or are not all among `classes`.

    Examples
    --------
    >>> confusion_counts(["a", "a", "b"], ["a", "b", "b"], ["a", "b"]).tolist()
    [[1, 1], [0, 1]]
    """
    true, predicted, rows = (np.asarray(y, dtype=object).ravel().tolist() for y in (y_true, y_pred, classes))
    if len(true) != len(predicted) or not true:
        raise ArgumentError(
            f"y_true, y_pred: got {len(true)} and {len(predicted)} labels; expected as many of both, "
            "at least one: pass the true and the predicted label of each sequence"
        )
    unknown = {*true, *predicted} - {*rows}
    if unknown:
        raise ArgumentError(
            f"classes: got {rows}, which lacks {sorted(map(str, unknown))} of the labels; "
            "expected every label of y_true and y_pred"
        )
    counts = Counter(zip(true, predicted, strict=True))
    return np.array([[counts[row, column] for column in rows] for row in rows], dtype=np.int64)


def _cell(count: int, share: float) -> str:
    return f"{count}<br>{share:.0%}" if count else "0"


@dataclass(frozen=True)
class Panel:
    """One heat map of :func:`gates`: a row is a channel or a unit, a column a step.

    Attributes
    ----------
    title
        What the numbers are.
    kind
        What a row is: "channel" or "unit".
    names
        The names of the rows, R of them, from the top.
    values
        The numbers, (R, T).
    limits
        The ends of the colour scale.
    whole
        How many rows and steps there are: more than (R, T) after :meth:`clip`.
    scaled
        What the colours show in place of `values`, (R, T): rows of unlike units brought to one scale.
    """

    title: str
    kind: str
    names: list[str]
    values: NDArray[np.floating]
    limits: tuple[float, float]
    whole: tuple[int, int]
    scaled: NDArray[np.floating] | None = None

    def clip(self, rows: int, steps: int) -> Panel:
        """Return a panel of at most so many rows, evenly chosen, and the first so many steps."""
        kept = np.unique(np.linspace(0, len(self.names) - 1, min(rows, len(self.names))).astype(int))
        return replace(
            self,
            names=[self.names[row] for row in kept],
            values=self.values[kept, :steps],
            scaled=None if self.scaled is None else self.scaled[kept, :steps],
        )

    @property
    def row_title(self) -> str:
        """What the rows are, and how many of them where some are left out."""
        shown, whole = len(self.names), self.whole[0]
        return self.kind if shown == whole else f"{self.kind} ({shown} of {whole})"

    @property
    def step_title(self) -> str:
        """What the columns are, and how many of them where some are left out."""
        shown, whole = self.values.shape[1], self.whole[1]
        return "step" if shown == whole else f"step (the first {shown} of {whole})"


def gates(panels: Sequence[Panel]) -> go.Figure:
    """Draw what one layer did with one sequence in one direction, step by step.

    Parameters
    ----------
    panels
        What :func:`gate_panels` returns; each becomes a heat map over the same time axis.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> x = torch.randn(5, 1, 3)
    >>> _, _, trace = gl.LSTM(3, 4)(x, return_trace=True)
    >>> figure = gates(gate_panels(trace, x[:, 0]))
    >>> [heat_map.z.shape for heat_map in figure.data][:2]
    [(3, 5), (4, 5)]
    """
    height, domains = _stack(panels)
    layout: dict[str, Any] = {
        "template": LIGHT,
        "height": height + 80,
        "margin": {"t": 30, "r": 8, "b": 50, "l": 50},
        # One time axis for all: where one panel is enlarged, the others follow.
        "xaxis": {"title": {"text": panels[0].step_title}, "anchor": f"y{len(panels)}", "showgrid": False}
        | _whole_numbers(panels[0].values.shape[1]),
        "annotations": [_heading(panel, top) for panel, (_, top) in zip(panels, domains, strict=True)],
    }
    for row, (panel, domain) in enumerate(zip(panels, domains, strict=True), start=1):
        layout[f"yaxis{row}"] = {**_names_axis(panel.row_title), "domain": domain}
        layout[f"coloraxis{row}"] = _colour_axis(panel, domain)
    return go.Figure([_heat_map(panel, row) for row, panel in enumerate(panels, start=1)], layout)


def _stack(panels: Sequence[Panel]) -> tuple[float, list[tuple[float, float]]]:
    """Return the height of all panels in pixels, and the share of it that each takes, from the top."""
    tallest = {"channel": 190, "unit": 128}
    heights = np.array([np.clip(16 * len(panel.names), 64, tallest[panel.kind]) for panel in panels])
    gap = 36  # room for a heading
    whole = float(heights.sum() + gap * (len(panels) - 1))
    tops = 1 - np.cumsum([0, *heights[:-1] + gap]) / whole
    return whole, [(max(0.0, top - height / whole), top) for top, height in zip(tops, heights, strict=True)]


def _heat_map(panel: Panel, row: int) -> go.Heatmap:
    shown = "%{z:.4g}" if panel.scaled is None else "%{customdata:.4g}"
    return go.Heatmap(
        y=_labels(panel.names),
        z=panel.values if panel.scaled is None else panel.scaled,
        customdata=None if panel.scaled is None else panel.values,
        yaxis=f"y{row}",
        coloraxis=f"coloraxis{row}",
        hovertemplate=f"{panel.kind} %{{y}}, step %{{x}}: {shown}<extra></extra>",
    )


def _heading(panel: Panel, top: float) -> dict[str, Any]:
    place = {
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": top,
        "yref": "paper",
        "yanchor": "bottom",
        "yshift": 2,
    }
    return {"text": panel.title, "showarrow": False, **place}


def _names_axis(title: str) -> dict[str, Any]:
    return {"type": "category", "autorange": "reversed", "showgrid": False, "title": {"text": title}}


def _colour_axis(panel: Panel, domain: tuple[float, float]) -> dict[str, Any]:
    ticks = {"tickvals": [*panel.limits, sum(panel.limits) / 2], "tickformat": ".2~g"}
    bar = {
        "len": domain[1] - domain[0],
        "y": sum(domain) / 2,
        "thickness": 10,
        "outlinewidth": 0,
        "ypad": 0,
        "xpad": 6,
    }
    return {
        "autocolorscale": True,
        "cmin": panel.limits[0],
        "cmax": panel.limits[1],
        "colorbar": {**bar, **ticks},
    }


def gate_panels(
    trace: Trace,
    inputs: ArrayLike,
    *,
    layer: int = 0,
    direction: int = 0,
    sequence: int = 0,
    channel_names: Sequence[str] | None = None,
) -> list[Panel]:
    """Lay out what one layer did with one sequence in one direction, for :func:`gates`.

    The input comes first, its colours in standard deviations from each channel's mean over the sequence.
    Then come the gates, the cell and the hidden state in the order of the equations, with the units
    sorted by their mean forget gate: those that keep most on top.

    Parameters
    ----------
    trace
        The record of a call, batched or not.
    inputs
        What the sequence was, (T, F).
    layer, direction, sequence
        Which entry of `trace`, and which sequence of its batch.
    channel_names
        F names; by default the numbers from 0.

    Raises
    ------
    ArgumentError
        There is no such entry, sequence or step, or `inputs` or `channel_names` do not fit it.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> x = torch.randn(5, 1, 3)
    >>> _, _, trace = gl.LSTM(3, 4)(x, return_trace=True)
    >>> gate_panels(trace, x[:, 0], channel_names=["east", "north", "up"])[0].names
    ['east', 'north', 'up']
    """
    recorded = _one_sequence(trace, layer, direction, sequence)
    keeps = _finite(recorded["forget_gate"]).mean(axis=0).filled(0)
    by_memory = np.argsort(-keeps, kind="stable")
    panels = [_input_panel(inputs, len(recorded["cell"]), channel_names)]
    for name, title, limits in _QUANTITIES:
        values = recorded[name].T
        units = (
            by_memory if len(values) == len(by_memory) else np.arange(len(values))
        )  # proj_size: h is narrower
        largest = _finite(np.abs(values)).filled(0).max() or 1.0
        panels.append(
            Panel(
                title, "unit", [*map(str, units)], values[units], limits or (-largest, largest), values.shape
            )
        )
    return panels


_QUANTITIES: list[tuple[str, str, tuple[float, float] | None]] = [
    ("forget_gate", "Forget gate: 1 keeps, 0 clears", (0.0, 1.0)),
    ("input_gate", "Input gate: 1 writes, 0 ignores", (0.0, 1.0)),
    ("candidate", "Candidate: what may be written", (-1.0, 1.0)),
    ("cell", "Cell state: the memory", None),
    ("output_gate", "Output gate: 1 shows, 0 hides", (0.0, 1.0)),
    ("hidden", "Hidden state: what is passed on", None),
]


def _one_sequence(trace: Trace, layer: int, direction: int, sequence: int) -> dict[str, NDArray[np.floating]]:
    """Return the six quantities of one sequence by name, (T, H), without padding."""
    recorded = {
        name: values[:, None] if values.ndim == 2 else values  # unbatched
        for name, values in trace[layer, direction].numpy().items()
    }
    steps, batch = recorded["cell"].shape[:2]
    if not 0 <= sequence < batch:
        raise ArgumentError(f"sequence: got {sequence}; the trace holds the sequences 0 to {batch - 1}")
    if trace.lengths is not None:
        steps = int(trace.lengths.reshape(-1)[sequence])
    if steps == 0:
        raise ArgumentError(f"sequence: {sequence} has no steps, so nothing happened; choose a longer one")
    return {name: values[:steps, sequence] for name, values in recorded.items()}


def _input_panel(inputs: ArrayLike, steps: int, channel_names: Sequence[str] | None) -> Panel:
    x = np.asarray(inputs, dtype=np.float64)
    if x.ndim != 2 or len(x) < steps:
        raise ArgumentError(
            f"inputs: got the shape {x.shape}; expected (T, F) with the T = {steps} steps of the sequence"
        )
    names = range(x.shape[1]) if channel_names is None else channel_names
    if len(names) != x.shape[1]:
        raise ArgumentError(
            f"channel_names: got {len(names)} names; expected one for each of the {x.shape[1]} channels"
        )
    values = x[:steps].T
    known = _finite(values)
    spread = known.std(axis=1, keepdims=True).filled(0)
    scaled = ((known - known.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)).filled(np.nan)
    title = "Input, standardised"
    return Panel(title, "channel", [*map(str, names)], values, (-3.0, 3.0), values.shape, scaled)


def _finite(values: NDArray[np.floating]) -> np.ma.MaskedArray[Any, np.dtype[np.floating]]:
    return np.ma.masked_invalid(values)


def _labels(names: Iterable[object], longest: int = 14) -> list[str]:
    """Return names short, told apart (an axis merges equals), and with plotly's HTML and TeX disarmed."""
    labels: dict[str, None] = {}
    for name in names:
        text = str(name).encode("utf-8", "replace").decode()  # half of a surrogate pair is no text
        short = text if len(text) <= longest else text[: longest - 1] + "…"
        label = html.escape(short.strip() or "(empty)").replace("$", "&#36;")
        while label in labels:
            label += " (again)"
        labels[label] = None
    return list(labels)


def _whole_numbers(count: int) -> dict[str, Any]:
    return {"dtick": 1} if count <= 10 else {"nticks": 10}
