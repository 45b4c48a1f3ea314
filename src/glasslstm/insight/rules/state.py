"""A state that goes on from one batch to the next."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn

from glasslstm.errors import ArgumentError
from glasslstm.insight.case import Case
from glasslstm.insight.findings import Code, Place, Severity
from glasslstm.insight.rules.evidence import measured
from glasslstm.insight.rules.registry import Hit, Skip, rule
from glasslstm.insight.running import first_tensor, rewound, run, seed
from glasslstm.insight.taps import CELLS
from glasslstm.insight.watch import Watcher, watch
from glasslstm.nn.trace import GateTrace, Trace

CARRIED = Code(
    name="state-carried-over",
    severity="warning",
    title="the state is carried over to what has nothing to do with it",
    threshold=1e-3,
    meaning="What the model says about a sequence depends on what it was called with before; right only where each "
    "batch goes on with the sequences of the one before.",
    change="Start every batch and every sequence from zeros, and keep no state on the model from one call to the next: "
    "`{how}`",
)


@rule(CARRIED)
def state_carried_over(case: Case) -> Iterator[Hit]:
    """Run the same batch twice, from the same random numbers, and compare the states that the LSTMs start from.

    Within one run, look whether the sequences of the batch are read one by one, each from where the last one ended.
    """
    yield from _within_the_batch(case)
    first, second = _twice(case)
    for name in first:
        if name not in second or first.dropped[name] or second.dropped[name]:
            continue
        moved, continued = _moved(first.calls(name), second.calls(name)[0])
        value = max(0.0, *moved.values())  # a NaN is never the larger one
        if value > CARRIED.threshold:
            where = ": where the first ended" if continued else ""
            evidence = f"run twice on one batch, the second starts from states that differ by up to {value:.2g}{where}"
            severity: Severity = "note" if _can_reset(case.model, name) else "warning"
            states = measured(
                "change of the first state",
                [*moved.values()],
                along="state",
                at=[*moved],
                beyond=[k for k, change in enumerate(moved.values()) if change > CARRIED.threshold],
                limit=CARRIED.threshold,
                logarithmic=True,
            )
            yield Hit(Place(name), value, evidence, severity, {"how": _how(case, name)}, states)


def _within_the_batch(case: Case) -> Iterator[Hit]:
    output = first_tensor(case.output)
    for name in case.watcher:
        calls = case.watcher.calls(name)
        if len(calls) < 2 or output is None or not output.dim() or len(calls) != len(output):
            continue
        steps = pairwise(calls)
        if all(_one_goes_on(before[key], after[key]) for before, after in steps for key in before):
            starts = [max(float(call[key].initial_cell.abs().max()) for key in call) for call in calls]
            evidence = (
                f"the {len(calls)} sequences of the batch are read one after the other, each from the states in which "
                f"the one before it ended, up to {starts[1]:.2g}"
            )
            words = {"how": _how(case, name)}
            sequences = measured(
                "largest |c| at start", starts, along="sequence", beyond=range(1, len(starts))
            )
            yield Hit(Place(name), starts[1], evidence, words=words, measured=sequences)


def _how(case: Case, name: str) -> str:
    if isinstance(case.watcher.modules[name], CELLS):
        return "h = c = torch.zeros(batch, hidden_size)  # before the loop over the steps"
    return f"output, states = {Place(name).expression}(x)  # without initial states"


def _one_goes_on(before: GateTrace, after: GateTrace) -> bool:
    """Tell whether one sequence starts where another one ended, and not from zeros."""
    end, start = _final(before).initial_cell, after.initial_cell
    alone = start.numel() == start.size(-1) == end.numel()
    rounding = 8 * torch.finfo(start.dtype).eps  # the states of a torch.nn.LSTM are computed once more
    return alone and bool(start.any()) and torch.allclose(end, start, rounding, rounding)


def _twice(case: Case) -> tuple[Watcher, Watcher]:
    found = []
    try:
        with rewound(case.model), torch.no_grad():
            for _ in range(2):
                seed()
                with watch(case.model, calls=256) as watcher:
                    run(case.model, case.inputs)
                found.append(watcher)
    except ArgumentError as error:
        raise Skip(f"the model refuses the same batch a second time: {error.__cause__ or error}") from None
    return found[0], found[1]


def _moved(before: tuple[Trace, ...], after: Trace) -> tuple[dict[str, float], bool]:
    """Return the largest change of each initial state, and whether all that changed are where the run before ended."""
    moved: dict[str, float] = {}
    continued = True
    for key in after:
        layer, direction = key
        final = _final(before[-1][key])
        for symbol, name in (("h_0", "initial_hidden"), ("c_0", "initial_cell")):
            old, new, end = (getattr(gates, name) for gates in (before[0][key], after[key], final))
            change = float((new - old).abs().max()) if new.numel() else 0.0
            moved[f"{symbol}, layer {layer}{', reverse' if direction else ''}"] = change
            continued &= change == 0 or torch.allclose(new, end)
    return moved, continued


def _final(gates: GateTrace) -> GateTrace:
    """Return no step at all, entered with the final states."""
    end = 0 if gates.reverse else len(gates.cell)
    return gates.window(end, end)


def _can_reset(model: nn.Module, name: str) -> bool:
    """Tell whether a module around the LSTM has a method to forget its state, and so keeps it on purpose."""
    parts = name.split(".") if name else []
    around = [model.get_submodule(".".join(parts[:k])) for k in range(len(parts))]
    words = ("state", "hidden", "stream", "memory")
    names = {method for module in around for method in dir(type(module)) if method.startswith("reset")}
    return any(method == "reset" or any(word in method for word in words) for method in names)
