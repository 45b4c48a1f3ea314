"""The page as a whole: which question stands where, and one model or two side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from glasslstm.errors import GlassLSTMError
from glasslstm.insight.report.explore import explored, extent_of, quantities
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import SIZE_OF_PLOTLY, block, code, page, paragraph, text
from glasslstm.insight.report.sections.failures import failures, plain_number, scored
from glasslstm.insight.report.sections.findings import findings, verdict
from glasslstm.insight.report.sections.gates import gates
from glasslstm.insight.report.sections.memory import memory
from glasslstm.insight.report.sections.own import own_sections
from glasslstm.insight.report.sections.training import training
from glasslstm.insight.report.sections.why import why
from glasslstm.insight.report.sections.worth import learnt, worth

__all__ = ["LIMIT", "rendered"]

LIMIT = 8_000_000
"""Bytes of a page, at most."""

_ROOM = 1_000_000  # for all but plotly and what the explorers have, to begin with
_TRIES = 3
_SIDE_BY_SIDE = 2


def rendered(looks: Sequence[Look], title: str | None = None) -> str:
    """Return the page about one model, or about several of which two are shown side by side."""
    room = _ROOM
    content = _rendered(looks, title, room)
    for _ in range(_TRIES):
        over = len(content.encode()) - LIMIT
        if over <= 0:
            break
        room += over + _ROOM // 10
        content = _rendered(looks, title, room)
    return content


def _rendered(looks: Sequence[Look], title: str | None, room: int) -> str:
    shown = looks[:_SIDE_BY_SIDE]
    names = " and ".join(look.subject.name for look in shown)
    extent = extent_of([look for look in shown if look.explorable], LIMIT - SIZE_OF_PLOTLY - room)
    own = own_sections(shown)
    sections = {name: (heading, _each(shown, build)) for name, (heading, build) in own.items()}
    sections |= {
        "findings": ("Is anything wrong, and what should I change?", _each(shown, findings)),
        "memory": ("Does it remember long enough?", _each(shown, memory)),
        "gates": (
            "What do the gates do?",
            _each(shown, lambda look: gates(look, looks.index(look), extent)),
        ),
        "why": ("Why this prediction?", _each(shown, lambda look: why(look, looks.index(look), extent))),
        "failures": ("Where does it fail?", _each(shown, failures)),
        "worth": ("Is the LSTM worth it?", worth(looks)),
        "training": ("How did training go?", _each(shown, training)),
    }
    data = quantities() | {"models": [explored(look, extent) if look.explorable else None for look in shown]}
    do = "do" if len(shown) > 1 else "does"
    return page(title or f"What {names} {do}, and how well", _lead(looks), sections, data)


def _each(looks: Sequence[Look], build: Callable[[Look], str]) -> str:
    """Return what is to be said of each model, side by side where there are two."""
    if len(looks) == 1:
        return block(partial(build, looks[0]))
    cells = [f"<div><h3>{text(look.subject.name)}</h3>{block(partial(build, look))}</div>" for look in looks]
    return f'<div class="models">{"".join(cells)}</div>'


def _lead(looks: Sequence[Look]) -> str:
    """Return what is to be read first: how bad it is, what to do, and the scores."""
    verdicts = "".join(_verdict(look, several=len(looks) > 1) for look in looks[:_SIDE_BY_SIDE])
    some = f"The first {_SIDE_BY_SIDE} of {len(looks)} models are shown side by side, and the scores of all."
    return verdicts + (paragraph(some, "quiet") if len(looks) > _SIDE_BY_SIDE else "") + _cards(looks)


def _verdict(look: Look, *, several: bool) -> str:
    found = look.diagnosis
    name = f"<strong>{text(look.subject.name)}.</strong> " if several else ""
    lead = f'<p class="lead">{name}{text(verdict(found))}{text(_nothing_learnt(look))}</p>'
    if found.worst in (None, "note"):
        return lead
    explained = found.worst == "error" or not _nothing_learnt(look)
    begin = (
        "Do this first" if explained else "Do this first, and look at the training loss and its length, too"
    )
    return f"{lead}<p>{begin}: {text(found[0].advice)}</p>{code(found[0].snippet)}"


def _nothing_learnt(look: Look) -> str:
    try:
        words = learnt(look)
    except GlassLSTMError:
        return ""
    return "" if words is None else f" {words}"


def _cards(looks: Sequence[Look]) -> str:
    facts: dict[str, str] = {}
    for look in looks:
        if look.judged:
            score = look.answers.score
            words = scored(score)
            name = f"{score.name}, {look.subject.name}" if len(looks) > 1 else score.name
            facts[name] = words.removeprefix(score.name).strip()
    facts |= _best_baseline(looks[0])
    lengths = looks[0].subject.lengths
    mixed = ", as the LSTM takes them" if looks[0].diagnosis.of("axes-mixed") else ""
    facts[f"sequences{mixed}"] = f"{len(lengths):,}"
    facts[f"steps{mixed}"] = (
        f"{lengths.min():,} to {lengths.max():,}" if np.ptp(lengths) else f"{lengths.max():,}"
    )
    for look in looks[:_SIDE_BY_SIDE]:
        name = f"parameters, {look.subject.name}" if len(looks) > 1 else "parameters"
        facts[name] = f"{sum(part.numel() for part in look.subject.model.parameters()):,}"
    return '<dl class="cards">' + "".join(map(_card, facts.items())) + "</dl>"


def _best_baseline(look: Look) -> dict[str, str]:
    try:
        found = look.baselines
    except GlassLSTMError:
        return {}
    fair = [base for base in found if not base.told]
    best = (max if look.answers.score.more_is_better else min)(fair, key=lambda base: base.score.value)
    return {f"the same by the best baseline, the {best.name}": plain_number(best.score)}


def _card(fact: tuple[str, str]) -> str:
    name, value = fact
    figure, _, rest = value.partition(" (")
    more = f"<small>{text(rest.removesuffix(')'))}</small>" if rest else ""
    return f"<div><dt>{text(name)}</dt><dd>{text(figure)}{more}</dd></div>"
