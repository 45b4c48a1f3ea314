"""Padding that is read as if it were data."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from glasslstm.insight.case import Case
from glasslstm.insight.findings import Code, Place, Severity
from glasslstm.insight.rules.evidence import measured
from glasslstm.insight.rules.layout import Layout, answer, layouts, spread
from glasslstm.insight.rules.registry import Hit, Skip, rule

PADDING = Code(
    name="padding-matters",
    severity="warning",
    title="the output for a sequence depends on its padding",
    threshold=0.01,
    meaning="What the model says about a sequence changes with how long the others in its batch are.",
    change="{change}",
)

MOST = 8
"""Sequences that are tried."""
CLEAR = 0.1
"""Where the LSTM knows the lengths, a difference beyond this is an error."""


@rule(PADDING)
def padding_matters(case: Case) -> Iterator[Hit]:
    """Compare what the model says about a sequence in its batch and about the same one alone, without padding."""
    layout, lengths = _padded(case)
    output = answer(case)
    rows = _rows(lengths)
    longest = int(lengths.argmax())
    noise = _difference(case, layout, output, longest, None)
    if noise > PADDING.threshold:
        raise Skip(
            f"a sequence alone gives another output than in its batch, padding or not (by {noise:.2g})"
        )
    found = [_difference(case, layout, output, row, int(lengths[row])) for row in rows]
    value = max(found)
    if value > max(PADDING.threshold, 4 * noise):
        moved = sum(difference > PADDING.threshold for difference in found)
        known = "" if layout.lengths is not None else "; the LSTM is not told where the sequences end"
        evidence = (
            f"without its padding the output of a sequence moves by up to {value:.2g} of the outputs' standard "
            f"deviation, by more than {PADDING.threshold} for {moved} of the {len(rows)} sequences that were "
            f"tried{known}"
        )
        severity: Severity = "error" if layout.lengths is not None and value > CLEAR else "warning"
        tried = measured(
            "change of output (SD)",
            found,
            along="sequence",
            at=[f"{row} ({int(lengths[row])} steps)" for row in rows],
            beyond=[k for k, difference in enumerate(found) if difference > PADDING.threshold],
            limit=PADDING.threshold,
            logarithmic=True,
        )
        yield Hit(Place(layout.module), value, evidence, severity, {"change": _change(layout)}, tried)


def _change(layout: Layout) -> str:
    if layout.lengths is not None:
        return (
            "The LSTM has the lengths; what reads its output has not: leave the padding out of the mean, the maximum "
            "or the attention, as with scores.masked_fill(padding, -torch.inf), or read the final states h_n."
        )
    lstm = Place(layout.module).expression
    return (
        "Give the LSTM the lengths (glasslstm.LSTM takes them as lengths=) and read its final states, which then end "
        "where the sequences end; output[:, -1] and a plain mean over the steps still read the padding: "
        "`packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), "
        f"batch_first={layout.batch_first}, enforce_sorted=False)` `_, (h_n, c_n) = {lstm}(packed)`"
    )


def _padded(case: Case) -> tuple[Layout, Tensor]:
    """Return a layout with padding in it, and the lengths: those that the LSTM was told, or else a guess."""
    found = list(layouts(case))
    for layout in found:
        if layout.lengths is not None and len(_rows(layout.lengths)):
            return layout, layout.lengths
    for layout in found:
        lengths = _guessed(layout, case) if layout.lengths is None else None
        if lengths is not None and len(_rows(lengths)):
            return layout, lengths
    raise Skip("no padding was found: give a batch of sequences of different lengths")


def _rows(lengths: Tensor) -> list[int]:
    """Return some sequences with a step and with padding, the longest and the shortest among them."""
    padded = [row for row in lengths.argsort().tolist() if 0 < lengths[row] < lengths.max()]
    each = max(1, -(-len(padded) // MOST))
    return padded[::each]


def _guessed(layout: Layout, case: Case) -> Tensor | None:
    """Take for padding what ends the sequences, after different lengths, and stands nowhere else."""
    rows = layout.steps_first(layout.grids(case.inputs)[0])
    ends = (rows == rows[-1]).all(2).flip(0).cumprod(0).sum(0)
    repeated = rows[-1, (ends > 1) & (ends < layout.steps)]
    if len(repeated) < 2:
        return None
    values, counts = repeated.unique(dim=0, return_counts=True)
    padding = (rows == values[counts.argmax()]).all(2)
    lengths: Tensor = layout.steps - padding.flip(0).cumprod(0).sum(0)
    elsewhere = int(padding.sum()) - int((layout.steps - lengths).sum())
    return None if elsewhere else lengths


def _difference(case: Case, layout: Layout, output: Tensor, row: int, steps: int | None) -> float:
    """Return by how much the output moves for a sequence alone, in standard deviations of the outputs."""
    batch, _ = layout.axes(output)
    alone = answer(case, layout.alone(case.inputs, row, steps))
    if batch is None:
        raise Skip(f"the output {tuple(output.shape)} has no axis for the {layout.sequences} sequences")
    own = output.narrow(batch, row, 1)
    if own.dim() == alone.dim() and all(a <= b for a, b in zip(alone.shape, own.shape, strict=True)):
        for axis, size in enumerate(alone.shape):
            own = own.narrow(axis, 0, size)
    if own.numel() != alone.numel():
        raise Skip(f"the output of a sequence alone has another shape, {tuple(alone.shape)}")
    if not alone.numel() or not (own.isfinite().all() and alone.isfinite().all()):
        raise Skip("the output has no values, or NaN or infinity among them")
    return float((own.flatten() - alone.flatten()).square().mean().sqrt()) / spread(output, batch)
