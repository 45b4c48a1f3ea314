"""What the classifier's defaults reach on the official split of the demo's data, over ten seeds.

    python benchmarks/accuracy.py [--seeds 10]

The defaults were chosen without the test part (benchmarks/defaults.py); this scores them on it.
"""

from __future__ import annotations

import argparse
from statistics import fmean, stdev
from time import perf_counter

import torch
from joblib import Parallel, delayed

from glasslstm import LSTMClassifier
from glasslstm.data import load_japanese_vowels


def main() -> None:
    """Fit and score once a seed, and print a markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=int, default=10, help="random_state 0 to this, exclusive (default: 10)"
    )
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: one a core)")
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    scores = Parallel(arguments.jobs)(delayed(fit_and_score)(seed) for seed in seeds)
    print("| random_state | test accuracy | best epoch of the search | seconds, one thread |")
    print("|---|---|---|---|")
    for seed, (accuracy, epoch, seconds) in zip(seeds, scores, strict=True):
        print(f"| {seed} | {accuracy:.4f} | {epoch} | {seconds:.0f} |")
    found = [accuracy for accuracy, _, _ in scores]
    spread = f" (standard deviation {stdev(found):.4f})" if len(found) > 1 else ""
    print(f"\nmean {fmean(found):.4f}{spread}, lowest {min(found):.4f}, highest {max(found):.4f}")


def fit_and_score(seed: int) -> tuple[float, int, float]:
    """Return test accuracy, best epoch and seconds of one fit."""
    torch.set_num_threads(1)
    start = perf_counter()
    clf = LSTMClassifier(random_state=seed, verbose=False).fit(*load_japanese_vowels("train"))
    seconds = perf_counter() - start
    return float(clf.score(*load_japanese_vowels("test"))), clf.best_epoch_, seconds


if __name__ == "__main__":
    main()
