"""The third question: what do the gates do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from glasslstm.insight import figures
from glasslstm.insight.case import Entry
from glasslstm.insight.figures.gates import ORDERS, SHOWN
from glasslstm.insight.report.explore import Extent
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.page import block, figure, paragraph, select, text
from glasslstm.insight.summary import MemorySummary

__all__ = ["GATES", "gates", "reading"]

GATES = {"forget_gate": "forget gate", "input_gate": "input gate", "output_gate": "output gate"}

_SATURATION = (
    "Each mark is a unit. To the right are the units whose gate is mostly shut (below 0.1), on top those whose "
    "gate is mostly open (above 0.9). A unit near the lower left corner uses its gate in between; one at the end "
    "of an axis does not use it at all."
)
_MAP = (
    "A row that holds its colour over many steps is a memory. Choose another sequence, layer, direction, gate or "
    "order above; a click on a row shows that unit below."
)


def reading() -> str:
    """Return how the gates are to be read, once for the whole section."""
    return paragraph(
        "At each step the forget gate decides which share of the cell state of a unit stays, and the input gate "
        "how much of the candidate is added. The output gate decides how much of the cell shows in the hidden "
        "state, which is all that the next layer, or the classifier, gets to see."
    )


def gates(look: Look, number: int, extent: Extent) -> str:
    """Return the saturation of the gates, and the explorer of all that they did."""
    saturated = block(lambda: _saturation(look.summaries))
    stepwise = block(lambda: _explorer(look, number, extent))
    return f"<h3>How often the gates are shut or open</h3>{saturated}<h3>Step by step</h3>{stepwise}"


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
    ways = {str(e.direction): ("forward", "reverse")[e.direction] for e in _by_direction(look.shown_entries)}
    return (
        select(
            "sequence", "Sequence", dict(enumerate(map(look.label, look.shown[: extent.sequences].tolist())))
        )
        + select("layer", "Layer", layers)
        + select("direction", "Direction", ways)
        + select("gate", "Gate or state", {name: name.replace("_", " ") for name in SHOWN})
        + select("order", "Units sorted by", {order: ORDERS[order] for order in ORDERS})
    )


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
        " They are the four that are answered worst, and others from there to the best."
        if look.judged
        else ""
    )
    return f'<p class="quiet">Here are {text(words)}.{chosen}{reason}</p>'
