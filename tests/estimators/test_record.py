"""What a fit keeps of its training, on request."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import glasslstm as gl
from glasslstm.errors import ArgumentError, MissingExtraError
from glasslstm.estimators import run as module
from glasslstm.insight.memory import half_life, saturation
from glasslstm.insight.record import Record


def make(**parameters: Any) -> gl.LSTMClassifier:
    options = {"hidden_size": 5, "max_epochs": 4, "learning_rate": 0.02, "random_state": 0, "verbose": False}
    return gl.LSTMClassifier(**options | parameters)


def same_table(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert list(one) == list(other)
    for name, column in one.items():
        if name != "seconds":
            np.testing.assert_array_equal(column, other[name])


@pytest.mark.parametrize("parameters", [{}, {"refit": False}, {"validation_fraction": 0, "num_layers": 2}])
def test_the_model_is_the_same_to_the_bit_with_a_record(trends: Any, parameters: dict[str, Any]) -> None:
    plain = make(**parameters).fit(*trends)
    recorded = make(**parameters).fit(*trends, record=True)
    weights = plain.network_.state_dict()
    for name, weight in recorded.network_.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    assert not hasattr(plain, "record_")
    for row, other in zip(recorded.history_, plain.history_, strict=True):
        assert row | {"seconds": 0} == other | {"seconds": 0}


def test_the_record_has_every_epoch_of_the_search_and_of_the_refit(trends: Any) -> None:
    clf = make().fit(*trends, record=True)
    frame = pd.DataFrame(clf.record_)
    search, refit = (frame[frame["training"] == name] for name in ("search", "refit"))
    assert len(search) + len(refit) == len(frame)
    for part, epochs in ((search, clf.n_iter_), (refit, 2 * clf.best_epoch_)):
        assert part["epoch"].tolist() == [epoch for epoch in range(epochs + 1) for _ in range(2)]
        assert part["direction"].tolist() == [0, 1] * (epochs + 1)
    assert set(frame["module"]) == {"lstm"}
    for name in ("train_loss", "valid_loss", "valid_accuracy", "learning_rate", "seconds"):
        assert search[name][2::2].tolist() == [row[name] for row in clf.history_]
        assert search[name][:2].isna().all()
    assert refit["valid_loss"].isna().all()
    assert refit["train_loss"][2:].notna().all()
    assert frame["gradient_reach_share"].between(0.01, 1).all()


def test_the_last_row_is_the_model_that_is_kept(trends: Any) -> None:
    X, y = trends
    clf = make(validation_fraction=0).fit(X, y, record=True)
    probe = [X[k] for k in np.linspace(0, 39, 32).astype(int)]
    trace = clf.trace(probe)
    assert clf.record_["training"].tolist() == ["training"] * 10
    for direction in (0, 1):
        last = {name: column[direction - 2] for name, column in clf.record_.items()}
        lives = half_life(trace[0, direction]).sort().values
        assert last["half_life_median"] == pytest.approx(float(lives[2]), rel=1e-6)
        shares = saturation(trace[0, direction])["forget_gate"]
        assert last["forget_gate_right"] == pytest.approx(float(shares.right.mean()), rel=1e-6)


def test_the_search_is_looked_at_by_its_validation_part(trends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, record = [], module._record

    def spy(network: Any, *, probe: Any, **options: Any) -> Record:
        sizes.append(len(probe))
        return record(network, probe=probe, **options)

    monkeypatch.setattr(module, "_record", spy)
    make(max_epochs=1).fit(*trends, record=True)
    assert sizes == [8, 40]


def test_a_later_fit_without_one_takes_it_away_and_clone_does_not_have_it(
    trends: Any, tmp_path: Path
) -> None:
    clf = make(max_epochs=1).fit(*trends, record=True)
    assert "record" not in clf.get_params()
    assert not hasattr(clone(clf), "record_")
    same_table(pickle.loads(pickle.dumps(clf)).record_, clf.record_)
    recorded = clf.record_
    clf.save(tmp_path / "with")
    clf.fit(*trends)
    assert not hasattr(clf, "record_")
    same_table(gl.load(tmp_path / "with").record_, recorded)


def test_a_search_passes_it_on(trends: Any) -> None:
    search = GridSearchCV(make(max_epochs=2, refit=False), {"hidden_size": [3, 4]}, cv=2, error_score="raise")
    found = search.fit(*trends, record=True).best_estimator_.record_
    assert found["epoch"].tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("phase", ["search", "refit"])
def test_a_resumed_fit_has_the_record_of_one_that_was_never_stopped(
    trends: Any, stopping: Any, tmp_path: Path, phase: str
) -> None:
    never_stopped = make().fit(*trends, record=True)
    clf = make(checkpoint=tmp_path)
    with stopping(phase, 2, RuntimeError("the power went")), pytest.raises(RuntimeError, match="power"):
        clf.fit(*trends, record=True)
    same_table(clf.fit(*trends, record=True).record_, never_stopped.record_)


def test_a_fit_that_goes_on_with_a_record_has_what_it_saw(trends: Any, stopping: Any, tmp_path: Path) -> None:
    clf = make(checkpoint=tmp_path, refit=False)
    with stopping("search", 2, RuntimeError("the power went")), pytest.raises(RuntimeError, match="power"):
        clf.fit(*trends)
    assert clf.fit(*trends, record=True).record_["epoch"].tolist() == [3, 3, 4, 4]


def test_ctrl_c_in_the_refit_leaves_the_record_of_the_search_whose_model_is_kept(
    trends: Any, stopping: Any
) -> None:
    with stopping("refit", 1, KeyboardInterrupt()):
        clf = make().fit(*trends, record=True)
    assert clf.interrupted_
    assert set(clf.record_["training"]) == {"search"}


def test_a_folder_gets_each_training_in_one_of_its_own(
    trends: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = {}

    class FakeWriter:
        def __init__(self, folder: Path) -> None:
            self.sent = opened[Path(folder).relative_to(tmp_path).as_posix()] = {}

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            self.sent[tag, step] = value

        def flush(self) -> None:
            pass

    monkeypatch.setattr(Record, "_opened", lambda self, folder: FakeWriter(folder))
    clf = make(max_epochs=2).fit(*trends, record=str(tmp_path / "runs"))
    assert list(opened) == ["runs/search", "runs/refit"]
    assert opened["runs/search"]["valid_loss", 2] == clf.history_[1]["valid_loss"]
    assert opened["runs/search"]["lstm/l0_reverse/half_life_90", 0] == clf.record_["half_life_90"][1]


def test_bad_requests_are_refused_before_training(
    trends: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(*_: Any, **__: Any) -> None:
        raise AssertionError("training has begun")

    monkeypatch.setattr("glasslstm.estimators.training._Loop.epoch", begun)
    with pytest.raises(ArgumentError, match="record: expected True, False or the name of a folder, got 3"):
        make().fit(*trends, record=3)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtraError, match="tensorboard is not installed"):
        make().fit(*trends, record=tmp_path)


def test_every_estimator_records_losses_that_are_those_of_its_history(problem: Any) -> None:
    model = problem.make(refit=False).fit(problem.X, problem.y, record=True)
    metric = f"valid_{model.task_.metric}"
    for name in ("train_loss", "valid_loss", metric):
        assert model.record_[name][2::2].tolist() == [row[name] for row in model.history_]
    share = model.record_["gradient_reach_share"]
    assert ((share > 0) & (share <= 1)).all()
