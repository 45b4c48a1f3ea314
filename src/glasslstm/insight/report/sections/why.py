"""The fourth question: why this prediction."""

from __future__ import annotations

from glasslstm.insight import figures
from glasslstm.insight.explain import Explanation
from glasslstm.insight.report.explore import Extent
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, figure, grid, paragraph, select

__all__ = ["why"]

_HOW = (
    "Three methods, which go wrong in different ways. Memory: what the step put into the cells and is left of it, "
    "exact for the gates that were measured. Occlusion: the drop of the score without the step. Integrated "
    "gradients: the slope of the score, added up on the way from an average input to this one. A bar above zero "
    "holds the score up."
)
_DELETION = (
    "How far the score drops when the steps that a method names are replaced by the average input. Where it drops no "
    "further than without random steps, do not believe the method."
)
_AGREEMENT = (
    "Rank correlation (Spearman) of what two methods say of the steps of a sequence: 1 is the same order."
)


def why(look: Look, number: int, extent: Extent) -> str:
    """Return the explorer of the explanations, with how far to trust them beside it."""
    return block(lambda: _explained(look, look.explanation, number, extent))


def _explained(look: Look, found: Explanation, number: int, extent: Extent) -> str:
    drawn = figures.explanation(
        found,
        look.explained_inputs,
        sequence=look.position(0),
        channel_names=look.channel_names,
        input_names=look.input_names,
        unit=look.score_unit,
    )
    sequences = dict(enumerate(map(look.label, look.shown[: extent.sequences].tolist())))
    trust = [
        block(lambda: figure(figures.deletion(found, unit=look.score_unit), _DELETION)),
        block(lambda: figure(figures.agreement(found), _AGREEMENT)),
    ]
    return (
        paragraph(figures.trust(found), "lead")
        + paragraph(f"The score here is {look.score_words}.{look.stride_in_words}", "quiet")
        + grid(trust)
        + f'<div data-explorer="why" data-model="{number}"><div class="controls">'
        + select("sequence", "Sequence, here and above", sequences)
        + "</div>"
        + figure(drawn, _HOW, chosen=True)
        + "</div>"
    )
