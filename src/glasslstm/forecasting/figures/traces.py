"""The lines and bands of which figures over time are made: their colours are those of the page, in each panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from glasslstm._extras import require
from glasslstm.forecasting.forecast import symmetric_intervals
from glasslstm.insight.figures.style import LIGHT, NEUTRAL

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

__all__ = ["answered", "merged", "observed", "on_axis"]

Look: TypeAlias = dict[str, Any]

_LIGHTEST, _DARKEST = 0.4, 0.75  # of the bands, from the widest to the narrowest
_MARKED = 40  # steps at most of which each has a mark
_BLUE = {"color": LIGHT.layout.colorway[0]}
_PAGE = {"colour": 0}  # in the report: that place in the colours of the light or the dark page


def observed(times: NDArray[Any], values: NDArray[np.float64], name: str, dash: str = "solid") -> go.Scatter:
    """Return a line of what was observed, with a gap where it is missing."""
    marks = len(values) <= _MARKED or bool(np.isnan(values).any())  # a value between two gaps is a mark alone
    look: Look = {
        "line": {"color": NEUTRAL, "dash": dash, "width": 1.5},
        "marker": {"color": NEUTRAL, "size": 4},
    }
    return _line(times, values, name, marks=marks, zorder=2, **look)


def answered(
    times: NDArray[Any],
    point: NDArray[np.float64],
    quantiles: NDArray[np.float64] | None,
    levels: Sequence[float],
) -> list[go.Scatter]:
    """Return the lines of forecasts from W origins, and a band for each pair of symmetric levels.

    Parameters
    ----------
    times, point
        When, and what is forecast, (W, H).
    quantiles, levels
        (W, H, Q), and their Q levels, which rise; ``None``: there are none.
    """
    if times.shape[1] == 1:  # one step ahead: the origins make one line
        times, point = times.T, point.T
        quantiles = None if quantiles is None else quantiles.swapaxes(0, 1)
    look: Look = {"line": _BLUE | {"width": 2}, "marker": _BLUE | {"size": 4}, "meta": _PAGE, "zorder": 1}
    lines = [_line(*apart(times, point), "forecast", marks=point.size <= _MARKED, **look)]
    if quantiles is None:
        return lines
    edges = [_edge(times, quantiles[..., k], level) for k, level in enumerate(levels) if level != 0.5]
    bands = symmetric_intervals(levels)
    shades = np.linspace(_LIGHTEST, _DARKEST, len(bands)).tolist()
    areas = [
        _band(times, quantiles[..., list(ends)], share, shade)
        for (share, ends), shade in zip(bands.items(), shades, strict=True)
    ]
    return lines + edges + areas


def apart(times: NDArray[Any], values: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return W pieces of a line, (W, H), one after the other with a gap between.

    Examples
    --------
    >>> apart(np.array([[1, 2], [2, 3]]), np.array([[0.1, 0.2], [0.3, 0.4]]))
    (array([1, 2, None, 2, 3], dtype=object), array([0.1, 0.2, nan, 0.3, 0.4]))
    """
    W, H = times.shape
    when, what = np.full((W, H + 1), None, dtype=object), np.full((W, H + 1), np.nan)
    when[:, :-1], what[:, :-1] = _shown(times), values
    return when.ravel()[:-1], what.ravel()[:-1]


def merged(times: NDArray[Any], values: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the values of W windows, (W, H), as one line, with a gap where more is left out than within a window.

    Examples
    --------
    >>> merged(np.array([[1, 2], [2, 3], [7, 8]]), np.array([[1.0, 2.0], [2.0, 3.0], [7.0, 8.0]]))
    (array([1, 2, 3, None, 7, 8], dtype=object), array([ 1.,  2.,  3., nan,  7.,  8.]))
    """
    whole, first = np.unique(times, return_index=True)
    steps = np.diff(times, axis=1)
    far = 1 + np.flatnonzero(np.diff(whole) > steps.max() if steps.size else [])
    when = np.insert(_shown(whole).astype(object), far, np.array([None], dtype=object))
    return when, np.insert(values.ravel()[first], far, np.nan)


def on_axis(times: NDArray[Any]) -> dict[str, Any]:
    """Return the axis of these times."""
    return {"title": {"text": "time"}, "nticks": 6} | ({"type": "date"} if times.dtype.kind == "M" else {})


def _line(
    times: NDArray[Any], values: NDArray[np.float64], name: str, *, marks: bool, **look: Any
) -> go.Scatter:
    mode = "lines+markers" if marks else "lines"
    return go.Scatter(x=_shown(times), y=values, name=name, mode=mode, hovertemplate="%{y:.4g}", **look)


def _edge(times: NDArray[Any], values: NDArray[np.float64], level: float) -> go.Scatter:
    """Return the thin line of a quantile."""
    look: Look = {"line": _BLUE | {"width": 0.75}, "marker": _BLUE | {"size": 3}, "meta": _PAGE}
    marks = values.size == 1  # a single step is no line
    return _line(*apart(times, values), f"quantile {level:g}", marks=marks, showlegend=False, **look)


def _band(times: NDArray[Any], ends: NDArray[np.float64], share: float, shade: float) -> go.Scatter:
    """Return the areas between two quantiles, (W, H, 2); one band over another is darker."""
    around = np.concatenate([times, times[:, ::-1]], axis=1)
    x, y = apart(around, np.concatenate([ends[..., 0], ends[:, ::-1, 1]], axis=1))
    look: Look = {"line": _BLUE | {"width": 0}, "meta": _PAGE, "opacity": shade, "hoverinfo": "skip"}
    return go.Scatter(x=x, y=y, name=f"{100 * share:g} % band", mode="lines", fill="toself", **look)


def _shown(times: NDArray[Any]) -> NDArray[Any]:
    """Return dates as text that plotly reads, to the day or finer; numbers as they are."""
    if times.dtype.kind != "M":
        return times
    unit: Literal["D", "ms"] = "D" if (times.astype("datetime64[D]") == times).all() else "ms"
    text: NDArray[Any] = np.datetime_as_string(times.astype(f"datetime64[{unit}]"), unit=unit)
    return text
