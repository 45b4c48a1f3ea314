"""What the gates, the cells and the hidden states did, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.style import LIGHT, labels, names_axis, whole_numbers
from glasslstm.nn.trace import Trace

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

__all__ = ["Panel", "gate_panels", "gates"]


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
        | whole_numbers(panels[0].values.shape[1]),
        "annotations": [_heading(panel, top) for panel, (_, top) in zip(panels, domains, strict=True)],
    }
    for row, (panel, domain) in enumerate(zip(panels, domains, strict=True), start=1):
        layout[f"yaxis{row}"] = {**names_axis(panel.row_title), "domain": domain}
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
        y=labels(panel.names),
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
