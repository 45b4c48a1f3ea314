"""The training: rates, weights, the best epoch, checkpoints that resume exactly, Ctrl-C, loggers, precision."""

from __future__ import annotations

import csv
import errno
import math
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.loggers import CSVLogger
from torch import nn

from glasslstm import LSTMClassifier, LSTMRegressor
from glasslstm.data import Sequences
from glasslstm.errors import ArgumentError, TrainingError
from glasslstm.estimators import run
from glasslstm.estimators.devices import make_fabric
from glasslstm.estimators.examples import Examples
from glasslstm.estimators.network import SequenceNetwork
from glasslstm.estimators.preparation import Preparation
from glasslstm.estimators.tasks import Classes
from glasslstm.estimators.training import Plan, score, train

REGULARISED = {
    "dropout": 0.2,
    "num_layers": 2,
    "input_noise": 0.1,
    "recurrent_dropout": 0.2,
    "warmup_epochs": 1.5,
}


def examples(n: int = 12, weights: Any = None) -> Examples:
    rng = np.random.default_rng(3)
    series = Sequences.from_arrays([rng.normal(size=(int(k), 2)) for k in rng.integers(2, 7, n)])
    found = np.ones(n, np.float32) if weights is None else np.asarray(weights, np.float32)
    return Examples(series, np.arange(n) % 3, found).prepared(Preparation.of(series))


def network(**parameters: Any) -> SequenceNetwork:
    torch.manual_seed(0)
    return SequenceNetwork(2, 3, **({"hidden_size": 4, "bidirectional": False} | parameters))


def by_hand(net: SequenceNetwork, data: Examples) -> torch.Tensor:
    """Return the weighted mean of the cross-entropies, one series at a time."""
    losses = []
    for x, label in zip(data.series, data.targets, strict=True):
        standard = (x - data.preparation.mean) / data.preparation.scale
        answer = net(torch.from_numpy(standard.astype(np.float32))[:, None], torch.tensor([len(x)]))
        losses.append(nn.functional.cross_entropy(answer[0], torch.tensor(int(label))))
    weights = torch.from_numpy(data.weights)
    return (torch.stack(losses) * weights).sum() / weights.sum()


# Rates


def test_the_rate_rises_along_a_line_and_falls_along_a_cosine() -> None:
    plan = Plan(max_epochs=4, batch_size=1, learning_rate=1.0, warmup_epochs=1.5, decay=True)
    for step in range(40):
        rise = min(1, (step + 1) / 15)
        assert plan.rate(step, batches=10) == pytest.approx(rise * (1 + math.cos(math.pi * step / 40)) / 2)
    assert plan.rate(40, batches=10) == pytest.approx(0)
    constant = Plan(max_epochs=4, batch_size=1, learning_rate=1.0)
    assert {constant.rate(step, batches=10) for step in range(99)} == {1.0}


def test_the_rates_are_those_that_training_uses(trends: Any) -> None:
    clf = LSTMClassifier(
        hidden_size=2, max_epochs=3, batch_size=10, learning_rate=0.1, warmup_epochs=2, schedule="cosine",
        validation_fraction=0, random_state=0, verbose=False,
    ).fit(*trends)  # fmt: skip
    starts = [0, 4, 8]  # 40 series, 4 batches
    expected = [0.1 * min(1, (s + 1) / 8) * (1 + math.cos(math.pi * s / 12)) / 2 for s in starts]
    np.testing.assert_allclose([row["learning_rate"] for row in clf.history_], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("schedule", "search", "refit"),
    [("auto", False, True), ("constant", False, False), ("cosine", True, True)],
)
def test_auto_is_constant_in_a_search_and_a_cosine_beyond(
    trends: Any, monkeypatch: pytest.MonkeyPatch, schedule: str, search: bool, refit: bool
) -> None:
    plans = []

    def noted(*args: Any, **kwargs: Any) -> Any:
        plans.append((args[4].decay, args[4].max_epochs))
        return train(*args, **kwargs)

    monkeypatch.setattr(run, "train", noted)
    clf = LSTMClassifier(hidden_size=2, max_epochs=3, schedule=schedule, random_state=0, verbose=False).fit(
        *trends
    )
    assert plans == [(search, 3), (refit, 2 * clf.best_epoch_)]


# One step, by hand


@pytest.mark.parametrize("weights", [None, np.linspace(0, 3, 12)])
def test_an_epoch_of_one_batch_is_a_step_of_adamw_on_the_weighted_mean_loss(weights: Any) -> None:
    data = examples(weights=weights)
    ours, theirs = network(), network()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.03, weight_decay=0.2)
    losses = []
    for _ in range(3):
        loss = by_hand(theirs, data)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.05)
        optimizer.step()
        losses.append(loss.item())
    plan = Plan(3, 12, 0.03, weight_decay=0.2, gradient_clip=0.05)
    state = train(ours, Classes(3), data, None, plan, make_fabric("cpu", "32-true"))
    np.testing.assert_allclose([row["train_loss"] for row in state.history], losses, rtol=1e-5)
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(weight, theirs.state_dict()[name], atol=1e-5, rtol=0, msg=name)


def test_the_loss_of_an_epoch_is_the_weighted_mean_over_all_series() -> None:
    data = examples(weights=np.linspace(0, 3, 12))
    net = network()
    expected = by_hand(net, data).item()
    state = train(net, Classes(3), data, None, Plan(1, 5, 1e-12), make_fabric("cpu", "32-true"))
    assert state.history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_validation_loss_is_weighted_and_the_metric_counts_all_alike() -> None:
    data = examples(weights=np.linspace(0, 3, 12))
    net = network().eval()
    loss, accuracy = score(net, Classes(3), data, 5, make_fabric("cpu", "32-true"))
    assert loss == pytest.approx(by_hand(net, data).item(), rel=1e-5)
    x = [torch.from_numpy(data.preparation.batch(data.series, np.array([k]))) for k in range(12)]
    right = [net(one, torch.tensor([len(one)])).argmax().item() == k % 3 for k, one in enumerate(x)]
    assert accuracy == pytest.approx(np.mean(right[1:]))  # the first has no weight


def test_a_series_of_weight_zero_teaches_nothing() -> None:
    weights = np.r_[np.ones(8), np.zeros(4)]
    data = examples(weights=weights)
    other = Examples(data.series, np.r_[data.targets[:8], (data.targets[8:] + 1) % 3], data.weights)
    fabric, nets = make_fabric("cpu", "32-true"), (network(), network())
    for net, one in zip(nets, (data, other.prepared(data.preparation)), strict=True):
        state = train(net, Classes(3), one, None, Plan(3, 1, 0.01), fabric)  # some batches weigh nothing
        assert all(math.isfinite(row["train_loss"]) for row in state.history)
    for ours, theirs in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(ours, theirs)


def test_the_average_of_the_weights_is_kept() -> None:
    data = examples()
    ours, theirs = network(), network()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.05, weight_decay=0)
    averages = [weight.detach().clone() for weight in theirs.parameters()]
    for step in range(6):
        loss = by_hand(theirs, data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay = min(0.6, (1 + step) / (10 + step)) if step else 0.0
        averages = [decay * a + (1 - decay) * w for a, w in zip(averages, theirs.parameters(), strict=True)]
    plan = Plan(6, 12, 0.05, weight_averaging=0.6)
    train(ours, Classes(3), data, None, plan, make_fabric("cpu", "32-true"))
    for weight, average in zip(ours.parameters(), averages, strict=True):
        torch.testing.assert_close(weight, average, atol=1e-5, rtol=0)


# The best epoch


def test_history_and_early_stopping(trends: Any) -> None:
    clf = LSTMClassifier(
        hidden_size=6,
        max_epochs=60,
        patience=3,
        learning_rate=0.1,
        pooling="last",
        random_state=0,
        verbose=False,
    ).fit(*trends)
    assert clf.n_iter_ == len(clf.history_) == clf.best_epoch_ + 3 < 60
    losses = [row["valid_loss"] for row in clf.history_]
    assert clf.best_epoch_ == 1 + int(np.argmin(losses))
    assert [row["epoch"] for row in clf.history_] == list(range(1, clf.n_iter_ + 1))
    assert set(clf.history_[0]) == {
        "epoch", "train_loss", "valid_loss", "valid_accuracy", "learning_rate", "seconds",
    }  # fmt: skip


def test_without_refit_the_best_epoch_is_the_model(problem: Any, same_model: Any) -> None:
    found = problem.make(refit=False, max_epochs=120, patience=3, learning_rate=0.3).fit(problem.X, problem.y)
    assert found.best_epoch_ < found.n_iter_
    shorter = problem.make(refit=False, max_epochs=found.best_epoch_, patience=3, learning_rate=0.3)
    same_model(found, shorter.fit(problem.X, problem.y))


def test_without_a_search_the_last_epoch_is_the_model(problem: Any) -> None:
    found = problem.make(validation_fraction=0).fit(problem.X, problem.y)
    assert found.best_epoch_ == found.n_iter_ == 4
    assert "valid_loss" not in found.history_[0]


def test_the_validation_part_that_is_given_is_the_one_that_judges(problem: Any) -> None:
    X, y = problem.X, problem.y
    parts = (X[:30], y[:30]), (X[30:], y[30:])
    found = problem.make(refit=False, max_epochs=1).fit(*parts[0], validation=parts[1])
    np.testing.assert_allclose(found.preparation_.mean, np.concatenate(X[:30]).mean(0))
    again = found._examples(
        Sequences.from_arrays(X[30:]),
        found._encoded(y[30:], Sequences.from_arrays(X[30:])),
        np.ones(10, np.float32),
    )
    loss, _ = score(
        found.network_, found.task_, again.prepared(found.preparation_), 3, make_fabric("cpu", "32-true")
    )
    assert found.history_[0]["valid_loss"] == pytest.approx(loss, rel=1e-5)
    refitted = problem.make(max_epochs=1).fit(*parts[0], validation=parts[1])
    np.testing.assert_allclose(refitted.preparation_.mean, np.concatenate(X).mean(0))


def test_a_validation_part_may_lack_the_names_and_times_that_nobody_needs(problem: Any) -> None:
    X, y = problem.X, problem.y
    named = Sequences.from_arrays(X[:30], channel_names=["u"], times=[np.arange(len(x)) for x in X[:30]])
    plain = problem.make().fit(X[:30], y[:30], validation=(X[30:], y[30:]))
    found = problem.make().fit(named, y[:30], validation=(X[30:], y[30:]))
    assert found.history_[-1]["valid_loss"] == plain.history_[-1]["valid_loss"]


# Checkpoints


@pytest.mark.parametrize(("training", "epoch"), [("search", 1), ("search", 3), ("refit", 2)])
def test_a_checkpoint_resumes_to_the_same_model(
    problem: Any, tmp_path: Path, stopping: Any, same_model: Any, training: str, epoch: int
) -> None:
    data = (problem.X, problem.y)
    never_stopped = problem.make(**REGULARISED).fit(*data)
    estimator = problem.make(**REGULARISED, checkpoint=tmp_path / "state")
    with (
        stopping(training, epoch, RuntimeError("the power went")),
        pytest.raises(RuntimeError, match="power"),
    ):
        estimator.fit(*data)
    assert (tmp_path / "state" / f"{training}.ckpt").exists()
    (tmp_path / "state" / f".{training}.ckpt.0123.partial").write_bytes(b"half written")
    resumed = estimator.fit(*data)
    same_model(never_stopped, resumed)
    assert resumed.best_epoch_ == never_stopped.best_epoch_
    figures = [
        [(row["train_loss"], row["valid_loss"]) for row in one.history_] for one in (resumed, never_stopped)
    ]
    assert figures[0] == figures[1]
    assert not list((tmp_path / "state").iterdir())


@pytest.mark.parametrize(("epoch", "batch"), [(1, 1), (1, 3), (0, 2)])
def test_a_checkpoint_within_an_epoch_resumes_to_the_same_model(
    problem: Any, tmp_path: Path, same_model: Any, monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int
) -> None:
    parameters = REGULARISED | {"batch_size": 7, "validation_fraction": 0, "max_epochs": 2}
    never_stopped = problem.make(**parameters).fit(problem.X, problem.y, record=True)
    estimator = problem.make(**parameters, checkpoint=tmp_path)
    monkeypatch.setattr(run, "Plan", partial(Plan, checkpoint_seconds=0.0))
    calls = []

    def told(self: Any, epochs: float, loss: float) -> None:
        calls.append(epochs)
        if len(calls) == 6 * epoch + batch + 1:  # the batch is over, and not yet saved
            raise RuntimeError("the power went")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glasslstm.estimators.progress.Show.batch", told)
        with pytest.raises(RuntimeError, match="power"):
            estimator.fit(problem.X, problem.y, record=True)
    saved = torch.load(tmp_path / "training.ckpt", weights_only=True)
    assert (saved["epoch"], saved["batch"]) == (epoch, batch)
    resumed = estimator.fit(problem.X, problem.y, record=True)
    same_model(never_stopped, resumed)
    assert resumed.record_.keys() == never_stopped.record_.keys()
    for name, column in never_stopped.record_.items():
        if name != "seconds":
            np.testing.assert_array_equal(resumed.record_[name], column, err_msg=name)
    assert [row["train_loss"] for row in resumed.history_] == [
        row["train_loss"] for row in never_stopped.history_
    ]


SETUP = """
from functools import partial
import numpy as np
from glasslstm import LSTMClassifier
from glasslstm.estimators import run
from glasslstm.estimators.progress import Show
from glasslstm.estimators.training import Plan

rng = np.random.default_rng(0)
X = [rng.normal(size=(int(n), 2)) for n in rng.integers(3, 9, 30)]
y = np.arange(30) % 3
parameters = dict(hidden_size=4, max_epochs=3, batch_size=2, random_state=0, verbose=False, num_layers=2)
"""

KILLED = """
import sys
run.Plan = partial(Plan, checkpoint_seconds=0.0)
Show.batch = lambda self, epochs, loss: print(epochs, flush=True)
LSTMClassifier(**parameters, checkpoint=sys.argv[1]).fit(X, y)
"""


def test_a_killed_process_loses_nothing(tmp_path: Path, same_model: Any) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", SETUP + KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    for line in killed.stdout:
        if float(line) > 1.4:
            break
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    saved = torch.load(tmp_path / "search.ckpt", weights_only=True)
    assert saved["epoch"] == 1
    assert saved["batch"] > 0
    given: dict[str, Any] = {}
    exec(SETUP, given)
    undisturbed = LSTMClassifier(**given["parameters"]).fit(given["X"], given["y"])
    resumed = LSTMClassifier(**given["parameters"], checkpoint=tmp_path).fit(given["X"], given["y"])
    same_model(resumed, undisturbed)
    assert not list(tmp_path.iterdir())  # nor what was half written when it was killed


def test_a_full_disk_keeps_the_checkpoint_before(
    problem: Any, tmp_path: Path, same_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_stopped = problem.make().fit(problem.X, problem.y)
    estimator = problem.make(checkpoint=tmp_path)
    synced, fsync = [], os.fsync

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 6:  # a seed's and two checkpoints' file and folder
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            TrainingError, match=r"checkpoint: .*search\.ckpt cannot be written .*No space left .*make room"
        ):
            estimator.fit(problem.X, problem.y)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["search.ckpt", "seed"]
    assert torch.load(tmp_path / "search.ckpt", weights_only=True)["epoch"] == 2
    same_model(estimator.fit(problem.X, problem.y), never_stopped)


def test_a_disk_that_is_full_while_torch_writes_is_a_training_error_too(trends: Any, tmp_path: Path) -> None:
    def full(content: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    clf = LSTMClassifier(hidden_size=2, max_epochs=2, random_state=0, verbose=False, checkpoint=tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", full)
        patch.setattr("lightning_fabric.plugins.io.torch_io._atomic_save", full)
        with pytest.raises(TrainingError, match=r"checkpoint: .* cannot be written .*unexpected pos"):
            clf.fit(*trends)
    assert [path.name for path in tmp_path.iterdir()] == ["seed"]


@pytest.mark.parametrize("kind", ["series", "parameters", "targets", "weights", "validation", "names"])
def test_a_checkpoint_of_other_data_or_parameters_is_refused(
    problem: Any, tmp_path: Path, stopping: Any, kind: str
) -> None:
    X, y = problem.X[:30], problem.y[:30]
    given: dict[str, Any] = {"sample_weight": np.ones(30), "validation": (problem.X[30:], problem.y[30:])}
    with stopping("search", 2, RuntimeError("stop")), pytest.raises(RuntimeError, match="stop"):
        problem.make(checkpoint=tmp_path).fit(X, y, **given)
    other = problem.make(checkpoint=tmp_path, dropout=0.1 if kind == "parameters" else 0.3)
    if kind == "series":
        X = [X[0] + 1e-3, *X[1:]]
    elif kind == "targets":
        y = [y[2], *y[1:]] if isinstance(y, list) and len(X[2]) == len(X[0]) else y
        y = [1 - y[0], *y[1:]] if isinstance(y, list) else np.concatenate([y[1:2], y[1:]])
    elif kind == "weights":
        given["sample_weight"] = np.r_[2.0, np.ones(29)]
    elif kind == "validation":
        given["validation"] = (problem.X[31:], problem.y[31:])
    elif kind == "names":
        given["channel_names"] = ["another"]
    with pytest.raises(ArgumentError, match=r"checkpoint: .*search\.ckpt belongs to other data"):
        other.fit(X, y, **given)


def test_a_checkpoint_without_a_seed_resumes_too(
    problem: Any, tmp_path: Path, stopping: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator = problem.make(random_state=None, checkpoint=tmp_path)
    with stopping("search", 3, RuntimeError("stop")), pytest.raises(RuntimeError, match="stop"):
        estimator.fit(problem.X, problem.y)
    rows: list[Any] = []
    monkeypatch.setattr("glasslstm.estimators.progress.Show.epoch", lambda _, row: rows.append(row["epoch"]))
    estimator.fit(problem.X, problem.y)
    assert rows[0] == 4


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_refused(trends: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "search.ckpt").write_bytes(content)
    with pytest.raises(ArgumentError, match=r"checkpoint: .*search\.ckpt is damaged; remove it"):
        LSTMClassifier(checkpoint=tmp_path, verbose=False).fit(*trends)


def test_a_checkpoint_that_is_a_file_is_refused_before_training(trends: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArgumentError, match=r"checkpoint: .*notes\.txt cannot be used as a folder"):
        LSTMClassifier(checkpoint=tmp_path / "notes.txt", verbose=False).fit(*trends)
    assert (tmp_path / "notes.txt").read_text() == "mine"


# Ctrl-C


@pytest.mark.parametrize("training", ["search", "refit"])
def test_ctrl_c_keeps_the_best_model_so_far(
    problem: Any, stopping: Any, same_model: Any, training: str
) -> None:
    parameters = {"max_epochs": 8, "weight_averaging": 0.0}
    with stopping(training, 3, KeyboardInterrupt()):
        found = problem.make(**parameters).fit(problem.X, problem.y)
    assert found.interrupted_
    length = 3 if training == "search" else 8
    same_model(
        found, problem.make(**parameters | {"max_epochs": length}, refit=False).fit(problem.X, problem.y)
    )
    assert not problem.make().fit(problem.X, problem.y).interrupted_


def test_ctrl_c_within_an_epoch_keeps_the_ones_before(
    problem: Any, same_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(self: Any, epochs: float, loss: float) -> None:
        if epochs > 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glasslstm.estimators.progress.Show.batch", told)
        found = problem.make(validation_fraction=0, batch_size=7, schedule="constant").fit(
            problem.X, problem.y
        )
    assert found.interrupted_
    assert found.n_iter_ == 2
    shorter = problem.make(validation_fraction=0, batch_size=7, schedule="constant", max_epochs=2)
    same_model(found, shorter.fit(problem.X, problem.y))


def test_ctrl_c_before_the_first_epoch_goes_through(trends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("glasslstm.estimators.training._Loop.epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        LSTMClassifier(verbose=False).fit(*trends)


def test_ctrl_c_in_the_first_epoch_of_the_refit_keeps_the_search(
    problem: Any, same_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if args[3] is None:
            raise KeyboardInterrupt
        return train(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "train", interrupted)
        found = problem.make().fit(problem.X, problem.y)
    assert found.interrupted_
    same_model(found, problem.make(refit=False).fit(problem.X, problem.y))


# What is shown and logged


def test_progress_is_plain_lines_off_a_terminal_and_silent_on_request(problem: Any, capfd: Any) -> None:
    problem.make(verbose=True).fit(problem.X, problem.y)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "search: epoch 1 of at most 4: loss " in shown.err
    assert "refit: epoch 1 of at most" in shown.err
    assert "\x1b" not in shown.err
    problem.make(verbose=False).fit(problem.X, problem.y)
    assert capfd.readouterr() == ("", "")


def test_loggers_get_the_row_of_each_epoch(problem: Any, tmp_path: Path) -> None:
    found = problem.make().fit(problem.X, problem.y, loggers=CSVLogger(tmp_path, name="run", version=0))
    with (tmp_path / "run" / "version_0" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    searched = [row for row in rows if row["search/train_loss"]]
    assert [int(row["step"]) for row in searched] == [1, 2, 3, 4]
    for logged, kept in zip(searched, found.history_, strict=True):
        assert {name: float(logged[f"search/{name}"]) for name in kept if name != "epoch"} == pytest.approx(
            {name: value for name, value in kept.items() if name != "epoch"}
        )
    refitted = [row for row in rows if row["refit/train_loss"]]
    assert len(refitted) == 2 * found.best_epoch_


# Precision, and what goes wrong


def test_mixed_precision_trains(problem: Any) -> None:
    found = problem.make(precision="bf16-mixed", max_epochs=15, channel_shift=0).fit(problem.X, problem.y)
    assert found.score(problem.X, problem.y) > 0.7
    assert next(found.network_.parameters()).dtype == torch.float32


def test_mixed_precision_is_as_good_for_targets_far_from_zero(trends: Any) -> None:
    X, _ = trends
    y = np.array([x[-1, 0] - x[0, 0] for x in X])
    parameters = {
        "hidden_size": 5,
        "max_epochs": 3,
        "random_state": 0,
        "verbose": False,
        "precision": "bf16-mixed",
    }
    near, far = LSTMRegressor(**parameters).fit(X, y), LSTMRegressor(**parameters).fit(X, y + 1e9)
    np.testing.assert_allclose(far.predict(X) - 1e9, near.predict(X), atol=1e-4)


def test_a_training_that_diverges_says_so(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nan = {"epoch": 1, "train_loss": float("nan"), "learning_rate": 0.0, "seconds": 0.0}
    monkeypatch.setattr("glasslstm.estimators.training._Loop.epoch", lambda *_: nan)
    estimator = problem.make()
    with pytest.raises(
        TrainingError, match="training diverged: train_loss is nan in epoch 1; lower learning_rate"
    ):
        estimator.fit(problem.X, problem.y)
    assert not hasattr(estimator, "network_")


def test_the_same_seed_gives_the_same_model_and_leaves_the_global_one_alone(
    problem: Any, same_model: Any
) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b = (problem.make(**REGULARISED).fit(problem.X, problem.y) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    same_model(a, b)
    other = problem.make(**REGULARISED, random_state=1).fit(problem.X, problem.y)
    assert not torch.equal(a.network_.head.weight, other.network_.head.weight)


def test_augmentation_acts_in_training_alone(problem: Any) -> None:
    plain = problem.make(channel_shift=0).fit(problem.X, problem.y)
    shifted = problem.make(channel_shift=0.5, input_noise=0.1).fit(problem.X, problem.y)
    assert not torch.equal(plain.network_.head.weight, shifted.network_.head.weight)
    for first, second in zip(shifted.predict(problem.X), shifted.predict(problem.X), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_channel_scale_changes_the_training(problem: Any, same_model: Any) -> None:
    plain, zero, scaled = (
        problem.make(channel_shift=0, **given).fit(problem.X, problem.y)
        for given in ({}, {"channel_scale": 0.0}, {"channel_scale": 0.5})
    )
    same_model(plain, zero)
    assert not torch.equal(plain.network_.head.weight, scaled.network_.head.weight)


# The length of a training


@pytest.mark.parametrize(("updates", "epochs"), [(1, 1), (5, 1), (8, 2), (20, 5), (22, 5), (24, 6)])
def test_max_updates_is_in_whole_epochs_of_all_batches(problem: Any, updates: int, epochs: int) -> None:
    settings = {"validation_fraction": 0, "batch_size": 12, "max_epochs": 99}  # 40 series: 4 batches
    assert problem.make(**settings, max_updates=updates).fit(problem.X, problem.y).n_iter_ == epochs


def test_max_updates_is_the_same_training_as_so_many_epochs(problem: Any, same_model: Any) -> None:
    settings = {"validation_fraction": 0, "batch_size": 10, "max_epochs": 99}
    by_updates = problem.make(**settings, max_updates=12).fit(problem.X, problem.y)
    by_epochs = problem.make(**settings | {"max_epochs": 3}).fit(problem.X, problem.y)
    same_model(by_updates, by_epochs)
    rates = [[row["learning_rate"] for row in found.history_] for found in (by_updates, by_epochs)]
    assert rates[0] == rates[1]


def test_max_updates_of_a_search_counts_the_batches_of_its_part(problem: Any) -> None:
    settings = {
        "validation_fraction": 0.25,
        "batch_size": 10,
        "refit": False,
        "patience": 99,
        "max_epochs": 99,
    }
    found = problem.make(**settings, max_updates=12).fit(problem.X, problem.y)  # 30 series: 3 batches
    assert len(found.history_) == 4
    judged = problem.X[20:], problem.y[20:]
    found = problem.make(**settings, max_updates=12).fit(problem.X[:20], problem.y[:20], validation=judged)
    assert len(found.history_) == 6


def test_max_updates_and_max_epochs_are_both_upper_bounds(problem: Any) -> None:
    settings = {"validation_fraction": 0, "batch_size": 10, "max_updates": 12}
    assert [problem.make(**settings, max_epochs=n).fit(problem.X, problem.y).n_iter_ for n in (2, 3, 9)] == [
        2,
        3,
        3,
    ]
