"""Losses, errors and answers against scikit-learn, scipy and hand-written sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, huber, log_softmax
from sklearn.metrics import mean_pinball_loss

from glasslstm.estimators.tasks import Classes, InUnits, Labels, Numbers, Quantiles, Rising

RNG = np.random.default_rng(0)


def test_cross_entropy_with_smoothed_labels() -> None:
    logits, labels = RNG.normal(size=(6, 4)), RNG.integers(0, 4, 6)
    target = np.full((6, 4), 0.2 / 4)
    target[np.arange(6), labels] += 0.8
    expected = -(target * log_softmax(logits, axis=1)).sum(1)
    found = Classes(4, label_smoothing=0.2).losses(torch.from_numpy(logits), torch.from_numpy(labels))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    steps = Classes(4).losses(
        torch.from_numpy(logits.reshape(3, 2, 4)), torch.from_numpy(labels.reshape(3, 2))
    )
    np.testing.assert_allclose(steps.flatten(), -log_softmax(logits, axis=1)[np.arange(6), labels], rtol=1e-6)
    np.testing.assert_array_equal(
        Classes(4).errors(torch.from_numpy(logits), torch.from_numpy(labels)), logits.argmax(1) == labels
    )


def test_several_labels_are_each_a_binary_cross_entropy_with_its_weight() -> None:
    logits, truth = RNG.normal(size=(6, 3)), RNG.integers(0, 2, (6, 3))
    weights = np.array([1.0, 4.0, 0.5])
    chance = expit(logits)
    expected = -(weights * truth * np.log(chance) + (1 - truth) * np.log(1 - chance)).mean(1)
    task = Labels(3, tuple(weights))
    answers, targets = torch.from_numpy(logits), torch.from_numpy(truth.astype(np.float32))
    np.testing.assert_allclose(task.losses(answers, targets), expected, rtol=1e-5)
    np.testing.assert_allclose(task.errors(answers, targets), ((chance > 0.5) == truth).mean(1), rtol=1e-6)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_losses_of_numbers_are_those_of_standardised_ones(loss: str) -> None:
    answers, targets = RNG.normal(3, 5, (7, 2)), RNG.normal(3, 5, (7, 2))
    scale = targets.std(0)
    error = (answers - targets) / scale
    one = {"squared_error": error**2, "absolute_error": np.abs(error), "huber": huber(1, error)}[loss]
    task = Numbers(2, loss).fitted(targets)
    found = task.losses(torch.from_numpy(answers), torch.from_numpy(targets))
    np.testing.assert_allclose(found, one.mean(1), rtol=1e-6)
    errors = task.errors(torch.from_numpy(answers), torch.from_numpy(targets))
    np.testing.assert_allclose(
        task.metric_of(float(errors.mean())), np.sqrt(((answers - targets) ** 2).mean())
    )


def test_pinball_loss_is_scikit_learns() -> None:
    levels = (0.1, 0.5, 0.8)
    answers, targets = RNG.normal(size=(9, 2, 3)), 10 * RNG.normal(size=(9, 2)) + 4
    task = Quantiles(2, levels).fitted(targets)
    errors = task.errors(torch.from_numpy(answers), torch.from_numpy(targets))
    losses = task.losses(torch.from_numpy(answers), torch.from_numpy(targets))
    for scale, found in ((np.ones(2), errors), (targets.std(0), losses)):
        expected = np.mean([
            mean_pinball_loss(targets[:, m] / scale[m], answers[:, m, q] / scale[m], alpha=level)
            for m in range(2) for q, level in enumerate(levels)
        ])  # fmt: skip
        np.testing.assert_allclose(found.mean(), expected, rtol=1e-6)


def test_quantiles_rise_whatever_the_network_says() -> None:
    numbers = torch.randn(50, 2 * 4) * 30
    answer = Quantiles(2, (0.1, 0.2, 0.5, 0.9)).fitted(np.array([[1.0, -5.0], [3.0, 5.0]])).answer()
    found = answer(numbers)
    assert found.shape == (50, 2, 4)
    assert (found.diff(dim=-1) >= 0).all()
    first = numbers.double().view(50, 2, 4)[..., 0] * torch.tensor([1.0, 5.0]) + torch.tensor([2.0, 0.0])
    torch.testing.assert_close(found[..., 0], first)
    gaps = torch.nn.functional.softplus(numbers.view(50, 2, 4)[..., 1:])
    torch.testing.assert_close(Rising(4)(numbers).diff(dim=-1), gaps, atol=1e-4, rtol=1e-4)


def test_numbers_come_back_in_their_units_in_float64() -> None:
    numbers = torch.randn(5, 2)
    found = InUnits([1e9, 2.0], [0.5, 3.0])(numbers)
    np.testing.assert_array_equal(found, numbers.double().numpy() * [0.5, 3.0] + [1e9, 2.0])


def test_a_target_that_never_changes_is_not_divided_by_zero() -> None:
    task = Numbers(1).fitted(np.full((4, 1), 7.0))
    assert (task.mean, task.scale) == ((7.0,), (1.0,))
    answers: Any = torch.full((4, 1), 7.0, dtype=torch.float64)
    assert not task.losses(answers, answers).any()
