"""Gates that do not move: shut or open at every step of every sequence, whatever the input."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from glasslstm.insight.case import Case, Entry
from glasslstm.insight.findings import Code
from glasslstm.insight.rules.cell import outgrown
from glasslstm.insight.rules.evidence import measured
from glasslstm.insight.rules.measures import kept_of_all, milder, most_held, readable, severity_of, share_of
from glasslstm.insight.rules.registry import Hit, rule
from glasslstm.insight.taps import CELLS

SHUT = Code(
    name="forget-gate-shut",
    severity="error",
    title="the forget gate is stuck shut",
    threshold=0.02,
    meaning="The cells of these units carry nothing from one step to the next, and no gradient goes back through them: "
    "only the hidden state can pass anything on.",
    change="Start the forget gate open, and train again: `gl.init.forget_bias_({lstm}, 1.0)`",
)

OPEN = Code(
    name="forget-gate-open",
    severity="error",
    title="the forget gate is stuck open",
    threshold=0.9,
    meaning="These units never forget: what once came into the cell stays in its sum. A few such units are of use; "
    "where the cells outgrow tanh, nothing new can be told from what is there.",
    change="Let the forget gate start where it can close, and train again: `gl.init.forget_bias_({lstm}, 1.0)`",
)

INPUT = Code(
    name="input-gate-stuck",
    severity="error",
    title="the input gate is stuck",
    threshold=0.02,
    meaning="Shut: nothing comes into these cells. Open: every step is written into them, and they cannot choose.",
    change="{how}, and train again: {code}",
)

OUTPUT = Code(
    name="output-gate-stuck",
    severity="error",
    title="the output gate is stuck",
    threshold=0.02,
    meaning="Shut: what these cells hold is never read, and they are not trained. Open: it is read at every step.",
    change="{how}, and train again: {code}",
)

_COMMON = 1 / 5  # a gate that stays open in fewer units than this is no news
_OPEN = 0.98


@rule(SHUT)
def forget_gate_shut(case: Case) -> Iterator[Hit]:
    """Find units whose forget gate never rises above the threshold."""
    for entry in readable(case):
        highest = entry.at_steps("forget_gate").amax(0)
        stuck = highest < SHUT.threshold
        if stuck.any():
            value = float(highest[stuck].max())
            evidence = f"f never rises above {value:.3g} in {share_of(stuck)}"
            units = measured(
                "highest forget gate", highest, beyond=stuck, limit=SHUT.threshold, logarithmic=True
            )
            yield Hit(entry.place(stuck), value, evidence, severity_of(stuck), measured=units)


@rule(OPEN)
def forget_gate_open(case: Case) -> Iterator[Hit]:
    """Find units that never forget; how bad it is, is told by how many of them outgrow tanh."""
    for entry in readable(case):
        kept, lowest = kept_of_all(entry), entry.at_steps("forget_gate").amin(0)
        stuck = (kept > OPEN.threshold) & (lowest > _OPEN)
        if float(stuck.float().mean()) > _COMMON:
            value, harmed = float(kept[stuck].min()), stuck & outgrown(entry)
            evidence = (
                f"f never falls below {float(lowest[stuck].min()):.4g} in {share_of(stuck)}, and {value:.3g} or more "
                f"of the memory lasts from the first step to the last; {int(harmed.sum())} of them outgrow tanh"
            )
            units = measured("share of memory kept", kept, beyond=stuck, limit=OPEN.threshold)
            yield Hit(entry.place(stuck), value, evidence, milder(case, severity_of(harmed)), measured=units)


@rule(INPUT)
def input_gate_stuck(case: Case) -> Iterator[Hit]:
    """Find units into whose cells next to nothing can come, and layers that write at every step."""
    for entry in readable(case):
        held = most_held(entry)
        stuck = held < INPUT.threshold
        if stuck.any():
            value = float(held[stuck].max())
            evidence = f"i is shut in {share_of(stuck)}: were every candidate 1, no cell would rise above {value:.3g}"
            units = measured(
                "most a cell can hold", held, beyond=stuck, limit=INPUT.threshold, logarithmic=True
            )
            words = _words(case, entry, "i", stuck)
            yield Hit(entry.place(stuck), value, evidence, severity_of(stuck), words, units)
        yield from _stays_open(case, entry, "i", INPUT)


@rule(OUTPUT)
def output_gate_stuck(case: Case) -> Iterator[Hit]:
    """Find units that are never read, and layers that are read at every step."""
    for entry in readable(case):
        highest = entry.at_steps("output_gate").amax(0)
        stuck = highest < OUTPUT.threshold
        if stuck.any():
            value = float(highest[stuck].max())
            evidence = f"o never rises above {value:.3g} in {share_of(stuck)}"
            units = measured(
                "highest output gate", highest, beyond=stuck, limit=OUTPUT.threshold, logarithmic=True
            )
            words = _words(case, entry, "o", stuck)
            yield Hit(entry.place(stuck), value, evidence, severity_of(stuck), words, units)
        yield from _stays_open(case, entry, "o", OUTPUT)


def shut(entry: Entry) -> Tensor:
    """Return which units' input or output gate is stuck shut, (H,)."""
    unread = entry.at_steps("output_gate").amax(0) < OUTPUT.threshold
    return unread | (most_held(entry) < INPUT.threshold)


def cut_off(entry: Entry) -> bool:
    """Tell whether stuck gates or outgrown cells, which have codes of their own, keep most units from remembering."""
    forgetful = entry.at_steps("forget_gate").amax(0) < SHUT.threshold
    return severity_of(forgetful | shut(entry) | outgrown(entry)) == "error"


def _stays_open(case: Case, entry: Entry, gate: str, code: Code) -> Iterator[Hit]:
    """Yield a note where a gate stays open in many units: then it is a cell without this gate, which may do well."""
    name = {"i": "input_gate", "o": "output_gate"}[gate]
    lowest = entry.at_steps(name).amin(0)
    closed = 1 - lowest
    stuck = closed < code.threshold
    if float(stuck.float().mean()) > _COMMON:
        value = float(closed[stuck].max())
        evidence = f"{gate} never falls below {1 - value:.4g} in {share_of(stuck)}"
        units = measured(f"lowest {name.replace('_', ' ')}", lowest, beyond=stuck, limit=1 - code.threshold)
        yield Hit(entry.place(stuck), value, evidence, "note", _words(case, entry, gate, stuck), units)


def _words(case: Case, entry: Entry, gate: str, stuck: Tensor) -> dict[str, str]:
    """Return the code that sets the biases of a gate to zero, in these units; where there are none, all anew."""
    lstm, name = entry.place().expression, {"i": "input gate", "o": "output gate"}[gate]
    if entry.weights.bias_ih is None:
        return {"how": "Draw the weights anew", "code": f"`{lstm}.reset_parameters()`"}
    first = "ifgo".index(gate) * len(stuck)
    rows = [first + unit for unit in stuck.nonzero().flatten().tolist()]
    shown = f"{rows[0]}:{rows[-1] + 1}" if len(rows) == rows[-1] - rows[0] + 1 else str(rows)
    is_cell = isinstance(case.watcher.modules[entry.module], CELLS)
    suffix = "" if is_cell else f"_l{entry.layer}" + ("", "_reverse")[entry.direction]
    lines = [f"`{lstm}.{name}{suffix}.data[{shown}] = 0`" for name in ("bias_ih", "bias_hh")]
    return {"how": f"Let the {name} start half open", "code": " ".join(lines)}
