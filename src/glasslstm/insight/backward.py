"""What the backward passes of others bring to the results of a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = ["Grads", "on_backward", "origin"]

Grads: TypeAlias = list[Tensor | None]


def on_backward(results: Sequence[Tensor], done: Callable[[Grads], None]) -> None:
    """Call `done` at the end of every backward pass that reaches one of `results`, with the gradients of all.

    Unlike ``torch.autograd.graph.register_multi_grad_hook`` it hears of a pass that starts from one of them, of what
    the hooks of others made of a gradient, and of results that are changed in place.

    Parameters
    ----------
    results
        As they come from their operation.
    done
        Takes a gradient for each, ``None`` where there is none.
    """
    passes: dict[int, Grads] = {}
    count = len(results)

    def receive(k: int, place: _Place, grads: Sequence[Tensor | None]) -> None:
        grad, current = grads[place.output], torch._C._current_graph_task_id()
        # What is batched by is_grads_batched is many passes in one.
        if grad is None or torch._C._functorch.is_legacy_batchedtensor(grad):
            return
        if current not in passes:
            passes[current] = [None] * count
            engine: Any = torch.autograd.Variable._execution_engine
            engine.queue_callback(lambda: done(passes.pop(current)))
        passes[current][k] = place.cut(grad.detach())

    for k, result in enumerate(results):
        source = origin(result)
        if source.grad_fn is not None:
            source.grad_fn.register_prehook(partial(receive, k, _Place(result)))


def origin(result: Tensor) -> Tensor:
    """Return what a result is a view of, or itself: the graph goes past a view that is changed in place."""
    return result if result._base is None else result._base


class _Place:
    """Where a result lies in its origin."""

    def __init__(self, result: Tensor) -> None:
        source = origin(result)
        self.output = source.output_nr
        self._source = source.size(), source.stride()
        self._shift = result.storage_offset() - source.storage_offset()
        self._result = result.size(), result.stride()
        self._whole = source is result

    def cut(self, grad: Tensor) -> Tensor:
        """Return the gradient of the result from that of its origin."""
        if self._whole:
            return grad
        laid_out = torch.empty_strided(*self._source, dtype=grad.dtype, device=grad.device).copy_(grad)
        return laid_out.as_strided(*self._result, self._shift)
