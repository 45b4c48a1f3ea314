"""Where a model fails: which classes it confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.style import LIGHT, labels, names_axis

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402

__all__ = ["confusion_counts", "confusion_matrix"]


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
    names = labels(classes)
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
        "yaxis": names_axis("true class"),
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
