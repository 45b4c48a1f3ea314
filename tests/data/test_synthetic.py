"""The adding problem and the copy task: the protocol by hand, and the guessing levels measured."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from glasslstm.data.synthetic import adding_problem, copy_task
from glasslstm.errors import MissingExtraError


def test_the_adding_problem_by_hand() -> None:
    x, y = adding_problem(50, 7)
    assert x.shape == (7, 50, 2)
    assert y.shape == (50,)
    assert x.dtype == y.dtype == torch.float32
    for (numbers, marks), target in zip(x.permute(1, 2, 0), y, strict=True):
        assert all(0 <= number < 1 for number in numbers.tolist())
        assert sorted(marks.tolist()) == [0, 0, 0, 0, 0, 1, 1]
        first, second = (k for k, mark in enumerate(marks.tolist()) if mark)
        assert target.item() == (numbers[first] + numbers[second]).item()
    assert len(y.unique()) == 50


def test_every_pair_of_steps_is_marked_equally_often() -> None:
    x, _ = adding_problem(30_000, 4)
    pairs = [tuple(k for k in range(4) if marks[k]) for marks in x[:, :, 1].T.tolist()]
    counts = [pairs.count(pair) for pair in itertools.combinations(range(4), 2)]
    assert sum(counts) == 30_000
    # 6 pairs, 5,000 of each: five standard deviations of a binomial count are 323
    assert max(abs(count - 5000) for count in counts) < 323


def test_guessing_the_sum_costs_one_sixth() -> None:
    _, y = adding_problem(20_000, 5)
    errors = (y - 1).square()
    assert y.mean().item() == pytest.approx(1, abs=5 * math.sqrt(1 / 6 / 20_000))
    assert errors.mean().item() == pytest.approx(1 / 6, abs=5 * errors.std().item() / math.sqrt(20_000))


def test_the_copy_task_by_hand() -> None:
    x, y = copy_task(40, 5, length=3)
    assert x.shape == y.shape == (5 + 2 * 3, 40)
    assert x.dtype == y.dtype == torch.int64
    for read, due in zip(x.T.tolist(), y.T.tolist(), strict=True):
        symbols = read[:3]
        assert set(symbols) <= set(range(1, 9))
        assert read[3:] == [0] * 4 + [9] * 4
        assert due == [0] * 8 + symbols
    assert set(x[:3].flatten().tolist()) == set(range(1, 9))


def test_the_copy_task_of_the_paper() -> None:
    x, y = copy_task(2, 1000)
    assert len(x) == len(y) == 1020
    assert (x == 9).sum(dim=0).tolist() == [11, 11]  # the last eleven
    assert (x[-11:] == 9).all()
    assert torch.equal(x[:10], y[-10:])
    assert copy_task(1, 1)[0][10:, 0].tolist() == [9] * 11


def test_guessing_the_symbols_costs_k_ln_8_of_all_steps() -> None:
    """Scored as a training scores it: the cross-entropy of the best answer without memory, over all steps."""
    delay = 1000
    _, y = copy_task(20_000, delay)
    counts = torch.bincount(y[-10:].flatten(), minlength=10)
    assert counts[0] == counts[9] == 0
    assert ((counts[1:9] / 25_000 - 1).abs() < 5 * math.sqrt(7 / 200_000)).all()
    due = y[:, :100].T
    logits = torch.full((100, delay + 20, 10), -math.inf)
    logits[:, :-10, 0] = 0.0
    logits[:, -10:, 1:9] = 0.0
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), due.flatten())
    assert loss.item() == pytest.approx(10 * math.log(8) / (delay + 20), rel=1e-5)
    assert round(loss.item(), 4) == 0.0204


@pytest.mark.parametrize(
    "draw", [lambda g: adding_problem(3, 9, generator=g), lambda g: copy_task(3, 9, generator=g)]
)
def test_a_generator_gives_the_same_again_and_leaves_torchs_alone(
    draw: Callable[..., tuple[torch.Tensor, ...]],
) -> None:
    state = torch.get_rng_state()
    first, again, other = (draw(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[1], other[1])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert all(map(torch.equal, first, draw(None)))


REFUSED: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: adding_problem(0, 5), ValueError, "n: expected 1 or more, got 0"),
    (lambda: adding_problem(5, 1), ValueError, "steps: expected 2 or more, got 1"),
    (lambda: adding_problem(5.0, 9), TypeError, r"n: expected an int, got 5.0 \(float\)"),
    (lambda: copy_task(3, 0), ValueError, "delay: expected 1 or more, got 0"),
    (lambda: copy_task(3, 5, length=0), ValueError, "length: expected 1 or more, got 0"),
    (lambda: copy_task(True, 5), TypeError, r"n: expected an int, got True \(bool\)"),
    (lambda: copy_task(3, 5, generator=0), TypeError, r"generator: .* got 0 \(int\); for a seed"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_cannot_be_is_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_folder_hands_out_the_generators_without_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """They need torch alone; what reads tables says which extra is missing."""
    import glasslstm.data

    def missing(module: str, extra: str) -> None:
        raise MissingExtraError(f"{module}: {extra}")

    monkeypatch.setattr(glasslstm.data, "require", missing)
    assert glasslstm.data.adding_problem is adding_problem
    with pytest.raises(MissingExtraError, match="narwhals: train"):
        _ = glasslstm.data.read_series
    with pytest.raises(AttributeError, match=r"module 'glasslstm\.data' has no attribute 'nothing'"):
        _ = glasslstm.data.nothing
