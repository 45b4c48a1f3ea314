"""Models that run at the same time do not disturb each other, in one process or in children of it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch

import glasslstm as gl
from glasslstm.ops import cpu

built = pytest.mark.skipif(cpu.NATIVE is None, reason="the native kernels were not compiled at installation")


def _work(seed: int, start: Barrier) -> list[torch.Tensor]:
    """Train a little, ragged and traced, and give the weights, outputs and gradients of the states."""
    draw = torch.Generator().manual_seed(seed)
    lstm = gl.LSTM(2, 3 + seed, 2, bidirectional=True, dtype=torch.float64)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.uniform_(-0.5, 0.5, generator=draw)
    optimiser = torch.optim.SGD(lstm.parameters(), lr=0.1)
    found: list[torch.Tensor] = []
    start.wait(30)
    for step in range(8):
        x = torch.randn(6, 3, 2, dtype=torch.float64, generator=draw)
        call: dict[str, Any] = {"lengths": [6, 2, step % 4]} if step % 2 else {}
        output, _, *trace = lstm(x, **call, return_trace=step % 3 == 0)
        optimiser.zero_grad()
        output.pow(2).sum().backward()
        optimiser.step()
        found += [output.detach(), *(part[1, 1].cell_grad for part in trace)]
    return [*found, *(p.detach() for p in lstm.parameters())]


def test_two_models_in_two_threads() -> None:
    alone = [_work(seed, Barrier(1)) for seed in (0, 1)]
    together = Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(_work, seed, together) for seed in (0, 1)]
        found = [task.result(60) for task in tasks]
    for ours, expected in zip(found, alone, strict=True):
        assert len(ours) == len(expected)
        torch.testing.assert_close(ours, expected, atol=1e-12, rtol=0)


def test_one_model_in_four_threads() -> None:
    lstm, x = (
        gl.LSTM(3, 4, 2, bidirectional=True, dtype=torch.float64),
        torch.randn(4, 7, 2, 3, dtype=torch.float64),
    )

    def run(one: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output, states, trace = lstm(one, lengths=[7, 3], return_trace=True)
        return (
            output,
            *states,
            trace[0, 1].forget_gate,
            *torch.autograd.grad(output.sum(), list(lstm.parameters())),
        )

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, x))
    for one, ours in zip(x, found, strict=True):
        torch.testing.assert_close(ours, run(one), atol=1e-12, rtol=0)


@built
@pytest.mark.parametrize(
    "sizes",
    [((16, 64), (13, 33)), ((2, 130), (3, 130)), ((40, 17), (1, 130))],
    ids=["sequences shared out", "units shared out", "both"],
)
def test_two_models_with_two_threads_each_are_right_to_the_last_bit(sizes: tuple[Any, ...]) -> None:
    """Each Python thread has a team of its own, and scratch of its own."""
    before = torch.get_num_threads()
    models = [gl.LSTM(5, H, bidirectional=True, recompute=H == 33) for _, H in sizes]
    inputs = [torch.randn(12, B, 5) for B, _ in sizes]
    lengths = [torch.randint(0, 13, (B,)) for B, _ in sizes]
    start = Barrier(2)

    def run(k: int) -> list[torch.Tensor]:
        """Several runs must be equal to the first; that one is handed back."""
        torch.set_num_threads(2)  # of this Python thread
        start.wait(30)
        runs = [_run(models[k], inputs[k], lengths[k]) for _ in range(25)]
        assert all(torch.equal(a, b) for other in runs for a, b in zip(runs[0], other, strict=True))
        return runs[0]

    try:
        torch.set_num_threads(2)
        alone = [_run(*arguments) for arguments in zip(models, inputs, lengths, strict=True)]
        with ThreadPoolExecutor(2) as pool:
            together = list(pool.map(run, range(2)))
    finally:
        torch.set_num_threads(before)
    for found, expected in zip(together, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    with gl.use_kernel("equations"):
        exact = [_run(*arguments) for arguments in zip(models, inputs, lengths, strict=True)]
    torch.testing.assert_close(together, exact, atol=1e-3, rtol=1e-3)


def _run(lstm: gl.LSTM, x: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
    output, states = lstm(x)
    ragged, _ = lstm(x, lengths=lengths)
    grads = torch.autograd.grad(output.pow(2).sum() + ragged.sum(), list(lstm.parameters()))
    return [output.detach(), *(state.detach() for state in states), ragged.detach(), *grads]


# Processes: each program runs the native threads first, and then in children

BEFORE = """
import os, sys, warnings
import torch, glasslstm as gl
warnings.simplefilter("ignore")  # of Python, about a fork where there are threads: it is what is tried here
torch.manual_seed(0)
torch.set_num_threads(2)
# A thread for each direction, and threads that have sequences of one direction each.
lstm, x = torch.nn.ModuleList([gl.LSTM(5, 130, bidirectional=True), gl.LSTM(5, 20)]), torch.randn(12, 8, 5)

def train(lstm, x):
    outputs = [one(x, lengths=[12, 3, 0, 7, 12, 1, 5, 9])[0] for one in lstm]
    loss = sum(output.pow(2).sum() for output in outputs)
    return [*(output.detach() for output in outputs), *torch.autograd.grad(loss, list(lstm.parameters()))]

def infer(lstm, x):
    with torch.no_grad():
        return [one(x)[0] for one in lstm]

def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)

expected, output = train(lstm, x), infer(lstm, x)
"""

FORK = """
for _ in range(3):
    child = os.fork()
    if child == 0:
        try:
            found = infer(lstm, x), train(lstm, x)
            torch.set_num_threads(1)  # to compare: torch's own threads wait for ever here
            close(found, (output, expected))
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    close(train(lstm, x), expected)  # and the parent goes on with its threads
"""

LOADER = """
class Encoded(torch.utils.data.Dataset):
    def __len__(self):
        return 6
    def __getitem__(self, k):
        assert torch.utils.data.get_worker_info() is not None
        return k, infer(lstm, x), train(lstm, x)[2]

loader = torch.utils.data.DataLoader(
    Encoded(), batch_size=None, num_workers=2, multiprocessing_context="fork"
)
for _ in range(2):
    found = list(loader)
    assert [k for k, _, _ in found] == list(range(6))
    for _, encoded, grad in found:
        close(encoded, output)
        close(grad, expected[2])
close(train(lstm, x), expected)
"""

JOBLIB = """
import joblib
for backend in ("loky", "threading"):
    found = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(train)(lstm, x) for _ in range(3))
    for one in found:
        close(one, expected)
close(train(lstm, x), expected)
"""


@built
@pytest.mark.parametrize("program", [FORK, LOADER, JOBLIB], ids=["fork", "DataLoader", "joblib"])
def test_children_of_a_process_whose_native_threads_have_run(program: str, tmp_path: Path) -> None:
    """They end, and are right. A thread that a child waits for does not exist there."""
    if program is JOBLIB:
        pytest.importorskip("joblib")
    command = [sys.executable, "-c", BEFORE + program + "\nprint('done')"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stdout + done.stderr
