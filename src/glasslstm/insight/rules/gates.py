"""Gates that do not move: shut or open at every step of every sequence, whatever the input."""

from __future__ import annotations

from collections.abc import Iterator

from glasslstm.insight.case import Case
from glasslstm.insight.findings import Code
from glasslstm.insight.rules.registry import Hit, rule

SHUT = Code(
    name="forget-gate-shut",
    severity="error",
    title="the forget gate is stuck shut",
    threshold=0.02,
    meaning="These units forget everything at every step: they see the latest input alone, and no gradient goes "
    "back in time.",
    change="Start the forget gate open: gl.init.forget_bias_(lstm, 1.0) before training.",
)


@rule(SHUT)
def forget_gate_shut(case: Case) -> Iterator[Hit]:
    """Find units whose forget gate never rises above the threshold."""
    for entry in case.entries:
        highest = entry.gates.forget_gate[entry.gates.valid].amax(0)
        stuck = highest < SHUT.threshold
        if stuck.any():
            value = float(highest[stuck].max())
            evidence = f"f never rises above {value:.3g} in {int(stuck.sum())} of {len(stuck)} units"
            yield Hit(entry.place(stuck), value, evidence)
