"""The demo: train on the Japanese Vowels, and leave a model, its figures and a report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glasslstm._extras import require
from glasslstm._files import check_writable, written_whole
from glasslstm.data import JAPANESE_VOWELS_CHANNELS, load_japanese_vowels
from glasslstm.doctor import versions
from glasslstm.estimators.classifier import LSTMClassifier
from glasslstm.modelfile import check_target

require("plotly", extra="report")

from glasslstm.insight.report import write_report  # noqa: E402

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
    clf.fit(X_train, y_train, channel_names=JAPANESE_VOWELS_CHANNELS)
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
    _write_report(out / "report.html", clf, metrics, (X_test, y_test, predicted))
    return metrics


def _write_report(
    path: Path,
    clf: LSTMClassifier,
    metrics: dict[str, Any],
    test: tuple[list[NDArray[np.float64]], NDArray[Any], NDArray[Any]],
) -> None:
    """Write the report, with the gates of the first test utterance in it."""
    X, y, predicted = test
    shown = X[:1]
    write_report(
        path,
        title="Japanese Vowels: who said it?",
        summary={name: value for name, value in metrics.items() if name != "versions"} | metrics["versions"],
        history=clf.history_,
        best_epoch=clf.best_epoch_,
        y_true=y,
        y_pred=predicted,
        classes=clf.classes_.tolist(),
        trace=clf.trace(shown),
        inputs=shown[0],
        channel_names=JAPANESE_VOWELS_CHANNELS,
        trace_title=(
            f"The first test utterance: {len(shown[0])} steps, said by speaker {y[0]}, "
            f"recognised as speaker {predicted[0]}."
        ),
    )
