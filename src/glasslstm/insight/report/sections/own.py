"""The sections that a subject brings along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from glasslstm.errors import ArgumentError
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, figure, grid, paragraph, select
from glasslstm.insight.section import Choice, Draw, Section

__all__ = ["own_sections"]


def own_sections(looks: Sequence[Look]) -> dict[str, tuple[str, Callable[[Look], str]]]:
    """Return by identifier the heading of each section that any subject has, and what makes its body of a look."""
    found = {own.identifier: own.heading for look in looks for own in look.subject.sections}
    return {name: (heading, partial(_body, name)) for name, heading in found.items()}


def _body(identifier: str, look: Look) -> str:
    own = next((one for one in look.subject.sections if one.identifier == identifier), None)
    if own is None:
        raise ArgumentError("model: this model has nothing to show here")
    return (paragraph(own.lead, "lead") if own.lead else "") + _parts(own)


def _parts(own: Section) -> str:
    choices = [_choice(words, part) for words, part in own.parts if isinstance(part, Choice)]
    figures = [_drawn(words, part) for words, part in own.parts if not isinstance(part, Choice)]
    return "".join(choices) + (grid(figures) if figures else "")


def _choice(words: str, choice: Choice) -> str:
    names = dict(enumerate(choice.options))
    drawn = "".join(
        f'<div data-option="{k}">{_drawn(words, choice.options[name])}</div>' for k, name in names.items()
    )
    controls = (
        f'<div class="controls">{select("option", choice.label, names)}</div>' if len(names) > 1 else ""
    )
    return f"<div data-choice>{controls}{drawn}</div>"


def _drawn(words: str, draw: Draw) -> str:
    return block(lambda: figure(draw(), words))
