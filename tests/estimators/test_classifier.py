"""The classifier: what it learns from, what it leaves behind, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glasslstm import LSTM, LSTMClassifier
from glasslstm.errors import ArgumentError, ArgumentTypeError, DataError, TrainingError
from glasslstm.estimators import classifier as module


def make(**parameters: Any) -> LSTMClassifier:
    chosen = {"hidden_size": 6, "max_epochs": 12, "learning_rate": 0.02, "random_state": 0, "verbose": False}
    return LSTMClassifier(**(chosen | parameters))


def weights(clf: LSTMClassifier) -> dict[str, torch.Tensor]:
    return dict(clf.network_.state_dict())


def assert_same_model(a: LSTMClassifier, b: LSTMClassifier) -> None:
    assert weights(a).keys() == weights(b).keys()
    for name, weight in weights(a).items():
        assert torch.equal(weight, weights(b)[name]), name
    np.testing.assert_array_equal(a.scaling_, b.scaling_)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_learns_from_ragged_series(trends: Any, layers: int, bidirectional: bool) -> None:
    X, y = trends
    clf = make(num_layers=layers, bidirectional=bidirectional).fit(X, y)
    assert clf.score(X, y) > 0.95
    assert clf.classes_.tolist() == ["falls", "rises"]
    probabilities = clf.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(clf.classes_[probabilities.argmax(1)], clf.predict(X))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_reads_the_states_of_the_last_valid_step_of_both_directions(trends: Any, bidirectional: bool) -> None:
    X, y = trends
    clf = make(num_layers=2, bidirectional=bidirectional).fit(X, y)
    reference = torch.nn.LSTM(1, 6, 2, bidirectional=bidirectional)
    reference.load_state_dict(clf.network_.lstm.state_dict())
    for k in (0, 7):
        alone = torch.from_numpy(((X[k] - clf.scaling_.mean) / clf.scaling_.scale).astype(np.float32))
        output, _ = reference(alone)
        final = torch.cat([output[-1, :6], output[0, 6:]])
        expected = torch.softmax(clf.network_.head(final).double(), 0).detach()
        np.testing.assert_allclose(clf.predict_proba(X)[k], expected, atol=1e-6)


@pytest.mark.parametrize(
    "labels", [[0, 1], [True, False], [3.0, 7.0], ["é", "<b>"], np.array(["a", "b"], dtype=object)]
)
def test_takes_labels_of_any_kind(trends: Any, labels: Any) -> None:
    X, y = trends
    y = np.asarray(labels)[(y == "rises").astype(int)]
    clf = make().fit(X, y)
    assert set(clf.predict(X).tolist()) == set(y.tolist())
    assert clf.predict(X)[0] == y[0]


def test_takes_arrays_and_tensors_alike() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(12, 4, 2))
    y = np.repeat([0, 1], 6)
    expected = make().fit(X, y).predict_proba(X)
    for same in (list(X), torch.from_numpy(X), [torch.from_numpy(x) for x in X], X.tolist()):
        np.testing.assert_array_equal(make().fit(same, y).predict_proba(same), expected)


def test_scales_by_what_it_trains_on(trends: Any) -> None:
    X, y = trends
    everything = make(refit=True).fit(X, y)
    np.testing.assert_allclose(everything.scaling_.mean, np.concatenate(X).mean(0))
    np.testing.assert_allclose(everything.scaling_.scale, np.concatenate(X).std(0))
    part = make(refit=False).fit(X, y)
    assert not np.allclose(part.scaling_.mean, everything.scaling_.mean, rtol=1e-6)


def test_a_constant_channel_is_not_divided_by_zero(trends: Any) -> None:
    X, y = trends
    X = [np.hstack([x, np.full_like(x, 0.1)]) for x in X]
    clf = make().fit(X, y)
    assert clf.scaling_.scale[1] == 1.0
    assert clf.score(X, y) > 0.95


def test_the_same_seed_gives_the_same_model_and_leaves_the_global_one_alone(trends: Any) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b = make().fit(*trends), make().fit(*trends)
    assert torch.equal(before, torch.get_rng_state())
    assert_same_model(a, b)
    other = make(random_state=1).fit(*trends)
    assert not torch.equal(weights(a)["head.weight"], weights(other)["head.weight"])


def test_history_and_early_stopping(trends: Any) -> None:
    clf = make(max_epochs=60, patience=3, learning_rate=0.1).fit(*trends)
    assert clf.n_iter_ == len(clf.history_) == clf.best_epoch_ + 3 < 60
    losses = [row["valid_loss"] for row in clf.history_]
    assert clf.best_epoch_ == 1 + int(np.argmin(losses))
    assert [row["epoch"] for row in clf.history_] == list(range(1, clf.n_iter_ + 1))
    assert set(clf.history_[0]) == {
        "epoch", "train_loss", "valid_loss", "valid_accuracy", "learning_rate", "seconds",
    }  # fmt: skip


def test_without_refit_the_best_epoch_is_the_model(trends: Any) -> None:
    clf = make(refit=False, max_epochs=30, patience=5, learning_rate=0.1).fit(*trends)
    shorter = make(refit=False, max_epochs=clf.best_epoch_, patience=5, learning_rate=0.1).fit(*trends)
    assert_same_model(clf, shorter)


def test_without_a_validation_part_everything_is_trained_on(trends: Any) -> None:
    X, y = trends
    lone = [*X, X[0] + 9]
    labels = np.append(y, "alone")
    clf = make(validation_fraction=0, max_epochs=40).fit(lone, labels)
    assert clf.predict(lone[-1:]) == ["alone"]
    assert "valid_loss" not in clf.history_[0]


def test_augmentation_acts_in_training_alone(trends: Any) -> None:
    plain, shifted = make().fit(*trends), make(channel_shift=0.5, input_noise=0.1).fit(*trends)
    assert not torch.equal(weights(plain)["head.weight"], weights(shifted)["head.weight"])
    X, _ = trends
    np.testing.assert_array_equal(shifted.predict_proba(X), shifted.predict_proba(X))


def test_trace_shows_what_the_prediction_was_made_of(trends: Any) -> None:
    X, y = trends
    clf = make().fit(X, y)
    trace = clf.trace(X[:3])
    longest = max(map(len, X[:3]))
    assert trace[0, 1].forget_gate.shape == (longest, 3, 6)
    forward, backward = trace[0, 0].hidden, trace[0, 1].hidden
    final = torch.stack([torch.cat([forward[len(X[b]) - 1, b], backward[0, b]]) for b in range(3)])
    expected = torch.softmax(clf.network_.head(final), 1).detach()
    np.testing.assert_allclose(clf.predict_proba(X[:3]), expected, atol=1e-6)


@contextmanager
def stopping(title: str, epoch: int, error: BaseException) -> Iterator[Callable[..., Any]]:
    """Stand in for the progress display: raise `error` after one epoch of one phase."""

    @contextmanager
    def shown(verbose: bool, total: int, name: str) -> Iterator[Callable[[dict[str, float]], None]]:
        def on_epoch(row: dict[str, float]) -> None:
            if name == title and row["epoch"] == epoch:
                raise error

        yield on_epoch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "shown", shown)
        yield shown


@pytest.mark.parametrize(("phase", "epoch"), [("search", 1), ("search", 7), ("refit", 2)])
def test_a_checkpoint_resumes_to_the_same_model(trends: Any, tmp_path: Path, phase: str, epoch: int) -> None:
    parameters = {"dropout": 0.2, "num_layers": 2, "input_noise": 0.1}
    never_stopped = make(**parameters).fit(*trends)
    clf = make(**parameters, checkpoint=tmp_path / "state")
    with stopping(phase, epoch, RuntimeError("the power went")), pytest.raises(RuntimeError, match="power"):
        clf.fit(*trends)
    assert (tmp_path / "state" / f"{phase}.ckpt").exists()
    resumed = clf.fit(*trends)
    assert_same_model(never_stopped, resumed)
    assert resumed.best_epoch_ == never_stopped.best_epoch_
    assert [row["train_loss"] for row in resumed.history_] == [
        row["train_loss"] for row in never_stopped.history_
    ]
    assert not list((tmp_path / "state").iterdir())


def test_a_checkpoint_of_other_data_or_parameters_is_refused(trends: Any, tmp_path: Path) -> None:
    X, y = trends
    with stopping("search", 2, RuntimeError("stop")), pytest.raises(RuntimeError, match="stop"):
        make(checkpoint=tmp_path).fit(X, y)
    for clf, data in ((make(checkpoint=tmp_path), X[::-1]), (make(checkpoint=tmp_path, dropout=0.1), X)):
        with pytest.raises(ArgumentError, match=r"checkpoint: .*search\.ckpt belongs to other data"):
            clf.fit(data, y)


@pytest.mark.parametrize("phase", ["search", "refit"])
def test_ctrl_c_keeps_the_best_model_so_far(trends: Any, phase: str) -> None:
    X, y = trends
    with stopping(phase, 6, KeyboardInterrupt()):
        clf = make().fit(X, y)
    assert clf.interrupted_
    assert clf.predict(X).shape == (40,)
    assert not make().fit(X, y).interrupted_


def test_ctrl_c_before_the_first_epoch_goes_through(trends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("glasslstm.estimators.training._epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make().fit(*trends)


def test_progress_is_plain_lines_off_a_terminal_and_silent_on_request(trends: Any, capfd: Any) -> None:
    make(verbose=True).fit(*trends)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "search: epoch 1 of at most 12: loss " in shown.err
    assert "refit: epoch 1 of at most" in shown.err
    assert "\x1b" not in shown.err
    make(verbose=False).fit(*trends)
    assert capfd.readouterr() == ("", "")


def with_value(X: list[Any], value: float) -> list[Any]:
    X = [x.copy() for x in X]
    X[3][2, 0] = value
    return X


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: ([], []), "X: expected at least one series, got none"),
        (lambda X, y: ([X[0], X[1][:0], *X[2:]], y), r"X: series 1 is empty, shape \(0, 1\).*drop it"),
        (lambda X, y: ([np.hstack([X[0], X[0]]), *X[1:]], y), "X: series 1 has 1 channels and series 0 has 2"),
        (lambda X, y: (with_value(X, np.nan), y), r"X: series 3 has NaN at step 2, channel 0 .* 1 of \d+ values"),
        (lambda X, y: (with_value(X, np.inf), y), r"X: series 3 has infinity \(inf\) at step 2, channel 0"),
        (lambda X, y: (X, y[:-1]), "y: expected one label for each of the 40 series, got 39"),
        (lambda X, y: (X, ["one"] * 40), "y: expected at least 2 classes, got 1 class: 'one'; "),
        (lambda X, y: (X, ["lone", *y[1:]]), "y: class 'lone' has one member.*validation_fraction=0"),
        (lambda X, y: (X, None), "requires y to be passed"),
        (lambda X, y: (X, np.linspace(0, 1, 40)), "y: expected classes, .*Unknown label type: continuous"),
        (lambda X, y: (X, np.array([1, "a"] * 20, dtype=object)), r"y: labels of several types \(int, str\)"),
        (lambda X, y: (X, [1, "a"] * 20), r"y: labels of several types \(int, str\)"),
        (lambda X, y: (X, [None, *y[1:]]), "y: label 0 is None"),
        (lambda X, y: (X, [float("nan"), *[1.0] * 39]), "y: label 0 is nan"),
        (lambda X, y: ([x * 1e200 for x in X], y), "X: channel 0 has values up to .*too large to standardise"),
        (lambda X, y: ([np.ma.masked_greater(x, 0.5) for x in X], y), "X: series 1 has NaN"),
        (lambda X, y: (X[0], y), r"got one array of shape \(.*one series of T steps is \[X\]"),
        (lambda X, y: ([x[:, 0] for x in X], y), r"series 0 has shape \(\d+,\), expected \(T, F\).*array\[:, None\]"),
        (lambda X, y: ("series.csv", y), "got str; read a table with glasslstm.data.read_series"),
        (lambda X, y: ([[["a"], ["b"]]] * 40, y), "series 0 has values of type <U1, expected real numbers"),
        (lambda X, y: ([x + 1j for x in X], y), "Complex data not supported"),
    ],
)  # fmt: skip
def test_refuses_data_that_cannot_be_trained_on(trends: Any, change: Any, message: str) -> None:
    X, y = change(*trends)
    clf = make()
    with pytest.raises(DataError, match=message):
        clf.fit(X, y)
    assert not hasattr(clf, "network_")


def test_refuses_values_that_are_no_numbers(trends: Any) -> None:
    X, y = trends
    with pytest.raises(ArgumentTypeError, match="series 0 has values that are not numbers"):
        make().fit([[[{}], [1.0]], *X[1:]], y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_size": 0}, "hidden_size: expected a whole number of 1 or more, got 0"),
        (
            {"hidden_size": 1.5, "dropout": 1},
            "hidden_size: .*1.5; dropout: expected a number from 0 to below 1, got 1",
        ),
        ({"learning_rate": 0}, "learning_rate: expected a number above 0, and at most 1, got 0"),
        ({"gradient_clip": float("inf")}, "gradient_clip: expected None, or a number above 0, got inf"),
        ({"random_state": -1}, "random_state: expected None, a whole number from 0"),
        ({"checkpoint": 3}, "checkpoint: expected None, or the name of a folder, got 3"),
        ({"device": "cpu:0"}, r"device: expected 'auto', 'cpu', .* got 'cpu:0'"),
        ({"validation_fraction": 1}, "validation_fraction: expected a number from 0 to below 1"),
        ({"gradient_clip": -1}, "gradient_clip: expected None, or a number above 0"),
        ({"bidirectional": "yes"}, "bidirectional: expected True or False, got 'yes'"),
        ({"device": "abacus"}, "device: 'abacus' cannot be used"),
        ({"precision": "8-bit"}, "precision: expected '32-true', 'bf16-mixed' or '16-mixed', got '8-bit'"),
        ({"precision": "16-mixed", "device": "cpu"}, "precision: '16-mixed' needs an accelerator"),
    ],
)
def test_refuses_parameters_out_of_range(trends: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make(**parameters).fit(*trends)


def test_predict_refuses_other_channels_and_names_the_known_ones(trends: Any) -> None:
    X, y = trends
    clf = make().fit(X, y, channel_names=["pressure"])
    assert clf.feature_names_in_.tolist() == ["pressure"]
    wide = [np.hstack([x, x]) for x in X]
    with pytest.raises(DataError, match=r"X has 2 features, but LSTMClassifier is expecting 1 .*pressure"):
        clf.predict(wide)
    with pytest.raises(DataError, match=r"channel_names: expected 1, .* got 2"):
        make().fit(X, y, channel_names=["a", "b"])


def test_a_fit_that_fails_leaves_the_estimator_as_it_was(trends: Any) -> None:
    X, y = trends
    clf = make().fit(X, y)
    before = clf.predict_proba(X)
    three = np.where(np.arange(len(y)) % 3 == 0, "other", y)
    with pytest.raises(ArgumentError, match="abacus"):
        clf.set_params(device="abacus").fit(X, three)
    with stopping("search", 1, RuntimeError("no")), pytest.raises(RuntimeError, match="no"):
        clf.set_params(device="cpu").fit([np.hstack([x, x]) for x in X], three)
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert clf.classes_.tolist() == ["falls", "rises"]


def test_a_training_that_diverges_says_so(trends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glasslstm.estimators.training._epoch", lambda *_: float("nan"))
    clf = make()
    with pytest.raises(
        TrainingError, match="training diverged: train_loss is nan in epoch 1; lower learning_rate"
    ):
        clf.fit(*trends)
    assert not hasattr(clf, "network_")


def test_predict_refuses_values_out_of_all_proportion(trends: Any) -> None:
    X, y = trends
    clf = make().fit(X, y)
    with pytest.raises(DataError, match=r"X: series 3 has 1e\+300 at step 2, channel 0, .* check its unit"):
        clf.predict(with_value(X, 1e300))


def test_a_rare_class_is_both_trained_on_and_validated() -> None:
    labels = np.repeat([0, 1], [98, 2])
    for seed in range(20):
        for fraction in (0.05, 0.2, 0.9):
            parts = module._split(labels, fraction, seed)
            assert sorted(np.concatenate(parts)) == list(range(100))
            assert [sorted(set(labels[part])) for part in parts] == [[0, 1], [0, 1]]


def test_a_prediction_does_not_depend_on_the_company(trends: Any) -> None:
    X, y = trends
    clf = make().fit(X, y)
    long = np.vstack([X[0]] * 3000)
    together = clf.predict_proba([*X, long])
    np.testing.assert_allclose(together[:-1], clf.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(together[-1:], clf.predict_proba([long]), atol=1e-6)


def test_counts_may_be_numpy_numbers(trends: Any) -> None:
    assert make(hidden_size=np.int64(4), num_layers=np.int32(1)).fit(*trends).network_.lstm.hidden_size == 4


def test_a_checkpoint_without_a_seed_resumes_too(trends: Any, tmp_path: Path) -> None:
    clf = make(random_state=None, checkpoint=tmp_path)
    with stopping("search", 5, RuntimeError("stop")), pytest.raises(RuntimeError, match="stop"):
        clf.fit(*trends)
    epochs = []

    @contextmanager
    def shown(verbose: bool, total: int, name: str) -> Iterator[Callable[[dict[str, float]], None]]:
        yield lambda row: epochs.append((name, row["epoch"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "shown", shown)
        clf.fit(*trends)
    assert epochs[0] == ("search", 6)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_refused(trends: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "search.ckpt").write_bytes(content)
    with pytest.raises(ArgumentError, match=r"checkpoint: .*search\.ckpt is damaged; remove it"):
        make(checkpoint=tmp_path).fit(*trends)


def test_a_checkpoint_that_is_a_file_is_refused_before_training(trends: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArgumentError, match=r"checkpoint: .*notes\.txt cannot be used as a folder"):
        make(checkpoint=tmp_path / "notes.txt").fit(*trends)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_ctrl_c_in_the_first_epoch_of_the_refit_keeps_the_search(trends: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        train = module.train

        def interrupted(*args: Any, **kwargs: Any) -> Any:
            if args[2] is None:
                raise KeyboardInterrupt
            return train(*args, **kwargs)

        patch.setattr(module, "train", interrupted)
        clf = make().fit(*trends)
    assert clf.interrupted_
    assert_same_model(clf, make(refit=False).fit(*trends))


def test_mixed_precision_trains(trends: Any) -> None:
    assert make(precision="bf16-mixed").fit(*trends).score(*trends) > 0.95


def test_the_layer_inside_is_ours(trends: Any) -> None:
    assert isinstance(make(max_epochs=1).fit(*trends).network_.lstm, LSTM)


@pytest.mark.accelerator
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator; there is none here")
def test_trains_on_an_accelerator(trends: Any) -> None:
    clf = make(device="auto").fit(*trends)
    assert next(clf.network_.parameters()).device.type != "cpu"
    assert clf.score(*trends) > 0.95
