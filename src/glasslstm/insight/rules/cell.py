"""Cell states that leave the range in which tanh tells them apart."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from glasslstm.insight.case import Case, Entry
from glasslstm.insight.findings import Code, Measured
from glasslstm.insight.rules.evidence import aligned, by_reading, measured
from glasslstm.insight.rules.measures import milder, readable, severity_of, share_of
from glasslstm.insight.rules.registry import Hit, rule

GROWS = Code(
    name="cell-grows",
    severity="error",
    title="the cell state grows to the end of the sequence",
    threshold=5.0,
    meaning="Beyond 5, tanh(c) is within 0.0001 of 1: the hidden state no longer shows what the cell gathers, and "
    "almost no gradient comes in through it.",
    change="Keep the cells small by a penalty on the final cell state c_n: "
    "`loss = loss + 1e-3 * c_n.square().mean()`",
)

_FASTER = 1.8  # a straight line has 7/3 of its second quarter in its last, a random walk about 3/2
_SHORTEST = 8


@rule(GROWS)
def cell_grows(case: Case) -> Iterator[Hit]:
    """Find units whose |c| grows about linearly to the end, beyond what tanh resolves."""
    for entry in readable(case):
        grown = outgrown(entry)
        if severity_of(grown) == "note":
            continue
        early, late = (quarter[grown].mean() for quarter in quarters(entry))
        evidence = (
            f"|c| is {early:.3g} on average in the second quarter of the steps and {late:.3g} in the last, in "
            f"{share_of(grown)}: it grows to the end"
        )
        severity = milder(case, severity_of(grown))
        yield Hit(entry.place(grown), float(late), evidence, severity, measured=_size_by_step(entry, grown))


def outgrown(entry: Entry) -> Tensor:
    """Return which units' cell grows to the end of the sequences, beyond what tanh resolves, (H,)."""
    early, late = quarters(entry)
    return (late > GROWS.threshold) & (late > _FASTER * early)


def quarters(entry: Entry) -> tuple[Tensor, Tensor]:
    """Return the mean of |c| in the second and in the last quarter of the steps as they are read, (H,) each.

    Of the sequences of 8 steps or more; zero where there is none.
    """
    done, counted = entry.order / entry.lengths.clamp(min=1), _counted(entry)
    size = entry.gates.cell.float().abs()

    def mean(which: Tensor) -> Tensor:
        chosen = size[which & counted]
        return chosen.sum(0) / max(len(chosen), 1)

    return mean((done >= 1 / 4) & (done < 1 / 2)), mean(done >= 3 / 4)


def _size_by_step(entry: Entry, units: Tensor) -> Measured | None:
    size = entry.gates.cell[..., units].float().abs().mean(-1)
    by_step = aligned(size, entry.order, _counted(entry)).nanmean(1)
    return measured("mean |c|", by_step, along=by_reading(entry.gates.reverse), limit=GROWS.threshold)


def _counted(entry: Entry) -> Tensor:
    return entry.gates.valid & (entry.lengths >= _SHORTEST)
