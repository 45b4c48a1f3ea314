"""Fifty million steps: a folder of Parquet is written, read, trained on for an epoch and scored, with peak memory.

    python benchmarks/large.py [--series 1000000] [--steps 50] [--channels 8] [--folder build/large]

Each phase runs in a process of its own, whose peak of resident memory (Linux: ru_maxrss, shared pages of the mapped
file among them) is printed with its time. The last phase trains on the first series of the same data in a plain loop of
torch.nn.LSTM with packing, and with the estimator, for the ratio. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from glasslstm import LSTMClassifier, load
from glasslstm.data import iter_series, read_series

ROLES: dict[str, Any] = {"id": "series", "time": "step"}
PART = 50_000  # series in a part
BATCH = 256
SAMPLE = 20_000  # series for the ratio


def main() -> None:
    """Run all phases and print the table; or one of them, for the parent."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path("build/large"))
    parser.add_argument("--phase", choices=PHASES, help="run this one and print JSON")
    arguments = parser.parse_args()
    if arguments.phase:
        start = perf_counter()
        facts = PHASES[arguments.phase](arguments)
        facts["seconds"] = facts.get("seconds", perf_counter() - start)
        facts["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(facts))
        return
    total = arguments.series * arguments.steps
    print(
        f"{arguments.series:,} series of {arguments.steps} steps, {arguments.channels} channels: {total:,} steps\n"
    )
    print("| phase | seconds | steps a second | peak of memory, MiB | |")
    print("|---|---|---|---|---|")
    for phase in PHASES:
        command = [sys.executable, __file__, *sys.argv[1:], "--phase", phase]
        facts = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
        rate = facts.pop("rate", total / facts["seconds"])
        row = f"| {phase} | {facts.pop('seconds'):.1f} | {rate:,.0f} | {facts.pop('peak_mib'):,.0f} | "
        print(row + ", ".join(f"{name} {value}" for name, value in facts.items()) + " |", flush=True)
    shutil.rmtree(arguments.folder)


def write(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the parts: noise, and in the class's channel a bump somewhere."""
    shutil.rmtree(arguments.folder, ignore_errors=True)
    data = arguments.folder / "data"
    data.mkdir(parents=True)
    for part, first in enumerate(range(0, arguments.series, PART)):
        count = min(PART, arguments.series - first)
        rng = np.random.default_rng(part)
        values = rng.normal(size=(count, arguments.steps, arguments.channels)).astype(np.float32)
        label = rng.integers(arguments.channels, size=count)
        values[np.arange(count), rng.integers(arguments.steps, size=count), label] += 3
        columns: dict[str, Any] = {
            "series": np.repeat(np.arange(first, first + count), arguments.steps),
            "step": np.tile(np.arange(arguments.steps), count),
            "label": np.repeat(label, arguments.steps),
        }
        columns |= {f"channel_{k}": values[:, :, k].ravel() for k in range(arguments.channels)}
        pq.write_table(pa.table(columns), data / f"part-{part:04}.parquet")
    size = sum(file.stat().st_size for file in data.iterdir()) / 2**20
    return {"MiB on the disk": round(size)}


def read(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read everything, as training does."""
    series = read_series(arguments.folder / "data", **ROLES, target="label")
    return {"series": len(series)}


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read and train one epoch."""
    series = read_series(arguments.folder / "data", **ROLES, target="label")
    start = perf_counter()
    clf = LSTMClassifier(
        max_epochs=1,
        validation_fraction=0,
        batch_size=BATCH,
        learning_rate=0.005,
        random_state=0,
        verbose=False,
    ).fit(series)
    seconds = perf_counter() - start
    clf.save(arguments.folder / "model")
    return {"seconds": seconds, "training loss": round(clf.history_[0]["train_loss"], 4)}


def score(arguments: argparse.Namespace) -> dict[str, Any]:
    """Score everything, block by block."""
    clf = load(arguments.folder / "model")
    right = count = 0
    for part in iter_series(arguments.folder / "data", **ROLES, target="label"):
        right += int((clf.predict(part) == part.targets).sum())
        count += len(part)
    return {"accuracy": round(right / count, 4)}


def ratio(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train on some of the series in a plain loop, and with the estimator."""
    part = next(
        iter_series(arguments.folder / "data", **ROLES, target="label", steps=SAMPLE * arguments.steps)
    )
    part = part[: min(SAMPLE, len(part))]
    assert part.targets is not None
    start = perf_counter()
    _plain_epoch([np.array(x) for x in part], part.targets)
    theirs = perf_counter() - start
    start = perf_counter()
    LSTMClassifier(
        max_epochs=1, validation_fraction=0, batch_size=BATCH, channel_shift=0, random_state=0, verbose=False
    ).fit(part)
    ours = perf_counter() - start
    return {
        "seconds": ours,
        "rate": part.steps / ours,
        "the plain loop's steps a second": f"{part.steps / theirs:,.0f}",
        "ratio": round(theirs / ours, 2),
    }


def _plain_epoch(X: list[np.ndarray[Any, Any]], y: np.ndarray[Any, Any]) -> None:
    """Train an epoch as a user of torch writes it, with the same model and batches of the same size."""
    steps = np.concatenate(X)
    mean, scale = steps.mean(0), steps.std(0)
    series = [torch.from_numpy((x - mean) / scale) for x in X]
    labels = torch.from_numpy(y)
    lstm = torch.nn.LSTM(X[0].shape[1], 64, bidirectional=True)
    head = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(128, int(y.max()) + 1))
    parameters = [*lstm.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.01)
    for rows in torch.randperm(len(series)).split(BATCH):
        lengths = torch.tensor([len(series[k]) for k in rows])
        x = torch.nn.utils.rnn.pad_sequence([series[k] for k in rows])
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        _, (h_n, _) = lstm(packed)
        loss = torch.nn.functional.cross_entropy(head(torch.cat((h_n[-2], h_n[-1]), 1)), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()


PHASES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "write": write,
    "read": read,
    "train": train,
    "score": score,
    "ratio": ratio,
}

if __name__ == "__main__":
    main()
