"""The fifth question: where does it fail."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from glasslstm.insight import figures
from glasslstm.insight.answers import Answers
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, figure, grid, paragraph, table
from glasslstm.insight.scores import Score
from glasslstm.insight.slices import Slices, slices

__all__ = ["failures", "plain_number", "scored"]


def failures(look: Look) -> str:
    """Return what is confused or missed, how far confidence can be believed, and the worst slices."""
    return block(lambda: _failures(look, look.answers))


def _failures(look: Look, answers: Answers) -> str:
    found = slices(answers, _groups(look, answers))
    if answers.task == "classes":
        drawn = [
            lambda: figure(_confusions(answers), _CONFUSIONS),
            lambda: figure(figures.calibration(answers), _CALIBRATION),
        ]
    else:
        drawn = [
            lambda one=one, name=name: figure(figures.residuals(one), f"Of {name}." if name else "")  # type: ignore[misc]
            for name, one in islice(_questions(answers), _MOST_RESIDUALS)
        ]
    if len(found):
        drawn.append(lambda: figure(figures.slices(found, answers), _SLICES))
    lead = (
        f"{_capital(scored(answers.score))}, on {_count(answers)}. {_alike(answers)} {_worst(found, answers)}"
    )
    return (
        paragraph(lead, "lead")
        + _read_as(answers)
        + grid(map(block, drawn))
        + _scores(answers)
        + _by_question(answers)
        + _coverage(answers)
    )


def _questions(answers: Answers) -> Iterator[tuple[str, Answers]]:
    """Yield each of several named questions about a sequence, in its own unit; or the answers as they are."""
    if not answers.questions:
        yield "", answers
    for k, name in enumerate(answers.questions):
        yield name, answers.about(k)


def _scores(answers: Answers) -> str:
    rows = [[score.name, score.value, score.low, score.high] for score in answers.scores]
    return table("Scores, with their 95 % intervals", ["", "value", "from", "to"], rows)


def _by_question(answers: Answers) -> str:
    if not answers.questions:
        return ""
    scores = {name: {score.name: score.value for score in one.scores} for name, one in _questions(answers)}
    head = list(dict.fromkeys(kind for own in scores.values() for kind in own))
    rows = [[name, *(own.get(kind) for kind in head)] for name, own in scores.items()]
    unit = ", in its own unit" if answers.task == "numbers" else ""
    return table(f"Scores of each {_one_question(answers)}{unit}", ["", *head], rows)


def _one_question(answers: Answers) -> str:
    return "label" if answers.task == "classes" else "target"


def _coverage(answers: Answers) -> str:
    """Say how often what is right lies below each quantile: as often as its level says, in a model that knows."""
    if not answers.quantiles:
        return ""
    rows = [
        [f"{name}, {level:g}" if name else f"{level:g}", level, own.value, own.low, own.high]
        for name, one in _questions(answers)
        for level, own in one.coverage.items()
    ]
    return table(_COVERAGE, ["quantile", "expected", "found", "from", "to"], rows)


def plain_number(score: Score) -> str:
    """Put the value of a score into words, without its interval."""
    return str(_number(score)(score.value))


def _alike(answers: Answers) -> str:
    """Say where the answers hardly tell the sequences apart, or never name a class."""
    found = [(name, _alike_of_one(one)) for name, one in _questions(answers)]
    return " ".join(f"{name}: {words}" if name else words for name, words in found if words)


def _alike_of_one(answers: Answers) -> str:
    true, said = answers.true, answers.predicted
    if answers.task == "numbers":
        if np.std(said) >= 0.1 * np.std(true):
            return ""
        return (
            f"The answers lie between {said.min():.3g} and {said.max():.3g}, what is right between "
            f"{true.min():.3g} and {true.max():.3g}: the model hardly tells the sequences apart."
        )
    never = [name for k, name in enumerate(answers.names) if (true == k).any() and not (said == k).any()]
    if not never:
        return ""
    shown = ", ".join(never[:5]) + (f" and {len(never) - 5} more" if len(never) > 5 else "")
    return f"Never answered, though it is right at times: {shown}."


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
    if answers.step is None:
        return f"{sequences} sequence{'s' if sequences > 1 else ''}"
    return f"{len(answers.true)} {'steps of' if answers.of_steps else 'answers on'} {sequences} sequences"


def _worst(found: Slices, answers: Answers) -> str:
    clear = [one for one in found if one.clear and (one.lift < 0) == answers.score.more_is_better]
    if (not answers.each.any() and answers.task == "numbers") or (
        answers.each.all() and answers.task == "classes"
    ):
        return ""
    if not len(found):
        return "No parts of the data were compared: there are none of five sequences or more beside others."
    if not clear:
        return f"Of {len(found)} parts of the data none is worse by more than chance would make it."
    worst = clear[0]
    return f"It is clearly worse on {worst}: {scored(worst.score)}, {worst.count} sequences."


def _read_as(answers: Answers) -> str:
    if answers.task == "numbers":
        return ""
    doubt = (
        ": all lie in [0, 1]; if they are logits, say so by the loss"
        if answers.taken_as == "one probability"
        else ""
    )
    return paragraph(f"The output was read as {answers.taken_as}{doubt}.", "quiet")


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


_MOST_RESIDUALS = 4  # targets of which there is a figure
_COVERAGE = (
    "How often what is right lies at or below each quantile (expected: its level), with 95 % intervals"
)
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
