"""What a watcher does when an LSTM, or an LSTMCell in a loop, is called."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from glasslstm.errors import ArgumentError
from glasslstm.insight.loops import Loop
from glasslstm.insight.replay import Call, Replay
from glasslstm.nn.lstm import LSTM
from glasslstm.nn.trace import Trace
from glasslstm.ops.dispatch import choose
from glasslstm.ops.transforms import differentiable_code_needed

__all__ = ["CellObserver", "LSTMObserver", "Record"]

Record: TypeAlias = Trace | Loop


class _Observer:
    """Makes the calls of one module, and hands what it saw to `keep`.

    Parameters
    ----------
    name, module
        The module, and its name in the model.
    gradients, limit
        As for :func:`glasslstm.watch`.
    keep
        Takes the name and the record of a call; of a loop again with each of its steps.
    """

    def __init__(
        self,
        name: str,
        module: Any,
        gradients: bool | None,
        limit: int,
        keep: Callable[[str, Record], None],
    ) -> None:
        self.name, self.module = name, module
        self.gradients, self.limit = gradients, limit
        self.keep = partial(keep, name)
        self.unseen = 0
        """The calls that nothing could be seen of."""

    def entered(self) -> None:
        """Hear that the model as a whole is called."""

    def __call__(self, run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Make the call, and take note of it."""
        if differentiable_code_needed():
            self.unseen += 1
            return run(*arguments, **options)
        if self.gradients and not torch.is_grad_enabled():
            mode = "inference_mode" if torch.is_inference_mode_enabled() else "no_grad"
            raise ArgumentError(
                f"watch(gradients=True): {self.name!r} was called under torch.{mode}, where there are no gradients; "
                "call the model outside of it, or leave gradients out"
            )
        return self.see(run, *arguments, **options)

    def see(self, run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Make a call of which something can be seen."""
        raise NotImplementedError

    def differentiable(self, results: Sequence[Tensor]) -> list[Tensor]:
        """Return the results whose gradients are to be kept."""
        wanted = [tensor for tensor in results if tensor.requires_grad]
        if self.gradients and not wanted:
            raise ArgumentError(
                f"watch(gradients=True): no gradient reaches {self.name!r}: neither its input nor its parameters "
                "require one; leave gradients out"
            )
        return [] if self.gradients is False else wanted


class LSTMObserver(_Observer):
    """Sees the calls of an LSTM, glasslstm's or torch's."""

    def see(
        self,
        run: Callable[..., Any],
        input: Tensor | PackedSequence,
        hx: Sequence[Tensor] | None = None,
        **options: Any,
    ) -> Any:
        """Let our own layer keep its gates where that changes nothing; else compute them beside the call."""
        module, before = self.module, torch.get_rng_state() if self._drops() else None
        if isinstance(module, LSTM):
            call = Call.of(module, input, hx, options.get("lengths"))
            if options.get("return_trace") or (self._fits(call) and _gates_change_nothing(call)):
                output, states, trace = run(input, hx, **options | {"return_trace": True})
                self.differentiable(_tensors(output, states))
                self.keep(self._without_graph(trace))
                return (output, states, trace) if options.get("return_trace") else (output, states)
        output, states = run(input, hx, **options)
        call = Call.of(module, input, hx, options.get("lengths"))
        self._replay(call, _tensors(output, states), before)
        return output, states

    def _drops(self) -> bool:
        return bool(self.module.dropout and self.module.training and self.module.num_layers > 1)

    def _fits(self, call: Call) -> bool:
        return call.bytes <= self.limit

    def _without_graph(self, trace: Trace) -> Trace:
        found = trace.map(lambda gates: gates.map(Tensor.detach))
        if self.gradients is False:
            found = found.map(lambda gates: replace(gates, gradients=None))
        found.input = None if trace.input is None else trace.input.detach()
        return found

    def _replay(self, call: Call, results: list[Tensor], random: Tensor | None) -> None:
        wanted = self.differentiable(results)
        sequences, start, left_out = _what_fits(call, self.limit)
        if left_out:
            warnings.warn(f"watch: of a call of {self.name!r} {left_out}", UserWarning, stacklevel=2)
        replay = Replay(
            call,
            sequences=sequences,
            start=start,
            gradients=bool(wanted),
            random=random,
            left_out=left_out,
        )
        if wanted:

            def hand_on(grads: Sequence[Tensor | None]) -> None:
                found = iter(grads)
                replay.backward([next(found) if tensor.requires_grad else None for tensor in results])

            torch.autograd.graph.register_multi_grad_hook(wanted, hand_on)
        self.keep(replay.trace)


def _tensors(output: Tensor | PackedSequence, states: tuple[Tensor, Tensor]) -> list[Tensor]:
    return [output.data if isinstance(output, PackedSequence) else output, *states]


def _gates_change_nothing(call: Call) -> bool:
    """Tell whether the kernel that keeps the gates is the one that runs without them."""
    gradient = torch.is_grad_enabled()
    plain, traced = (choose(call.work(gates=gates, gradient=gradient)).kernel for gates in (False, True))
    return plain == traced


def _what_fits(call: Call, limit: int) -> tuple[int, int, str | None]:
    """Return how many sequences to keep, the first step to keep, and what is left out, in words."""
    T, B = call.batch.x.shape[:2]
    if call.bytes <= limit:
        return B, 0, None
    why = f"of the {B} sequences and {T} steps were kept, to stay below the limit of {limit:,} bytes"
    sequences = min(B, limit // (call.bytes // B))
    if sequences:
        return sequences, 0, f"the first {sequences} {why}"
    steps = max(1, limit // (call.bytes // (B * T)))
    return 1, T - steps, f"the first sequence and its last {steps} steps {why}"


class CellObserver(_Observer):
    """Sees the calls of an LSTMCell, and puts those of one loop together."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._loop: Loop | None = None
        self._same_entry = False

    def entered(self) -> None:
        """Hear that the model as a whole is called: only a state that is handed on continues a loop."""
        self._same_entry = False

    def see(
        self,
        run: Callable[..., Any],
        input: Tensor,
        hx: Sequence[Tensor] | None = None,
        **options: Any,
    ) -> Any:
        """Run the cell, and add the step to its loop."""
        found = run(input, hx, **options)
        h, c = found[0] if options.get("return_trace") else found
        loop = self._loop
        if loop is None or not loop.continues(hx, h, same_entry=self._same_entry):
            loop = self._loop = Loop(self.module, self.limit)
        self._same_entry = True
        loop.add(input, hx, (h, c), self.differentiable([h, c]))
        self.keep(loop)
        return found
