"""A memory that is too short for what is to be remembered."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from glasslstm.insight.case import Case, Entry, entries_of, longest
from glasslstm.insight.findings import Code, Measured, Place
from glasslstm.insight.intervene import Edit, edited_input
from glasslstm.insight.memory import retention_by_lag
from glasslstm.insight.rules.evidence import measured
from glasslstm.insight.rules.gates import cut_off
from glasslstm.insight.rules.measures import readable, untrained
from glasslstm.insight.rules.registry import Hit, Skip, rule
from glasslstm.insight.running import first_tensor

TOO_SHORT = Code(
    name="memory-too-short",
    severity="error",
    title="the memory is too short",
    threshold=1e-3,
    meaning="The model has learnt nothing, and what it reads far from the end it could not have learnt: that is gone "
    "when the answer is due.",
    change="Spread the memory of the units over the whole sequence, and train again: "
    "`gl.init.chrono_({lstm}, max_steps={steps})`",
)

_LEFT = 0.01  # of the memory: as good as forgotten
_SHORTEST = 16


@rule(TOO_SHORT)
def memory_too_short(case: Case) -> Iterator[Hit]:
    """Find models that only guess, and in which half of the sequence leaves no trace in the last hidden state."""
    if case.guessing is None:
        raise Skip("needs targets, and a loss by which the best constant output can be found")
    for name in case.watcher if case.guessing else ():
        entries = [entry for entry in readable(case) if entry.module == name]
        if not entries or entries[0].layer:  # what the first layer reads is out of scale
            continue
        steps = max((int(entry.lengths.max()) for entry in entries), default=0)
        if steps < _SHORTEST or all(map(untrained, entries)) or any(map(cut_off, entries)):
            continue
        changed = _change_without_the_past(case, entries)
        if changed < TOO_SHORT.threshold:
            longest_lived = max(entries, key=memory_reach)
            evidence = (
                f"the loss of {case.value:.4g} is that of a guess, {case.guess:.4g}; the half of the {steps} steps "
                f"furthest from the end changes the last hidden state by {changed:.1g} of its spread; in the longest-"
                f"lived tenth of the units {_left(memory_reach(longest_lived), steps)}"
            )
            words = {"steps": steps}
            yield Hit(Place(name), changed, evidence, words=words, measured=_left_by_lag(longest_lived))


def _left(reach: int, steps: int) -> str:
    if reach >= steps:
        return f"more than {_LEFT:.0%} of the memory is left after all steps"
    return f"{_LEFT:.0%} of the memory is left after {reach} steps"


def memory_reach(entry: Entry) -> int:
    """Return the lag at which the longest-lived tenth of the units has less than a hundredth left, in steps.

    Of the lags of :func:`~glasslstm.insight.memory.retention_by_lag`; where more is left, the longest sequence.
    """
    lags, kept = _longest_lived(entry)
    forgotten = lags[kept < _LEFT]
    return int(forgotten[0]) if len(forgotten) else int(entry.lengths.max())


def _longest_lived(entry: Entry) -> tuple[Tensor, Tensor]:
    """Return lags, and what share of the memory is left in the longest-lived tenth of the units, (K,) each."""
    lags, kept = retention_by_lag(entry.gates)
    return lags, kept.topk(max(kept.size(1) // 10, 1), dim=1).values.mean(1)


def _left_by_lag(entry: Entry) -> Measured | None:
    lags, kept = _longest_lived(entry)
    return measured(
        "share of memory left", kept, along="lag (steps)", at=lags.tolist(), limit=_LEFT, logarithmic=True
    )


def _change_without_the_past(case: Case, entries: list[Entry]) -> float:
    """Return by how much the last hidden state changes where half of the input is replaced by its mean.

    It is the half that is furthest from the end; from both ends, where there are two directions. The change is a share
    of the spread of the hidden state over all steps, both as a root mean square. This does not share the assumption of
    the retention: gates and hidden states can pass on what the cells let go, and a cell that keeps all may have stored
    nothing.
    """
    first = entries[0]
    module = case.watcher.modules[first.module]
    with edited_input(module, _without_the_past(entries), model=case.model):
        output, watcher = case.again()
    if _reads_on_the_way(case, output, len(first.x)):
        return 1.0
    now = entries_of(first.module, module, longest(watcher.calls(first.module)))
    return max(
        _change(old, new) for old, new in zip(entries, now, strict=True) if old.layer == entries[-1].layer
    )


def _without_the_past(entries: list[Entry]) -> Edit:
    first, both = entries[0], any(entry.gates.reverse for entry in entries)
    start, stop = (1 / 4, 3 / 4) if both else (0.0, 1 / 2)
    mean = first.x[first.gates.valid].mean(0)

    def edit(x: Tensor, first_step: int) -> Tensor:
        step = torch.arange(first_step, first_step + len(x), device=x.device).unsqueeze(1)
        lengths = first.lengths if first.x.size(1) == x.size(1) else first.lengths.max()
        past = (step >= start * lengths) & (step < stop * lengths)
        return torch.where(past.unsqueeze(-1), mean, x)

    return edit


def _reads_on_the_way(case: Case, output: Any, steps: int) -> bool:
    """Tell whether the answer on each whole sequence changes: by a mean or an attention, it reads other states, too."""
    old, new = first_tensor(case.output), first_tensor(output)
    if old is None or new is None or old.shape != new.shape or steps in old.shape[:2] or len(old) < 2:
        return False
    rounding = math.sqrt(torch.finfo(old.dtype).eps) * _size(old)
    return _size(new - old) > max(0.1 * _size(old - old.mean(0)), rounding)


def _change(old: Entry, new: Entry) -> float:
    last = (old.order == old.lengths - 1) & old.gates.valid
    hidden = old.at_steps("hidden")
    spread = _size(hidden - hidden.mean(0))
    return _size((new.gates.hidden - old.gates.hidden)[last]) / spread if spread else 0.0


def _size(values: Tensor) -> float:
    """Return the root mean square."""
    return float(values.double().square().mean().sqrt())
