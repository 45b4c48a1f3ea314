"""The second question: does it remember long enough."""

from __future__ import annotations

from functools import partial

from glasslstm.insight import figures
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, figure, grid, table, text
from glasslstm.insight.summary import MemorySummary

__all__ = ["memory"]

_CURVES = (
    "The lag counts steps back from the one that is read last. Memory kept: what is left in the cells of what they "
    "held so many steps before, the mean over the units. Gradient: how much of dL/dc arrives that far back. Score, "
    "which is {score}: how much it changes without the input there. Each as a share of its largest."
)
_LIVES = (
    "The steps after which half of what stands in the cell of a unit is left, on average: on single sequences a "
    "unit may hold longer. Short ones are a fault where the score and the gradient do not reach back either."
)
_KINDS = {"retention": "memory kept", "gradient": "gradient", "score": "score"}


def memory(look: Look) -> str:
    """Return how far back each layer reaches, in words, as curves, and as a table."""
    parts = look.summaries
    apart = [{place: part} for place, part in parts.items()] if len(parts) <= _APART else [parts]
    drawn = [block(partial(_curves, look, some, several=len(apart) > 1)) for some in apart]
    drawn.append(block(lambda: figure(figures.half_lives(parts), _LIVES)))
    known = _known(look)
    said = f'<p class="lead">{text(known)}</p>' if known else _verdicts(parts)
    return said + grid(drawn) + block(lambda: _falls(parts))


_APART = 4  # layers and directions that get a figure each


def _curves(look: Look, parts: dict[str, MemorySummary], *, several: bool) -> str:
    drawn = figures.memory_curves(parts)
    if several:
        drawn.update_layout(title_text=f"How far back it reaches: {text(next(iter(parts)))}")
    return figure(drawn, _CURVES.format(score=look.score_words))


def _known(look: Look) -> str:
    """Say what the findings know already."""
    found = look.diagnosis
    if found.of("axes-mixed"):
        return "That cannot be said yet: the LSTM takes sequences for steps. Mend it first."
    if found.of("memory-too-short"):
        return "No: the model only guesses, and what it reads far from the end is gone."
    if found.of("gradient-vanishes"):
        if any(_reaches(part) for part in look.summaries.values()):
            return "The score depends on steps from most of the sequence, though little gradient comes back there."
        return "Hardly: the early steps get next to no gradient."
    return ""


def _reaches(part: MemorySummary) -> bool:
    """Tell whether the score depends on steps further back than half of the sequence."""
    if "score" not in part.falls or part.bidirectional:
        return False
    _, used = part.falls["score"]
    return used is None or used > part.steps / 2


def _verdicts(parts: dict[str, MemorySummary]) -> str:
    """Say what is to be said of each layer and direction; once, where it is the same of several."""
    places: dict[str, list[str]] = {}
    for place, part in parts.items():
        places.setdefault(part.verdict(), []).append(place)
    if len(places) == 1:
        return f'<p class="lead">{text(next(iter(places)))}</p>'
    return "".join(
        f'<p class="lead"><strong>{text("; ".join(own))}:</strong> {text(words[:1].lower() + words[1:])}</p>'
        for words, own in places.items()
    )


def _falls(parts: dict[str, MemorySummary]) -> str:
    kinds = [kind for kind in _KINDS if any(kind in part.falls for part in parts.values())]
    head = [f"{_KINDS[kind]}: {share}" for kind in kinds for share in ("a half", "a hundredth")]
    rows = [
        [place, *(_lag(lag, part) for kind in kinds for lag in part.falls.get(kind, (0, 0)))]
        for place, part in parts.items()
    ]
    return table(
        "From which lag on, in steps, each curve stays below a share of its largest", ["", *head], rows
    )


def _lag(lag: int | None, part: MemorySummary) -> str:
    return f"more than {part.steps - 1}" if lag is None else str(lag)
