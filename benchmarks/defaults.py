"""How the estimators' defaults were found: cross-validation on the training parts of five data sets alone.

    python -m benchmarks.defaults [--seeds 2] [--only WORD ...] [--data NAME ...]

The training part of the Japanese Vowels has 30 utterances of each speaker in the order of recording. Random folds
are too easy there, because neighbours in time are alike: the 30 are cut into three blocks of ten, and a model trained
on one block is scored on the others. The other data sets are cut into four random folds with the shares of the
classes kept. Prints a markdown table; the test parts are never read.
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
from sklearn.model_selection import KFold, StratifiedKFold

from benchmarks.accuracy import DATA_SETS, VARIANTS, DataSet
from glasslstm import LSTMClassifier, LSTMRegressor

CONVOLUTIONS: dict[str, Any] = {"conv_blocks": 5, "channel_shift": 0.0}
BUDGET: dict[str, Any] = {"validation_fraction": 0.0, "max_updates": 300}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "pooling='last'": {"pooling": "last"},
    "pooling='mean'": {"pooling": "mean"},
    "pooling='attention'": {"pooling": "attention"},
    "pooling='last', channel_shift=0": {"pooling": "last", "channel_shift": 0.0},
    "channel_shift=0": {"channel_shift": 0.0},
    "channel_shift=0.2": {"channel_shift": 0.2},
    "layer_norm=True": {"layer_norm": True},
    "recurrent_dropout=0.3": {"recurrent_dropout": 0.3},
    "initialisation='chrono'": {"initialisation": "chrono"},
    "bidirectional=False": {"bidirectional": False},
    "num_layers=2": {"num_layers": 2},
    "hidden_size=128": {"hidden_size": 128},
    "refit=False": {"refit": False},
    "weight_averaging=0": {"weight_averaging": 0.0},
    "convolutions": CONVOLUTIONS,
    "convolutions, pooling='last'": CONVOLUTIONS | {"pooling": "last"},
    "convolutions, channel_shift=0.4": CONVOLUTIONS | {"channel_shift": 0.4},
    "convolutions, 3 blocks": CONVOLUTIONS | {"conv_blocks": 3},
    "300 updates without a search": BUDGET,
    "convolutions, 300 updates": CONVOLUTIONS | BUDGET,
    "convolutions, 200 updates": CONVOLUTIONS | BUDGET | {"max_updates": 200},
    "for few series": VARIANTS["for few series"],
    "for few series, 200 updates": VARIANTS["for few series"] | {"max_updates": 200},
    "for few series, channel_scale=0": VARIANTS["for few series"] | {"channel_scale": 0.0},
    "for few series, channel_shift=0": VARIANTS["for few series"] | {"channel_shift": 0.0},
    "for few series, no convolutions": VARIANTS["for few series"] | {"conv_blocks": 0},
}
"""Name -> what differs from the defaults."""

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


def main() -> None:
    """Score every configuration, and print a row of the table for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2, help="seeds of each split (default: 2)")
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    parser.add_argument("--data", nargs="+", choices=DATA_SETS, default=list(DATA_SETS))
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: one a core)")
    arguments = parser.parse_args()
    print("| what differs from the defaults | " + " | ".join(arguments.data) + " | seconds a fit |")
    print("|---" * (len(arguments.data) + 2) + "|")
    for name in arguments.only:
        cells, seconds = [], []
        for data in arguments.data:
            # Every configuration sees the same splits and seeds.
            tasks = [
                delayed(_fit)(name, data, split, seed)
                for seed in range(arguments.seeds)
                for split in range(len(splits(DATA_SETS[data], seed)))
            ]
            found = np.array(Parallel(arguments.jobs)(tasks)).reshape(arguments.seeds, -1, 2)
            means = found[:, :, 0].mean(1).tolist()
            error = stdev(means) / arguments.seeds**0.5 if arguments.seeds > 1 else 0.0
            cells.append(f"{fmean(means):.4f} ± {error:.4f}")
            seconds.append(found[:, :, 1].mean())
        print(f"| {name} | " + " | ".join(cells) + f" | {fmean(seconds):.1f} |", flush=True)


def splits(data: DataSet, seed: int) -> list[Split]:
    """Return which series to train on, and which to score."""
    X, y = data.load("train")
    if data.blocks:
        counts = np.unique(y, return_counts=True)[1]
        block = np.concatenate([np.arange(n) * 3 // n for n in counts])
        return [(np.flatnonzero(block == k), np.flatnonzero(block != k)) for k in range(3)]
    folds = (KFold if data.regression else StratifiedKFold)(4, shuffle=True, random_state=seed)
    return list(folds.split(np.zeros(len(X)), y))


def _fit(name: str, data_name: str, nth: int, seed: int) -> tuple[float, float]:
    torch.set_num_threads(1)
    data = DATA_SETS[data_name]
    X, y = data.load("train")
    train, rest = splits(data, seed)[nth]
    kind = LSTMRegressor if data.regression else LSTMClassifier
    model = kind(**CONFIGURATIONS[name], random_state=seed, verbose=False)
    start = perf_counter()
    model.fit([X[k] for k in train], y[train])
    seconds = perf_counter() - start
    found = model.predict([X[k] for k in rest])
    right = np.sqrt(np.mean((found - y[rest]) ** 2)) if data.regression else np.mean(found == y[rest])
    return float(right), seconds


if __name__ == "__main__":
    main()
