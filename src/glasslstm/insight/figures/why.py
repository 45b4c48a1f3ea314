"""Why this prediction: what each step did for the score by three methods, and how far to trust them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm.insight.explain import Explanation
from glasslstm.insight.figures.methods import agreement, deletion, method_name, to_numpy, trust
from glasslstm.insight.figures.style import NEUTRAL, names_axis
from glasslstm.insight.figures.timeline import (
    Row,
    channel_labels,
    colours,
    input_row,
    line,
    over_time,
    steps_of,
)

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

__all__ = ["agreement", "deletion", "explanation", "trust"]

_MOST_CHANNELS = 20
_MOST_COLUMNS = 250
_MOST_BARS = 100  # more would be thinner than a pixel at 330 px, and some not drawn at all

_HEADINGS = {  # short: at 330 px long names of channels leave 190 px for the plot
    "memory": "Memory: what the step left",
    "occlusion": "Occlusion: drop without it",
    "integrated_gradients": "Integrated gradients",
}


def explanation(
    found: Explanation,
    inputs: ArrayLike | None,
    *,
    sequence: int = 0,
    channel_names: Sequence[object] | None = None,
    input_names: Sequence[object] | None = None,
    unit: str = "logit",
) -> go.Figure:
    """Draw what each step of one sequence did for the score, by each method, under the curves of the input.

    Parameters
    ----------
    found
        What :func:`glasslstm.explain` returned.
    inputs
        What the curves show: the sequence, (T, F), or the batch, (T, B, F), so that the channels (at most 8, those that
        vary most) and their scale are the same for each sequence. ``None``: no curves.
    sequence
        Which sequence of the batch. Default: the first.
    channel_names
        F names. Default: channel 0, channel 1, ...
    input_names
        What the LSTM reads is called, I names. Default: `channel_names`, where the LSTM reads the input as it is.
    unit
        What the score is measured in. Default: "logit".

    Returns
    -------
    plotly.graph_objects.Figure
        First the methods in the order of ``found.scores``, as bars, or as step lines where the batch has more than 100
        steps: `x` the steps, `y` the scores, (T,), each on its own axis. Where there are integrated gradients a heat
        map of them follows: `y` the channels (at most 20, those with the largest sum over all sequences), `z` the
        numbers, (I, T); over 250 steps `z` has the largest of each few neighbours, for what is thinner than a pixel is
        not drawn, and `customdata` the numbers. Its `coloraxis` ends at the sequence's largest number. The curves come
        last.

    Raises
    ------
    ArgumentError
        For a sequence that is not there or has no steps, and inputs or names that do not fit.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> model, x = torch.nn.LSTM(3, 4), torch.randn(5, 2, 3)
    >>> found = gl.explain(model, x, lambda output: output[0][-1].sum(-1))
    >>> [trace.name for trace in explanation(found, x).data[:4]]
    ['memory', 'occlusion', 'integrated gradients', 'integrated gradients of']
    """
    valid = found.valid.cpu().numpy()
    steps = steps_of(valid, sequence)
    thin = len(valid) > _MOST_BARS  # of the whole batch, so that all of its sequences are drawn in one way
    rows = [
        _method_row(method, steps, to_numpy(scores)[steps, sequence], unit, thin)
        for method, scores in found.scores.items()
    ]
    colour_axis = None
    if found.channels is not None and found.channels.size(-1):
        names = _names(found, inputs, channel_names) if input_names is None else input_names
        rows.append(
            _channels_row(
                to_numpy(found.channels),
                steps,
                sequence,
                channel_labels(names, found.channels.size(-1)),
            )
        )
        largest = _largest(rows[-1].traces[0].z)
        colour_axis = colours(unit, (-largest, largest))
    top = None if inputs is None else input_row(inputs, valid, sequence, channel_names)
    return over_time(
        "Why this prediction?", f"sequence {sequence}", len(steps), rows, top, colour_axis=colour_axis
    )


def _method_row(
    method: str, steps: NDArray[np.integer], scores: NDArray[np.float64], unit: str, thin: bool
) -> Row:
    shared = {"showlegend": False, "hovertemplate": "step %{x}: %{y:.4g}<extra></extra>"}
    if thin:
        outline = {"line": {"shape": "hvh", "width": 1}, "fill": "tozeroy"}
        trace = line(steps, scores, method_name(method), **outline, **shared)
    else:
        trace = go.Bar(x=steps, y=scores, name=method_name(method), marker={"line": {"width": 0}}, **shared)
    axis = {"title": {"text": unit}, "zeroline": True, "zerolinecolor": NEUTRAL, "nticks": 5}
    return Row(_HEADINGS.get(method, method_name(method)), 64, axis, [trace])


def _channels_row(
    channels: NDArray[np.float64], steps: NDArray[np.integer], sequence: int, names: list[str]
) -> Row:
    sums = np.nansum(np.abs(channels), axis=(0, 1))
    shown = np.sort(np.argsort(-sums, kind="stable")[:_MOST_CHANNELS])
    values = channels[steps, sequence].T[shown]
    width = -(-len(steps) // _MOST_COLUMNS)
    heat_map = go.Heatmap(
        x=steps,
        y=[names[channel] for channel in shown],
        z=_peaks(values, width),
        customdata=None if width == 1 else values,
        name="integrated gradients of",
        coloraxis="coloraxis",
        hovertemplate=f"%{{y}}, step %{{x}}: %{{{'z' if width == 1 else 'customdata'}:.4g}}<extra></extra>",
    )
    some = f" ({len(shown)} of {len(names)})" if len(shown) < len(names) else ""
    height = float(np.clip(15 * len(shown), 45, 240))
    axis = names_axis(f"channel{some}") | {"nticks": 12}
    return Row("Integrated gradients by channel", height, axis, [heat_map])


def _peaks(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return for each step the largest of its `width` neighbours, for a column thinner than a pixel is not drawn."""
    found: NDArray[np.float64] = values.copy()
    for first in range(0, values.shape[1], width):
        window = values[:, first : first + width]
        largest = np.nan_to_num(np.abs(window)).argmax(axis=1)[:, None]
        found[:, first : first + width] = np.take_along_axis(window, largest, axis=1)
    return found


def _names(
    found: Explanation, inputs: ArrayLike | None, channel_names: Sequence[object] | None
) -> Sequence[object] | None:
    """Return what the channels that the LSTM reads are called: as those of the input, if it is they that it reads."""
    count = found.channels.size(-1) if found.channels is not None else 0
    encoded = inputs is not None and np.shape(inputs)[-1:] != (count,)
    return None if encoded else channel_names


def _largest(values: NDArray[np.float64]) -> float:
    """Return the largest magnitude, to end a colour scale; 1 where there is none."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
