"""One model, one input, one score: run again and again while an LSTM inside reads something else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from glasslstm.errors import ArgumentError, ShapeError
from glasslstm.insight.intervene import Edit, edited_input, read_input
from glasslstm.insight.running import run, undisturbed
from glasslstm.insight.watch import lstms
from glasslstm.nn.inputs import Batch

__all__ = ["Baseline", "Probe", "Target", "first_call"]

Target: TypeAlias = int | Tensor | Callable[[Any], Tensor] | None
Baseline: TypeAlias = Literal["mean", "zero"] | Tensor


class Probe:
    """A model with its input and a score of its output, and what one of its LSTMs reads.

    Every run is in evaluation mode and starts from the same state and random numbers, and leaves the model as it was.

    Parameters
    ----------
    model
        Any module with an LSTM in it.
    inputs
        What it is called with: a tensor or PackedSequence, a tuple of arguments, or a mapping of keyword arguments.
    target
        The score of each sequence. An int or (B,) class indices: the logit of that class, from an output of (B, K).
        A function: what it makes of the model's output, (B,). Default: of an output (B, K) the largest logit of each
        sequence, the same one in every run; of an output (B,) or (B, 1) the output.
    module
        The name of the LSTM, as in ``model.named_modules()``. Default: the one that is called first.
    baseline
        What a step is replaced by: "mean", the mean of what the LSTM reads over all valid steps and sequences; "zero";
        or a tensor, (I,) or anything that broadcasts to (T, B, I). Default: "mean".

    Attributes
    ----------
    name, module
        The LSTM.
    x
        What it reads, (T, B, I); of a cell in a loop, and of an LSTM that is called more than once, all calls one after
        the other. B is 1 for an unbatched input.
    valid
        Where there is a step and no padding, (T, B).
    baseline
        (T, B, I).
    output
        The model's output of the unmodified run.
    target
        The class indices (B,), the function, or ``None`` for a single output.
    calls
        How often the model calls the LSTM.
    scores
        The score of each sequence in the unmodified run, (B,).

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError
        For a model without an LSTM, a module that does not exist or was not called, inputs that the model refuses, an
        output or target that gives no score for each sequence, and a model that gives other scores in a second run.

    Examples
    --------
    >>> import torch
    >>> lstm = torch.nn.LSTM(3, 4)
    >>> probe = Probe(lstm, torch.randn(5, 2, 3), target=lambda output: output[0][-1, :, 0])
    >>> probe.x.shape, probe.scores.shape
    (torch.Size([5, 2, 3]), torch.Size([2]))
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: object,
        target: Target = None,
        *,
        module: str | None = None,
        baseline: Baseline = "mean",
    ) -> None:
        self.model = model
        self._inputs = inputs
        with torch.inference_mode(False), torch.no_grad():
            self._look(module, baseline, target)

    def _look(self, module: str | None, baseline: Baseline, target: Target) -> None:
        """Run the model as it is, and note what the LSTM reads and what comes out."""
        self.name, self.module, batches, self.output = first_call(self.model, self._inputs, module)
        self.calls = len(batches)
        self._batched = batches[0].layout.batched
        sizes = {batch.x.size(1) for batch in batches}
        if len(sizes) > 1:
            raise ArgumentError(
                f"model: {self.name!r} is called with batches of {sorted(sizes)} sequences; expected one size"
            )
        self.x = torch.cat([batch.x for batch in batches])
        self.valid = torch.cat([_valid(batch) for batch in batches])
        self.baseline = self._baseline(baseline)
        self.target = self._resolve(target)
        self.scores = self._score(self.output)
        self._check_repeatable()

    def score_without(self, steps: Tensor) -> Tensor:
        """Return the scores with the `steps`, (T, B) bool, replaced by the baseline, (B,)."""

        def edit(x: Tensor, first: int) -> Tensor:
            now = slice(first, first + len(x))
            return torch.where(steps[now].unsqueeze(-1), self.baseline[now], x)

        return self._run(edit)

    def score_at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores with the LSTM reading `x`, (B,), with a graph, and `x` as the leaf of this graph."""
        with torch.inference_mode(False):
            leaf = x.clone().requires_grad_()
        return self._run(lambda now, first: leaf[first : first + len(now)], gradients=True), leaf

    def gradient(self, scores: Tensor, leaf: Tensor) -> Tensor:
        """Return the gradient of the sum of the scores by the leaf of :meth:`score_at`.

        Raises
        ------
        ArgumentError
            For scores without a graph.
        """
        if not scores.requires_grad:
            raise ArgumentError(
                f"target: no gradient leads from the score to {self.name!r}, for the model or the target detaches it; "
                "leave out what needs one, as in methods=('occlusion',)"
            )
        with torch.inference_mode(False):
            ones = torch.ones_like(scores)
            return torch.autograd.grad(scores, leaf, ones, allow_unused=True, materialize_grads=True)[0]

    def _run(self, edit: Edit, *, gradients: bool = False) -> Tensor:
        """Run the model with its LSTM reading what `edit` makes of its input, and return the scores, (B,)."""
        with ExitStack() as scope:
            scope.enter_context(torch.inference_mode(False))
            scope.enter_context(torch.set_grad_enabled(gradients))
            scope.enter_context(undisturbed(self.model))
            scope.enter_context(edited_input(self.module, edit, model=self.model))
            return self._score(run(self.model, self._inputs))

    def _check_repeatable(self) -> None:
        again = self._run(lambda x, _: x)
        tolerance = max(torch.finfo(one.dtype).eps for one in (again, self.x)) ** 0.5
        same = torch.isclose(again, self.scores, rtol=tolerance, atol=tolerance, equal_nan=True)
        if not same.all():
            b = int(same.int().argmin())
            raise ArgumentError(
                f"model: a second run on the same inputs changed the score of sequence {b} from {self.scores[b]:g} to "
                f"{again[b]:g}: it keeps state between its calls, or draws random numbers of its own; give one that "
                "starts afresh each time"
            )

    @property
    def logits(self) -> Tensor:
        """The output of the unmodified run as (B, K); K is 1 for a single output.

        Raises
        ------
        ShapeError
            For any other output.
        """
        return self._logits(self.output)

    def _baseline(self, baseline: Baseline) -> Tensor:
        if isinstance(baseline, Tensor):
            try:
                return baseline.detach().to(self.x).expand(self.x.shape)
            except RuntimeError as error:
                raise ShapeError(
                    f"baseline: expected a shape that broadcasts to {tuple(self.x.shape)}, got {tuple(baseline.shape)}"
                ) from error
        if baseline not in ("mean", "zero"):
            raise ArgumentError(f"baseline: expected 'mean', 'zero' or a tensor, got {baseline!r}")
        steps = self.x[self.valid]
        mean = steps.mean(0) if baseline == "mean" and len(steps) else torch.zeros_like(self.x[0, 0])
        return mean.expand(self.x.shape)

    def _resolve(self, target: Target) -> Tensor | Callable[[Any], Tensor] | None:
        """Return the target with the classes settled by the unmodified run."""
        if callable(target):
            return target
        logits = self.logits
        if target is None:
            return logits.argmax(1) if logits.size(1) > 1 else None
        classes = torch.as_tensor(target, device=logits.device)
        whole = not (
            classes.dtype.is_floating_point or classes.dtype.is_complex or classes.dtype == torch.bool
        )
        if not whole or classes.shape not in ((), (len(logits),)):
            raise ArgumentError(
                f"target: expected a class index, or one for each of the {len(logits)} sequences, or a function of the "
                f"output; got {_shown(target)}, {classes.dtype}"
            )
        if ((classes < 0) | (classes >= logits.size(1))).any():
            raise ArgumentError(f"target: expected classes 0 to {logits.size(1) - 1}, got {classes.tolist()}")
        return classes.expand(len(logits)).long()

    def _score(self, output: Any) -> Tensor:
        if isinstance(self.target, Tensor):
            return self._logits(output).gather(1, self.target.unsqueeze(1)).squeeze(1)
        if self.target is None:
            return self._logits(output).squeeze(1)
        scores, expected = self.target(output), (self.x.size(1),)
        if isinstance(scores, Tensor) and not self._batched and scores.dim() == 0:
            scores = scores.unsqueeze(0)
        if not isinstance(scores, Tensor) or scores.shape != expected:
            raise ShapeError(
                f"target: expected it to return {expected} scores, one for each sequence; got {_shown(scores)}"
            )
        return scores

    def _logits(self, output: Any) -> Tensor:
        """Return the output as (B, K)."""
        B = self.x.size(1)
        if isinstance(output, Tensor):
            if not self._batched and output.dim() < 2:
                output = output.reshape(1, -1)
            if output.dim() == 1:
                output = output.unsqueeze(1)
            if output.dim() == 2 and len(output) == B and output.size(1):
                found: Tensor = output
                return found
        raise ShapeError(
            f"target: the model returns {_shown(output)}, and not a tensor of one or more logits for each of the {B} "
            "sequences; give a function that makes (B,) scores of it, as target=lambda output: "
            "output[:, -1, 0] does of (B, T, K); where another LSTM of the model reads these sequences, name it with "
            "module="
        )


def first_call(
    model: nn.Module, inputs: object, module: str | None = None
) -> tuple[str, nn.Module, list[Batch], Any]:
    """Run a model as it is, in evaluation mode, and see what one of its LSTMs reads.

    Parameters
    ----------
    model, inputs, module
        As for :class:`Probe`.

    Returns
    -------
    tuple
        The LSTM's name, the LSTM, what it read in each of its calls, and what the model returned.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For a model without an LSTM, a module that does not exist or was not called, and inputs that the model refuses.
    """
    found = lstms(model)
    if module is not None and module not in found:
        raise ArgumentError(f"module: expected one of {', '.join(map(repr, found))}, got {module!r}")
    reads: list[tuple[str, Batch]] = []
    with ExitStack() as scope:
        for name, part in found.items():

            def note(part: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
                reads.append((name, read_input(part, args, kwargs)))

            scope.callback(part.register_forward_pre_hook(note, with_kwargs=True).remove)
        scope.enter_context(undisturbed(model))
        scope.enter_context(torch.no_grad())
        output = run(model, inputs)
    chosen = module if module is not None else next((name for name, _ in reads), None)
    batches = [batch for name, batch in reads if name == chosen]
    if chosen is None or not batches:
        which = "none of the model's LSTMs" if chosen is None else repr(chosen)
        raise ArgumentError(f"module: {which} was called with these inputs; called: {_called(reads)}")
    return chosen, found[chosen], batches, output


def _valid(batch: Batch) -> Tensor:
    time, size = batch.x.shape[:2]
    if batch.lengths is None:
        return batch.x.new_ones(time, size, dtype=torch.bool)
    return torch.arange(time, device=batch.x.device)[:, None] < batch.lengths


def _called(reads: list[tuple[str, Batch]]) -> str:
    return ", ".join(map(repr, dict.fromkeys(name for name, _ in reads))) or "none"


def _shown(value: object) -> str:
    """Return a value in short, for a message: a tensor by its shape."""
    if isinstance(value, Tensor):
        return f"Tensor {tuple(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of {len(value)}"
    return repr(value) if isinstance(value, (int, float, str, type(None))) else type(value).__name__
