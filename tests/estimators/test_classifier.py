"""The classifier: what it learns from, what it leaves behind, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from glasslstm import LSTM, LSTMClassifier
from glasslstm.data import Sequences
from glasslstm.errors import ArgumentError, ArgumentTypeError, DataError


def make(**parameters: Any) -> LSTMClassifier:
    chosen = {"hidden_size": 6, "max_epochs": 12, "learning_rate": 0.02, "random_state": 0, "verbose": False}
    return LSTMClassifier(**(chosen | parameters))


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


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_learns_with_every_pooling(trends: Any, pooling: str) -> None:
    assert make(pooling=pooling, layer_norm=True, recurrent_dropout=0.2).fit(*trends).score(*trends) > 0.95


@pytest.mark.parametrize("bidirectional", [False, True])
def test_reads_the_states_of_the_last_valid_step_of_both_directions(trends: Any, bidirectional: bool) -> None:
    X, y = trends
    clf = make(num_layers=2, bidirectional=bidirectional, pooling="last").fit(X, y)
    reference = torch.nn.LSTM(1, 6, 2, bidirectional=bidirectional)
    reference.load_state_dict(clf.network_.lstm.state_dict())
    for k in (0, 7):
        standard = (X[k] - clf.preparation_.mean) / clf.preparation_.scale
        output, _ = reference(torch.from_numpy(standard.astype(np.float32)))
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


def test_takes_arrays_tensors_and_sequences_alike() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(12, 4, 2))
    y = np.repeat([0, 1], 6)
    expected = make().fit(X, y).predict_proba(X)
    for same in (list(X), torch.from_numpy(X), [torch.from_numpy(x) for x in X], X.tolist()):
        np.testing.assert_array_equal(make().fit(same, y).predict_proba(same), expected)
    series = Sequences.from_arrays(X, targets=y)
    np.testing.assert_array_equal(make().fit(series).predict_proba(series), expected)
    assert make().fit(series).score(series) == make().fit(X, y).score(X, y)


def test_scales_by_what_it_trains_on(trends: Any) -> None:
    X, y = trends
    everything = make(refit=True).fit(X, y)
    np.testing.assert_allclose(everything.preparation_.mean, np.concatenate(X).mean(0), rtol=1e-6)
    np.testing.assert_allclose(everything.preparation_.scale, np.concatenate(X).std(0), rtol=1e-6)
    part = make(refit=False).fit(X, y)
    assert not np.allclose(part.preparation_.mean, everything.preparation_.mean, rtol=1e-4)


def test_a_constant_channel_is_not_divided_by_zero(trends: Any) -> None:
    X, y = trends
    X = [np.hstack([x, np.full_like(x, 0.1)]) for x in X]
    clf = make().fit(X, y)
    assert clf.preparation_.scale[1] == 1.0
    assert clf.score(X, y) > 0.95


def test_without_a_validation_part_everything_is_trained_on(trends: Any) -> None:
    X, y = trends
    lone = [*X, X[0] + 9]
    labels = np.append(y, "alone")
    clf = make(validation_fraction=0, max_epochs=40).fit(lone, labels)
    assert clf.predict(lone[-1:]) == ["alone"]
    assert "valid_loss" not in clf.history_[0]


# Weights: of one input, the share of the weight is the probability


def chance_of_b(clf: LSTMClassifier, **fit: Any) -> float:
    flat = {"validation_fraction": 0, "max_epochs": 50, "dropout": 0, "channel_shift": 0, "weight_decay": 0}
    X, y = np.zeros((40, 2, 1)), ["a", "a", "a", "b"] * 10
    return float(clf.set_params(**flat).fit(X, y, **fit).predict_proba(X[:1])[0, 1])


@pytest.mark.parametrize(
    ("class_weight", "expected"), [(None, 0.25), ("balanced", 0.5), ({"b": 9}, 0.75), ({"a": 0.0}, 1.0)]
)
def test_class_weights_count(class_weight: Any, expected: float) -> None:
    assert chance_of_b(make(class_weight=class_weight)) == pytest.approx(expected, abs=0.05)


def test_sample_weights_count_and_multiply_with_those_of_classes() -> None:
    weights = [1, 1, 1, 3] * 10
    assert chance_of_b(make(), sample_weight=weights) == pytest.approx(0.5, abs=0.05)
    both = chance_of_b(make(class_weight={"b": 3}), sample_weight=weights)
    assert both == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("class_weight", ["balanced", {"a": 1 / 3, "b": 1.0}])
def test_class_weights_count_in_a_validation_part_that_is_given(class_weight: Any) -> None:
    X, y = np.zeros((40, 2, 1)), np.array(["a", "a", "a", "b"] * 10)
    flat = {"max_epochs": 25, "dropout": 0, "channel_shift": 0, "weight_decay": 0, "learning_rate": 0.01}
    clf = make(class_weight=class_weight).set_params(**flat)
    clf.fit(X[:20], y[:20], validation=(X[20:], y[20:]))  # refitted on both, each class as much as the other
    assert clf.predict_proba(X[:1])[0, 1] == pytest.approx(0.5, abs=0.03)
    again = make(class_weight=class_weight).set_params(**flat, refit=False)
    again.fit(X[:20], y[:20], validation=(X[20:], y[20:]))
    p = again.predict_proba(X[:1])[0]
    assert again.history_[again.best_epoch_ - 1]["valid_loss"] == pytest.approx(-np.log(p).mean(), rel=1e-4)


def test_smoothed_labels_are_less_sure() -> None:
    flat = {"validation_fraction": 0, "max_epochs": 50, "dropout": 0, "channel_shift": 0, "weight_decay": 0}
    X, y = np.zeros((30, 2, 1)), ["a"] * 28 + ["b"] * 2
    found = make(**flat, label_smoothing=0.4).fit(X, y).predict_proba(X[:1])
    np.testing.assert_allclose(found[0], 0.6 * np.array([28, 2]) / 30 + 0.4 / 2, atol=0.03)


# Several labels


def test_learns_several_labels(trends: Any) -> None:
    X, y = trends
    Y = np.column_stack([y == "rises", [len(x) > 8 for x in X], np.ones(40), np.zeros(40)]).astype(int)[:, :2]
    clf = make(max_epochs=60, channel_shift=0).fit(X, Y)
    assert clf.multilabel_
    assert clf.classes_.tolist() == [0, 1]
    chances = clf.predict_proba(X)
    np.testing.assert_array_equal(clf.predict(X), chances > 0.5)
    assert ((chances > 0.5) == Y).mean(0)[0] > 0.95
    assert clf.score(X, Y) == pytest.approx((clf.predict(X) == Y).all(1).mean())
    named = make(max_epochs=1).fit(Sequences.from_arrays(X), Y)
    assert named.classes_.tolist() == [0, 1]


@pytest.mark.parametrize(("weight", "expected"), [(None, 0.25), ("balanced", 0.5), ({0: 9.0}, 0.75)])
def test_the_weight_of_having_a_label(weight: Any, expected: float) -> None:
    Y = np.array([[0, 1], [0, 0], [0, 1], [1, 0]] * 10)
    flat = {"validation_fraction": 0, "max_epochs": 50, "dropout": 0, "channel_shift": 0, "weight_decay": 0}
    found = make(class_weight=weight, **flat).fit(np.zeros((40, 2, 1)), Y).predict_proba(np.zeros((1, 2, 1)))
    np.testing.assert_allclose(found[0], [expected, 0.5], atol=0.05)


@pytest.mark.parametrize(
    ("parameters", "change", "error", "message"),
    [
        (
            {},
            lambda Y: 2 * Y,
            DataError,
            r"y: several labels .* zeros and ones, .* got int64 of shape \(40, 2\)",
        ),
        ({}, lambda Y: Y[:-1], DataError, "y: expected a row of labels for each of the 40 series, got 39"),
        ({}, lambda Y: np.column_stack([Y, Y[:, 0] * 0]), DataError, "y: label 2 is the same in all series"),
        ({"class_weight": {2: 3.0}}, lambda Y: Y, ArgumentError, r"class_weight: 2 is no class; .* \[0, 1\]"),
    ],
)
def test_refuses_several_labels_that_say_nothing(
    trends: Any, parameters: Any, change: Any, error: type[Exception], message: str
) -> None:
    Y = np.array([[0, 1], [1, 1], [1, 0], [0, 0]] * 10)
    with pytest.raises(error, match=message):
        make(**parameters).fit(trends[0], change(Y))


def test_a_model_of_several_labels_refuses_another_number_of_them(trends: Any) -> None:
    X, _ = trends
    Y = np.array([[0, 1], [1, 1], [1, 0], [0, 0]] * 10)
    clf = make(max_epochs=1).fit(X, Y)
    with pytest.raises(DataError, match=r"y: expected zeros and ones, \(N, 2\), got shape \(40, 3\)"):
        clf.diagnose(X, np.column_stack([Y, Y[:, 0]]))


# What can be asked of it


def test_trace_shows_what_the_prediction_was_made_of(trends: Any) -> None:
    X, y = trends
    clf = make(pooling="last").fit(X, y)
    trace = clf.trace(X[:3])
    longest = max(map(len, X[:3]))
    assert trace[0, 1].forget_gate.shape == (longest, 3, 6)
    forward, backward = trace[0, 0].hidden, trace[0, 1].hidden
    final = torch.stack([torch.cat([forward[len(X[b]) - 1, b], backward[0, b]]) for b in range(3)])
    expected = torch.softmax(clf.network_.head(final), 1).detach()
    np.testing.assert_allclose(clf.predict_proba(X[:3]), expected, atol=1e-6)


def test_a_prediction_does_not_depend_on_the_company(trends: Any) -> None:
    X, y = trends
    clf = make().fit(X, y)
    long = np.vstack([X[0]] * 3000)
    together = clf.predict_proba([*X, long])
    np.testing.assert_allclose(together[:-1], clf.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(together[-1:], clf.predict_proba([long]), atol=1e-6)


def test_the_layer_inside_is_ours(trends: Any) -> None:
    assert isinstance(make(max_epochs=1).fit(*trends).network_.lstm, LSTM)


# Bad input


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
    ("validation", "message"),
    [
        (
            lambda X, y: (X[:2], ["sinks", "rises"]),
            "y: 'sinks' is no class of the model, which has 'falls', 'rises'",
        ),
        (lambda X, y: (X[:2], y[:3]), "y: expected one label for each of the 2 series"),
        (lambda X, y: X[:2], "y: LSTMClassifier requires y to be passed"),
        (lambda X, y: ([], []), "X: expected at least one series, got none"),
        (
            lambda X, y: ([np.hstack([x, x]) for x in X], y),
            "validation: expected the 1 channels .* of X, got 2",
        ),
        (
            lambda X, y: (
                replace(Sequences.from_arrays(X, channel_names=["mode"]), categories={"mode": ("off", "on")}),
                y,
            ),
            r"validation: expected the categories of X, \[\], got \['mode'\]",
        ),
    ],
)
def test_refuses_a_validation_part_that_does_not_fit(trends: Any, validation: Any, message: str) -> None:
    clf = make()
    with pytest.raises(DataError, match=message):
        clf.fit(*trends, validation=validation(*trends))
    assert not hasattr(clf, "network_")


def test_predict_refuses_other_channels_and_names_the_known_ones(trends: Any) -> None:
    X, y = trends
    clf = make().fit(X, y, channel_names=["pressure"])
    assert clf.feature_names_in_.tolist() == ["pressure"]
    wide = [np.hstack([x, x]) for x in X]
    with pytest.raises(DataError, match=r"X has 2 features, but LSTMClassifier is expecting 1 .*pressure"):
        clf.predict(wide)
    with pytest.raises(DataError, match=r"channel_names: expected 1, .* got 2"):
        make().fit(X, y, channel_names=["a", "b"])
    with pytest.raises(NotFittedError, match="LSTMClassifier instance is not fitted yet"):
        make().predict(X)


def test_predict_refuses_values_out_of_all_proportion(trends: Any) -> None:
    X, y = trends
    clf = make().fit(X, y)
    with pytest.raises(DataError, match=r"X: series 3 has 1e\+300 at step 2, channel 0, .* check its unit"):
        clf.predict(with_value(X, 1e300))


def test_a_fit_that_fails_leaves_the_estimator_as_it_was(trends: Any, stopping: Any) -> None:
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


@pytest.mark.accelerator
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator; there is none here")
def test_trains_on_an_accelerator(trends: Any) -> None:
    clf = make(device="auto").fit(*trends)
    assert next(clf.network_.parameters()).device.type != "cpu"
    assert clf.score(*trends) > 0.95
