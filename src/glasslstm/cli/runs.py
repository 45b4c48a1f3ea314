"""A run's folder: what was asked for, how it went, the model, and a report about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from glasslstm import modelfile
from glasslstm._files import check_writable, written_whole
from glasslstm.data import write_table
from glasslstm.errors import ArgumentError
from glasslstm.estimators.base import LSTMEstimator

__all__ = ["EpochLog", "Run", "load_model", "model_folder", "write_json"]


class Run:
    """The folder of a run, and what is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.metrics = folder / "metrics.json"
        self.history = folder / "history.csv"
        self.log = folder / "log.txt"
        self.model = folder / "model"
        self.report = folder / "report.html"

    @property
    def finished(self) -> bool:
        """Whether a model is in it."""
        return (self.model / "model.json").exists()

    def check(self, *, force: bool) -> None:
        """Refuse a place where a run cannot be written, or one that has a run, before any work.

        Raises
        ------
        ArgumentError
            With what is in the way.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise ArgumentError(f"--out {self.folder} is a file; a run is written into a folder of its own")
        check_writable(self.config)
        modelfile.check_target(self.model)
        ours = {path.name for path in vars(self).values()} | {"checkpoint"}
        inside = sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []
        others = [name for name in inside if name not in ours and not name.startswith(".")]
        if others:
            raise ArgumentError(
                f"--out {self.folder} holds other things ({others[0]}); a run is written into a folder of its own"
            )
        if self.finished and not force:
            raise ArgumentError(
                f"--out {self.folder} has a run already; choose another folder, or replace it with --force"
            )

    def say(self, line: str) -> None:
        """Write a line into the log, with the time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {line}\n")

    def keep(
        self, estimator: LSTMEstimator, metrics: Mapping[str, Any], write_config: Callable[[Path], None]
    ) -> None:
        """Write the model and how its training went, beside what an earlier run left, and put it in its place.

        Raises
        ------
        ArgumentError
            Where the disk is full, or refuses; what was there is as it was.
        """
        new = Run(self.folder / f".{uuid4().hex}.partial")
        try:
            new.folder.mkdir(parents=True)
            write_config(new.config)
            write_table(new.history, _columns(estimator.history_))
            estimator.save(new.model)
            write_json(new.metrics, metrics)
            self.report.unlink(missing_ok=True)
            if self.model.exists():
                shutil.rmtree(self.model)
            for name in ("model", "config", "history", "metrics"):
                getattr(new, name).replace(getattr(self, name))
        except OSError as error:
            raise ArgumentError(
                f"{self.folder}: the run cannot be written ({error.strerror}); make room there and run the same again"
            ) from error
        finally:
            shutil.rmtree(new.folder, ignore_errors=True)


class EpochLog:
    """Writes the figures of each epoch into a run's log: what Fabric asks of a logger."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take the figures of an epoch; their names begin with the training's."""
        training = next(iter(metrics)).partition("/")[0]
        figures = (f"{name.partition('/')[2]} {value:.6g}" for name, value in metrics.items())
        self.run.say(f"{training} epoch {step}: {', '.join(figures)}")

    def save(self) -> None:
        """Nothing is held back."""


def model_folder(folder: Path) -> Path:
    """Return the model's folder, of a run or by itself."""
    inside = Run(folder).model
    return inside if (inside / "model.json").exists() and not (folder / "model.json").exists() else folder


def load_model(folder: Path) -> LSTMEstimator:
    """Load the model of a run, or by itself."""
    estimator: LSTMEstimator = modelfile.load(model_folder(folder))
    return estimator


def write_json(path: Path, content: Any) -> None:
    """Write what JSON can hold, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
