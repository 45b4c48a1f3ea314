"""Two processes on the CPU, started by torchrun, train as one does on the same global batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from glasslstm import LSTMClassifier
from glasslstm.errors import ArgumentError

WORKER = """
import json, os, sys
import numpy as np
from lightning_fabric.loggers import CSVLogger
from glasslstm import LSTMClassifier, LSTMRegressor, LSTMTagger
from glasslstm.estimators.progress import Show

rank, folder = os.environ.get("RANK", "0"), sys.argv[1]
rng = np.random.default_rng(0)
X = [rng.normal(size=(int(n), 2)) for n in rng.integers(3, 12, 43)]
labels = np.array([int(x[:, 0].sum() > 0) for x in X])
numbers = np.array([x.mean() for x in X])
steps = [(x[:, 0] > 0).astype(int) for x in X]
common = dict(hidden_size=5, max_epochs=4, dropout=0.0, input_noise=0.1, channel_shift=0.4, batch_size=8,
              learning_rate=0.02, random_state=0, device="cpu")
found = {}

def note(name, estimator, y, **fit):
    estimator.fit(X, y, **fit)
    found[name] = {
        "history": estimator.history_,
        "answers": np.concatenate(estimator.predict(X), axis=None).tolist(),
        "weights": np.concatenate([w.detach().ravel() for w in estimator.network_.parameters()]).tolist(),
    }

weights = rng.uniform(0.1, 3, 43)
note("classifier", LSTMClassifier(**common), labels, sample_weight=weights,
     loggers=CSVLogger(folder + "/logs", name="", version=0))
note("regressor", LSTMRegressor(**common, quantiles=(0.2, 0.8), refit=False, verbose=False), numbers)
# Of a batch of one series the second process has none.
note("tagger", LSTMTagger(**(common | {"batch_size": 1, "max_epochs": 1}), refit=False, verbose=False), steps)
unseeded = dict(common, random_state=None, max_epochs=1, dropout=0.3, refit=False, verbose=False)
note("no seed", LSTMClassifier(**unseeded, checkpoint=folder + "/seed"), labels)
resumable = dict(common, dropout=0.3, num_layers=2, max_epochs=3, refit=False, verbose=False)
note("undisturbed", LSTMClassifier(**resumable), labels)

class Stop(Exception):
    pass

def stop(self, row):
    if row["epoch"] == 2:
        raise Stop

whole, Show.epoch = Show.epoch, stop
try:
    LSTMClassifier(**resumable, checkpoint=folder + "/state").fit(X, labels)
except Stop:
    pass
Show.epoch = whole
assert os.listdir(folder + "/state")
note("resumed", LSTMClassifier(**resumable, checkpoint=folder + "/state"), labels)
Show.epoch = stop
try:
    LSTMClassifier(**resumable, checkpoint=folder + "/left").fit(X, labels)
except Stop:
    pass
with open(f"{folder}/found-{rank}.json", "w") as file:
    json.dump(found, file)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process found, and each of two; with what they printed, and their folder."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "two")}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    printed = {}
    for name, launcher in (("one", []), ("two", torchrun)):
        script = folders[name] / "worker.py"
        script.write_text(WORKER)
        command = [sys.executable, *launcher, str(script), str(folders[name])]
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert ended.returncode == 0, ended.stderr
        printed[name] = ended
    found = {path.stem: json.loads(path.read_text()) for path in folders["two"].glob("found-*.json")}
    one = json.loads((folders["one"] / "found-0.json").read_text())
    return {
        "one": one,
        "two": found["found-0"],
        "other": found["found-1"],
        "printed": printed,
        "folders": folders,
    }


@pytest.mark.parametrize("name", ["classifier", "regressor", "tagger"])
def test_the_losses_are_those_of_one_process(runs: Any, name: str) -> None:
    alone, together = runs["one"][name], runs["two"][name]
    assert len(alone["history"]) == len(together["history"])
    for ours, theirs in zip(together["history"], alone["history"], strict=True):
        for figure in ours.keys() - {"seconds"}:
            assert ours[figure] == pytest.approx(theirs[figure], abs=1e-5), figure
    np.testing.assert_allclose(together["weights"], alone["weights"], atol=1e-5)
    np.testing.assert_allclose(together["answers"], alone["answers"], atol=1e-5)


def test_both_processes_end_with_the_same_model(runs: Any) -> None:
    for name, found in runs["two"].items():
        assert found["weights"] == runs["other"][name]["weights"], name
        assert found["answers"] == runs["other"][name]["answers"], name


def test_the_first_process_alone_prints_and_writes(runs: Any) -> None:
    one, two = runs["printed"]["one"], runs["printed"]["two"]
    assert two.stdout == one.stdout == ""
    shown = [line for line in two.stderr.splitlines() if line.startswith(("search", "refit"))]
    assert shown == [line for line in one.stderr.splitlines() if line.startswith(("search", "refit"))]
    assert "GLOBAL_RANK" not in two.stderr
    logs = [
        (folder / "logs" / "version_0" / "metrics.csv").read_text() for folder in runs["folders"].values()
    ]
    assert logs[0].count("\n") == logs[1].count("\n") > 5


def test_a_checkpoint_of_two_processes_resumes_exactly(runs: Any) -> None:
    for found in (runs["one"], runs["two"], runs["other"]):
        assert found["resumed"]["weights"] == found["undisturbed"]["weights"]
        for ours, theirs in zip(found["resumed"]["history"], found["undisturbed"]["history"], strict=True):
            assert ours | {"seconds": 0} == theirs | {"seconds": 0}
    assert not list((runs["folders"]["two"] / "state").iterdir())


def test_another_number_of_processes_is_refused(runs: Any) -> None:
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(int(n), 2)) for n in rng.integers(3, 12, 43)]
    parameters = {
        "hidden_size": 5, "max_epochs": 3, "dropout": 0.3, "input_noise": 0.1, "batch_size": 8, "num_layers": 2,
        "learning_rate": 0.02, "random_state": 0, "device": "cpu", "refit": False, "verbose": False,
    }  # fmt: skip
    clf = LSTMClassifier(**parameters, checkpoint=runs["folders"]["two"] / "left")
    with pytest.raises(
        ArgumentError,
        match=r"checkpoint: .*search\.ckpt was written by 2 processes, and now there are 1; start as many",
    ):
        clf.fit(X, np.array([int(x[:, 0].sum() > 0) for x in X]))
