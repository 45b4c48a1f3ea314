"""The least time that the machine allows for each shape, beside ours and torch's.

    glasslstm bench --work inference,training,step --json > bench.json
    python benchmarks/roofline.py bench.json

A roofline (Williams, Waterman and Patterson 2009): a kernel takes at least its floating-point operations over the
processor's peak, and at least the bytes that it must read over the rate at which they come. The operations are those
of the matrix products; activations, memory beyond the weights, threads that wait for each other and Python come on
top. The bytes are W_hh, once for each step in each direction of time: with few sequences a step does little else with
it. (A step of a stream reads all weights.) The peak is the highest rate that any side of the run reached, or a square
torch.mm here; the rate of reading is measured here, on one core, for as many bytes as a core has to read of weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from glasslstm.bench.shapes import Shape

PASSES = {"inference": 1, "training": 3}
READS = {"inference": 1, "training": 2}  # of W_hh in a step: forward; and once more backward


def main() -> None:
    """Print a markdown table for each work in the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="what glasslstm bench --json printed")
    document = json.loads(parser.parse_args().file.read_text())
    threads = sorted({row["threads"] for row in document["rows"]})
    peaks = {count: max(_product(count), _best_rate(document, count)) for count in threads}
    for count, peak in peaks.items():
        print(f"peak with {count} threads: {peak / 1e9:.0f} GFLOP/s")
    for work in ("inference", "training", "step"):
        for count in threads:
            rows = [row for row in document["rows"] if row["work"] == work and row["threads"] == count]
            if rows:
                _table(work, rows, peaks[count], count)


def _table(work: str, rows: list[dict[str, Any]], peak: float, threads: int) -> None:
    print(f"\n{work}, {threads} threads\n")
    print(
        "| T, B, I, H | bound by | least time, ms | ours, ms | share | `torch.nn.LSTM` over the least time | ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    limits, ratios = [], []
    for row in rows:
        if row["against"] != "torch.nn.LSTM":
            continue
        shape = Shape(**row["shape"])
        if work == "step":
            size = 16 * shape.H * (shape.I + shape.H) // threads
            least, bound = size / _reading(size), f"reading {size / 1e3:,.0f} kB a core"
        else:
            arithmetic = PASSES[work] * shape.flops / peak
            size = 16 * shape.H**2 // threads
            read = READS[work] * shape.T * shape.L * shape.D * size / _reading(size)
            least, bound = max(
                (arithmetic, "arithmetic"), (read, f"reading {size / 1e3:,.0f} kB a core and step")
            )
        ours, theirs = row["subject_value"], row["against_value"]
        limits.append(theirs / least)
        ratios.append(theirs / ours)
        print(
            f"| {', '.join(map(str, shape))} | {bound} | {1e3 * least:.3g} | {1e3 * ours:.3g} | "
            f"{100 * least / ours:.0f} % | {theirs / least:.2f} | {theirs / ours:.2f} |"
        )
    print(f"\nGeometric means: {_mean(limits):.2f} at most, {_mean(ratios):.2f} reached.")


def _mean(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _best_rate(document: dict[str, Any], threads: int) -> float:
    rates = [
        PASSES[row["work"]] * Shape(**row["shape"]).flops / row[side]
        for row in document["rows"]
        if row["work"] in PASSES and row["threads"] == threads
        for side in ("subject_value", "against_value")
    ]
    return max(rates, default=0.0)


def _product(threads: int) -> float:
    """Operations a second of the best square matrix product."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        factors = [torch.randn(size, size) for size in (512, 1024, 2048)]
        return max(2 * len(one) ** 3 / _least(partial(torch.mm, one, one), 20) for one in factors)
    finally:
        torch.set_num_threads(before)


_rates: dict[int, float] = {}


def _reading(size: int) -> float:
    """Bytes a second at which one core reads so many bytes again and again.

    Of a sum of products over two halves of them. What a call costs besides is left out by the difference to one
    over three quarters; below 128 kB, where the first cache helps, such a difference is too short to be measured,
    and the rate of 128 kB stands.
    """
    size = max(size, 128 * 1024)
    if size not in _rates:
        with threadpool_limits(1):
            whole = part = 0.0
            while whole <= part:  # other processes came between
                whole, part = (_least(partial(np.dot, *halves), 3000) for halves in _halves(size))
        _rates[size] = size / 4 / (whole - part)
    return _rates[size]


def _halves(size: int) -> list[NDArray[np.float32]]:
    """Two arrays of `size` bytes together, and two of three quarters of it."""
    random = np.random.default_rng(0)
    return [random.random((2, bytes_ // 8), dtype=np.float32) for bytes_ in (size, size * 3 // 4)]


def _least(run: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        start = perf_counter()
        run()
        best = min(best, perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
