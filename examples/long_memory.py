"""Two tasks that need a long memory: the usual initial values guess, the chrono initialisation learns.

- The adding problem, 600 steps: two of 600 numbers are marked; what is their sum? Guessing costs 1/6.
- The copy task, 1,000 steps: repeat ten symbols after 1,000 blanks. Guessing costs 10 ln 8 / 1020 = 0.0204.

With the usual initial values a forget gate is about 1/2, and the memory halves with every step: 600 steps on
nothing is left of what was read, nor of the gradient that would teach it. The chrono initialisation (Tallec and
Ollivier 2018, "Can recurrent neural networks warp time?") draws biases at which the units keep their memory
for 2 steps to as long as the task asks. All else, the random numbers of the data too, is the same for both.

    python examples/long_memory.py --task adding
    python examples/long_memory.py --task copy
    python examples/long_memory.py --quick          # the adding problem over 100 steps, in seconds
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

import glasslstm as gl
from glasslstm.data import adding_problem, copy_task


@dataclass(frozen=True)
class Task:
    """A task, and settings with which it is learned in the least time on one core."""

    draw: Callable[..., tuple[Tensor, Tensor]]
    lag: int  # steps, as the generator counts them
    guess: float  # the loss of the best answer without memory
    channels: int
    outputs: int
    every_step: bool  # an answer is due at every step, not at the end alone
    loss: Callable[[Tensor, Tensor], Tensor]
    hidden_size: int
    batch_size: int
    optimiser: Callable[..., torch.optim.Optimizer]
    steps: int
    longest: float  # T_max of the chrono initialisation, in lags


class Model(nn.Module):
    """An LSTM and a linear layer on its last hidden state, or on all of them."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.lstm = gl.LSTM(task.channels, task.hidden_size)
        self.linear = nn.Linear(task.hidden_size, task.outputs)
        self.every_step = task.every_step

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, channels) -> (B, outputs), or (T, B, outputs)."""
        output, (h_n, _) = self.lstm(x)
        found: Tensor = self.linear(output if self.every_step else h_n[-1])
        return found


def as_channels(symbols: Tensor, due: Tensor) -> tuple[Tensor, Tensor]:
    """Turn symbols (T, B) into nine channels; blank is zero."""
    # A symbol is large, for it has to open input gates that are all but shut at first.
    return 24.0 * nn.functional.one_hot(symbols, 10)[..., 1:], due


def copied(n: int, delay: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the copy task for a network."""
    return as_channels(*copy_task(n, delay, generator=generator))


def squared_error(output: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of the sum."""
    return nn.functional.mse_loss(output.squeeze(-1), y)


def cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of the symbol due, over all steps."""
    return nn.functional.cross_entropy(output.flatten(0, 1), y.flatten())


ADDING = Task(
    draw=adding_problem,
    lag=600,
    guess=1 / 6,
    channels=2,
    outputs=1,
    every_step=False,
    loss=squared_error,
    hidden_size=32,
    batch_size=64,
    optimiser=partial(torch.optim.Adam, lr=1e-2),
    steps=2000,
    longest=1.0,
)
COPY = Task(
    draw=copied,
    lag=1000,
    guess=10 * math.log(8) / 1020,
    channels=9,
    outputs=10,
    every_step=True,
    loss=cross_entropy,
    hidden_size=64,
    batch_size=32,
    optimiser=partial(torch.optim.RMSprop, lr=2e-3, alpha=0.9),
    steps=3000,
    longest=1.5,
)
TASKS = {"adding": ADDING, "copy": COPY}
QUICK = {
    "adding": replace(ADDING, lag=100, steps=800),
    "copy": replace(COPY, lag=50, guess=10 * math.log(8) / 70, steps=250),
}


def train(task: Task, *, chrono: bool, seed: int) -> Model:
    """Train on fresh sequences."""
    torch.manual_seed(seed)
    model = Model(task)
    if chrono:
        gl.init.chrono_(model.lstm, max_steps=task.longest * task.lag)
    data = torch.Generator().manual_seed(seed)
    optimiser = task.optimiser(model.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, task.steps)
    start, losses = time.process_time(), []
    for step in range(1, task.steps + 1):
        x, y = task.draw(task.batch_size, task.lag, generator=data)
        loss = task.loss(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 0:
            mean, seconds = sum(losses[-100:]) / 100, time.process_time() - start
            print(f"step {step:5d}  loss {mean:.5f}  {seconds:5.0f} s of processor time", flush=True)
    return model


@torch.no_grad()
def score(task: Task, model: Model, seed: int) -> float:
    """Return the loss on 1,000 sequences that no training has seen."""
    data = torch.Generator().manual_seed(1_000_000 + seed)
    batches = (task.draw(100, task.lag, generator=data) for _ in range(10))
    return sum(task.loss(model(x), y).item() for x, y in batches) / 10


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train with both initialisations; return the losses on fresh sequences, and the guessing level."""
    parser = argparse.ArgumentParser(description="Tasks that need a long memory.")
    parser.add_argument("--task", choices=list(TASKS), default="adding")
    parser.add_argument("--steps", type=int, help="of training (default: as many as the task takes)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a short lag and few steps: seconds")
    chosen = parser.parse_args(arguments)
    task = (QUICK if chosen.quick else TASKS)[chosen.task]
    task = replace(task, steps=chosen.steps or task.steps)
    losses = {"guessing": task.guess}
    for name, chrono in (("usual", False), ("chrono", True)):
        print(f"{chosen.task}, lag {task.lag}, {name} initialisation")
        model = train(task, chrono=chrono, seed=chosen.seed)
        losses[name] = score(task, model, chosen.seed)
        x, y = task.draw(64, task.lag, generator=torch.Generator().manual_seed(-1))
        print(gl.diagnose(model, x, y, loss=task.loss))
    print("loss on fresh sequences: " + ", ".join(f"{name} {loss:.5f}" for name, loss in losses.items()))
    return losses


if __name__ == "__main__":
    main()
