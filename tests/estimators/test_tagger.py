"""The tagger: an answer for each step, causal on request, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score

from glasslstm import LSTMTagger
from glasslstm.data import Sequences
from glasslstm.errors import ArgumentError, DataError


def make(**parameters: Any) -> LSTMTagger:
    chosen = {"hidden_size": 8, "max_epochs": 4, "learning_rate": 0.03, "random_state": 0, "verbose": False}
    return LSTMTagger(**(chosen | {"channel_shift": 0} | parameters))


@pytest.fixture(scope="module")
def walks() -> Any:
    """40 series of 3 to 11 steps, and where the sum so far is above zero."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(int(n), 2)) for n in rng.integers(3, 12, 40)]
    return X, [np.where(x[:, 0].cumsum() > 0, "above", "below") for x in X]


@pytest.mark.parametrize("causal", [False, True])
def test_learns_a_label_for_each_step(walks: Any, causal: bool) -> None:
    X, y = walks
    tagger = make(causal=causal, max_epochs=30).fit(X, y)
    found = tagger.predict(X)
    assert [len(tags) for tags in found] == [len(x) for x in X]
    assert tagger.score(X, y) > 0.9
    assert tagger.score(X, y) == pytest.approx(accuracy_score(np.concatenate(y), np.concatenate(found)))
    for tags, chances in zip(found, tagger.predict_proba(X), strict=True):
        np.testing.assert_allclose(chances.sum(1), 1)
        np.testing.assert_array_equal(tagger.classes_[chances.argmax(1)], tags)


def test_learns_a_number_for_each_step(walks: Any) -> None:
    X, _ = walks
    y = [100 + 10 * x[:, 0].cumsum() for x in X]
    tagger = make(max_epochs=40).fit(X, y)
    assert tagger.score(X, y) > 0.8
    assert tagger.score(X, y) == pytest.approx(r2_score(np.concatenate(y), np.concatenate(tagger.predict(X))))
    assert "valid_rmse" in tagger.history_[0]
    assert not hasattr(tagger, "predict_proba")
    with pytest.raises(AttributeError, match="predict_proba"):
        tagger.predict_proba(X)
    assert not hasattr(make(target="number"), "predict_proba")
    assert hasattr(make(), "predict_proba")


def test_numbers_follow_the_units_of_the_targets(walks: Any) -> None:
    X, _ = walks
    y = [x[:, 0].cumsum() for x in X]
    plain, other = make().fit(X, y), make().fit(X, [1000 * part + 1e5 for part in y])
    for ours, theirs in zip(plain.predict(X), other.predict(X), strict=True):
        np.testing.assert_allclose((theirs - 1e5) / 1000, ours, atol=1e-4)


@pytest.mark.parametrize("front", [0, 2])
@pytest.mark.parametrize("layers", [1, 2])
def test_causal_answers_depend_on_no_later_step(walks: Any, layers: int, front: int) -> None:
    X, y = walks
    tagger = make(causal=True, num_layers=layers, max_epochs=2, conv_blocks=front).fit(X, y)
    later = [x.copy() for x in X]
    for x in later:
        x[len(x) // 2 :] = 7.0
    for x, before, after in zip(X, tagger.predict_proba(X), tagger.predict_proba(later), strict=True):
        half = len(x) // 2
        np.testing.assert_allclose(after[:half], before[:half], atol=1e-6)
        assert np.abs(after[half:] - before[half:]).max() > 1e-4
    shorter = [x[:2] for x in X]
    for before, short in zip(tagger.predict_proba(X), tagger.predict_proba(shorter), strict=True):
        np.testing.assert_allclose(short, before[:2], atol=1e-6)


def test_other_answers_do_depend_on_later_steps(walks: Any) -> None:
    X, y = walks
    tagger = make(max_epochs=2).fit(X, y)
    later = [np.concatenate([x[:-1], x[-1:] + 9]) for x in X]
    for before, after in zip(tagger.predict_proba(X), tagger.predict_proba(later), strict=True):
        assert np.abs(after[0] - before[0]).max() > 0


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (lambda n: np.arange(n) % 3, "iu"),
        (lambda n: np.arange(n) % 2 == 0, "b"),
        (lambda n: (np.arange(n) % 3).astype(float), "f"),
        (lambda n: np.array(["é", "<b>"])[np.arange(n) % 2], "U"),
    ],
)
def test_takes_labels_of_any_kind(walks: Any, y: Any, kind: str) -> None:
    X, _ = walks
    targets = [y(len(x)) for x in X]
    tagger = make(max_epochs=1).fit(X, targets)
    assert tagger.classes_.tolist() == sorted(set(np.concatenate(targets).tolist()))
    assert tagger.predict(X)[0].dtype.kind in kind


def test_the_kind_of_target_may_be_told(walks: Any) -> None:
    X, _ = walks
    whole = [np.arange(len(x)) % 4 for x in X]
    assert tuple(make(max_epochs=1).fit(X, whole).classes_) == (0, 1, 2, 3)
    numbers = make(max_epochs=1, target="number").fit(X, whole)
    assert not hasattr(numbers, "classes_")
    assert np.concatenate(numbers.predict(X)).dtype == np.float64


def test_targets_may_come_with_the_series_and_windows(walks: Any) -> None:
    X, y = walks
    series = Sequences.from_arrays(X, step_targets=y)
    tagger = make().fit(series)
    for ours, theirs in zip(tagger.predict_proba(X), make().fit(X, y).predict_proba(X), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert tagger.score(series) == tagger.score(X, y)
    some = series[[5, 2, 9]]
    assert tagger.score(some) == tagger.score([X[k] for k in (5, 2, 9)], [y[k] for k in (5, 2, 9)])
    windows = series.windows(3, stride=1)
    assert len(make(max_epochs=1).fit(windows).predict(windows)) == len(windows)


def test_class_weights_weigh_steps_and_series_weights_their_steps() -> None:
    X, y = [np.zeros((1, 1))] * 40, [np.array([label]) for label in ["a", "a", "a", "b"] * 10]
    flat = {"validation_fraction": 0, "max_epochs": 60, "dropout": 0, "causal": True}

    def share(tagger: LSTMTagger) -> float:
        """Return the probability of "b", where nothing can be told from the input."""
        return float(tagger.predict_proba(X[:1])[0][0, 1])

    assert share(make(**flat).fit(X, y)) == pytest.approx(0.25, abs=0.05)
    assert share(make(**flat, class_weight="balanced").fit(X, y)) == pytest.approx(0.5, abs=0.05)
    assert share(make(**flat, class_weight={"b": 9.0}).fit(X, y)) == pytest.approx(0.75, abs=0.05)
    weights = [1, 1, 1, 9] * 10
    assert share(make(**flat).fit(X, y, sample_weight=weights)) == pytest.approx(0.75, abs=0.05)
    tagger = make(max_epochs=1).fit(X, y)
    right = np.concatenate(tagger.predict(X)) == np.concatenate(y)
    assert tagger.score(X, y, sample_weight=weights) == pytest.approx(np.average(right, weights=weights))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: None, "requires y to be passed"),
        (lambda X, y: y[:-1], r"y: expected an array \(T_i,\) for each of the 40 series, got 39"),
        (lambda X, y: [y[0][:-1], *y[1:]], r"y: series 0 has \d+ steps; expected as many targets, got shape"),
        (
            lambda X, y: [part[:, None] for part in y],
            r"y: series 0 has \d+ steps; expected as many .* shape \(\d+, 1\)",
        ),
        (lambda X, y: 3, r"y: expected an array \(T_i,\) for each series, got int"),
        (
            lambda X, y: [np.where(x[:, 0] == X[0][1, 0], np.nan, x[:, 0]) for x in X],
            "y: step 1 has nan.*1 of",
        ),
        (
            lambda X, y: [np.full(len(x), "one") for x in X],
            "y: expected at least 2 classes, got 1 class: 'one'",
        ),
        (
            lambda X, y: [np.arange(len(x)) if k else y[0] for k, x in enumerate(X)],
            "y: targets of several types",
        ),
        (lambda X, y: [np.array([None, *part[1:]], dtype=object) for part in y], "y: label 0 is None"),
    ],
)
def test_refuses_targets_that_cannot_be_learned(walks: Any, change: Any, message: str) -> None:
    X, y = walks
    tagger = make()
    with pytest.raises(DataError, match=message):
        tagger.fit(X, change(X, y))
    assert not hasattr(tagger, "network_")


def test_refuses_what_it_does_not_know(walks: Any) -> None:
    X, y = walks
    with pytest.raises(NotFittedError, match="LSTMTagger instance is not fitted yet"):
        make().predict(X)
    with pytest.raises(ArgumentError, match="class_weight: 'c' is no class; expected some of"):
        make(class_weight={"c": 1}).fit(X, y)
    with pytest.raises(DataError, match=r"X: got 1 series .*cut a long one into windows"):
        make().fit(X[:1], y[:1])
    tagger = make(max_epochs=1).fit(X, y)
    with pytest.raises(DataError, match="y: 'beyond' is no class of the model, which has 'above', 'below'"):
        tagger.diagnose(X, [np.full(len(x), "beyond") for x in X])
    with pytest.raises(DataError, match="y: 'beyond' is no class of the model"):
        make().fit(X, y, validation=(X[:2], [np.full(len(x), "beyond") for x in X[:2]]))


def test_numbers_have_no_class_weights() -> None:
    X = [np.random.default_rng(k).normal(size=(5, 1)) for k in range(4)]
    tagger = LSTMTagger(class_weight="balanced", verbose=False)
    with pytest.raises(ArgumentError, match="class_weight: the targets are numbers, which have no classes"):
        tagger.fit(X, [x[:, 0] for x in X])
