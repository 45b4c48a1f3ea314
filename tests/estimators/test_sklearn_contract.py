"""scikit-learn's own checks, on estimators whose series are the rows of a table: one step each."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import ClassifierMixin, clone
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import column_or_1d

from glasslstm import LSTMClassifier, LSTMRegressor, LSTMTagger


class OneStep:
    """The checks know only tables, (N, F); here each row becomes a series of one step, (1, F)."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        return super().fit(_as_series(X), y, sample_weight=sample_weight)  # type: ignore[misc]

    def predict(self, X: Any) -> Any:
        return super().predict(_as_series(X))  # type: ignore[misc]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return super().score(_as_series(X), y, sample_weight)  # type: ignore[misc]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = True
        return tags


class OneStepClassifier(OneStep, LSTMClassifier):
    def predict_proba(self, X: Any) -> Any:
        return super().predict_proba(_as_series(X))


class OneStepRegressor(OneStep, LSTMRegressor):
    pass


class OneStepTagger(ClassifierMixin, OneStep, LSTMTagger):
    """A series of one step has one target, and one answer."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        steps = None if y is None else column_or_1d(y, warn=True)[:, None]
        return super().fit(X, steps, sample_weight)

    def predict(self, X: Any) -> Any:
        return np.concatenate(super().predict(X))

    def predict_proba(self, X: Any) -> Any:
        return np.concatenate(super().predict_proba(_as_series(X)))


def _as_series(X: Any) -> Any:
    if scipy.sparse.issparse(X):
        return X
    X = np.asarray(X)
    return X[:, None] if X.ndim == 2 else X


_QUICK = {
    "hidden_size": 8, "max_epochs": 12, "learning_rate": 0.05, "refit": False, "random_state": 0, "verbose": False,
}  # fmt: skip

# A repeated series is drawn into other batches than one of twice the weight, and takes steps of its own.
_STOCHASTIC = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "training is stochastic: a repeated series is not one of twice the weight",
)


@parametrize_with_checks(
    [
        OneStepClassifier(**_QUICK),
        OneStepRegressor(**_QUICK),
        OneStepTagger(**_QUICK, target="label"),
    ],
    expected_failed_checks=lambda _: _STOCHASTIC,
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


def test_grid_search_takes_the_other_estimators_too(trends: Any) -> None:
    X, _ = trends
    quick = {"hidden_size": 6, "max_epochs": 10, "learning_rate": 0.03, "random_state": 0, "verbose": False}
    rises = np.array([x[-1, 0] - x[0, 0] for x in X])
    regressor = LSTMRegressor(**quick, channel_shift=0)
    assert GridSearchCV(regressor, {"pooling": ["last", "mean"]}, cv=2).fit(X, rises).best_score_ > 0.7
    signs = [(x[:, 0] > 0).astype(int) for x in X]
    tagger = LSTMTagger(**quick, channel_shift=0)
    assert cross_val_score(tagger, X, signs, cv=2).mean() > 0.9


def test_an_ensemble_of_seeds_votes_on_ragged_series(small: LSTMClassifier, trends: Any) -> None:
    X, y = trends
    seeds = [(f"seed {k}", clone(small).set_params(random_state=k)) for k in range(3)]
    ensemble = VotingClassifier(seeds, voting="soft").fit(X, y)
    alone = [clone(member).fit(X, y).predict_proba(X) for _, member in seeds]
    np.testing.assert_allclose(ensemble.predict_proba(X), np.mean(alone, axis=0), rtol=1e-12)
    assert ensemble.score(X, y) > 0.95


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


def test_the_others_pickle_too(trends: Any) -> None:
    X, _ = trends
    quick = {"hidden_size": 4, "max_epochs": 2, "random_state": 0, "verbose": False}
    regressor = LSTMRegressor(**quick, quantiles=(0.2, 0.8)).fit(X, np.arange(40.0))
    again = pickle.loads(pickle.dumps(regressor))
    np.testing.assert_array_equal(again.predict_quantiles(X), regressor.predict_quantiles(X))
    tagger = LSTMTagger(**quick).fit(X, [np.arange(len(x)) % 2 for x in X])
    again = pickle.loads(pickle.dumps(tagger))
    for found, expected in zip(again.predict_proba(X), tagger.predict_proba(X), strict=True):
        np.testing.assert_array_equal(found, expected)
