"""The seventh question: how did training go."""

from __future__ import annotations

from glasslstm.insight import figures
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, figure, grid, notice

__all__ = ["training"]

_BEST = "The dotted line marks the best epoch, the one with the lowest validation loss."
_NOTHING = (
    "Gates, memory and gradient were not recorded over the training: gl.Record(model, ...) does so beside any "
    "training loop, fit(X, y, record=True) or glasslstm train --record with an estimator of this library"
)


def training(look: Look) -> str:
    """Return losses and scores over the epochs, and what gates, memory and gradient did meanwhile."""
    return _curves(look) + _record(look)


def _curves(look: Look) -> str:
    subject = look.subject
    if not subject.history:
        return notice("Losses and scores over the epochs are not known") if len(subject.record) else ""
    best = subject.best_epoch
    return block(lambda: figure(figures.learning_curves(subject.history, best), _BEST if best else ""))


def _record(look: Look) -> str:
    record = look.subject.record
    if not len(record):
        return notice(_NOTHING)
    kinds = (figures.record_saturation, figures.record_half_life, figures.record_gradient_reach)
    return grid(block(lambda draw=draw: figure(draw(record))) for draw in kinds)  # type: ignore[misc]
