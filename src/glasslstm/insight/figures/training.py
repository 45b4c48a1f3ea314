"""A training run: losses and scores over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.style import NEUTRAL, layout, line_style, whole_numbers

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402
from plotly.subplots import make_subplots  # noqa: E402

__all__ = ["learning_curves"]


def learning_curves(history: Sequence[Mapping[str, Any]], best_epoch: int | None = None) -> go.Figure:
    """Draw the losses of each epoch, and the accuracy or error on the validation part.

    Parameters
    ----------
    history
        One mapping an epoch, as in ``LSTMClassifier.history_``: ``epoch``, ``train_loss`` and, where
        there was a validation part, ``valid_loss`` and ``valid_accuracy`` (in [0, 1]), ``valid_rmse`` or
        ``valid_pinball_loss`` (in the target's unit).
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
    for k, (key, axis, name) in enumerate(curves):
        row = 1 + axes.index(axis)
        figure.add_trace(_curve(history, key, name, k), row=row, col=1)
        figure.update_yaxes(title={"text": axis}, rangemode="tozero", row=row, col=1)
    first, last = history[0]["epoch"], history[-1]["epoch"]
    room = max(0.5, (last - first) / 50)
    figure.update_xaxes(whole_numbers(len(history)), range=[first - room, last + room])
    figure.update_xaxes(title={"text": "epoch"}, row=len(axes), col=1)
    if best_epoch is not None:
        _mark_epoch(figure, best_epoch, left=best_epoch > (first + last) / 2)
    above = 44 + 19 * len(curves)  # on a narrow page the legend has a line for each curve
    title = f"{' and '.join(axes)} of each epoch"
    look = layout(title[0].upper() + title[1:], above + 50 + 140 * len(axes), hovermode="x unified")
    look["margin"]["t"] = above
    return figure.update_layout(look)


_CURVES = [
    ("train_loss", "loss", "training loss"),
    ("valid_loss", "loss", "validation loss"),
    ("valid_accuracy", "accuracy", "validation accuracy"),
    ("valid_label_accuracy", "share of labels that are right", "validation label accuracy"),
    ("valid_rmse", "root mean squared error", "validation error"),
    ("valid_pinball_loss", "pinball loss", "validation pinball loss"),
]
_MARKED = 40  # epochs at most of which each has a mark


def _curve(history: Sequence[Mapping[str, Any]], key: str, name: str, k: int) -> go.Scatter:
    return go.Scatter(
        x=[epoch["epoch"] for epoch in history],
        y=[epoch.get(key) for epoch in history],
        name=name,
        mode="lines+markers" if len(history) <= _MARKED else "lines",
        **line_style(k),
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
    figure.add_vline(x=epoch, line={"dash": "dot", "width": 1.5, "color": NEUTRAL})
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
