"""The trainings of one ``fit``: a search for the best epoch on a part of the data, and one more on all of it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from glasslstm.errors import ArgumentError, DataError
from glasslstm.estimators.augmentation import Augmentation
from glasslstm.estimators.examples import Examples
from glasslstm.estimators.network import SequenceNetwork
from glasslstm.estimators.preparation import Preparation
from glasslstm.estimators.progress import shown
from glasslstm.estimators.tasks import Goal, Task
from glasslstm.estimators.training import Checkpoint, Plan, State, train
from glasslstm.insight.record import Record, Row

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from glasslstm.estimators.base import LSTMEstimator

__all__ = ["Run", "Trained"]


class Trained(NamedTuple):
    """What a training gives."""

    network: SequenceNetwork
    preparation: Preparation
    task: Task
    longest: int
    state: State
    record: list[Row]


@dataclass(frozen=True)
class Run:
    """The trainings of one call of ``fit``."""

    estimator: LSTMEstimator
    goal: Goal
    seed: int
    fabric: Fabric
    record: bool | str | os.PathLike[str]

    def search(self, data: Examples, held_out: Examples | None) -> Trained:
        """Train with a validation part to find the best epoch, and from the start on everything if asked to."""
        settings = self.estimator
        if not settings.validation_fraction:
            return self.train("training", data, None, settings._epochs(len(data)))
        if held_out is None:
            part, judged = data.split(settings.validation_fraction, self.goal.strata, self.seed)
            everything = data
        else:
            part, judged = data, held_out
            everything = data.joined(held_out) if settings.refit else data
        found = self.train("search", part, judged, settings._epochs(len(part)))
        if not settings.refit or found.state.interrupted:
            return found
        try:
            # Along a cosine the mean learning rate is half of the search's: twice the epochs make up for it.
            again = self.train("refit", everything, None, 2 * found.state.best_epoch)
        except KeyboardInterrupt:
            found.state.interrupted = True
            return found
        if again.state.interrupted:
            found.state.interrupted = True
            return found
        return again._replace(state=found.state, record=found.record + again.record)

    def train(self, name: str, data: Examples, held_out: Examples | None, epochs: int) -> Trained:
        """Train one network from the start; what is measured is measured on `data` alone."""
        settings, fabric = self.estimator, self.fabric
        if settings.conv_blocks and fabric.world_size > 1:
            raise ArgumentError(
                f"conv_blocks: got {settings.conv_blocks} in {fabric.world_size} processes, each of which would norm "
                "by its own share of a batch; set it to 0, or train in one process"
            )
        torch.manual_seed(self.seed)
        for part, use in ((data, "trained on"), (held_out, "validated with")):
            if part is not None and not part.weigh_anything:
                raise DataError(f"sample_weight: all that is {use} has the weight 0; give some of it more")
        prepare = self.goal.prepare or partial(Preparation.of, duration=settings.step_duration)
        preparation = prepare(data.series)
        task = self.goal.task.fitted(data.flat_targets())
        longest = int(data.series.lengths.max())
        network = settings._network(preparation, task, longest)
        schedule = settings.schedule if settings.schedule != "auto" else "constant" if held_out else "cosine"
        plan = Plan(
            max_epochs=epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            seed=self.seed,
            weight_decay=settings.weight_decay,
            patience=None if held_out is None else settings.patience,
            warmup_epochs=settings.warmup_epochs,
            decay=schedule == "cosine",
            gradient_clip=settings.gradient_clip,
            weight_averaging=settings.weight_averaging,
            augment=Augmentation(
                preparation.augmented, settings.input_noise, settings.channel_shift, settings.channel_scale
            ),
        )
        checkpoint = None
        if settings.checkpoint is not None:
            path = Path(settings.checkpoint) / f"{name}.ckpt"
            checkpoint = Checkpoint(path, self.fingerprint(data, held_out))
        training, validation = data.prepared(preparation), held_out and held_out.prepared(preparation)
        folder = None if isinstance(self.record, bool) else Path(self.record) / name
        recorder = partial(_record, probe=validation or training, task=task, fabric=fabric, writer=folder)
        with shown(settings.verbose and fabric.is_global_zero, epochs, name) as show:
            state = train(
                network,
                task,
                training,
                validation,
                plan,
                fabric,
                on_epoch=partial(_told, show=show.epoch, fabric=fabric, name=name),
                on_batch=show.batch,
                checkpoint=checkpoint,
                recorder=None if self.record is False else recorder,
            )
        return Trained(
            network, preparation, task, longest, state, [{"training": name} | row for row in state.record]
        )

    def fingerprint(self, *parts: Examples | None) -> str:
        """Return what tells one training from another."""
        beside = ("checkpoint", "device", "random_state", "verbose")
        parameters = {
            name: value for name, value in self.estimator.get_params().items() if name not in beside
        }
        words = json.dumps(parameters | {"seed": self.seed}, sort_keys=True, default=str)
        digest = hashlib.sha256(words.encode())
        for part in filter(None, parts):
            series = part.series
            about = (series.channel_names, series.static_names, sorted(series.categories.items()))
            digest.update(json.dumps(about).encode())
            for _, values in series.blocks():
                digest.update(np.ascontiguousarray(values).tobytes())
            for array in (series.lengths, series.static, series.times, part.targets, part.weights):
                digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


# The most series that a record looks at.
_PROBE_SERIES = 32


def _told(row: dict[str, float], *, show: Any, fabric: Fabric, name: str) -> None:
    """Show an epoch, and log it."""
    show(row)
    if fabric.loggers and fabric.is_global_zero:
        figures = {f"{name}/{key}": value for key, value in row.items() if key != "epoch"}
        fabric.log_dict(figures, step=int(row["epoch"]))
        for logger in fabric.loggers:
            logger.save()  # some keep a hundred rows back


def _record(
    network: nn.Module, *, probe: Examples, task: Task, fabric: Fabric, writer: Path | None
) -> Record:
    """Return a record of `network` on series that are spread evenly over `probe`."""
    rows = np.linspace(0, len(probe) - 1, min(len(probe), _PROBE_SERIES)).astype(np.int64)
    x, lengths, targets, weights = fabric.to_device(tuple(probe.batch(rows)))

    def loss(answers: Tensor, truth: Tensor) -> Tensor:
        mean: Tensor = (task.losses(answers, truth) * weights).sum() / weights.sum().clamp(min=1e-12)
        return mean

    return Record(network, (x, lengths), targets, loss, writer=writer)
