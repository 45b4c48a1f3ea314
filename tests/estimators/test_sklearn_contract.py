"""scikit-learn's own checks, on a classifier whose series are the rows of a table: one step each."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from glasslstm import LSTMClassifier


class OneStep(LSTMClassifier):
    """The checks know only tables, (N, F); here each row becomes a series of one step, (1, F)."""

    def fit(self, X: Any, y: Any) -> OneStep:
        return super().fit(_as_series(X), y)

    def predict(self, X: Any) -> Any:
        return super().predict(_as_series(X))

    def predict_proba(self, X: Any) -> Any:
        return super().predict_proba(_as_series(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def _as_series(X: Any) -> Any:
    if scipy.sparse.issparse(X):
        return X
    X = np.asarray(X)
    return X[:, None] if X.ndim == 2 else X


# Every check of scikit-learn passes: nothing is listed as an expected failure.
@parametrize_with_checks(
    [OneStep(hidden_size=8, max_epochs=12, learning_rate=0.05, random_state=0, verbose=False)]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture
def small() -> LSTMClassifier:
    return LSTMClassifier(hidden_size=8, max_epochs=15, learning_rate=0.02, random_state=0, verbose=False)


def test_clone_keeps_the_parameters_and_not_the_fit(small: LSTMClassifier, trends: Any) -> None:
    again = clone(small.fit(*trends))
    assert again.get_params() == small.get_params()
    assert not hasattr(again, "network_")


def test_grid_search_and_cross_validation_take_ragged_series(small: LSTMClassifier, trends: Any) -> None:
    search = GridSearchCV(small, {"hidden_size": [4, 8]}, cv=2).fit(*trends)
    assert search.best_score_ > 0.9
    assert search.best_params_["hidden_size"] in (4, 8)
    assert cross_val_score(small, *trends, cv=2).mean() > 0.9


def test_works_at_the_end_of_a_pipeline(small: LSTMClassifier, trends: Any) -> None:
    X, y = trends
    halve = FunctionTransformer(lambda series: [x[::2] for x in series])
    pipeline = make_pipeline(halve, small).fit(X, y)
    assert pipeline.score(X, y) > 0.9
    assert small.network_.lstm.input_size == 1


def test_pickles_as_other_estimators_do(small: LSTMClassifier, trends: Any) -> None:
    X, y = trends
    again = pickle.loads(pickle.dumps(small.fit(X, y)))
    np.testing.assert_array_equal(again.predict_proba(X), small.predict_proba(X))
