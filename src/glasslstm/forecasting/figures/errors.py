"""How wrong forecasts are at each step ahead, and how often the truth lies below each quantile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.style import NEUTRAL, layout, line_style, whole_numbers
from glasslstm.insight.figures.worth import bars
from glasslstm.insight.scores import Score, share

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

if TYPE_CHECKING:
    from glasslstm.forecasting.backtest import Backtest

__all__ = ["coverage", "error_by_step", "in_words"]

_METRICS = {
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "mase": "mean absolute scaled error (MASE)",
    "rmsse": "root mean squared scaled error (RMSSE)",
    "smape": "symmetric mean absolute percentage error (sMAPE)",
    "weighted_quantile_loss": "weighted quantile loss",
}


def error_by_step(found: Backtest, metric: str = "mae") -> go.Figure:
    """Draw the error of each method by how many steps ahead it forecasts.

    Parameters
    ----------
    found
        The backtest.
    metric
        ``"mae"`` (default), ``"rmse"``, ``"mase"``, ``"rmsse"``, ``"smape"`` or ``"weighted_quantile_loss"``, as
        :meth:`~glasslstm.forecasting.backtest.Backtest.metrics` has them.

    Raises
    ------
    ArgumentError
        For another metric, and a backtest without a window or without a truth.
    """
    if metric not in _METRICS:
        raise ArgumentError(f"metric: got {metric!r}; expected one of {', '.join(_METRICS)}")
    if metric == "weighted_quantile_loss" and not found.levels:
        raise ArgumentError(
            f"metric: got {metric!r}, and the forecasts have no quantiles; choose another, such as mae"
        )
    _check(found)
    table = found.metrics(by="step")
    figure = go.Figure()
    for k, method in enumerate(found.answers):
        own = table["method"] == method
        steps, errors = table["step"][own], np.asarray(table[metric][own], np.float64)
        figure.add_trace(
            go.Scatter(
                x=steps, y=errors, hovertemplate="%{y:.4g}", **_line(method, k, marks=len(steps) <= _MARKED)
            )
        )
    xaxis = {"title": {"text": "step ahead"}} | whole_numbers(found.truth.shape[1])
    yaxis = {
        "title": {"text": _METRICS[metric].partition(" (")[0], "standoff": 6},
        "rangemode": "tozero",
        "nticks": 6,
    }
    title = (
        f"{_METRICS[metric].capitalize() if '(' not in _METRICS[metric] else _METRICS[metric]} by step ahead"
    )
    return figure.update_layout(layout(title, 360, hovermode="x unified", xaxis=xaxis, yaxis=yaxis))


def coverage(found: Backtest) -> go.Figure:
    """Draw how often the truth lies at or below each quantile, against the level: on the diagonal, it is as promised.

    The bars are 95 % intervals over the windows, as the steps of one window go wrong together: binomial (Wilson's)
    where each window has one truth, and Korn and Graubard's where some have more. Of one such window there are none.

    Parameters
    ----------
    found
        The backtest.

    Raises
    ------
    ArgumentError
        For a backtest without quantiles, without a window or without a truth.
    """
    if not found.levels:
        raise ArgumentError(
            "found: the forecasts have no quantiles, so there is nothing for the truth to lie below"
        )
    _check(found)
    figure = go.Figure()
    for k, (method, answer) in enumerate(found.answers.items()):
        shares = [
            _share(found.truth, answer.quantiles[..., q], level) for q, level in enumerate(found.levels)
        ]
        figure.add_trace(
            go.Scatter(
                x=found.levels,
                y=[one.value for one in shares],
                error_y=None if np.isnan(shares[0].low) else bars(shares),
                hovertemplate="%{y:.1%}",
                **_line(method, k, marks=True),
            )
        )
    line = {"color": NEUTRAL, "width": 1.5}
    figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line=line)
    axis = {"range": [-0.03, 1.03], "tickformat": ".0%", "nticks": 6}
    xaxis = axis | {"title": {"text": "level of the quantile"}}
    yaxis = axis | {"title": {"text": "share of truths at or below", "standoff": 6}}
    return figure.update_layout(
        layout("Coverage (line: as promised)", 400, hovermode="x unified", xaxis=xaxis, yaxis=yaxis)
    )


def in_words(method: str) -> str:
    """Return the name of a method as it is read.

    Examples
    --------
    >>> in_words("lstm"), in_words("seasonal_naive")
    ('LSTM', 'seasonal naive')
    """
    return "LSTM" if method == "lstm" else method.replace("_", " ")


_MARKED = 40  # steps at most of which each has a mark


def _line(method: str, k: int, *, marks: bool) -> Mapping[str, Any]:
    return {"name": in_words(method), "mode": "lines+markers" if marks else "lines", **line_style(k)}


def _share(truth: NDArray[np.float64], quantile: NDArray[np.float64], level: float) -> Score:
    """Return the share of truths at or below a quantile, with its 95 % interval over the windows."""
    window, step = np.nonzero(~np.isnan(truth))
    below = truth[window, step] <= quantile[window, step]
    return Score(f"quantile {level:g}", *share(below.astype(np.float64), window))


def _check(found: Backtest) -> None:
    if not np.isfinite(found.truth).any():
        raise ArgumentError(
            f"found: of {len(found.truth)} windows no truth is known; expected a backtest on values that are there"
        )
