"""The fifth question: where does it fail."""

from __future__ import annotations

from typing import Any

import numpy as np

from glasslstm.insight import figures
from glasslstm.insight.answers import Answers
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, figure, grid, paragraph
from glasslstm.insight.scores import Score
from glasslstm.insight.slices import Slices, slices

__all__ = ["failures", "scored"]


def failures(look: Look) -> str:
    """Return what is confused or missed, how far confidence can be believed, and the worst slices."""
    return block(lambda: _failures(look, look.answers))


def _failures(look: Look, answers: Answers) -> str:
    found = slices(answers, _groups(look, answers))
    drawn = [lambda: figure(figures.slices(found, answers), _SLICES)]
    if answers.task == "classes":
        drawn.insert(0, lambda: figure(_confusions(answers), _CONFUSIONS))
        drawn.append(lambda: figure(figures.calibration(answers), _CALIBRATION))
    else:
        drawn.insert(0, lambda: figure(figures.residuals(answers)))
    lead = f"{_capital(scored(answers.score))}, on {_count(answers)}. {_worst(found, answers)}"
    return paragraph(lead, "lead") + _read_as(answers) + grid(map(block, drawn))


def scored(score: Score) -> str:
    """Put a score with its interval into words."""
    if np.isnan(score.low):
        return f"{score.name} {_number(score)(score.value)}"
    number = _number(score)
    return f"{score.name} {number(score.value)} (95 % interval {number(score.low)} to {number(score.high)})"


def _number(score: Score) -> Any:
    return "{:.1%}".format if score.name == "accuracy" else "{:.4g}".format


def _count(answers: Answers) -> str:
    sequences = len(np.unique(answers.sequence))
    return (
        f"{sequences} sequences"
        if answers.step is None
        else f"{len(answers.true)} steps of {sequences} sequences"
    )


def _worst(found: Slices, answers: Answers) -> str:
    clear = [one for one in found if one.clear and (one.lift < 0) == answers.score.more_is_better]
    if not clear:
        return "No part of the data stands out: where it does worse, chance would do the same."
    worst = clear[0]
    return f"It is clearly worse where {worst}: {scored(worst.score)}, {worst.count} sequences."


def _read_as(answers: Answers) -> str:
    return paragraph(f"The output was taken as {answers.taken_as}.", "quiet")


def _groups(look: Look, answers: Answers) -> dict[str, Any]:
    """Return by what the sequences are cut into slices: class, length, share of missing values, and what was given."""
    groups: dict[str, Any] = {}
    if answers.task == "classes" and answers.step is None:
        classes = np.full(len(look.subject), None, dtype=object)
        classes[answers.sequence] = [answers.names[true] for true in answers.true]
        groups["class"] = classes
    groups["length"] = look.subject.lengths
    groups["missing share"] = np.array(
        [np.isnan(one).mean() if one.size else 0.0 for one in look.subject.series]
    )
    return groups | look.groups


def _confusions(answers: Answers) -> Any:
    names = np.array(answers.names, dtype=object)
    return figures.confusion_matrix(names[answers.true], names[answers.predicted], answers.names)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


_CONFUSIONS = (
    "A row holds the sequences of one true class, a column what they were taken for: the diagonal is right."
)
_CALIBRATION = (
    "On the line, a confidence of 80 % is right in 80 % of the cases; below it, the model is too sure."
)
_SLICES = (
    "Each mark is the score on a part of the sequences, the worst on top, with its 95 % interval; the line is the "
    "score on all. Of many parts some look bad by chance: only those marked as clear would hardly do so."
)
