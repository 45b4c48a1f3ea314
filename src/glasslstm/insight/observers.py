"""What a watcher does when an LSTM, or an LSTMCell in a loop, is called."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from glasslstm.errors import ArgumentError
from glasslstm.insight.backward import on_backward
from glasslstm.insight.call import Call, tracing_kernel
from glasslstm.insight.loops import Loop
from glasslstm.insight.records import Kept
from glasslstm.insight.replay import Replay, span
from glasslstm.nn.lstm import LSTM
from glasslstm.nn.trace import QUANTITIES, GateTrace, Trace
from glasslstm.ops.dispatch import Work, choose
from glasslstm.ops.transforms import autocast_dtype, differentiable_code_needed

__all__ = ["CellObserver", "LSTMObserver"]


class _Observer:
    """Makes the calls of one module, and hands what it saw to `keep`.

    Parameters
    ----------
    name, module
        The module, and its name in the model.
    gradients, steps, limit
        As for :func:`glasslstm.watch`.
    keep
        Takes the name, the record of a call and its bytes; of a loop again with each of its steps.
    """

    def __init__(
        self,
        name: str,
        module: Any,
        gradients: bool | None,
        steps: slice,
        limit: int,
        keep: Callable[[str, Kept, int], None],
    ) -> None:
        self.name, self.module = name, module
        self.gradients, self.steps, self.limit = gradients, steps, limit
        self.keep = partial(keep, name)
        self.unseen = 0
        """The calls that nothing could be seen of."""

    def entered(self) -> None:
        """Hear that the model as a whole is called."""

    def __call__(self, run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Make the call, and take note of it."""
        if torch._C._current_graph_task_id() != -1:  # a checkpoint's second run, in the backward pass
            return run(*arguments, **options)
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

    def differentiable(self, results: Sequence[Tensor]) -> bool:
        """Tell whether the gradients of the results are to be kept."""
        wanted = any(tensor.requires_grad for tensor in results)
        if self.gradients and not wanted:
            raise ArgumentError(
                f"watch(gradients=True): no gradient reaches {self.name!r}: neither its input nor its parameters "
                "require one; leave gradients out"
            )
        return wanted and self.gradients is not False


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
        ours, call = isinstance(module, LSTM), None
        if ours and not self._keeps_its_gates(input):
            call = Call.of(module, input, hx, options.get("lengths"))
        asked = bool(options.get("return_trace"))
        if ours and (
            asked
            or (not self._cuts() and (call is None or (self._fits(call) and _gates_change_nothing(call))))
        ):
            output, states, trace = run(input, hx, **options | {"return_trace": True})
            gradients = self.differentiable(_tensors(output, states))
            found = self._without_graph(trace)
            self.keep(found, _bytes(found, gradients=gradients))
            return (output, states, trace) if asked else (output, states)
        output, states = run(input, hx, **options)
        # Of torch's module after torch has checked its arguments.
        call = call or Call.of(module, input, hx, options.get("lengths"))
        self._replay(call, _tensors(output, states), before)
        return output, states

    def _cuts(self) -> bool:
        """Tell whether steps are left out of calls with gradients, which our layer keeps for all steps or none."""
        return self.steps != slice(None) and torch.is_grad_enabled() and self.gradients is not False

    def _keeps_its_gates(self, input: Tensor | PackedSequence) -> bool:
        """Tell in the usual case, by little, that our layer can keep its gates with the code that it runs anyway."""
        module = self.module
        x = input.data if isinstance(input, PackedSequence) else input
        if not isinstance(x, Tensor) or module.recompute or autocast_dtype(x.device.type) is not None:
            return False
        steps = x.numel() // module.input_size
        if isinstance(input, PackedSequence):
            steps = len(input.batch_sizes) * int(input.batch_sizes[0])
        most = len(module._names) * (6 * module.hidden_size + 2 * module._output_size) + module.input_size
        if steps * most * x.element_size() > self.limit:
            return False
        work = Work(device=x.device.type, sixteen=x.element_size() == 2, complex=x.is_complex())
        work = work._replace(projection=module.proj_size > 0)
        return choose(work).kernel == "native" == choose(work._replace(gates=True)).kernel

    def _drops(self) -> bool:
        return bool(self.module.dropout and self.module.training and self.module.num_layers > 1)

    def _fits(self, call: Call) -> bool:
        gradients = call.gradient and self.gradients is not False
        return _what_fits(call, slice(None), self.limit, gradients=gradients).left_out is None

    def _without_graph(self, trace: Trace) -> Trace:
        """Return the chosen steps without a graph, and copies of what the model may change in place."""
        total = len(trace[0, 0].cell)
        start, stop = span(self.steps, total)
        if stop - start < total:
            trace = trace.window(start, stop).map(lambda gates: gates.map(Tensor.clone))
        assert trace.input is not None
        found = trace.map(self._own)
        found.input = trace.input.detach().clone()
        return found

    def _own(self, gates: GateTrace) -> GateTrace:
        quantities: dict[str, Any] = {name: getattr(gates, name).detach() for name in QUANTITIES}
        return replace(
            gates,
            **quantities,
            initial_hidden=gates.initial_hidden.detach().clone(),
            initial_cell=gates.initial_cell.detach().clone(),
            gradients=None if self.gradients is False else gates.gradients,
        )

    def _replay(self, call: Call, results: list[Tensor], random: Tensor | None) -> None:
        wanted = self.differentiable(results)
        part = _what_fits(call, self.steps, self.limit, gradients=wanted)
        if part.left_out:
            warnings.warn(f"watch: of a call of {self.name!r} {part.left_out}", UserWarning, stacklevel=2)
        replay = Replay(
            call, part.sequences, part.steps, gradients=wanted, random=random, left_out=part.left_out
        )
        if wanted:
            on_backward(results, replay.backward)
        start, stop = part.steps
        self.keep(replay.trace, part.sequences * (stop - start) * call.bytes(gradients=wanted))


def _tensors(output: Tensor | PackedSequence, states: tuple[Tensor, Tensor]) -> list[Tensor]:
    return [output.data if isinstance(output, PackedSequence) else output, *states]


def _bytes(trace: Trace, *, gradients: bool) -> int:
    """Return the bytes of a trace, with those of the gradients that are still to come."""
    states = [state for key in trace for state in (trace[key].cell, trace[key].hidden)] if gradients else []
    return trace.nbytes + sum(state.numel() * state.element_size() for state in states)


def _gates_change_nothing(call: Call) -> bool:
    """Tell whether the call without its gates is the same code: their kernel, and no gates computed once more."""
    return choose(call.work(gates=False)).kernel == tracing_kernel(call) and not (
        call.recompute and call.gradient
    )


class _Part(NamedTuple):
    """What to keep of a call."""

    sequences: int
    """How many, from the first on."""
    steps: tuple[int, int]
    """The first step, and the one after the last."""
    left_out: str | None = None
    """What is left out to stay below the limit, in words."""


def _what_fits(call: Call, steps: slice, limit: int, *, gradients: bool) -> _Part:
    T, B = call.batch.x.shape[:2]
    start, stop = span(steps, T)
    each = call.bytes(gradients=gradients)
    if (stop - start) * B * each <= limit:
        return _Part(B, (start, stop))
    why = f"were kept, to stay below the limit of {limit:,} bytes"
    sequences = limit // ((stop - start) * each)
    if sequences:
        return _Part(sequences, (start, stop), f"only the first {sequences} of {B} sequences {why}")
    last = max(1, limit // each)
    which = f"only the last {last} of {stop - start} steps of the first of {B} sequences {why}"
    return _Part(1, (stop - last, stop), which)


class CellObserver(_Observer):
    """Sees the calls of an LSTMCell, and puts those of one loop together."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # In the order of their last steps. More than 64 that go on side by side are not told apart.
        self._loops: deque[Loop] = deque(maxlen=64)
        self._here: deque[Loop] = deque(maxlen=64)
        """Those with a step in this call of the model."""

    def entered(self) -> None:
        """Hear that the model as a whole is called: only a state that is handed on continues a loop."""
        self._here.clear()

    def see(
        self,
        run: Callable[..., Any],
        input: Tensor,
        hx: Sequence[Tensor] | None = None,
        **options: Any,
    ) -> Any:
        """Run the cell, and add the step to its loop."""
        found = run(input, hx, **options)
        states = found[0] if options.get("return_trace") else found
        handed_on = hx is not None and all(state is not None for state in hx)
        loop = (self._continued(hx) if handed_on else None) or Loop(self.module, self.steps, self.limit)
        for loops in (self._loops, self._here):
            if loop in loops:
                loops.remove(loop)
            loops.append(loop)
        loop.add(input, hx, states, gradients=self.differentiable(states))
        self.keep(loop, loop.nbytes)
        return found

    def _continued(self, hx: Any) -> Loop | None:
        """Return the loop of which a step from the states `hx` is the next one, if there is one.

        It is the one whose last step returned h or c. Within one call of the model states that come from elsewhere,
        and are neither zero nor where a loop began, are taken for those that the model has changed on the way: of the
        loop whose last states have most numbers in common with them.
        """
        linked = [loop for loop in self._loops if loop.returned(hx)]
        if linked:
            return linked[-1]
        here = [loop for loop in self._here if loop.fits(hx)]
        if not any(bool(state.any()) for state in hx) or any(loop.began_with(hx) for loop in here):
            return None
        return max(reversed(here), key=lambda loop: loop.in_common(hx), default=None)
