"""Numbers that are none: where a NaN or an infinity appears first, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from glasslstm.insight.case import Case, Entry, entries_of
from glasslstm.insight.findings import Code, Measured, Place
from glasslstm.insight.rules.evidence import measured
from glasslstm.insight.rules.gradients import overflows
from glasslstm.insight.rules.registry import Hit, rule
from glasslstm.nn.trace import GRADIENTS, QUANTITIES

NOT_FINITE = Code(
    name="not-finite",
    severity="error",
    title="there are numbers that are not finite",
    threshold=0,
    meaning="A NaN or an infinity spreads to every later step, and with the first step of training to every weight.",
    change="{change}",
)

_CHANGES = {
    "weights": "Go back to the weights of before, and clip the gradient: "
    "`torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)`",
    "input": "Find out where the gaps in the input come from, and fill them: `x = torch.nan_to_num(x)`",
    "initial": "Start each sequence from zero states, or check the states before: `output, states = {lstm}(x)`",
    "inside": "Compute in float32, and leave out torch.autocast: `model.float()`",
    "gradient": "Find the operation behind the LSTM that makes it: "
    "`with torch.autograd.set_detect_anomaly(True): loss(model(x), y).backward()`",
}


class _Found(NamedTuple):
    origin: str
    """A key of the changes."""
    hit: Hit


@rule(NOT_FINITE)
def not_finite(case: Case) -> Iterator[Hit]:
    """Find where numbers that are not finite come up; what they spread to is not told again."""
    found = [first for name in case.watcher if (first := _first(case, name)) is not None]
    for k, (origin, hit) in enumerate(found):
        if k == 0 or origin in ("weights", "inside"):
            yield hit
    if not found:
        # The gradient goes through the upper layers first.
        yield from list(filter(None, map(_in_gradient, reversed(case.entries))))[:1]


def _first(case: Case, name: str) -> _Found | None:
    """Return what comes first in the calls of a module, in the order of the computation."""
    module = case.watcher.modules[name]
    for trace in case.watcher.calls(name):
        for entry in entries_of(name, module, trace):
            found = _in_weights(entry) or _in_states(entry) or _in_steps(entry)
            if found is not None:
                return found
    return None


def _in_weights(entry: Entry) -> _Found | None:
    bad = {
        name: _bad(weight)
        for name, weight in entry.weights.map(Tensor.detach)._asdict().items()
        if weight is not None
    }
    counts = {name: int(found.sum()) for name, found in bad.items()}
    if not any(counts.values()):
        return None
    evidence = "in the weights: " + ", ".join(f"{n} values of {name}" for name, n in counts.items() if n)
    return _found("weights", entry.place(), sum(counts.values()), evidence, _by_name("weights", counts))


def _in_states(entry: Entry) -> _Found | None:
    read = (entry.lengths > 0).unsqueeze(-1)
    states = {"h_0": entry.gates.initial_hidden, "c_0": entry.gates.initial_cell}
    bad = {name: _bad(state) & read for name, state in states.items()}
    sequences = (bad["h_0"].any(-1) | bad["c_0"].any(-1)).nonzero().flatten().tolist()
    if not sequences:
        return None
    evidence = (
        f"in the initial states of {len(sequences)} sequences, the first of them sequence {sequences[0]}"
    )
    counts = {name: int(found.sum()) for name, found in bad.items()}
    return _found("initial", entry.place(), len(sequences), evidence, _by_name("state", counts))


def _in_steps(entry: Entry) -> _Found | None:
    """Look at the steps in the order in which they are read, and within a step in that of the equations."""
    quantities = {"input": entry.x} | {name: getattr(entry.gates, name) for name in QUANTITIES}
    valid = entry.gates.valid.unsqueeze(-1)
    bad = {name: _bad(values) & valid for name, values in quantities.items()}
    where = torch.stack([found.any(-1) for found in bad.values()]).any(0)
    if not where.any():
        return None
    t, b = _earliest(where, entry.order)
    name = next(name for name, found in bad.items() if found[t, b].any())
    origin = "input" if name == "input" else "inside"
    by_step = _count_by_step(bad)
    described = _described(entry, name, quantities[name][t, b], t, b, int(by_step.sum()))
    return _found(origin, *described, _by_step(by_step, t))


def _in_gradient(entry: Entry) -> Hit | None:
    if entry.gates.cell_grad is None or overflows(entry):
        return None
    valid = entry.gates.valid.unsqueeze(-1)
    values = {name: getattr(entry.gates, name) for name in reversed(GRADIENTS)}
    bad = {name: _bad(gradient) & valid for name, gradient in values.items()}
    where = torch.stack([found.any(-1) for found in bad.values()]).any(0)
    if not where.any():
        return None
    t, b = _earliest(where, -entry.order)
    name = next(name for name, found in bad.items() if found[t, b].any())
    by_step = _count_by_step(bad)
    place, value, evidence = _described(entry, name, values[name][t, b], t, b, int(by_step.sum()))
    evidence += "; every gate and state is finite"
    return _found("gradient", place, value, evidence, _by_step(by_step, t)).hit


def _described(entry: Entry, name: str, values: Tensor, t: int, b: int, count: int) -> tuple[Place, int, str]:
    units = _bad(values)
    kind = "a NaN" if values.isnan().any() else "an infinity"
    label = {"cell_grad": "dL/dc_t", "hidden_grad": "dL/dh_t"}.get(name, f"the {name.replace('_', ' ')}")
    evidence = f"the first is {kind} in {label} at step {t} of sequence {b}"
    if name == "input":
        channels = ", ".join(map(str, units.nonzero().flatten().tolist()[:8]))
        return entry.place(), count, f"{evidence}, in channels {channels}; it was there before this LSTM"
    return entry.place(units), count, f"{evidence}, in {int(units.sum())} of {len(units)} units"


def _found(origin: str, place: Place, value: float, evidence: str, counts: Measured | None) -> _Found:
    words = {"change": _CHANGES[origin].format(lstm=place.expression)}
    return _Found(origin, Hit(place, float(value), evidence, words=words, measured=counts))


def _by_name(along: str, counts: dict[str, int]) -> Measured | None:
    beyond = [k for k, count in enumerate(counts.values()) if count]
    return measured("values not finite", [*counts.values()], along=along, at=[*counts], beyond=beyond)


def _count_by_step(bad: dict[str, Tensor]) -> Tensor:
    return torch.stack([found.sum((1, 2)) for found in bad.values()]).sum(0)


def _by_step(counts: Tensor, first: int) -> Measured | None:
    return measured("values not finite", counts, along="step", beyond=[first])


def _bad(values: Tensor) -> Tensor:
    return ~values.isfinite()


def _earliest(where: Tensor, order: Tensor) -> tuple[int, int]:
    """Return step and sequence of the true value with the smallest order."""
    last = torch.iinfo(order.dtype).max
    flat = int(torch.where(where, order, last).flatten().argmin())
    return divmod(flat, where.size(1))
