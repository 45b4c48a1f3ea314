"""The training loop: epochs over ragged batches, early stopping, checkpoints that resume exactly, several processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from glasslstm._files import written_whole
from glasslstm.errors import ArgumentError, TrainingError
from glasslstm.estimators.examples import Batch, Examples, batches_of
from glasslstm.estimators.network import SequenceNetwork
from glasslstm.estimators.tasks import Task
from glasslstm.insight.record import Record, Row

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Checkpoint", "Plan", "State", "score", "train"]

Augment = Callable[[Batch, torch.Generator], Batch]


@dataclass(frozen=True)
class Plan:
    """How to train; the names are those of the estimators' parameters."""

    max_epochs: int
    batch_size: int
    learning_rate: float
    seed: int = 0
    weight_decay: float = 0.0
    patience: int | None = None
    """Epochs without a better validation loss before the end; ``None``: all epochs, and the last one counts."""
    warmup_epochs: float = 0.0
    """Epochs in which the learning rate rises from zero, along a line."""
    decay: bool = False
    """Let the learning rate fall to zero along a cosine (Loshchilov and Hutter 2017, "SGDR", ICLR)."""
    gradient_clip: float | None = None
    weight_averaging: float = 0.0
    augment: Augment | None = None
    """Applied to each training batch, with a generator that is the same in all processes."""
    checkpoint_seconds: float = 60.0
    """Within a long epoch, how often the state is saved."""

    def rate(self, step: int, *, batches: int) -> float:
        """Return what the learning rate is multiplied by at a step, counted from 0, of epochs of so many batches."""
        warm = self.warmup_epochs * batches
        rise = min(1.0, (step + 1) / warm) if warm else 1.0
        share = min(1.0, step / (self.max_epochs * batches))
        return rise * (0.5 * (1 + math.cos(math.pi * share)) if self.decay else 1.0)


@dataclass
class State:
    """Where the training stands; all of it goes into a checkpoint."""

    epoch: int = 0
    """Epochs that are over."""
    batch: int = 0
    """Batches of the present epoch that are over."""
    total: float = 0.0
    """Their weighted loss, and..."""
    weight: float = 0.0
    """...their weight."""
    seconds: float = 0.0
    """What the present epoch took so far."""
    draw: Tensor | None = None
    """The state of the generator that augments, within an epoch."""
    best_epoch: int = 0
    best_loss: float = float("inf")
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    record: list[Row] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the whole state after the latest epoch, or within a long one.

    `fingerprint` says which data and parameters it belongs to: training goes on from a file with the same
    one, and refuses another.
    """

    path: Path
    fingerprint: str

    def save(self, fabric: Fabric, state: State, parts: dict[str, Any]) -> None:
        """Write everything that what comes next depends on; all processes call it, and the first one writes.

        Raises
        ------
        TrainingError
            Where the file cannot be written; the one before it is still there.
        """
        content = parts | {entry.name: getattr(state, entry.name) for entry in fields(state)}
        content |= {"fingerprint": self.fingerprint, "random": _random_states(fabric)}
        try:
            if fabric.world_size > 1 and fabric.global_rank:
                fabric.save(self.path, content)  # which waits for the first, and writes nothing
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(self.path) as partial_file:
                fabric.save(partial_file, content)
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"checkpoint: {self.path} cannot be written ({' '.join(str(error).split())}); what was saved there "
                "before is whole: make room, run the same again, and it goes on from there"
            ) from error

    def restore(self, fabric: Fabric, state: State, parts: dict[str, Any]) -> None:
        """Bring everything back, if the file is there; what a killed process left half written is taken away."""
        if fabric.is_global_zero:
            for partial_file in self.path.parent.glob(f".{self.path.name}.*.partial"):
                partial_file.unlink()
        if not self.path.exists():
            return
        try:
            rest = fabric.load(self.path, weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, UnpicklingError):
            raise ArgumentError(f"checkpoint: {self.path} is damaged; remove it to start anew") from None
        if rest.pop("fingerprint", None) != self.fingerprint:
            raise ArgumentError(
                f"checkpoint: {self.path} belongs to other data, other parameters or another random_state; "
                "give those, or remove it to start anew"
            )
        processes = len(rest["random"]["cpu"])
        if processes != fabric.world_size:
            raise ArgumentError(
                f"checkpoint: {self.path} was written by {processes} processes, and now there are {fabric.world_size}; "
                "start as many, or remove it to start anew"
            )
        for name, part in parts.items():
            part.load_state_dict(rest.pop(name))
        _set_random_state(rest.pop("random"), fabric)
        for name, value in rest.items():
            setattr(state, name, value)


def train(
    network: SequenceNetwork,
    task: Task,
    training: Examples,
    validation: Examples | None,
    plan: Plan,
    fabric: Fabric,
    *,
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
    on_batch: Callable[[float, float], None] = lambda *_: None,
    checkpoint: Checkpoint | None = None,
    recorder: Callable[[nn.Module], Record] | None = None,
) -> State:
    """Train `network` in place and leave in it the weights of the best epoch.

    The best epoch has the lowest validation loss; without a validation part it is the last. Ctrl-C ends the
    training after at least one epoch in the same way, with the best epoch so far. `recorder` makes the record
    of the network that is validated and kept: before the first epoch, which is epoch 0, and after each. `on_batch` is
    told how many epochs are over, with fractions, and the loss of the present one so far.

    In one of several processes (``fabric.world_size``) each batch is shared out, and weighs what it would weigh in one.

    Raises
    ------
    TrainingError
        When the loss is no longer a number, or a checkpoint cannot be written.
    """
    state = State()
    batches = -(-len(training) // plan.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = LambdaLR(optimizer, partial(plan.rate, batches=batches))
    module, optimizer = fabric.setup(network, optimizer)
    module.mark_forward_method("numbers")
    # The device is named again because a move lays the copied weights out as cuDNN wants them.
    average = AveragedModel(
        network, fabric.device, multi_avg_fn=partial(_average, decay=plan.weight_averaging)
    )
    parts = {"module": module, "optimizer": optimizer, "average": average, "schedule": schedule}
    if fabric.global_rank:
        torch.manual_seed(plan.seed + fabric.global_rank)  # dropout: each process its own
    if checkpoint:
        checkpoint.restore(fabric, state, parts)
    loop = _Loop(module, average, task, training, plan, fabric, optimizer, schedule, state)
    save = partial(checkpoint.save, fabric, state, parts) if checkpoint else None
    record = None if recorder is None else recorder(average.module)
    if record is not None:
        record.rows = state.record
        if not (state.record or state.epoch or state.batch):
            record.epoch(0)
    with _interruptible(state):
        while state.epoch < plan.max_epochs and not _patience_is_over(plan, state):
            row = loop.epoch(on_batch, save)
            if validation is not None:
                start = perf_counter()
                row["valid_loss"], row[f"valid_{task.metric}"] = score(
                    average, task, validation, plan.batch_size, fabric
                )
                row["seconds"] += perf_counter() - start
            _refuse_divergence(row, plan)
            _keep(state, row, average.module)
            if record is not None:
                record.epoch(state.epoch, **{name: row[name] for name in row if name != "epoch"})
            if save:
                save()
            on_epoch(row)
    network.load_state_dict(state.best_weights)
    return state


@dataclass
class _Loop:
    """One epoch after the other, each from where the state says that it stands."""

    module: Any
    average: AveragedModel
    task: Task
    training: Examples
    plan: Plan
    fabric: Fabric
    optimizer: Any
    schedule: LambdaLR
    state: State

    def epoch(
        self, on_batch: Callable[[float, float], None], save: Callable[[], None] | None
    ) -> dict[str, float]:
        """Go through what is left of the present epoch; return its row."""
        state, plan = self.state, self.plan
        draw = torch.Generator().manual_seed(plan.seed * 1_000_003 + state.epoch)
        batches = batches_of(self.training.series.lengths, plan.batch_size, draw)
        if state.draw is not None:
            draw.set_state(state.draw)
        # Of the epoch's first step, also where it is gone on with from within.
        learning_rate = plan.learning_rate * plan.rate(state.epoch * len(batches), batches=len(batches))
        self.module.train()
        start = saved = perf_counter()
        spent = state.seconds
        for rows in batches[state.batch :]:
            loss, weight = self._step(self.training.batch(rows), draw)
            state.total, state.weight = state.total + loss * weight, state.weight + weight
            state.batch, state.draw, state.seconds = (
                state.batch + 1,
                draw.get_state(),
                spent + perf_counter() - start,
            )
            on_batch(state.epoch + state.batch / len(batches), state.total / (state.weight or 1.0))
            if save and self._is_due(saved) and state.batch < len(batches):
                save()
                saved = perf_counter()
        row = {
            "epoch": state.epoch + 1,
            "train_loss": state.total / state.weight,
            "learning_rate": learning_rate,
        }
        row["seconds"] = state.seconds
        state.batch, state.total, state.weight, state.seconds, state.draw = 0, 0.0, 0.0, 0.0, None
        return row

    def _step(self, batch: Batch, draw: torch.Generator) -> tuple[float, float]:
        """Take one step of the optimiser; return the mean loss of the whole batch, and its weight."""
        if self.plan.augment:
            batch = self.plan.augment(batch, draw)
        weight = float(batch.weights.sum())
        world = self.fabric.world_size
        x, lengths, targets, weights = self.fabric.to_device(
            tuple(batch.share(self.fabric.global_rank, world))
        )
        with self.fabric.autocast():
            numbers = self.module.numbers(x, lengths)
        # Not within: in mixed precision Fabric makes float32 of what comes out, and answers in units are float64.
        losses = self.task.losses(_unwrapped(self.module).answer(numbers.float()), targets)
        # Fabric takes the mean of the processes' gradients, and the batch's is wanted.
        loss = (losses * weights).sum() * (world / max(weight, 1e-12))
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        if self.plan.gradient_clip:
            self.fabric.clip_gradients(
                self.module, self.optimizer, max_norm=self.plan.gradient_clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(_unwrapped(self.module))
        return float(_sum(loss.detach() / world, self.fabric)), weight

    def _is_due(self, saved: float) -> bool:
        """Tell whether to save now; the first process's clock counts."""
        due = perf_counter() - saved > self.plan.checkpoint_seconds
        return bool(self.fabric.broadcast(due)) if self.fabric.world_size > 1 else due


@torch.no_grad()
def score(
    module: nn.Module, task: Task, data: Examples, batch_size: int, fabric: Fabric
) -> tuple[float, float]:
    """Return the mean loss, and the task's metric; several processes share the batches."""
    module.eval()
    sums = torch.zeros(4, dtype=torch.float64)
    for rows in batches_of(data.series.lengths, batch_size)[fabric.global_rank :: fabric.world_size]:
        x, lengths, targets, weights = fabric.to_device(tuple(data.batch(rows)))
        answers = module(x, lengths)
        there = weights > 0  # the metric counts all alike, as `score` does; the loss is that of the training
        for k, figure in enumerate(
            (
                task.losses(answers, targets) * weights,
                weights,
                task.errors(answers, targets) * there,
                there,
            )
        ):
            sums[k] += figure.sum().double().cpu()
    loss, weight, error, count = _sum(sums, fabric).tolist()
    return loss / weight, task.metric_of(error / count)


def _sum(value: Tensor, fabric: Fabric) -> Tensor:
    """Add up what the processes have."""
    if fabric.world_size == 1:
        return value
    total = fabric.all_reduce(value, reduce_op="sum")
    assert isinstance(total, Tensor)
    return total


def _unwrapped(module: Any) -> SequenceNetwork:
    """Return the network inside what Fabric, and its strategy, wrapped around it."""
    found: SequenceNetwork = module.module
    return found


@torch.no_grad()
def _average(averages: list[Tensor], weights: list[Tensor], count: Tensor, *, decay: float) -> None:
    """Move the averages towards the weights, faster at the start, when there is little to average yet.

    Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 30.
    """
    step = int(count)
    torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + step) / (10 + step)))


def _keep(state: State, row: dict[str, float], network: nn.Module) -> None:
    """Note the epoch, and its weights where it is the best so far."""
    state.epoch += 1
    state.history.append(row)
    loss = row.get("valid_loss", -state.epoch)
    if loss < state.best_loss:
        state.best_epoch, state.best_loss = state.epoch, loss
        state.best_weights = {name: w.detach().clone() for name, w in network.state_dict().items()}


@contextmanager
def _interruptible(state: State) -> Iterator[None]:
    """End the training at Ctrl-C, once there is an epoch to keep."""
    try:
        yield
    except KeyboardInterrupt:
        if not state.history:
            raise
        state.interrupted = True


def _refuse_divergence(row: dict[str, float], plan: Plan) -> None:
    for name in ("train_loss", "valid_loss"):
        if not math.isfinite(row.get(name, 0.0)):
            raise TrainingError(
                f"training diverged: {name} is {row[name]} in epoch {row['epoch']}; lower learning_rate, now "
                f"{plan.learning_rate}" + ("" if plan.gradient_clip else ", or set gradient_clip, say to 1.0")
            )


def _random_states(fabric: Fabric) -> dict[str, list[Tensor]]:
    """Return the states of torch's generators: the CPU's of each process, and each CUDA device's."""
    mine = torch.get_rng_state()
    everyones = fabric.all_gather(mine) if fabric.world_size > 1 else mine[None]
    assert isinstance(everyones, Tensor)
    return {"cpu": [state.cpu().clone() for state in everyones], "cuda": torch.cuda.get_rng_state_all()}


def _set_random_state(states: dict[str, list[Tensor]], fabric: Fabric) -> None:
    torch.set_rng_state(states["cpu"][fabric.global_rank].cpu())
    torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def _patience_is_over(plan: Plan, state: State) -> bool:
    return plan.patience is not None and state.epoch - state.best_epoch >= plan.patience
