"""The demo: train on the Japanese Vowels, and leave a model, its figures and a report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from glasslstm._extras import require
from glasslstm._files import check_writable, written_whole
from glasslstm.data import JAPANESE_VOWELS_CHANNELS, load_japanese_vowels
from glasslstm.doctor import versions
from glasslstm.estimators.classifier import LSTMClassifier
from glasslstm.modelfile import check_target

require("plotly", extra="report")

from glasslstm.insight.report import report  # noqa: E402

__all__ = ["run_demo"]


def run_demo(out: str | os.PathLike[str], *, seed: int = 0, verbose: bool = True) -> dict[str, Any]:
    """Train on the training part of the Japanese Vowels, score the test part, and write into `out`.

    It writes the folder ``model/``, ``metrics.json`` and ``report.html``, and replaces what an earlier run
    left there.

    Parameters
    ----------
    out
        The folder to write into; it is made where there is none.
    seed
        The ``random_state`` of the classifier.
    verbose
        As for :class:`glasslstm.LSTMClassifier`.

    Returns
    -------
    dict
        What ``metrics.json`` has.

    Raises
    ------
    ArgumentError
        If `out` cannot be written into, or ``model/`` in it holds something else; before the training.
    """
    out = Path(out)
    check_target(out / "model")
    check_writable(out / "report.html")
    X_train, y_train = load_japanese_vowels("train")
    X_test, y_test = load_japanese_vowels("test")

    start = perf_counter()
    clf = LSTMClassifier(random_state=seed, verbose=verbose)
    clf.fit(X_train, y_train, channel_names=JAPANESE_VOWELS_CHANNELS, record=True)
    fit_seconds = perf_counter() - start
    if clf.interrupted_:
        raise KeyboardInterrupt

    predicted = clf.predict(X_test)
    metrics = {
        "dataset": "Japanese Vowels",
        "n_train": len(X_train),
        "n_test": len(X_test),
        "test_accuracy": float(np.mean(predicted == y_test)),
        "fit_seconds": round(fit_seconds, 2),
        "seed": seed,
        "versions": versions(),
    }
    clf.table_ = {"id": "series", "time": "step", "target": "speaker"}
    clf.save(out / "model")
    with written_whole(out / "metrics.json") as partial:
        partial.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    report(
        clf,
        X_test,
        y_test,
        path=out / "report.html",
        title="Japanese Vowels: who of nine speakers said it?",
        train=(X_train, y_train),
    )
    return metrics
