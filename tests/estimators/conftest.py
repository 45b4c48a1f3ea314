"""Small problems that an LSTM solves within seconds, and a way to stop a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from glasslstm import LSTMClassifier, LSTMRegressor, LSTMTagger
from glasslstm.estimators import run
from glasslstm.estimators.progress import Show


class Problem(NamedTuple):
    """Series, targets, and what makes an estimator for them."""

    make: Callable[..., Any]
    X: list[NDArray[np.float64]]
    y: Any


@pytest.fixture(scope="session")
def trends() -> tuple[list[NDArray[np.float64]], NDArray[Any]]:
    """40 noisy series of 5 to 12 steps and one channel that rise or fall, with text labels."""
    rng = np.random.default_rng(0)
    y = np.array(["falls", "rises"] * 20)
    X = []
    for label in y:
        steps = np.linspace(0, 1, int(rng.integers(5, 13)))[:, None]
        X.append((steps if label == "rises" else -steps) + rng.normal(scale=0.1, size=steps.shape))
    return X, y


@pytest.fixture(params=["classifier", "regressor", "tagger"])
def problem(request: pytest.FixtureRequest, trends: Any) -> Problem:
    """Each of the estimators, quick, with targets of its kind for the trends."""
    X, y = trends
    kind, targets = {
        "classifier": (LSTMClassifier, y),
        "regressor": (LSTMRegressor, np.array([x[-1, 0] - x[0, 0] for x in X])),
        "tagger": (LSTMTagger, [(x[:, 0] > 0).astype(int) for x in X]),
    }[request.param]
    quick = {"hidden_size": 5, "max_epochs": 4, "learning_rate": 0.02, "random_state": 0, "verbose": False}
    return Problem(lambda **given: kind(**(quick | given)), X, targets)


@pytest.fixture
def stopping() -> Callable[[str, int, BaseException], AbstractContextManager[None]]:
    """Raise an error after one epoch of one of the trainings: "search", "refit" or "training"."""

    @contextmanager
    def stop(training: str, epoch: int, error: BaseException) -> Iterator[None]:
        class Stops(Show):
            def epoch(self, row: dict[str, float]) -> None:
                if row["epoch"] == epoch:
                    raise error

        @contextmanager
        def shown(verbose: bool, total: int, title: str) -> Iterator[Show]:
            yield Stops() if title == training else Show()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "shown", shown)
            yield

    return stop


@pytest.fixture
def same_model() -> Callable[[Any, Any], None]:
    """Hold the weights and the preparation of two fitted estimators to be the same to the bit."""

    def compare(a: Any, b: Any) -> None:
        ours, theirs = a.network_.state_dict(), b.network_.state_dict()
        assert ours.keys() == theirs.keys()
        for name, weight in ours.items():
            assert weight.equal(theirs[name]), name
        np.testing.assert_array_equal(a.preparation_.mean, b.preparation_.mean)
        np.testing.assert_array_equal(a.preparation_.scale, b.preparation_.scale)

    return compare
