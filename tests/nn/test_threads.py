"""Models that run at the same time in one process do not disturb each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import torch

import glasslstm as gl


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
