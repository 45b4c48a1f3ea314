"""The sixth question: is the LSTM worth it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glasslstm.insight import figures
from glasslstm.insight.baselines import Baseline
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, figure, paragraph, table
from glasslstm.insight.report.sections.failures import plain_number, scored

__all__ = ["learnt", "worth"]

_CONSTANT = ("majority class", "median")  # what knows nothing of the input


def worth(looks: Sequence[Look]) -> str:
    """Return the scores of all models beside those of simple baselines on the same sequences."""
    return block(lambda: _worth(looks))


def _worth(looks: Sequence[Look]) -> str:
    scores = {look.subject.name: look.answers.score for look in looks}
    several = len(looks) > 1
    rows = [
        [
            *([look.subject.name] if several else []),
            base.name,
            base.fitted,
            scored(base.score),
            base.verdict,
            f"{base.p:.2g}",
        ]
        for look in looks
        for base in look.baselines
    ]
    head = [*(["model"] if several else []), "baseline", "fitted", "its score", "the model is", "p"]
    return (
        "".join(paragraph(_in_words(look, several=several), "lead") for look in looks)
        + _spread([score.value for score in scores.values()])
        + figure(figures.baselines(scores, looks[0].baselines))
        + table("The model against each baseline, by a paired test on the same sequences", head, rows)
    )


def learnt(look: Look) -> str | None:
    """Say that a model is not clearly better than one that knows nothing of the input; ``None`` where it is."""
    constant = next((base for base in look.baselines if base.name in _CONSTANT), None)
    if constant is None or constant.verdict == "better":
        return None
    return (
        f"It is not clearly better than answering the {constant.name} every time: {look.answers.score.name} "
        f"{_value(look)} against {plain_number(constant.score)} (p = {constant.p:.2g})."
    )


def _in_words(look: Look, *, several: bool) -> str:
    who = look.subject.name if several else "the model"
    found = [base for base in look.baselines if not base.told]
    behind = [base for base in found if base.verdict != "better"]
    if not behind:
        return f"Yes: {who}, with {look.answers.score.name} {_value(look)}, is better than {_names(found)}."
    worse = [base for base in behind if base.verdict == "worse"]
    if worse:
        return f"No: with {look.answers.score.name} {_value(look)}, {who} is worse than {_names(worse)}."
    return (
        f"Not on these data: with {look.answers.score.name} {_value(look)}, {who} is not clearly different from "
        f"{_names(behind)}."
    )


def _value(look: Look) -> str:
    return plain_number(look.answers.score)


def _names(found: Sequence[Baseline]) -> str:
    return " and ".join(f"the {base.name} ({plain_number(base.score)})" for base in found)


def _spread(values: Sequence[float]) -> str:
    if len(values) < 3:
        return ""
    return paragraph(
        f"The {len(values)} models score {np.mean(values):.4g} on average, with a standard deviation of "
        f"{np.std(values, ddof=1):.2g} ({min(values):.4g} to {max(values):.4g})."
    )
