"""Sequences of a batch that get mixed up with each other, or with the steps of time."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import Tensor

from glasslstm.insight.case import Case, longest
from glasslstm.insight.findings import Code, Measured, Place
from glasslstm.insight.rules.evidence import measured
from glasslstm.insight.rules.layout import Layout, answer, layouts, spread
from glasslstm.insight.rules.registry import Hit, rule

AXES = Code(
    name="axes-mixed",
    severity="error",
    title="the sequences of a batch are mixed up",
    threshold=0,
    meaning="A sequence must not know of the others in its batch. Here the model answers for one with what it read in "
    "others.",
    change="{change}",
)

MOVED = 1e-4
"""What counts as a change of the output, in standard deviations of the outputs."""


@rule(AXES)
def axes_mixed(case: Case) -> Iterator[Hit]:
    """Change one sequence, and look whose outputs change."""
    output = answer(case)
    for layout in layouts(case):
        if layout.sequences < 2 or not output.dim() or not output.numel():
            continue
        by_row = {row: answer(case, layout.altered(case.inputs, row=row)) for row in _picks(layout)}
        if any(_follows(output, by_row, axis) for axis in _sized(output, layout.sequences)):
            continue
        hit = (
            _time_for_batch(case, layout, output)
            or _swapped_rows(layout, output, by_row)
            or _known_others(case, layout, output, by_row)
        )
        if hit:
            yield hit


def _picks(layout: Layout) -> list[int]:
    B = layout.sequences
    return sorted({0, 1, B // 2, B - 1})


def _sized(output: Tensor, size: int) -> list[int]:
    return [axis for axis, found in enumerate(output.shape) if found == size]


def _follows(output: Tensor, by_row: dict[int, Tensor], axis: int) -> bool:
    """Tell whether along an axis of the output each sequence changes its own place alone, and at least one does."""
    moved = {row: _moved(output, changed, axis) for row, changed in by_row.items()}
    return any(moved.values()) and all(set(places) <= {row} for row, places in moved.items())


def _moved(output: Tensor, changed: Tensor, axis: int) -> list[int]:
    """Return the places along an axis where the output has changed."""
    found: list[int] = (_changes(output, changed, axis) > MOVED).nonzero().flatten().tolist()
    return found


def _changes(output: Tensor, changed: Tensor, axis: int) -> Tensor:
    """Return by how much each place along an axis of the output has changed, in standard deviations of the outputs."""
    if changed.shape != output.shape:
        return output.new_zeros(output.size(axis))
    change = (changed - output).abs().movedim(axis, 0).reshape(output.size(axis), -1).amax(1)
    return change / spread(output, axis)


def _by_sequence(changes: Tensor, row: int, found: Collection[int]) -> Measured | None:
    along = f"sequence ({row} was changed)"
    return measured("change of output (SD)", changes, along=along, beyond=found, limit=MOVED)


def _time_for_batch(case: Case, layout: Layout, output: Tensor) -> Hit | None:
    """Find an LSTM that goes from one sequence to the next as if they were the steps of one."""
    T = layout.steps
    square = layout.sequences == T
    if T < 3 or len(output) != T or layout.lengths is not None or (square and layout.bidirectional):
        return None
    middle = T // 2
    changed = answer(case, layout.altered(case.inputs, step=middle))
    moved = _moved(output, changed, 0)
    others = [place for place in moved if place != middle]
    if not others or (not layout.bidirectional and min(moved) < middle):
        return None
    now, right = layout.batch_first, not layout.batch_first
    evidence = (
        f"changing sequence {middle} alone changes the outputs of {len(others)} of the {T - 1} others"
        f"{', all of them behind it' if not layout.bidirectional else ''}: the LSTM takes the axis of {T} for time and "
        f"the one of {layout.sequences} for the batch"
    )
    change = f"Give the LSTM batch_first={right} (now {now}), or transpose its input: `x = x.transpose(0, 1)`"
    figures = _by_sequence(_changes(output, changed, 0), middle, others)
    return Hit(Place(layout.module), float(len(others)), evidence, words={"change": change}, measured=figures)


def _swapped_rows(layout: Layout, output: Tensor, by_row: dict[int, Tensor]) -> Hit | None:
    """Find outputs that follow from another sequence than their own."""
    axis, _ = layout.axes(output)
    if axis is None:
        return None
    moved = {row: _moved(output, changed, axis) for row, changed in by_row.items()}
    astray = {row: places for row, places in moved.items() if places and row not in places}
    if not astray:
        return None
    row, places = next(iter(astray.items()))
    evidence = (
        f"changing sequence {row} alone leaves its own output as it is, and changes that of sequence "
        f"{', '.join(map(str, places[:4]))}{' and more' if len(places) > 4 else ''}; so for {len(astray)} of "
        f"{len(by_row)} that were tried"
    )
    change = (
        "Keep the batch axis of the states, which h_n.view(batch, -1) does not; where you sort by length, sort back: "
        "`features = h_n.transpose(0, 1).flatten(1)`"
    )
    figures = _by_sequence(_changes(output, by_row[row], axis), row, places)
    return Hit(Place(layout.module), float(len(places)), evidence, words={"change": change}, measured=figures)


def _known_others(case: Case, layout: Layout, output: Tensor, by_row: dict[int, Tensor]) -> Hit | None:
    """Find outputs that follow from other sequences beside their own, because the LSTM has read these."""
    axis, _ = layout.axes(output)
    if axis is None:
        return None
    others = {
        row: [place for place in _moved(output, changed, axis) if place != row]
        for row, changed in by_row.items()
    }
    row = max(others, key=lambda row: len(others[row]))
    if not others[row] or not _reads_others(
        case, layout, row
    ):  # a softmax over the batch is no mistake of axes
        return None
    evidence = (
        f"changing sequence {row} alone changes the outputs of {len(others[row])} of the {layout.sequences - 1} "
        "others, and what the LSTM reads there"
    )
    change = "Where axes change places, transpose; never x.reshape(T, N, C) or x.view(T, N, C): `x = x.transpose(0, 1)`"
    figures = _by_sequence(_changes(output, by_row[row], axis), row, others[row])
    return Hit(
        Place(layout.module), float(len(others[row])), evidence, words={"change": change}, measured=figures
    )


def _reads_others(case: Case, layout: Layout, row: int) -> bool:
    """Tell whether the LSTM reads something else for other sequences, too, when one is changed."""
    _, watcher = case.again(layout.altered(case.inputs, row=row))
    now, before = (longest(seen.calls(layout.module)).input for seen in (watcher, case.watcher))
    return now is not None and before is not None and any(place != row for place in _moved(before, now, 1))
