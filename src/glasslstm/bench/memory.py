"""The peak of memory in a training step, each side in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import torch
from torch import nn

from glasslstm.bench.findings import Finding, compared
from glasslstm.bench.shapes import Shape
from glasslstm.bench.twins import Twins

__all__ = ["OURS", "RECOMPUTE", "TORCH", "compared_peaks", "main", "peak", "trained"]

TORCH, OURS, RECOMPUTE = "torch.nn.LSTM", "glasslstm", "glasslstm, recompute=True"

_CHILD = "import sys; from glasslstm.bench import memory; memory.main(sys.argv[1])"
_PROCESSES = 3
_STEPS = 3  # what a side keeps from one step for the next counts
_TELLS = 8 << 20  # bytes; below, the pages that any call touches decide


def compared_peaks(subject: str, against: str, shape: Shape, goal: float | None) -> Finding:
    """Compare the peaks of two sides, medians over processes; the goal holds where they are large enough to tell."""
    peaks = [median(peak(side, shape) for _ in range(_PROCESSES)) for side in (subject, against)]
    return Finding(
        subject=subject,
        against=against,
        kind="cost",
        unit="bytes",
        subject_value=peaks[0],
        against_value=peaks[1],
        value=compared("cost", *peaks),
        runs=_PROCESSES,
        goal=goal if max(peaks) >= _TELLS else None,
    )


def peak(side: str, shape: Shape) -> int:
    """Return by how many bytes training steps raise the resident set's high-water mark, in a new process."""
    arguments = json.dumps([side, shape, torch.get_num_threads()])
    command = [sys.executable, "-c", _CHILD, arguments]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def trained(side: str, twins: Twins) -> nn.Module:
    """Return the module of a side."""
    if side == TORCH:
        return twins.theirs
    return twins.our(recompute=True) if side == RECOMPUTE else twins.ours


def main(arguments: str) -> None:
    """Run as the new process: print the bytes."""
    side, shape, threads = json.loads(arguments)
    torch.set_num_threads(threads)
    sys.stdout.write(str(_growth(side, Shape(*shape))))


def _growth(side: str, shape: Shape) -> int:
    """Train for a few steps in this process, and return the bytes by which its peak exceeds what it had before.

    Linux resets the mark through ``/proc/self/clear_refs``. Elsewhere the mark is what ``getrusage`` has, which
    stays at zero until the steps need more than the process had at its highest.
    """
    small = Twins(shape._replace(T=min(shape.T, 2)))
    small.training(trained(side, small), small.padded)()  # libraries load, threads start
    twins = Twins(shape)
    run = twins.training(trained(side, twins), twins.padded)
    del small
    before = _reset_mark()
    for _ in range(_STEPS):
        run()
    return max(_mark() - before, 1)


def _reset_mark() -> int:
    marks = Path("/proc/self/clear_refs")
    if marks.exists():
        marks.write_text("5")
    return _mark()


def _mark() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        marks = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        if marks:
            return 1024 * int(marks[0])
    import resource  # noqa: PLC0415 - Windows has none

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
