"""How long an LSTM remembers: curves over the lag, the half-lives of its units, and how saturated its gates are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.style import NEUTRAL, labels, layout, line_style, whole_numbers
from glasslstm.insight.reach import FADED, Curve
from glasslstm.insight.summary import MemorySummary, Recorded, summaries

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

__all__ = ["half_lives", "memory_curves", "saturation"]

_FEW = 4  # layers and directions that can be told apart in one figure


def memory_curves(recorded: Recorded, score: Curve | None = None) -> go.Figure:
    """Draw how far back the cells keep, the gradient arrives, and the score depends on the input.

    Each curve is a share of its largest. The axis is logarithmic: what is forgotten evenly falls along a straight line,
    and a hundredth can be seen; a share of zero is below its end. Of more than two layers and directions the figure has
    the highest and the lowest at each lag; give one of them for its own.

    Parameters
    ----------
    recorded
        A trace, or parts of traces by name, or their summaries: :func:`~glasslstm.insight.summary.summaries`. After a
        backward pass there is a gradient, too.
    score
        From :func:`~glasslstm.insight.reach.score_by_lag`. Default: that of the summaries, where they have one.

    Raises
    ------
    ArgumentError
        Where no sequence has two steps, or the gates have no finite number.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> output, _, trace = gl.LSTM(3, 4)(torch.randn(20, 2, 3), return_trace=True)
    >>> output[-1].sum().backward()
    >>> [curve.name for curve in memory_curves(trace).data]
    ['memory kept', 'gradient']
    """
    parts = summaries(recorded, score)
    steps = max(part.steps for part in parts.values())
    if steps < 2:
        raise ArgumentError("recorded: no sequence has two steps, so there is no lag to look back over")
    curves = dict(_curves(_named(parts)))
    if not curves:
        raise ArgumentError("recorded: the gates have no finite number, so no memory can be shown")
    last = max(int(lags.max()) for lags, _ in curves.values())  # the score may be of longer sequences
    room = 0.02 * last
    look = layout(
        "How far back it reaches",
        300,
        xaxis={"title": {"text": "lag (steps)"}, "range": [-room, last + room]} | whole_numbers(last + 1),
        yaxis={"title": {"text": "share of the largest"}, "type": "log", "range": [-3, 0.1]} | _FRACTIONS,
    )
    figure = go.Figure([_line(k, name, *curve) for k, (name, curve) in enumerate(curves.items())], look)
    for share in (0.5, FADED):
        figure.add_hline(share, line=_THRESHOLD)
    return _with_legend(figure)


# The thresholds have their names on the axis, where no curve can cross them.
_FRACTIONS = {"tickvals": [0.001, 0.01, 0.1, 0.5, 1], "ticktext": ["1/1000", "1/100", "1/10", "1/2", "1"]}

# The score comes first: its curve is the roughest, and the others are drawn over it.
_KINDS = {"score": "score", "retention": "memory kept", "gradient": "gradient"}
_THRESHOLD = {"color": NEUTRAL, "width": 1.5, "dash": "dot"}
_Points = tuple[NDArray[np.int64], NDArray[np.float64]]


def _named(parts: Mapping[str, MemorySummary]) -> dict[str, MemorySummary]:
    return dict(zip(labels(parts, longest=30), parts.values(), strict=True))


def _with_legend(figure: go.Figure) -> go.Figure:
    """Make room for the legend between the title and the plot: on a narrow page a row for each name."""
    rows = len(figure.data) if len(figure.data) > 1 else 0
    return figure.update_layout(
        height=figure.layout.height + 18 * rows,
        margin={"t": 44 + 18 * rows},
        showlegend=rows > 0,
    )


def _curves(parts: Mapping[str, MemorySummary]) -> Iterator[tuple[str, _Points]]:
    """Yield the name and the points of each curve, each kind together."""
    for kind, name in _KINDS.items():
        found = {place: part.curves[kind] for place, part in parts.items() if kind in part.curves}
        if (
            len(found) == len(parts) and len({*map(id, found.values())}) == 1
        ):  # one layer, or one score for all
            yield name, _points(next(iter(found.values())))
        elif len(parts) <= 2:
            yield from ((f"{name}, {place}", _points(curve)) for place, curve in found.items())
        elif found:
            highest, lowest = _envelope([_points(curve) for curve in found.values()])
            yield f"{name}, highest of {len(found)}", highest
            yield f"{name}, lowest of {len(found)}", lowest


def _points(curve: Curve) -> _Points:
    return curve.lags.cpu().numpy(), curve.values.cpu().double().numpy()


def _envelope(curves: list[_Points]) -> tuple[_Points, _Points]:
    """Return the highest and the lowest value at each lag that any of the curves has."""
    known: dict[int, list[float]] = {}
    for lags, values in curves:
        for lag, value in zip(lags[np.isfinite(values)], values[np.isfinite(values)], strict=True):
            known.setdefault(int(lag), []).append(float(value))
    at = np.array(sorted(known))
    return (at, np.array([max(known[lag]) for lag in at])), (at, np.array([min(known[lag]) for lag in at]))


def _line(k: int, name: str, lags: NDArray[np.int64], values: NDArray[np.float64]) -> go.Scatter:
    # A logarithmic axis has no zero, and would leave a gap: the smallest number stands for it, far below the end.
    shown = np.where(values == 0, np.finfo(np.float64).tiny, values)
    return go.Scatter(
        x=lags,
        y=shown,
        name=name,
        mode="lines+markers" if len(lags) <= 40 else "lines",
        hovertemplate="lag %{x}: %{y:.3g}",
        **line_style(k),
    )


def half_lives(recorded: Recorded) -> go.Figure:
    """Draw how the half-lives of the units are distributed, beside the length of the longest sequence.

    Bars over bins that double, and not a curve of sorted values: the units that forget all at some step (0) and those
    that forget nothing (∞) have no place on a logarithmic axis, and get bins of their own. All that is four times as
    long as the sequences, or longer, is one bin: the gates do not tell such units apart.

    Parameters
    ----------
    recorded
        As for :func:`memory_curves`. More than four layers and directions are counted together.

    Raises
    ------
    ArgumentError
        Where the gates have no finite number, or there is no step.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> figure = half_lives(gl.LSTM(3, 4)(torch.randn(20, 2, 3), return_trace=True)[2])
    >>> float(figure.data[0].y.sum())
    1.0
    """
    parts = _named(summaries(recorded))
    lives = {name: part.half_lives.cpu().double().numpy() for name, part in parts.items()}
    lives = {name: found[~np.isnan(found)] for name, found in lives.items()}
    if len(lives) > _FEW:
        lives = {f"all {len(lives)} layers and directions": np.concatenate([*lives.values()])}
    lives = {name: found for name, found in lives.items() if len(found)}
    if not lives:
        raise ArgumentError(
            "recorded: there is no step with finite forget gates, so no half-life can be shown"
        )
    steps = max(part.steps for part in parts.values())
    names, counts = _binned(lives, steps)
    bars = [_bars(k, name, names, found) for k, (name, found) in enumerate(counts.items())]
    look = layout(
        "Half-lives of the units",
        260,
        barmode="group",
        xaxis={
            "title": {"text": "half-life (steps)"},
            "type": "category",
            "showgrid": False,
        },
        yaxis={"title": {"text": "share of units"}, "range": [0, 1.2 * max(max(bar.y) for bar in bars)]},
    )
    figure = go.Figure(bars, look)
    at = names.index(_bin_name(steps, steps)) + np.log2(steps) % 1 - 0.5
    end: dict[str, Any] = {"x": at, "xanchor": "right" if at > len(names) / 2 else "left"}
    end |= {"y": 1, "yref": "y domain", "yanchor": "top"}
    figure.add_vline(at, line=_THRESHOLD)
    figure.add_annotation(text=f" longest sequence: {steps} ", showarrow=False, **end)
    return _with_legend(figure)


def _binned(
    lives: Mapping[str, NDArray[np.float64]], steps: int
) -> tuple[list[str], dict[str, NDArray[np.int64]]]:
    """Return the bins from the first that has a unit, or the length, to the last, and how many units each has."""
    last = _last_bin(steps)
    names = ["0", "<1", *(f"{2**k}-{2 ** (k + 1)}" for k in range(last)), f"{2**last}+", "∞"]
    found = {
        name: np.array([[*map(_bin_name, values, [steps] * len(values))].count(bin_) for bin_ in names])
        for name, values in lives.items()
    }
    taken: NDArray[np.bool_] = np.logical_or.reduce([*found.values()])
    taken[names.index(_bin_name(steps, steps))] = True
    kept = slice(int(taken.argmax()), len(taken) - int(taken[::-1].argmax()))
    return names[kept], {name: counts[kept] for name, counts in found.items()}


def _last_bin(steps: int) -> int:
    """Return the power of two from which on no bins are told apart."""
    return int(np.ceil(np.log2(steps))) + 2


def _bin_name(half_life: float, steps: int) -> str:
    if half_life == 0 or np.isinf(half_life):
        return "∞" if half_life else "0"
    if half_life < 1:
        return "<1"
    power = int(np.log2(half_life))
    last = _last_bin(steps)
    return f"{2**power}-{2 ** (power + 1)}" if power < last else f"{2**last}+"


def _bars(k: int, name: str, bins: list[str], counts: NDArray[np.int64]) -> go.Bar:
    return go.Bar(
        x=bins,
        y=counts / counts.sum(),
        customdata=counts,
        name=name,
        marker={"pattern": {"shape": ("", "/", ".", "x")[k]}},
        hovertemplate="half-life %{x}: %{customdata} units (%{y:.1%})",
    )


def saturation(recorded: Recorded, gate: str = "forget_gate") -> go.Figure:
    """Draw for each unit how often a gate is shut, and how often it is open.

    A mark is a unit. Near the origin the gate moves in between; near the diagonal it is always shut or open: a switch.
    At the end of the lower axis it is shut at every step, at the end of the left one open.

    Parameters
    ----------
    recorded
        As for :func:`memory_curves`.
    gate
        ``"input_gate"``, ``"forget_gate"`` (default) or ``"output_gate"``.

    Raises
    ------
    ArgumentError
        For another gate, and where there is no step.

    References
    ----------
    Karpathy, Johnson and Fei-Fei 2015, "Visualizing and understanding recurrent networks", section 4.2 and figure 2.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> figure = saturation(gl.LSTM(3, 4)(torch.randn(20, 2, 3), return_trace=True)[2], "output_gate")
    >>> len(figure.data[0].x)  # one mark for each unit
    4
    """
    if gate not in _GATES:
        raise ArgumentError(f"gate: expected one of {', '.join(_GATES)}; got {gate!r}")
    found = {name: part.saturation[gate] for name, part in _named(summaries(recorded)).items()}
    columns = {
        name: [share.cpu().numpy() for share in shares]
        for name, shares in found.items()
        if bool(shares.left.isfinite().all())
    }
    if not columns:
        raise ArgumentError("recorded: there is no step, so no gate can be shown")
    marks = [_marks(k, name, *shares) for k, (name, shares) in enumerate(columns.items())]
    shares_axis: dict[str, Any] = {"range": [-0.04, 1.04], "dtick": 0.5, "constrain": "domain"}
    look = layout(
        _GATES[gate],
        340,
        xaxis=shares_axis | {"title": {"text": "share of steps shut (below 0.1)"}},
        yaxis=shares_axis | {"title": {"text": "share of steps open (above 0.9)"}, "scaleanchor": "x"},
    )
    figure = go.Figure(marks, look)
    figure.add_shape(type="line", x0=0, y0=1, x1=1, y1=0, line=_THRESHOLD, layer="below")
    note = {"text": "always shut<br>or open", "x": 1.04, "y": 1.04, "xanchor": "right", "yanchor": "top"}
    figure.add_annotation(**note, showarrow=False)
    return _with_legend(figure)


_GATES = {"input_gate": "Input gate", "forget_gate": "Forget gate", "output_gate": "Output gate"}


def _marks(k: int, name: str, left: NDArray[np.float64], right: NDArray[np.float64]) -> go.Scatter:
    symbol = line_style(k + k // 6)["marker"]["symbol"]  # colours come again after six: with another symbol
    return go.Scatter(
        x=left,
        y=right,
        name=name,
        mode="markers",
        marker={"symbol": symbol, "size": 7, "opacity": 0.7},
        customdata=np.arange(len(left)),
        hovertemplate="unit %{customdata}: shut at %{x:.1%} of the steps, open at %{y:.1%}",
    )
