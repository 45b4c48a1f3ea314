"""Two directions, and one end of the output read, where one of the two has only begun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from glasslstm.insight.case import Case
from glasslstm.insight.findings import Code, Place
from glasslstm.insight.rules.evidence import measured
from glasslstm.insight.rules.registry import Hit, Skip, rule
from glasslstm.insight.running import tensors

ONE_END = Code(
    name="one-end-only",
    severity="error",
    title="one direction is not read where it ends",
    threshold=1,
    meaning="A direction knows the whole sequence at the step that it reads last: the reverse one at the first step. "
    "The model reads this direction elsewhere or not at all, and so learns hardly anything from it.",
    change="In forward(), read the final states of both, {width} values for each sequence: "
    "`_, (h_n, c_n) = self.{name}(x)` `features = torch.cat([h_n[-2], h_n[-1]], dim=-1)`",
)


@rule(ONE_END)
def one_end_only(case: Case) -> Iterator[Hit]:
    """Ask the gradient of the output at which steps each direction of the last layer is read."""
    modules: dict[str, Any] = {name: case.watcher.modules[name] for name in case.watcher}
    both = {name: module for name, module in modules.items() if getattr(module, "bidirectional", False)}
    for name, calls in _calls(case, both).items() if both else ():
        module = both[name]
        seen = [max(_seen(module, call, direction) for call in calls) for direction in (0, 1)]
        worst, best = sorted((0, 1), key=seen.__getitem__)
        if seen[worst] <= ONE_END.threshold < seen[best]:
            how = f"at steps where it has seen {seen[worst]} step alone" if seen[worst] else "nowhere"
            which = ("forward", "reverse")[worst]
            evidence = f"the {which} direction is read {how}, the other one where it has seen {seen[best]}"
            words = {"name": name or "lstm", "width": 2 * (module.proj_size or module.hidden_size)}
            ends = measured(
                "steps seen",
                seen,
                along="direction",
                at=("forward", "reverse"),
                beyond=[worst],
                limit=ONE_END.threshold,
            )
            place = Place(name, module.num_layers - 1, worst)
            yield Hit(place, float(seen[worst]), evidence, words=words, measured=ends)


class _Call(NamedTuple):
    """What an LSTM returned, and what was asked for the gradient of it."""

    lengths: Any
    output: Tensor | PackedSequence
    h_n: Tensor
    c_n: Tensor
    grads: list[Tensor | None]

    @property
    def tensors(self) -> list[Tensor]:
        return [
            self.output.data if isinstance(self.output, PackedSequence) else self.output,
            self.h_n,
            self.c_n,
        ]


def _calls(case: Case, modules: dict[str, nn.Module]) -> dict[str, list[_Call]]:
    """Run the model once more, and return the calls of these LSTMs with the gradients."""
    found: dict[str, list[_Call]] = {name: [] for name in modules}
    with ExitStack() as stack:
        for name, module in modules.items():
            hook = module.register_forward_hook(partial(_keep, found[name]), with_kwargs=True)
            stack.callback(hook.remove)
        output, _ = case.again(gradients=True)
    wanted = [tensor for calls in found.values() for call in calls for tensor in call.tensors]
    grads = iter(_gradients(case, output, wanted))
    for calls in found.values():
        for call in calls:
            call.grads.extend(next(grads) for _ in call.tensors)
    return {name: calls for name, calls in found.items() if calls}


def _keep(calls: list[_Call], _module: nn.Module, _inputs: Any, options: dict[str, Any], result: Any) -> None:
    if not (isinstance(result, tuple) and len(result) > 1 and isinstance(result[1], tuple)):
        return  # a subclass that returns something else
    output, (h_n, c_n) = result[:2]
    call = _Call(options.get("lengths"), output, h_n, c_n, [])
    for tensor in call.tensors:
        if torch.is_grad_enabled() and not tensor.requires_grad:  # nothing before it is trained
            tensor.requires_grad_()
    calls.append(call)


def _gradients(case: Case, output: Any, wanted: list[Tensor]) -> Sequence[Tensor | None]:
    """Return the gradients of the loss, or of a random mixture of all that the model returned."""
    if case.loss is not None:
        score = case.loss(output, case.targets)
    else:
        parts = [(part * torch.randn_like(part)).sum().double() for part in tensors(output)]
        score = torch.stack(parts).sum() if parts else torch.zeros(())
    if not wanted or not score.requires_grad:
        raise Skip("no gradient leads from the output to what an LSTM of two directions returned")
    return torch.autograd.grad(score, wanted, allow_unused=True)


def _seen(module: Any, call: _Call, direction: int) -> int:
    """Return the most steps that a direction has seen at a place where the model reads it; 0 where it reads none."""
    steps, lengths = _steps(module, call)
    t = torch.arange(len(steps), device=steps.device).unsqueeze(1)
    count = lengths - t if direction else (t + 1).expand(steps.shape[:2])
    read = (steps.chunk(2, dim=-1)[direction] != 0).any(-1) & (t < lengths)
    at_steps = torch.where(read, count, 0).amax(0)
    for grad in call.grads[1:]:
        if grad is not None:
            state = grad[direction - 2].reshape(len(lengths), -1)
            at_steps = torch.where((state != 0).any(-1), lengths, at_steps)
    return int(at_steps.max()) if len(lengths) else 0


def _steps(module: Any, call: _Call) -> tuple[Tensor, Tensor]:
    """Return the gradient of the output as (T, B, 2P), and the length of each sequence, (B,)."""
    grad, output = call.grads[0], call.output
    grad = torch.zeros_like(call.tensors[0]) if grad is None else grad
    if isinstance(output, PackedSequence):
        same = PackedSequence(grad, output.batch_sizes, output.sorted_indices, output.unsorted_indices)
        grad, lengths = pad_packed_sequence(same)
        return grad, lengths.to(grad.device)
    if grad.dim() == 2:
        grad = grad.unsqueeze(1)
    elif module.batch_first:
        grad = grad.transpose(0, 1)
    full = grad.new_full(grad.shape[1:2], len(grad), dtype=torch.int64)
    return grad, full if call.lengths is None else torch.as_tensor(call.lengths).to(full)
