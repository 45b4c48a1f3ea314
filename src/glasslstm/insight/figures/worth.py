"""Is the LSTM worth it: the score of models beside those of simple baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.baselines import Baseline
from glasslstm.insight.figures.style import labels, layout, line_style, names_axis
from glasslstm.insight.scores import Score

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

__all__ = ["bars", "baselines", "dots", "rows_axis"]


def baselines(model_scores: Mapping[str, Score], found: Sequence[Baseline]) -> go.Figure:
    """Draw the scores of models and of baselines on the same answers, with their 95 % intervals.

    Parameters
    ----------
    model_scores
        By the name of the model.
    found
        Of :func:`glasslstm.insight.baselines.baselines`.

    Raises
    ------
    ArgumentError
        There is no model, or not all scores are of one kind.

    Examples
    --------
    >>> score = Score("accuracy", 0.9, 0.8, 0.95, more_is_better=True)
    >>> figure = baselines({"the model": score}, [])
    >>> figure.data[0].y, figure.data[0].x
    (('the model',), (0.9,))
    """
    scores = [*model_scores.values(), *(own.score for own in found)]
    kinds = {score.name for score in scores}
    if not model_scores or len(kinds) != 1:
        raise ArgumentError(
            f"model_scores: got {len(model_scores)} models and scores of the kinds {sorted(kinds)}; expected at least "
            "one model, and one kind of score"
        )
    names = labels([*model_scores, *(own.name for own in found)], longest=20)
    count = len(model_scores)
    figure = go.Figure(dots(names[:count], scores[:count], "model" if count == 1 else "models", 0))
    if found:
        figure.add_trace(dots(names[count:], scores[count:], "baselines", 1))
    (kind,), more = kinds, scores[0].more_is_better
    xaxis = {"title": {"text": kind}, "nticks": 6}
    title, height = f"Model and baselines: {'more' if more else 'less'} is better", 160 + 26 * len(names)
    return figure.update_layout(layout(title, height, xaxis=xaxis, yaxis=rows_axis("model")))


def dots(names: Sequence[str], scores: Sequence[Score], title: str, k: int) -> go.Scatter:
    """Return the k-th trace of scores as dots with their intervals, a row for each name."""
    return go.Scatter(
        x=[score.value for score in scores],
        y=names,
        error_x=bars(scores),
        customdata=[(score.low, score.high) for score in scores],
        name=title,
        mode="markers",
        orientation="h",
        showlegend=False,
        marker={**line_style(k)["marker"], "size": 8},
        hovertemplate="%{y}: %{x:.4g} (%{customdata[0]:.4g} to %{customdata[1]:.4g})<extra></extra>",
    )


def bars(scores: Sequence[Score]) -> dict[str, Any]:
    """Return the error bars of scores: their 95 % intervals."""
    return {
        "type": "data",
        "array": [score.high - score.value for score in scores],
        "arrayminus": [score.value - score.low for score in scores],
        "thickness": 1.5,
        "width": 3,
    }


def rows_axis(title: str) -> dict[str, Any]:
    """Return an axis with a name at each row, its title clear of long names."""
    return {**names_axis(title), "title": {"text": title, "standoff": 10}}
