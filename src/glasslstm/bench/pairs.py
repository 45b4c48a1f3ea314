"""The sides of each work that is timed in pairs, with the goals of single shapes; those of means stand in works.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from glasslstm.bench.measure import Box, Pair, Run, Side, in_turn
from glasslstm.bench.memory import OURS, RECOMPUTE, TORCH, trained
from glasslstm.bench.opponents import LOOP, ONNX, loop_by_hand, missing, onnx_run, onnx_steps
from glasslstm.bench.shapes import Shape
from glasslstm.bench.twins import Twins
from glasslstm.insight.watch import watch
from glasslstm.nn.trace import QUANTITIES, Trace

__all__ = [
    "Pairs",
    "gates_inference",
    "gates_training",
    "inference",
    "peak_share",
    "per_step",
    "ragged_inference",
    "ragged_training",
    "recompute",
    "step",
    "training",
    "watch_inference",
    "watch_training",
]

Pairs: TypeAlias = Callable[[Shape], Iterator[Pair]]

CELL, GATES, PADDED = "torch.nn.LSTMCell", "glasslstm, return_trace=True", "glasslstm, padded"
WATCHED, WATCHED_TORCH = "glasslstm, watched", "torch.nn.LSTM, watched"

# By hidden size: against torch.nn.LSTM, and against torch.nn.LSTMCell.
_STEP_GOALS = {32: (30.0, 8.0), 128: (30.0, 8.0), 256: (20.0, 5.0)}


def inference(shape: Shape) -> Iterator[Pair]:
    """Compute the output, without gradients."""
    twins = Twins(shape)
    truth = twins.output_in_float64(twins.padded)
    ours = Side(OURS, twins.inference(twins.ours, twins.padded), truth)
    yield Pair(ours, Side(TORCH, twins.inference(twins.theirs, twins.padded), truth), goal=1.0)
    for run in _onnx(lambda: onnx_run(twins)):
        yield Pair(ours, Side(ONNX, run, truth, own_threads=True))


def training(shape: Shape) -> Iterator[Pair]:
    """Compute the gradients of the weights and of the input: forward and backward."""
    subject, against = _trained(shape, OURS, TORCH)
    yield Pair(subject, against, goal=1.1)


def recompute(shape: Shape) -> Iterator[Pair]:
    """Train with less memory."""
    subject, against = _trained(shape, RECOMPUTE, OURS)
    yield Pair(subject, against, kind="cost", goal=1.4)


def ragged_inference(shape: Shape) -> Iterator[Pair]:
    """Lengths uniform from T/5 to T: ours with ``lengths=``, torch's module on a packed batch."""
    twins = Twins(shape)
    truth = twins.output_in_float64(twins.packed)
    ours = Side(OURS, twins.inference(twins.ours, twins.with_lengths), truth)
    yield Pair(ours, Side(TORCH, twins.inference(twins.theirs, twins.packed), truth))
    for run in _onnx(lambda: onnx_run(twins, ragged=True)):
        yield Pair(ours, Side(ONNX, run, truth, own_threads=True))
    whole = twins.output_in_float64(twins.padded)
    yield Pair(ours, Side(PADDED, twins.inference(twins.ours, twins.padded), whole))


def ragged_training(shape: Shape) -> Iterator[Pair]:
    """Train on the same; our own run over all steps is an opponent, too."""
    twins = Twins(shape)
    truth = twins.gradients_in_float64(twins.packed)
    ours = Side(OURS, twins.training(twins.ours, twins.with_lengths), truth)
    yield Pair(ours, Side(TORCH, twins.training(twins.theirs, twins.packed), truth), goal=6.0)
    whole = twins.gradients_in_float64(twins.padded)
    yield Pair(ours, Side(PADDED, twins.training(twins.ours, twins.padded), whole), goal=1.0)


def gates_inference(shape: Shape) -> Iterator[Pair]:
    """Keep every gate at every step, without gradients."""
    twins = Twins(shape)
    truth = twins.output_in_float64(loop_by_hand)
    kept = Side(GATES, twins.inference(twins.ours, _quantities), truth)
    bare = twins.output_in_float64(twins.padded)
    yield Pair(kept, Side(OURS, twins.inference(twins.ours, twins.padded), bare), kind="cost", goal=1.3)
    yield Pair(kept, Side(LOOP, twins.inference(twins.theirs, loop_by_hand), truth))


def gates_training(shape: Shape) -> Iterator[Pair]:
    """Keep the same while training through the output."""
    twins = Twins(shape)
    truth = twins.gradients_in_float64(twins.padded)
    kept = Side(GATES, twins.training(twins.ours, lambda *call: _quantities(*call)[-1]), truth)
    bare = Side(OURS, twins.training(twins.ours, twins.padded), truth)
    yield Pair(kept, bare, kind="cost", goal=1.05)
    loop = twins.training(twins.theirs, lambda *call: loop_by_hand(*call)[-1])
    yield Pair(kept, Side(LOOP, loop, truth))


def watch_inference(shape: Shape) -> Iterator[Pair]:
    """Watch a model with one LSTM, ours or torch's, without gradients."""
    twins = Twins(shape)
    truth = twins.output_in_float64(loop_by_hand)
    loop = Side(LOOP, twins.inference(twins.theirs, loop_by_hand), truth)
    watched = Side(WATCHED, twins.inference(twins.ours, _watched), truth)
    bare = twins.output_in_float64(twins.padded)
    yield Pair(watched, Side(OURS, twins.inference(twins.ours, twins.padded), bare), kind="cost", goal=1.3)
    yield Pair(watched, loop, goal=3.0)
    yield Pair(Side(WATCHED_TORCH, twins.inference(twins.theirs, _watched), truth), loop)


def watch_training(shape: Shape) -> Iterator[Pair]:
    """Watch the same while it trains: the gradients of the states are kept, too."""
    twins = Twins(shape)
    truth = twins.gradients_in_float64(twins.padded)
    loop = Side(LOOP, twins.training(twins.theirs, lambda *call: loop_by_hand(*call)[-1]), truth)
    watched, watched_torch = (
        Side(name, twins.training(module, lambda *call: _watched(*call)[-1]), truth)
        for name, module in ((WATCHED, twins.ours), (WATCHED_TORCH, twins.theirs))
    )
    bare = Side(OURS, twins.training(twins.ours, twins.padded), truth)
    yield Pair(watched, bare, kind="cost", goal=1.15)
    yield Pair(watched, loop, goal=3.0)
    yield Pair(watched_torch, loop)


def step(shape: Shape) -> Iterator[Pair]:
    """Go step by step, the state handed on: T steps in a run. Nothing where a direction starts at the end."""
    if shape.D > 1:
        return
    twins = Twins(shape)
    whole = twins.output_in_float64(twins.padded)

    def side(name: str, run: Run, *, own_threads: bool = False) -> Side:
        return Side(name, run, lambda: list(whole()[0]), shape.T, "s per step", own_threads)

    def ours() -> Side:  # a new one for each pair: the check wants it at the first step
        return side("glasslstm, stream", _steps_of_ours(twins))

    goals = _STEP_GOALS.get(shape.H, (None, None))
    yield Pair(ours(), side(TORCH, _steps_of_torch(twins)), goal=goals[0])
    if shape.L == 1:
        yield Pair(ours(), side(CELL, _steps_of_cell(twins)), goal=goals[1])
        for run in _onnx(lambda: onnx_steps(twins)):
            yield Pair(ours(), side(ONNX, run, own_threads=True))


def per_step(pairs: Pairs) -> Pairs:
    """Return the first pair, ours against torch's, in time for each step and sequence."""

    def first(shape: Shape) -> Iterator[Pair]:
        pair = next(pairs(shape))
        subject, against = (
            side._replace(amount=shape.T * shape.B, unit="s per step and sequence") for side in pair[:2]
        )
        yield Pair(subject, against)

    return first


def peak_share(pairs: Pairs, passes: int, goal: float) -> Pairs:
    """Return ours against the best matrix product here; `passes` as costly as the forward pass."""

    def against_product(shape: Shape) -> Iterator[Pair]:
        ours = next(pairs(shape)).subject._replace(amount=passes * shape.flops, unit="s per flop")
        yield Pair(ours, _best_product(torch.get_num_threads()), kind="share", goal=goal)

    return against_product


def _trained(shape: Shape, *names: str) -> list[Side]:
    twins = Twins(shape)
    truth = twins.gradients_in_float64(twins.padded)
    return [Side(name, twins.training(trained(name, twins), twins.padded), truth) for name in names]


def _onnx(make: Callable[[], Run]) -> list[Run]:
    return [] if ONNX in missing() else [make()]


def _quantities(module: Any, x: Tensor) -> list[Tensor]:
    output, _, trace = module(x, return_trace=True)
    return [*_all_of(trace), output]


def _watched(module: Any, x: Tensor) -> list[Tensor]:
    with watch(module) as watcher:
        output, _ = module(x)
    return [*_all_of(watcher[""]), output]


def _all_of(trace: Trace) -> list[Tensor]:
    return [getattr(trace[key], name) for key in trace for name in QUANTITIES]


def _steps_of_ours(twins: Twins) -> Run:
    stream = twins.ours.stream(batch_size=twins.shape.B)
    inputs = twins.x.unbind()
    return torch.no_grad()(lambda: [stream.step(x_t) for x_t in inputs])


def _steps_of_torch(twins: Twins) -> Run:
    inputs = twins.x.split(1)
    state = None

    @torch.no_grad()
    def run() -> list[Tensor]:
        nonlocal state
        outputs = []
        for x_t in inputs:
            y, state = twins.theirs(x_t, state)
            outputs.append(y)
        return outputs

    return run


def _steps_of_cell(twins: Twins) -> Run:
    cell = nn.LSTMCell(twins.shape.I, twins.shape.H)
    cell.load_state_dict({name[:-3]: value for name, value in twins.theirs.state_dict().items()})  # no _l0
    inputs = twins.x.unbind()
    state = None

    @torch.no_grad()
    def run() -> list[Tensor]:
        nonlocal state
        outputs = []
        for x_t in inputs:
            state = cell(x_t, state)
            outputs.append(state[0])
        return outputs

    return run


@cache
def _best_product(threads: int) -> Side:  # noqa: ARG001 - the key of the cache
    """Return the square float32 product that does the most in a second with so many threads."""
    sides = [_product(n) for n in (512, 1024, 2048)]
    times = in_turn(sides, Box(rounds=5, seconds=0.2))
    return min(zip(map(min, times), sides, strict=True), key=lambda both: both[0])[1]


def _product(n: int) -> Side:
    a, b = torch.randn(n, n), torch.randn(n, n)
    return Side(
        f"torch.mm, {n} x {n}",
        lambda: [torch.mm(a, b)],
        lambda: [a.double() @ b.double()],
        2 * n**3,
        "s per flop",
    )
