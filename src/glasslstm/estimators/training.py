"""The training loop: epochs over ragged batches, early stopping, and checkpoints that resume exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.optim.swa_utils import AveragedModel

from glasslstm._files import written_whole
from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError, TrainingError
from glasslstm.insight.record import Record, Row

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Checkpoint", "Labelled", "Plan", "State", "score", "train"]


@dataclass(frozen=True)
class Plan:
    """How to train; the names are those of :class:`glasslstm.LSTMClassifier`."""

    max_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    patience: int | None = None
    """Epochs without a better validation loss before the end; ``None``: all epochs, and the last one counts."""
    decay: bool = False
    """Let the learning rate fall to zero along a cosine (Loshchilov and Hutter 2017, "SGDR", ICLR)."""
    gradient_clip: float | None = None
    weight_averaging: float = 0.0
    augment: Callable[[Tensor], Tensor] | None = None
    """Applied to each training batch, (T, B, F)."""


@dataclass(frozen=True)
class Labelled:
    """Scaled series with the index of each one's class."""

    series: Sequences
    labels: NDArray[np.int64]

    def select(self, rows: NDArray[np.int64]) -> Labelled:
        """Return the series in `rows`, in that order."""
        return Labelled(self.series.select(rows), self.labels[rows])

    def batches(self, size: int, *, shuffle: bool = False) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (T, B, F), lengths and labels; each series once, and no batch of a few left-overs."""
        n = len(self.series)
        order = torch.randperm(n) if shuffle else torch.arange(n)
        for indices in order.tensor_split(-(-n // size)):
            x, lengths = self.series.pad(indices.numpy())
            labels = torch.from_numpy(self.labels)[indices]
            yield torch.from_numpy(x), torch.from_numpy(lengths), labels


@dataclass
class State:
    """Where the training stands; all of it goes into a checkpoint."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    record: list[Row] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the whole state after the latest epoch.

    `fingerprint` says which data and parameters it belongs to: training goes on from a file with the same
    one, and refuses another.
    """

    path: Path
    fingerprint: str

    def save(self, fabric: Fabric, state: State, parts: dict[str, Any]) -> None:
        """Write everything that the next epoch depends on."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = parts | asdict(state) | {"fingerprint": self.fingerprint, "random": _random_state()}
        with written_whole(self.path) as partial:
            fabric.save(partial, content)

    def restore(self, fabric: Fabric, state: State, parts: dict[str, Any]) -> None:
        """Bring everything back, if the file is there."""
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
        for name, part in parts.items():
            part.load_state_dict(rest.pop(name))
        _set_random_state(rest.pop("random"))
        for name, value in rest.items():
            setattr(state, name, value)


def train(
    network: nn.Module,
    training: Labelled,
    validation: Labelled | None,
    plan: Plan,
    fabric: Fabric,
    *,
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
    checkpoint: Checkpoint | None = None,
    recorder: Callable[[nn.Module], Record] | None = None,
) -> State:
    """Train `network` in place and leave in it the weights of the best epoch.

    The best epoch has the lowest validation loss; without a validation part it is the last. Ctrl-C ends the
    training after at least one epoch in the same way, with the best epoch so far. `recorder` makes the record
    of the network that is validated and kept: before the first epoch, which is epoch 0, and after each.

    Raises
    ------
    TrainingError
        When the loss is no longer a number.
    """
    state = State()
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    scheduler = CosineAnnealingLR(optimizer, plan.max_epochs) if plan.decay else None
    module, optimizer = fabric.setup(network, optimizer)
    # The device is named again because a move lays the copied weights out as cuDNN wants them.
    average = AveragedModel(
        network, fabric.device, multi_avg_fn=partial(_average, decay=plan.weight_averaging)
    )
    parts = {"module": module, "optimizer": optimizer, "average": average}
    parts |= {"scheduler": scheduler} if scheduler else {}
    if checkpoint:
        checkpoint.restore(fabric, state, parts)
    record = None if recorder is None else recorder(average.module)
    if record is not None:
        record.rows = state.record
        if not state.epoch:
            record.epoch(0)
    try:
        while state.epoch < plan.max_epochs and not _patience_is_over(plan, state):
            start = perf_counter()
            learning_rate = optimizer.param_groups[0]["lr"]
            train_loss = _epoch(module, average, training, optimizer, plan, fabric)
            row = {"epoch": state.epoch + 1, "train_loss": train_loss, "learning_rate": learning_rate}
            if validation is not None:
                row["valid_loss"], row["valid_accuracy"] = score(average, validation, plan.batch_size, fabric)
            row["seconds"] = perf_counter() - start
            _refuse_divergence(row, plan)
            _keep(state, row, average.module)
            if record is not None:
                record.epoch(state.epoch, **{name: row[name] for name in row if name != "epoch"})
            if scheduler:
                scheduler.step()
            if checkpoint:
                checkpoint.save(fabric, state, parts)
            on_epoch(row)
    except KeyboardInterrupt:
        if not state.history:
            raise
        state.interrupted = True
    network.load_state_dict(state.best_weights)
    return state


def _epoch(
    module: Any, average: AveragedModel, data: Labelled, optimizer: Any, plan: Plan, fabric: Fabric
) -> float:
    """Go through the training data once; return the mean loss of a series."""
    module.train()
    total = 0.0
    for batch in data.batches(plan.batch_size, shuffle=True):
        x, lengths, labels = fabric.to_device(batch)
        if plan.augment:
            x = plan.augment(x)
        loss = nn.functional.cross_entropy(module(x, lengths).float(), labels)
        optimizer.zero_grad()
        fabric.backward(loss)
        if plan.gradient_clip:
            fabric.clip_gradients(module, optimizer, max_norm=plan.gradient_clip, error_if_nonfinite=False)
        optimizer.step()
        average.update_parameters(module)
        total += loss.item() * len(labels)
    return total / len(data.labels)


@torch.no_grad()
def score(module: Any, data: Labelled, batch_size: int, fabric: Fabric) -> tuple[float, float]:
    """Return the mean loss of a series, and the accuracy."""
    module.eval()
    loss = correct = 0.0
    for batch in data.batches(batch_size):
        x, lengths, labels = fabric.to_device(batch)
        logits = module(x, lengths).float()
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        correct += (logits.argmax(1) == labels).sum().item()
    return loss / len(data.labels), correct / len(data.labels)


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


def _refuse_divergence(row: dict[str, float], plan: Plan) -> None:
    for name in ("train_loss", "valid_loss"):
        if not math.isfinite(row.get(name, 0.0)):
            raise TrainingError(
                f"training diverged: {name} is {row[name]} in epoch {row['epoch']}; lower learning_rate, now "
                f"{plan.learning_rate}" + ("" if plan.gradient_clip else ", or set gradient_clip, say to 1.0")
            )


def _random_state() -> list[Tensor]:
    """Return the state of torch's generators: the CPU's, then each CUDA device's."""
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]


def _set_random_state(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    torch.cuda.set_rng_state_all(states[1:])


def _patience_is_over(plan: Plan, state: State) -> bool:
    return plan.patience is not None and state.epoch - state.best_epoch >= plan.patience
