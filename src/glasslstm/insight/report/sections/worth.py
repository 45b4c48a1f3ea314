"""The sixth question: is the LSTM worth it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glasslstm.insight import figures
from glasslstm.insight.baselines import Baseline, baselines
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, figure, paragraph, table
from glasslstm.insight.report.sections.failures import scored

__all__ = ["worth"]


def worth(looks: Sequence[Look]) -> str:
    """Return the scores of all models beside those of simple baselines on the same sequences."""
    return block(lambda: _worth(looks))


def _worth(looks: Sequence[Look]) -> str:
    scores = {look.subject.name: look.answers.score for look in looks}
    by_model = {look.subject.name: _baselines(look) for look in looks}
    found = by_model[looks[0].subject.name]
    rows = [
        [name, base.name, base.fitted, scored(base.score), base.verdict, f"{base.p:.2g}"]
        for name, of_model in by_model.items()
        for base in of_model
    ]
    head = ["model", "baseline", "fitted on", "score of the baseline", "the model is", "p"]
    return (
        "".join(paragraph(_in_words(name, of_model), "lead") for name, of_model in by_model.items())
        + _spread([score.value for score in scores.values()])
        + figure(figures.baselines(scores, found))
        + table("Each model against each baseline, by a paired test on the same sequences", head, rows)
    )


def _baselines(look: Look) -> list[Baseline]:
    train = look.train
    if train is None or train.targets is None:
        return baselines(look.answers, look.subject.series)
    return baselines(look.answers, look.subject.series, (train.series, np.asarray(train.targets)))


def _in_words(name: str, found: Sequence[Baseline]) -> str:
    better = [base for base in found if base.verdict == "better"]
    others = [base for base in found if base.verdict != "better"]
    if not others:
        return f"Yes: {name} is better than {_names(better)}, and chance would hardly make that difference."
    words = " and ".join(
        f"{_THAN[base.verdict]} the {base.name}, with {scored(base.score)}" for base in others
    )
    return f"{'Not as it is' if len(others) == len(found) else 'Not clearly'}: {name} is {words}."


_THAN = {"worse": "worse than", "no clear difference": "not clearly different from"}


def _names(found: Sequence[Baseline]) -> str:
    return " and ".join(f"the {base.name} ({scored(base.score)})" for base in found)


def _spread(values: Sequence[float]) -> str:
    if len(values) < 3:
        return ""
    return paragraph(
        f"The {len(values)} models score {np.mean(values):.4g} on average, with a standard deviation of "
        f"{np.std(values, ddof=1):.2g} ({min(values):.4g} to {max(values):.4g})."
    )
