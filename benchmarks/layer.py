"""Our layer against torch.nn.LSTM, side by side in one process: correctness first, then time.

    python benchmarks/layer.py [--work inference training ...] [--shape 100x32x64x128 ...] [--json]

A and B run in turn; the figures are medians, the ratio is the median of the ratios of neighbours, and
the spread is the middle half of those. A run on a machine that is busy says so.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import glasslstm as gl

Run = Callable[[], Any]

GRID = [
    (100, 1, 16, 32),
    (100, 1, 64, 256),
    (1000, 1, 64, 128),
    (100, 32, 16, 64),
    (100, 32, 64, 128),
    (100, 64, 64, 256),
    (100, 64, 128, 512),
    (200, 128, 8, 32),
    (1, 1, 32, 32),
    (1, 1, 128, 128),
    (1, 1, 256, 256),
    (1, 1, 512, 512),
]
"""(T, B, I, H)."""


class Pair(NamedTuple):
    """Two ways to the same numbers."""

    theirs: Run
    ours: Run


def main() -> None:
    """Measure what the arguments ask for, and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", nargs="+", choices=WORK, default=list(WORK), help="what to measure")
    parser.add_argument(
        "--shape", nargs="+", type=_shape, default=GRID, metavar="TxBxIxH", help="which shapes"
    )
    parser.add_argument("--repeats", type=int, default=15, help="runs of each side (default: 15)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    stolen = _stolen()
    rows = []
    for work in arguments.work:
        for shape in arguments.shape:
            rows.append({"work": work, "shape": shape, **measure(WORK[work](*shape), arguments.repeats)})
            print(f"{work} {shape}: {rows[-1]['ratio']:.2f}", file=sys.stderr)
    facts = _machine() | {"stolen_percent": _stolen_percent(stolen, _stolen())}
    print(json.dumps({"machine": facts, "rows": rows}, indent=2)) if arguments.json else _print(facts, rows)


def measure(pair: Pair, repeats: int) -> dict[str, float]:
    """Check that both give the same numbers, then time them in turn."""
    _check(pair)
    theirs: list[float] = []
    ours: list[float] = []
    for _ in range(repeats):
        for run, times in ((pair.theirs, theirs), (pair.ours, ours)):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    ratios = sorted(a / b for a, b in zip(theirs, ours, strict=True))
    low, ratio, high = statistics.quantiles(ratios, n=4)
    return {
        "torch_ms": 1e3 * statistics.median(theirs),
        "ours_ms": 1e3 * statistics.median(ours),
        "ratio": ratio,
        "ratio_low": low,
        "ratio_high": high,
    }


def inference(T: int, B: int, I: int, H: int) -> Pair:  # noqa: E741
    """Compute the output, without gradients."""
    theirs, ours, x, _ = _modules(T, B, I, H)

    def run(module: Any) -> Run:
        return lambda: _without_grad(lambda: module(x)[0])

    return Pair(run(theirs), run(ours))


def training(T: int, B: int, I: int, H: int) -> Pair:  # noqa: E741
    """Compute the gradients of the weights and of the input: forward and backward."""
    theirs, ours, x, _ = _modules(T, B, I, H)

    def run(module: nn.Module) -> Run:
        return lambda: _gradients(module, module(x)[0], x)

    return Pair(run(theirs), run(ours))


def ragged_inference(T: int, B: int, I: int, H: int) -> Pair:  # noqa: E741
    """Pad to T with lengths from T/5: packed for torch, ``lengths=`` for ours; without gradients."""
    theirs, ours, x, lengths = _modules(T, B, I, H)
    return Pair(
        lambda: _without_grad(lambda: _packed(theirs, x, lengths)),
        lambda: _without_grad(lambda: ours(x, lengths=lengths)[0]),
    )


def ragged_training(T: int, B: int, I: int, H: int) -> Pair:  # noqa: E741
    """Compute the same with forward and backward."""
    theirs, ours, x, lengths = _modules(T, B, I, H)
    return Pair(
        lambda: _gradients(theirs, _packed(theirs, x, lengths), x),
        lambda: _gradients(ours, ours(x, lengths=lengths)[0], x),
    )


def gates_inference(T: int, B: int, I: int, H: int) -> Pair:  # noqa: E741
    """Keep every gate at every step: a loop written by hand on plain torch, against ``return_trace=True``."""
    _, ours, x, _ = _modules(T, B, I, H)
    return Pair(
        lambda: _without_grad(lambda: _hand_loop(ours, x)),
        lambda: _without_grad(lambda: _quantities(ours, x)),
    )


def gates_training(T: int, B: int, I: int, H: int) -> Pair:  # noqa: E741
    """Keep the same with forward and backward through the hidden states."""
    _, ours, x, _ = _modules(T, B, I, H)
    return Pair(
        lambda: _gradients(ours, _hand_loop(ours, x)[-1], x),
        lambda: _gradients(ours, _quantities(ours, x)[-1], x),
    )


WORK: dict[str, Callable[[int, int, int, int], Pair]] = {
    "inference": inference,
    "training": training,
    "ragged-inference": ragged_inference,
    "ragged-training": ragged_training,
    "gates-inference": gates_inference,
    "gates-training": gates_training,
}


def _modules(T: int, B: int, I: int, H: int) -> tuple[nn.LSTM, gl.LSTM, Tensor, Tensor]:  # noqa: E741
    torch.manual_seed(0)
    theirs, ours = nn.LSTM(I, H), gl.LSTM(I, H)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, I, requires_grad=True)
    return theirs, ours, x, torch.randint(max(1, T // 5), T + 1, (B,))


def _packed(module: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    output, _ = module(pack_padded_sequence(x, lengths, enforce_sorted=False))
    padded: Tensor = pad_packed_sequence(output, total_length=len(x))[0]
    return padded


def _hand_loop(module: gl.LSTM, x: Tensor) -> list[Tensor]:
    """Do what people write to see the gates: step by step, with one product for four gates."""
    w_ih, w_hh, b_ih, b_hh = module.parameters()
    h = c = x.new_zeros(x.size(1), module.hidden_size)
    steps = []
    for x_t in x:
        i, f, g, o = (x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        steps.append((i, f, g, o, c, h))
    return [torch.stack(quantity) for quantity in zip(*steps, strict=True)]


def _quantities(module: gl.LSTM, x: Tensor) -> list[Tensor]:
    entry = module(x, return_trace=True)[2][0, 0]
    return [entry.input_gate, entry.forget_gate, entry.candidate, entry.output_gate, entry.cell, entry.hidden]


def _gradients(module: nn.Module, output: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output.square().sum(), [x, *module.parameters()])


def _without_grad(run: Run) -> Any:
    with torch.no_grad():
        return run()


def _check(pair: Pair) -> None:
    """Refuse to time a kernel that is wrong: float32, so relative to the largest value."""
    theirs, ours = pair.theirs(), pair.ours()
    both = (
        zip([theirs], [ours], strict=True) if isinstance(theirs, Tensor) else zip(theirs, ours, strict=True)
    )
    for k, (a, b) in enumerate(both):
        error = ((a - b).abs().max() / a.abs().max().clamp(min=1e-6)).item()
        if error > 1e-4:
            raise SystemExit(f"result {k} differs by {error:.1e} of its largest value: not timed")


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x"))


def _machine() -> dict[str, object]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "glasslstm": gl.__version__,
    }


def _stolen() -> tuple[int, int]:
    """Return what other machines took from this one's processors so far, and all of their time."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0, 0
    ticks = [int(value) for value in stat.read_text().splitlines()[0].split()[1:]]
    return ticks[7], sum(ticks[:8])


def _stolen_percent(before: tuple[int, int], after: tuple[int, int]) -> float:
    return round(100 * (after[0] - before[0]) / max(1, after[1] - before[1]), 1)


def _print(facts: dict[str, object], rows: list[dict[str, Any]]) -> None:
    console = Console(width=110)
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if float(str(facts["stolen_percent"])) > 2:
        console.print(
            "Other machines took part of the processors' time: these figures are not to be trusted."
        )
    for work in dict.fromkeys(row["work"] for row in rows):
        words = (WORK[work].__doc__ or "").strip()
        table = Table(
            "T, B, I, H", "theirs, ms", "ours, ms", "ratio", "middle half", title=f"{work}: {words}"
        )
        chosen = [row for row in rows if row["work"] == work]
        for row in chosen:
            table.add_row(
                ", ".join(map(str, row["shape"])),
                f"{row['torch_ms']:.2f}",
                f"{row['ours_ms']:.2f}",
                f"{row['ratio']:.2f}",
                f"{row['ratio_low']:.2f} - {row['ratio_high']:.2f}",
            )
        mean = statistics.geometric_mean(row["ratio"] for row in chosen)
        table.caption = f"geometric mean of the ratios: {mean:.2f} (above 1: ours is faster)"
        console.print(table)


if __name__ == "__main__":
    main()
