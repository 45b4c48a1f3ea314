"""Where a model fails: which classes it confuses, how far it misses, whether its confidence holds, and on what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.answers import Answers
from glasslstm.insight.figures.style import NEUTRAL, labels, layout, line_style
from glasslstm.insight.figures.worth import bars, dots, rows_axis
from glasslstm.insight.scores import Bin
from glasslstm.insight.slices import Slices

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402
from plotly.subplots import make_subplots  # noqa: E402

__all__ = ["calibration", "confusion_counts", "confusion_matrix", "residuals", "slices"]

_MOST_CLASSES = 60
_LEGIBLE = 9
"""Cells of so many classes have room for text on a phone."""

_MOST_POINTS = 1000
_MOST_SLICES = 20


def confusion_matrix(y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence[Any]) -> go.Figure:
    """Draw how often each class was taken for each class.

    The colour is the share of the row, that is of the answers whose true class it is; a cell shows the count and,
    where there is any, that share. Of more than 60 classes those are shown that are most often confused.

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
    shown = _most_confused(counts)
    counts, shares = counts[np.ix_(shown, shown)], shares[np.ix_(shown, shown)]
    names = labels(classes[k] for k in shown)
    legible = len(names) <= _LEGIBLE
    cells = go.Heatmap(
        x=names,
        y=names,
        z=shares,
        customdata=counts,
        text=np.vectorize(_cell)(counts, shares) if legible else None,
        texttemplate="%{text}" if legible else None,
        hovertemplate="true %{y}, predicted %{x}<br>%{customdata} (%{z:.1%} of row)<extra></extra>",
        coloraxis="coloraxis",
        xgap=1 if legible else 0,
        ygap=1 if legible else 0,
        name="sequences",
    )
    total = len(classes)
    title = (
        "Confused classes" if len(names) == total else f"The {len(names)} of {total} classes most confused"
    )
    more = {
        "xaxis": {**rows_axis("predicted class"), "autorange": True},
        "yaxis": rows_axis("true class"),
        "coloraxis": {
            "autocolorscale": True,
            "cmin": 0,
            "cmax": 1,
            "showscale": not legible,
            "colorbar": {
                "title": {"text": "share of row", "side": "right"},
                "thickness": 12,
                "tickformat": ".0%",
            },
        },
    }
    height = np.clip(130 + 40 * len(names), 220, 420) + 5 * max(map(len, names))  # names may stand upright
    return go.Figure(cells, layout(title, float(height), **more))


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


def residuals(answers: Answers) -> go.Figure:
    """Draw predicted against true numbers, at most 1,000 of them, and how often each error occurs.

    Raises
    ------
    ArgumentError
        The answers are classes.

    Examples
    --------
    >>> import torch
    >>> from glasslstm.insight.answers import answers_of
    >>> figure = residuals(answers_of(torch.tensor([1.0, 2.5]), torch.tensor([1.5, 2.5])))
    >>> figure.data[0].x.tolist(), figure.data[0].y.tolist()
    ([1.5, 2.5], [1.0, 2.5])
    """
    if answers.task != "numbers":
        raise ArgumentError("residuals: the answers are classes; a confusion matrix shows their errors")
    chosen = np.unique(np.linspace(0, len(answers.true) - 1, _MOST_POINTS).round().astype(int))
    points = go.Scatter(
        x=answers.true[chosen],
        y=answers.predicted[chosen],
        mode="markers",
        name="predicted",
        marker={"size": 5, "opacity": 0.6},
        hovertemplate="true %{x:.4g}, predicted %{y:.4g}<extra></extra>",
    )
    figure = make_subplots(rows=2, row_heights=[0.62, 0.38], vertical_spacing=0.2)
    figure.add_trace(points, row=1, col=1)
    both = np.concatenate([answers.true, answers.predicted])
    ends = [float(both.min()), float(both.max())]
    line = {"color": NEUTRAL, "width": 1.5}
    figure.add_shape(type="line", x0=ends[0], y0=ends[0], x1=ends[1], y1=ends[1], line=line, row=1, col=1)
    figure.add_trace(_histogram(answers.predicted - answers.true), row=2, col=1)
    figure.add_vline(x=0, line={**line, "dash": "dot"}, row=2, col=1)
    figure.update_xaxes(nticks=6)
    figure.update_xaxes(title={"text": "true value"}, row=1, col=1)
    figure.update_xaxes(title={"text": "error (predicted - true)"}, row=2, col=1)
    figure.update_yaxes(title={"text": "predicted value", "standoff": 6}, nticks=6, row=1, col=1)
    figure.update_yaxes(title={"text": "answers", "standoff": 6}, nticks=4, row=2, col=1)
    total = len(answers.true)
    part = "" if len(chosen) == total else f", {len(chosen):,} of {total:,}"
    title = f"Predicted and true (line: equal){part}"
    return figure.update_layout(layout(title, 420, showlegend=False))


def calibration(answers: Answers) -> go.Figure:
    """Draw how often the answers of each confidence are right, and how many there are.

    Raises
    ------
    ArgumentError
        The answers are numbers, or have no probabilities.

    Examples
    --------
    >>> import torch
    >>> from glasslstm.insight.answers import answers_of
    >>> figure = calibration(answers_of(torch.tensor([0.25, 0.25, 0.25]), torch.tensor([0, 0, 1])))
    >>> figure.data[0].x, round(figure.data[0].y[0], 3)
    ((0.75,), 0.667)
    """
    found = answers.calibration
    confidence = [own.confidence for own in found.bins]
    rights = [own.right for own in found.bins]
    figure = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.08)
    curve = go.Scatter(
        x=confidence,
        y=[right.value for right in rights],
        error_y=bars(rights),
        name="share right",
        mode="lines+markers",
        hovertemplate="confidence %{x:.1%}: %{y:.1%} right<extra></extra>",
        **line_style(0),
    )
    figure.add_trace(curve, row=1, col=1)
    figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line={"color": NEUTRAL, "width": 1.5}, row=1, col=1)
    figure.add_trace(_counts(found.bins), row=2, col=1)
    figure.update_yaxes(
        title={"text": "share right", "standoff": 6}, range=[-0.03, 1.03], tickformat=".0%", row=1, col=1
    )
    figure.update_yaxes(title={"text": "answers", "standoff": 6}, nticks=4, row=2, col=1)
    low = max(0.0, np.floor(10 * min(confidence)) / 10 - 0.1)
    figure.update_xaxes(range=[low, 1.03], tickformat=".0%", nticks=6)
    figure.update_xaxes(title={"text": "confidence (bars: 95 % intervals)"}, row=2, col=1)
    title = f"Expected calibration error: {found.error:.3f}"
    return figure.update_layout(layout(title, 400, showlegend=False))


def slices(found: Slices, answers: Answers) -> go.Figure:
    """Draw the score of the worst slices, at most 20, with their 95 % intervals beside the score of all.

    A star marks those that are clear, see :class:`~glasslstm.insight.slices.Slice`.

    Parameters
    ----------
    found
        Of :func:`glasslstm.insight.slices.slices`.
    answers
        What was sliced.

    Raises
    ------
    ArgumentError
        There is no slice.

    Examples
    --------
    >>> import torch
    >>> from glasslstm.insight import slices as cut
    >>> from glasslstm.insight.answers import answers_of
    >>> answers = answers_of(torch.eye(2).repeat(10, 1), torch.tensor([0, 1] * 5 + [0, 0] * 5))
    >>> figure = slices(cut.slices(answers, {"day": ["Monday"] * 10 + ["Tuesday"] * 10}), answers)
    >>> figure.data[0].y, figure.data[0].x
    (('day Tuesday (10)', 'day Monday (10)'), (0.5, 1.0))
    """
    if not found:
        raise ArgumentError(
            "slices: there is none of at least five sequences beside others, so none can be compared"
        )
    shown = found[:_MOST_SLICES]
    names = [
        f"{name} ({one.count:,}){'*' * one.clear}"
        for name, one in zip(labels(shown, longest=24), shown, strict=True)
    ]
    figure = go.Figure()
    for k, (title, clear) in enumerate([("unclear", False), ("clear", True)]):
        own = [(name, one) for name, one in zip(names, shown, strict=True) if one.clear == clear]
        if own:
            figure.add_trace(dots([name for name, _ in own], [one.score for _, one in own], title, k))
    whole, ends = answers.score, [names[0], names[-1]]
    line = {"color": NEUTRAL, "width": 1.5, "dash": "dot"}
    figure.add_trace(
        go.Scatter(x=[whole.value] * 2, y=ends, mode="lines", name="all", line=line, hoverinfo="skip")
    )
    total = len(found)
    part = (
        f"The {len(shown)} worst of {total} slices"
        if total > len(shown)
        else f"{total} slices, the worst on top"
    )
    yaxis = {**rows_axis("slice (sequences)"), "categoryorder": "array", "categoryarray": names}
    xaxis = {"title": {"text": f"{whole.name}<br>(dotted: all)"}, "nticks": 6}
    figure.update_traces(showlegend=False)
    return figure.update_layout(layout(f"{part} (*: clear)", 165 + 22 * len(shown), xaxis=xaxis, yaxis=yaxis))


def _most_confused(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the classes to show, in their order: those with the most errors, as true or as predicted class."""
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    return np.sort(np.argsort(-errors, kind="stable")[:_MOST_CLASSES])


def _cell(count: int, share: float) -> str:
    return f"{count}<br>{share:.0%}" if count else "0"


def _histogram(errors: NDArray[np.float64]) -> go.Bar:
    counts, edges = np.histogram(errors, bins=min(30, max(1, len(errors) // 5)))
    return go.Bar(
        x=(edges[:-1] + edges[1:]) / 2,
        y=counts,
        width=np.diff(edges),
        name="answers",
        hovertemplate="error about %{x:.4g}: %{y} answers<extra></extra>",
    )


def _counts(bins: Sequence[Bin]) -> go.Bar:
    return go.Bar(
        x=[own.confidence for own in bins],
        y=[own.count for own in bins],
        width=0.04,
        name="answers",
        hovertemplate="confidence %{x:.1%}: %{y} answers<extra></extra>",
    )
