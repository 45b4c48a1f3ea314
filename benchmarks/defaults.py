"""How the classifier's defaults were found: cross-validation on the training part of the demo's data alone.

    python benchmarks/defaults.py [--protocol one two] [--seeds 3] [--only WORD ...]

The training part has 30 utterances of each speaker in the order of recording. Random folds are too easy, because
neighbours in time are alike; here the 30 are cut into three blocks of ten, and a model trained on one block (or
on two) is scored on the others. Prints a markdown table; the test part is never read.
"""

from __future__ import annotations

import argparse
from statistics import fmean, stdev
from time import perf_counter
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, log_loss

from glasslstm import LSTMClassifier
from glasslstm.data import load_japanese_vowels

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "channel_shift=0": {"channel_shift": 0.0},
    "channel_shift=0.2": {"channel_shift": 0.2},
    "channel_shift=0.6": {"channel_shift": 0.6},
    "refit=False": {"refit": False},
    "weight_averaging=0": {"weight_averaging": 0.0},
    "dropout=0": {"dropout": 0.0},
    "dropout=0.5": {"dropout": 0.5},
    "patience=20": {"patience": 20},
    "learning_rate=0.003": {"learning_rate": 0.003},
    "hidden_size=32": {"hidden_size": 32},
    "num_layers=2": {"num_layers": 2},
    "bidirectional=False": {"bidirectional": False},
}
"""Name -> what differs from the defaults."""

Blocks = list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]


def main() -> None:
    """Score every configuration, and print a row of the table for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--protocol", nargs="+", choices=["one", "two"], default=["one", "two"])
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each split (default: 3)")
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: one a core)")
    arguments = parser.parse_args()
    print("| configuration | trained on | fits | accuracy, % | log loss | epochs | seconds a fit |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.only:
        for protocol in arguments.protocol:
            # Every configuration sees the same splits and seeds.
            tasks = [
                delayed(_fit)(CONFIGURATIONS[name], split, seed)
                for seed in range(arguments.seeds)
                for split in blocks(protocol)
            ]
            print(_row(name, protocol, Parallel(arguments.jobs)(tasks), arguments.seeds), flush=True)


def blocks(protocol: str) -> Blocks:
    """Return, for each of the three blocks, which series to train on and which to score."""
    _, y = load_japanese_vowels("train")
    block = np.concatenate([np.arange(n) * 3 // n for n in np.unique(y, return_counts=True)[1]])
    inside = [block == k for k in range(3)]
    return [(rows, ~rows) if protocol == "one" else (~rows, rows) for rows in inside]


def _fit(parameters: dict[str, Any], split: tuple[Any, Any], seed: int) -> tuple[float, float, int, float]:
    torch.set_num_threads(1)
    X, y = load_japanese_vowels("train")
    train, rest = (np.flatnonzero(part) for part in split)
    clf = LSTMClassifier(**parameters, random_state=seed, verbose=False)
    start = perf_counter()
    clf.fit([X[k] for k in train], y[train])
    seconds = perf_counter() - start
    probability = clf.predict_proba([X[k] for k in rest])
    predicted = clf.classes_[probability.argmax(1)]
    loss = float(log_loss(y[rest], probability, labels=clf.classes_))
    return float(accuracy_score(y[rest], predicted)), loss, clf.best_epoch_, seconds


def _row(name: str, protocol: str, fits: list[tuple[float, float, int, float]], seeds: int) -> str:
    """Return a row; the standard errors are those of the means of each seed."""
    columns = np.array(fits).reshape(seeds, -1, 4)
    accuracy, loss = 100 * columns[:, :, 0].mean(1), columns[:, :, 1].mean(1)
    words = [
        f"{fmean(values):.{digits}f} ± {stdev(values) / seeds**0.5 if seeds > 1 else 0:.{digits}f}"
        for values, digits in ((accuracy.tolist(), 2), (loss.tolist(), 3))
    ]
    rest = f"{columns[:, :, 2].mean():.0f} | {columns[:, :, 3].mean():.1f}"
    return f"| {name} | {protocol} of 3 blocks | {len(fits)} | {words[0]} | {words[1]} | {rest} |"


if __name__ == "__main__":
    main()
