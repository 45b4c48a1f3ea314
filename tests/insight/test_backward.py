"""on_backward() hears of every pass, wherever it starts and whatever was done to the results in between."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from glasslstm.insight.backward import Grads, on_backward


def _results() -> tuple[Tensor, Tensor, Tensor, list[Grads]]:
    """Return a leaf, two results of it, and the list of what is heard of them."""
    leaf, heard = torch.arange(6.0).view(2, 3).requires_grad_(), []
    a, b = leaf * 2, leaf * 3
    on_backward([a, b], heard.append)
    return leaf, a, b, heard


def test_each_pass_is_heard_of_once_with_all_that_it_reaches() -> None:
    _, a, b, heard = _results()
    (a.sum() + 2 * b.sum()).backward(retain_graph=True)
    (5 * b).sum().backward(retain_graph=True)
    torch.autograd.backward([a, b], [torch.full((2, 3), 7.0), torch.full((2, 3), 8.0)])
    values = [[None if grad is None else grad.unique().tolist() for grad in grads] for grads in heard]
    assert values == [[[1.0], [2.0]], [None, [5.0]], [[7.0], [8.0]]]


def test_a_pass_that_starts_from_a_result() -> None:
    leaf, a, _, heard = _results()
    g = torch.randn(2, 3)
    a.backward(g, retain_graph=True)
    torch.autograd.grad(a, leaf, g)
    assert len(heard) == 2
    for first, second in heard:
        assert torch.equal(first, g)
        assert second is None


def test_a_pass_that_goes_elsewhere_is_not_heard_of() -> None:
    leaf, _, _, heard = _results()
    (leaf**2).sum().backward()
    assert heard == []


@pytest.mark.parametrize("view", [lambda x: x, lambda x: x.t(), lambda x: x[1], lambda x: x.t()[1:]])
def test_the_gradient_is_that_of_the_result_before_it_was_changed_in_place(view: Any) -> None:
    leaf, heard = torch.arange(6.0).view(2, 3).requires_grad_(), []
    result = view(leaf * 2)
    on_backward([result], heard.append)
    g = torch.randn(result.shape)
    result.mul_(3)
    (result * g).sum().backward()
    torch.testing.assert_close(heard[0][0], 3 * g)


def test_a_result_that_requires_no_gradient_has_none() -> None:
    leaf, heard = torch.ones(3, requires_grad=True), []
    result = 2 * leaf
    on_backward([torch.ones(3), result, leaf.detach()], heard.append)
    result.sum().backward()
    assert [grad is None for grad in heard[0]] == [True, False, True]


def test_a_pass_that_fails_does_not_stand_in_the_way_of_the_next() -> None:
    leaf, a, b, heard = _results()

    def fail(grad: Tensor) -> None:
        raise KeyError("stop")

    handle = leaf.register_hook(fail)
    with pytest.raises(KeyError, match="stop"):
        (a + b).sum().backward(retain_graph=True)
    handle.remove()
    heard.clear()
    (a + 4 * b).sum().backward()
    assert [grad.unique().item() for grad in heard[0]] == [1.0, 4.0]
    assert len(heard) == 1
