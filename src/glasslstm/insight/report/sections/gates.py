"""The third question: what do the gates do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from glasslstm.insight import figures
from glasslstm.insight.case import Entry
from glasslstm.insight.figures.gates import ORDERS, SHOWN
from glasslstm.insight.findings import Place
from glasslstm.insight.report.explore import Extent
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, figure, paragraph, select, table, text
from glasslstm.insight.summary import MemorySummary

__all__ = ["gates"]

GATES = ("forget_gate", "input_gate", "output_gate")
_NAMES = ("forget", "input", "output")

_SATURATION = (
    "Each mark is a unit: to the right those whose gate is mostly shut (below 0.1), on top those whose gate is "
    "mostly open (above 0.9). Near the lower left corner a gate works in between; on the dashed line it is always "
    "shut or open."
)
_READING = (
    "At each step the forget gate decides which share of the cell state of a unit stays, and the input gate how much "
    "of the candidate is added. The output gate decides how much of the cell shows in the hidden state, which is all "
    "that comes after gets to see. In a map of the cell state, a row that holds its colour is a memory."
)
_MAP = (
    "Choose above what is shown. A click on a row shows that unit below, where it is chosen from the list too; its "
    "row is framed. The colours end where the largest number of any of these sequences does."
)


def gates(look: Look, number: int, extent: Extent) -> str:
    """Return the saturation of the gates, and the explorer of all that they did."""
    saturated = block(lambda: _in_words(look) + _saturation(look.summaries))
    stepwise = block(lambda: _explorer(look, number, extent))
    return (
        f"<h3>How often the gates are shut or open</h3>{saturated}"
        f"<h3>Step by step</h3>{paragraph(_READING)}{stepwise}"
    )


def _in_words(look: Look) -> str:
    """Say how far the gates of each layer are open on average, and how often they are at an end."""
    found = {name: _means(part) for name, part in look.summaries.items()}
    if len(found) > 1:
        head = ["", *(f"{name} gate, {what}" for name in _NAMES for what in ("mean", "shut", "open"))]
        rows = [[place, *(shown for one in means for shown in one)] for place, means in found.items()]
        return table("How far the gates are open on average, and how often they are shut or open", head, rows)
    (means,) = found.values()
    told = [
        f"the {name} gate is {mean} on average, shut in {shut} and open in {wide} of all cases"
        for name, (mean, shut, wide) in zip(_NAMES, means, strict=True)
    ]
    words = "; ".join(told)
    return paragraph(f"{words[0].upper()}{words[1:]}.", "lead")


def _means(part: MemorySummary) -> list[tuple[str, str, str]]:
    """Return for each gate its mean, and how often it is shut and open."""
    valid, saturated = part.gates.valid, part.saturation
    return [
        (
            f"{float(getattr(part.gates, gate)[valid].float().mean()):.2f}",
            f"{float(saturated[gate].left.mean()):.0%}",
            f"{float(saturated[gate].right.mean()):.0%}",
        )
        for gate in GATES
    ]


def _saturation(places: dict[str, MemorySummary]) -> str:
    cells = [block(lambda gate=gate: figure(figures.saturation(places, gate))) for gate in GATES]  # type: ignore[misc]
    return (
        paragraph(_SATURATION, "quiet")
        + f'<div class="thirds">{"".join(f"<div>{c}</div>" for c in cells)}</div>'
    )


def _explorer(look: Look, number: int, extent: Extent) -> str:
    trace = look.shown_traces[look.shown_entries[0].module]
    batch, _ = look.padded
    inputs = batch if trace[0, 0].cell.dim() == 3 else batch[:, 0]
    which: Any = {"sequence": look.columns[0], "inputs": inputs, "channel_names": look.channel_names}
    drawn = figures.gate_map(trace, **which), figures.unit(trace, 0, **which)
    return (
        _left_out(look, extent)
        + f'<div data-explorer="gates" data-model="{number}"><div class="controls">{_controls(look, extent)}</div>'
        + figure(drawn[0], _MAP, chosen=True)
        + '<div class="controls">'
        + select("unit", "Unit", {})
        + "</div>"
        + figure(drawn[1], "", chosen=True)
        + "</div>"
    )


def _controls(look: Look, extent: Extent) -> str:
    layers = {
        json.dumps([e.module, e.layer]): f"{e.module or 'the model'}, layer {e.layer}"
        for e in look.shown_entries
    }
    first = _first_place(look)
    ways = {str(e.direction): ("forward", "reverse")[e.direction] for e in _by_direction(look.shown_entries)}
    sequences = dict(enumerate(map(look.label, look.shown[: extent.sequences].tolist())))
    return (
        select("sequence", "Sequence, here and below", sequences)
        + select("layer", "Layer", layers, chosen=json.dumps([first.module, first.layer]))
        + select("direction", "Direction", ways, chosen=str(first.direction or 0))
        + select("gate", "Gate or state", {name: name.replace("_", " ") for name in SHOWN})
        + select("order", "Units sorted by", {order: ORDERS[order] for order in ORDERS})
    )


def _first_place(look: Look) -> Place:
    """Return the place that is shown at first: that of the worst finding that has one."""
    shown = [entry.place() for entry in look.shown_entries]
    found = [Place(one.place.module, one.place.layer, one.place.direction) for one in look.diagnosis]
    return next((place for place in found if place in shown), shown[0])


def _by_direction(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.direction)


def _left_out(look: Look, extent: Extent) -> str:
    """Say what the page has of the sample."""
    H = max(entry.gates.cell.size(-1) for entry in look.shown_entries)
    longest = max(map(len, look.series))
    words = f"{min(extent.sequences, len(look.shown))} of {len(look.subject)} sequences"
    if extent.units < H:
        words += f", {extent.units} of up to {H} units of each layer, evenly spread over the half-lives"
    if extent.steps < longest:
        words += f", and of longer ones the last {extent.steps} of up to {longest} steps"
    whole = extent.units >= H and extent.steps >= longest
    reason = "" if whole else " More would make the page larger than 8 MB."
    chosen = (
        " They are the four that are answered worst or least surely, and others from there to the best."
        if look.judged and look.like is None and extent.sequences > 4 < len(look.subject)
        else ""
    )
    return f'<p class="quiet">Here are {text(words)}.{chosen}{look.stride_in_words}{reason}</p>'
