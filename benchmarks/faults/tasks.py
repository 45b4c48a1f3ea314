"""Made-up data on which only a model that reads its whole sequence beats guessing; each draw is (inputs, targets).

Shapes: N sequences, T steps, C channels, sequence first: (N, T, C). Tokens are (N, T), int64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from glasslstm.data.synthetic import adding_problem

__all__ = [
    "Draw",
    "adding",
    "bump",
    "chirp",
    "curves",
    "echo",
    "enclosed",
    "flip_flop",
    "forecast",
    "grammar",
    "levels",
    "marked_token",
    "noisy_waves",
    "pairs",
    "ragged",
    "several",
    "spring",
    "temporal_order",
    "time_first",
    "unbatched",
    "waves",
]

Draw: TypeAlias = Callable[[int, Generator], tuple[Any, Any]]


def waves(n: int, generator: Generator, *, steps: int = 60, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Draw noisy sines; the class is the frequency, the phase and the loudness are random."""
    y = torch.randint(classes, (n,), generator=generator)
    return _wave(2.0 * (1 + y), steps, generator) + 0.3 * _noise(n, steps, generator), y


def noisy_waves(n: int, generator: Generator, *, steps: int = 100) -> tuple[Tensor, Tensor]:
    """Draw slow waves with noise on them; the target is the wave at every step."""
    clean = _wave(2 + 4 * torch.rand(n, generator=generator), steps, generator)
    return clean + 0.6 * _noise(n, steps, generator), clean


def forecast(n: int, generator: Generator, *, steps: int = 60, horizon: int = 15) -> tuple[Tensor, Tensor]:
    """Draw a sum of two waves; the target is how it goes on."""
    slow, fast = (low + low * torch.rand(n, generator=generator) for low in (2, 5))
    whole = _wave(slow, steps + horizon, generator) + 0.5 * _wave(fast, steps + horizon, generator)
    return whole[:, :steps] + 0.05 * _noise(n, steps, generator), whole[:, steps:]


def chirp(n: int, generator: Generator, *, steps: int = 300) -> tuple[Tensor, Tensor]:
    """Draw a tone that falls, stays or rises in pitch, with noise on it; the class is which."""
    y = torch.randint(3, (n,), generator=generator)
    time = torch.linspace(0, 1, steps)
    phase = torch.rand(n, 1, generator=generator) + 20 * time + 10 * (y[:, None] - 1) * (time**2 - time)
    return torch.sin(2 * math.pi * phase).unsqueeze(-1) + 0.3 * _noise(n, steps, generator), y


def curves(n: int, generator: Generator, *, steps: int = 30) -> tuple[Tensor, Tensor]:
    """Draw two channels made of three random numbers; the target is the sequence itself."""
    a, b, c = torch.randn(3, n, 1, generator=generator)
    time = torch.linspace(-1, 1, steps)
    x = torch.stack([a + b * time, b * torch.cos(3 * time) + c * time**2], dim=-1)
    return x, x


def adding(n: int, generator: Generator, *, steps: int = 50) -> tuple[Tensor, Tensor]:
    """Draw the adding problem; the target is (N, 1)."""
    x, y = adding_problem(n, steps, generator=generator)
    return x.transpose(0, 1).contiguous(), y.unsqueeze(-1)


def temporal_order(n: int, generator: Generator, *, steps: int = 60) -> tuple[Tensor, Tensor]:
    """Draw one of two symbols early and one late among distractors; the class is which two, in which order.

    After experiment 6 of Hochreiter and Schmidhuber 1997, "Long short-term memory", Neural Computation 9(8).
    """
    symbols = 2 + torch.randint(4, (n, steps), generator=generator)
    which = torch.randint(2, (n, 2), generator=generator)
    rows = torch.arange(n)
    for k, low in enumerate((steps // 10, steps // 2)):
        symbols[rows, low + torch.randint(steps // 5, (n,), generator=generator)] = which[:, k]
    return one_hot(symbols, 6).float(), 2 * which[:, 0] + which[:, 1]


def flip_flop(n: int, generator: Generator, *, steps: int = 100, bits: int = 3) -> tuple[Tensor, Tensor]:
    """Draw rare pulses of +1 and -1 on some channels; the target is the last pulse of each, at every step.

    After Sussillo and Barak 2013, "Opening the black box", Neural Computation 25(3).
    """
    pulses = torch.rand(n, steps, bits, generator=generator) < 0.08
    pulses[:, 0] = True
    x = pulses * (2.0 * torch.randint(2, pulses.shape, generator=generator) - 1)
    last = (pulses * torch.arange(steps)[:, None]).cummax(dim=1).values
    return x, x.gather(1, last)


def echo(n: int, generator: Generator, *, steps: int = 40, lag: int = 5) -> tuple[Tensor, Tensor]:
    """Draw random bits; the target at each step is the bit some steps before it."""
    x = torch.randint(2, (n, steps, 1), generator=generator).float()
    return x, torch.cat([torch.zeros(n, lag, 1), x[:, :-lag]], dim=1)


def spring(n: int, generator: Generator, *, steps: int = 300) -> tuple[Tensor, Tensor]:
    """Draw a random force on a damped, stiffening spring; the target is its place at every step."""
    force = torch.randn(n, steps // 10, generator=generator).repeat_interleave(10, dim=1)
    place, speed, places = torch.zeros(n), torch.zeros(n), []
    for t in range(steps):
        speed = speed + 0.2 * (force[:, t] - place - 0.3 * place**3 - 0.4 * speed)
        place = place + 0.2 * speed
        places.append(place)
    return force.unsqueeze(-1), torch.stack(places, dim=1).unsqueeze(-1)


def grammar(n: int, generator: Generator, *, steps: int = 60, words: int = 12) -> tuple[Tensor, Tensor]:
    """Draw tokens of which each mostly follows from the two before; the target is the next token."""
    tokens = torch.randint(words, (n, steps + 1), generator=generator)
    for t in range(2, steps + 1):
        follows = (3 * tokens[:, t - 1] + tokens[:, t - 2] + 1) % words
        free = torch.rand(n, generator=generator) < 0.1
        tokens[:, t] = torch.where(free, tokens[:, t], follows)
    return tokens[:, :-1], tokens[:, 1:]


def marked_token(
    n: int, generator: Generator, *, steps: int = 60, words: int = 8
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Draw tokens of which one is marked; inputs are tokens and marks, and the target is the marked token."""
    tokens = torch.randint(words, (n, steps), generator=generator)
    place = torch.randint(steps, (n, 1), generator=generator)
    return (tokens, one_hot(place.squeeze(1), steps)), tokens.gather(1, place).squeeze(1)


def enclosed(n: int, generator: Generator, *, steps: int = 30, words: int = 12) -> tuple[Tensor, Tensor]:
    """Draw tokens of which 0 opens and 1 closes; a step's label is whether it stands between the two."""
    tokens = torch.randint(2, words, (n, steps), generator=generator)
    brackets = torch.randint(2, (n, steps), generator=generator)
    tokens = torch.where(torch.rand(n, steps, generator=generator) < 0.25, brackets, tokens)
    at = torch.where(tokens < 2, torch.arange(steps), -1)
    before = at.cummax(1).values
    at = torch.where(tokens < 2, torch.arange(steps), steps)
    after = at.flip(1).cummin(1).values.flip(1)
    opened = (before >= 0) & (tokens.gather(1, before.clamp(min=0)) == 0)
    closed = (after < steps) & (tokens.gather(1, after.clamp(max=steps - 1)) == 1)
    return tokens, (opened & closed).long()


def bump(n: int, generator: Generator, *, steps: int = 60, channels: int = 4) -> tuple[Tensor, Tensor]:
    """Draw noise with a short bump on one channel, anywhere but at the end; the class is the channel."""
    y = torch.randint(channels, (n,), generator=generator)
    start = torch.randint(steps - 10, (n, 1), generator=generator)
    time = torch.arange(steps)
    on = ((time >= start) & (time < start + 4)).float()
    x = 2.0 * on.unsqueeze(-1) * one_hot(y, channels).unsqueeze(1)
    return x + 0.4 * torch.randn(n, steps, channels, generator=generator), y


def levels(n: int, generator: Generator, *, steps: int = 50) -> tuple[Tensor, Tensor]:
    """Draw random walks that are drawn back to a level; the target is the level, (N, 1)."""
    level = torch.randn(n, 1, generator=generator)
    place, places = torch.zeros(n, 1), []
    for _ in range(steps):
        place = place + 0.3 * (level - place) + 0.5 * torch.randn(n, 1, generator=generator)
        places.append(place)
    return torch.stack(places, dim=1), level


def several(n: int, generator: Generator, *, parts: int = 6) -> tuple[Tensor, Tensor]:
    """Draw some random walks each, (N, parts, T, 1); the target is the highest level."""
    x, level = levels(n * parts, generator, steps=20)
    level = level.view(n, parts)
    return x.view(n, parts, 20, 1), level.amax(1, keepdim=True)


def pairs(n: int, generator: Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Draw two random walks; the class is whether the first is drawn to the higher level."""
    (one, high), (other, low) = levels(n, generator), levels(n, generator)
    return (one, other), (high > low).long().squeeze(1)


def ragged(draw: Draw, shortest: float = 0.3) -> Draw:
    """Cut the ends off: inputs become (x, lengths), zero past a length; labels of steps past it are -100."""
    return partial(_ragged, draw=draw, shortest=shortest)


def _ragged(
    n: int, generator: Generator, *, draw: Draw, shortest: float
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    x, y = draw(n, generator)
    steps = x.shape[1]
    lengths = torch.randint(math.ceil(shortest * steps), steps + 1, (n,), generator=generator)
    valid = torch.arange(steps) < lengths[:, None]
    if y.shape[:2] == x.shape[:2]:
        y = torch.where(
            valid.view(*valid.shape, *[1] * (y.dim() - 2)), y, 0 if y.is_floating_point() else -100
        )
    return (x * valid.view(*valid.shape, *[1] * (x.dim() - 2)), lengths), y


def time_first(draw: Draw) -> Draw:
    """Swap the first two dimensions of the inputs: (T, N, C)."""
    return partial(_time_first, draw=draw)


def _time_first(n: int, generator: Generator, *, draw: Draw) -> tuple[Any, Any]:
    x, y = draw(n, generator)
    if isinstance(x, tuple):
        return (x[0].transpose(0, 1).contiguous(), *x[1:]), y
    return x.transpose(0, 1).contiguous(), y


def unbatched(draw: Draw) -> Draw:
    """Take one sequence without a dimension for it: (T, C)."""
    return partial(_unbatched, draw=draw)


def _unbatched(n: int, generator: Generator, *, draw: Draw) -> tuple[Tensor, Tensor]:
    x, y = draw(n, generator)
    return x[0], y[0]


def _wave(cycles: Tensor, steps: int, generator: Generator) -> Tensor:
    phase, loud = torch.rand(2, len(cycles), 1, generator=generator)
    time = torch.linspace(0, 1, steps)
    wave: Tensor = (0.7 + 0.6 * loud) * torch.sin(2 * math.pi * (phase + cycles[:, None] * time))
    return wave.unsqueeze(-1)


def _noise(n: int, steps: int, generator: Generator) -> Tensor:
    return torch.randn(n, steps, 1, generator=generator)
