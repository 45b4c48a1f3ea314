"""Parameters as data: defaults, rules, words; all that is wrong is said at once."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from glasslstm import LSTMClassifier, LSTMRegressor, LSTMTagger
from glasslstm.errors import ArgumentError
from glasslstm.estimators.settings import check_parameters, settings_of

ESTIMATORS = [LSTMClassifier, LSTMRegressor, LSTMTagger]


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_parameters_are_those_of_the_signature_and_each_is_documented(kind: Any) -> None:
    found = settings_of(kind)
    assert list(found) == list(inspect.signature(kind).parameters)
    assert sorted(found) == sorted(kind().get_params())
    for name, entry in found.items():
        assert f"{name} : {entry.type}, default {entry.default!r}\n    " in kind.__doc__
        assert entry.metadata["rule"].fits(entry.default), name
    assert "{parameters}" not in kind.__doc__
    check_parameters(kind())


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_all_that_is_wrong_is_said_at_once_and_before_the_data_are_looked_at(kind: Any) -> None:
    wrong = {"hidden_size": 1.5, "dropout": 1, "initialisation": "zeros", "missing": "drop", "patience": True}
    with pytest.raises(ArgumentError) as caught:
        kind(**wrong).fit(None, None)
    assert str(caught.value).split("; ") == [
        "hidden_size: expected a whole number of 1 or more, got 1.5",
        "dropout: expected a number from 0 to below 1, got 1",
        "initialisation: expected 'orthogonal', 'chrono' or 'torch', got 'zeros'",
        "patience: expected a whole number of 1 or more, got True",
        "missing: expected 'error' or 'mask', got 'drop'",
    ]


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (LSTMClassifier, {"hidden_size": 0}, "hidden_size: expected a whole number of 1 or more, got 0"),
        (LSTMClassifier, {"learning_rate": 0}, "learning_rate: expected a number above 0, and at most 1, got 0"),
        (LSTMClassifier, {"learning_rate": float("nan")}, "learning_rate: .* got nan"),
        (LSTMClassifier, {"gradient_clip": float("inf")}, "gradient_clip: expected None, or a number above 0, got inf"),
        (LSTMClassifier, {"gradient_clip": -1}, "gradient_clip: expected None, or a number above 0, got -1"),
        (LSTMClassifier, {"random_state": -1}, "random_state: expected None, a whole number from 0 to 4294967295"),
        (LSTMClassifier, {"random_state": 2**32}, "random_state: .*got 4294967296"),
        (LSTMClassifier, {"checkpoint": 3}, "checkpoint: expected None, or the name of a folder, got 3"),
        (LSTMClassifier, {"checkpoint": ""}, "checkpoint: expected None, or the name of a folder, got ''"),
        (LSTMClassifier, {"validation_fraction": 1}, "validation_fraction: expected a number from 0 to below 1"),
        (LSTMClassifier, {"bidirectional": "yes"}, "bidirectional: expected True or False, got 'yes'"),
        (LSTMClassifier, {"precision": "8-bit"}, "precision: expected '32-true', 'bf16-mixed' or '16-mixed', got '8-"),
        (LSTMClassifier, {"class_weight": "even"}, "class_weight: expected None, 'balanced', or a dict .* got 'even'"),
        (LSTMClassifier, {"class_weight": {"a": -1}}, "class_weight: expected None, 'balanced', or a dict"),
        (LSTMClassifier, {"label_smoothing": 1.0}, "label_smoothing: expected a number from 0 to below 1"),
        (LSTMClassifier, {"pooling": ["last"]}, r"pooling: expected 'last', 'mean', 'max' or 'attention', got \['last"),
        (LSTMClassifier, {"input_noise": -0.1}, "input_noise: expected a number of 0 or more, got -0.1"),
        (LSTMRegressor, {"loss": "l1"}, "loss: expected 'squared_error', 'absolute_error' or 'huber', got 'l1'"),
        (LSTMRegressor, {"quantiles": (0.5, 0.5)}, r"quantiles: expected None, or numbers .* rising, got \(0.5, 0.5\)"),
        (LSTMRegressor, {"quantiles": (0.0, 0.5)}, r"quantiles: .*above 0 and below 1"),
        (LSTMRegressor, {"quantiles": 0.5}, r"quantiles: .* got 0.5"),
        (LSTMRegressor, {"quantiles": ()}, r"quantiles: .* got \(\)"),
        (LSTMRegressor, {"quantiles": "0.5"}, "quantiles: .* got '0.5'"),
        (LSTMTagger, {"causal": 1}, "causal: expected True or False, got 1"),
        (LSTMTagger, {"target": "text"}, "target: expected 'auto', 'label' or 'number', got 'text'"),
    ],
)  # fmt: skip
def test_refuses_parameters_out_of_range(kind: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        kind(**parameters).fit([np.zeros((2, 1))] * 4, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"device": "cpu:0"}, r"device: expected 'auto', 'cpu', .* got 'cpu:0'"),
        ({"device": "abacus"}, "device: 'abacus' cannot be used"),
        (
            {"precision": "16-mixed", "device": "cpu"},
            "precision: '16-mixed' needs an accelerator.*'bf16-mixed'",
        ),
    ],
)
def test_refuses_devices_that_are_not_there(problem: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        problem.make(**parameters).fit(problem.X, problem.y)


def test_counts_may_be_numpy_numbers(problem: Any) -> None:
    found = problem.make(
        hidden_size=np.int64(4), num_layers=np.int32(1), dropout=np.float32(0.1), max_epochs=1
    )
    assert found.fit(problem.X, problem.y).network_.lstm.hidden_size == 4


def test_a_tagger_has_no_pooling() -> None:
    with pytest.raises(TypeError, match="pooling"):
        LSTMTagger(pooling="mean")  # type: ignore[call-arg]
