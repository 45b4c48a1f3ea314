"""The regressor: answers in the targets' units, several of them, quantiles, weights, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import mean_pinball_loss, r2_score

from glasslstm import LSTMRegressor
from glasslstm.data import Sequences
from glasslstm.errors import ArgumentError, DataError


def make(**parameters: Any) -> LSTMRegressor:
    chosen = {"hidden_size": 6, "max_epochs": 5, "learning_rate": 0.02, "random_state": 0, "verbose": False}
    return LSTMRegressor(**(chosen | parameters))


@pytest.fixture(scope="module")
def sums() -> Any:
    """60 series of 3 to 8 steps, two channels, and the sum of the first one."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(int(n), 2)) for n in rng.integers(3, 9, 60)]
    return X, np.array([x[:, 0].sum() for x in X])


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_learns_a_sum(sums: Any, loss: str) -> None:
    X, y = sums
    model = make(loss=loss, max_epochs=30, channel_shift=0).fit(X, y)
    assert model.score(X, y) > 0.85
    assert model.score(X, y) == pytest.approx(r2_score(y, model.predict(X)))


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 0.0), (1.0, 1e6), (1e-6, 3.0), (-2.0, 5.0)])
def test_predictions_follow_the_units_of_the_targets(
    sums: Any, loss: str, scale: float, shift: float
) -> None:
    X, y = sums
    plain, other = make(loss=loss).fit(X, y), make(loss=loss).fit(X, scale * y + shift)
    if scale > 0:
        found = (other.predict(X) - shift) / scale
        np.testing.assert_allclose(found, plain.predict(X), atol=1e-4)
        ours, theirs = ([row["valid_loss"] for row in model.history_] for model in (plain, other))
        np.testing.assert_allclose(theirs, ours, rtol=1e-4)
        rmse, scaled = ([row["valid_rmse"] for row in model.history_] for model in (plain, other))
        np.testing.assert_allclose(np.array(scaled) / scale, rmse, rtol=1e-4)
    else:  # from the same initial weights another function is learned, and it must be as good
        assert other.score(X, scale * y + shift) > 0


@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 7.0), (1e-6, 3.0)])
def test_quantiles_follow_the_units_of_the_targets(sums: Any, scale: float, shift: float) -> None:
    X, y = sums
    levels = (0.1, 0.5, 0.9)
    plain = make(quantiles=levels).fit(X, y).predict_quantiles(X)
    other = make(quantiles=levels).fit(X, scale * y + shift).predict_quantiles(X)
    np.testing.assert_allclose((other - shift) / scale, plain, atol=1e-4)


def test_several_targets_have_units_of_their_own(sums: Any) -> None:
    X, y = sums
    Y = np.column_stack([y, 1e4 * y + 5e5, [x[-1, 1] for x in X]])
    model = make(max_epochs=30, channel_shift=0).fit(X, Y)
    found = model.predict(X)
    assert found.shape == (60, 3)
    assert model.n_outputs_ == 3
    assert (r2_score(Y, found, multioutput="raw_values") > 0.7).all()
    assert make().fit(X, Y[:, :1]).predict(X).shape == (60, 1)
    assert make().fit(X, Y[:, 0]).predict(X).shape == (60,)


def test_the_losses_point_at_mean_and_median() -> None:
    rng = np.random.default_rng(0)
    X, y = (
        rng.normal(size=(200, 2, 1)),
        rng.exponential(size=200) ** 2,
    )  # what is skewed, and not to be told from X
    flat = {"validation_fraction": 0, "max_epochs": 60, "channel_shift": 5.0, "weight_decay": 0, "dropout": 0}
    mean = make(**flat).fit(X, y).predict(X).mean()
    median = make(**flat, loss="absolute_error").fit(X, y).predict(X).mean()
    assert abs(mean - y.mean()) < 0.35 * abs(y.mean() - np.median(y))
    assert abs(median - np.median(y)) < 0.35 * abs(y.mean() - np.median(y))


def test_quantiles_rise_and_cover_their_share() -> None:
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(300, 2, 1)), rng.normal(10, 3, 300)
    levels = (0.1, 0.5, 0.9)
    model = make(quantiles=levels, validation_fraction=0, max_epochs=40, channel_shift=3.0, dropout=0).fit(
        X, y
    )
    found = model.predict_quantiles(X)
    assert found.shape == (300, 3)
    assert (np.diff(found, axis=1) > 0).all()
    np.testing.assert_allclose((y[:, None] < found).mean(0), levels, atol=0.06)
    np.testing.assert_array_equal(model.predict(X), found[:, 1])
    assert make(quantiles=(0.2, 0.6)).fit(X, y).predict(X).shape == (300,)


def test_the_pinball_loss_of_the_history_is_scikit_learns(sums: Any) -> None:
    X, y = sums
    model = make(quantiles=(0.3, 0.8), refit=False, max_epochs=3).fit(
        X[:40], y[:40], validation=(X[40:], y[40:])
    )
    found = model.predict_quantiles(X[40:])
    expected = np.mean([mean_pinball_loss(y[40:], found[:, k], alpha=a) for k, a in enumerate((0.3, 0.8))])
    assert model.history_[model.best_epoch_ - 1]["valid_pinball_loss"] == pytest.approx(expected, rel=1e-5)


def test_quantiles_of_several_targets(sums: Any) -> None:
    X, y = sums
    model = make(quantiles=(0.25, 0.75)).fit(X, np.column_stack([y, -y]))
    found = model.predict_quantiles(X)
    assert found.shape == (60, 2, 2)
    assert (found[..., 0] <= found[..., 1]).all()
    np.testing.assert_array_equal(model.predict(X), found[..., 0])


def test_targets_may_come_with_the_series(sums: Any) -> None:
    X, y = sums
    series = Sequences.from_arrays(X, targets=y, channel_names=["a", "b"])
    model = make().fit(series)
    np.testing.assert_array_equal(model.predict(series), make().fit(X, y).predict(X))
    assert model.score(series) == make().fit(X, y).score(X, y)
    assert model.feature_names_in_.tolist() == ["a", "b"]


def test_weights_move_the_answer() -> None:
    X, y = np.zeros((40, 3, 1)), np.repeat([0.0, 1.0], 20)
    flat = {"validation_fraction": 0, "max_epochs": 60, "dropout": 0, "channel_shift": 0, "weight_decay": 0}
    even = make(**flat).fit(X, y).predict(X[:1])
    heavy = make(**flat).fit(X, y, sample_weight=np.repeat([1.0, 3.0], 20)).predict(X[:1])
    assert even == pytest.approx(0.5, abs=0.06)
    assert heavy == pytest.approx(0.75, abs=0.06)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (lambda y: None, "requires y to be passed"),
        (lambda y: y[:-1], r"y: expected a number, or as many for each, of the 60 series, got shape \(59,\)"),
        (
            lambda y: np.where(y == y[3], np.nan, y),
            "y: series 3 has nan. Input y contains NaN .*, 1 of 60 values; drop",
        ),
        (lambda y: np.where(y == y[3], np.inf, y), "y: series 3 has inf"),
        (lambda y: y.astype(complex), "y: Complex data not supported"),
        (lambda y: [f"{v:.1f} m" for v in y], "y: expected numbers: could not convert"),
        (
            lambda y: y * 1e300,
            r"y: has values up to .*e\+300, too large to standardise; give it in a larger unit",
        ),
        (lambda y: np.zeros((60, 0)), r"y: expected a number, .* got shape \(60, 0\)"),
        (lambda y: np.zeros((60, 2, 2)), r"y: expected a number, .* got shape \(60, 2, 2\)"),
    ],
)
def test_refuses_targets_that_cannot_be_learned(sums: Any, y: Any, message: str) -> None:
    model = make()
    with pytest.raises(DataError, match=message):
        model.fit(sums[0], y(sums[1]))
    assert not hasattr(model, "network_")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"sample_weight: expected one for each of the 60 series, got shape \(3,\)"),
        (
            np.r_[np.ones(59), -1],
            "sample_weight: expected finite numbers of 0 or more, got -1.0 for series 59",
        ),
        (
            np.r_[np.nan, np.ones(59)],
            "sample_weight: expected finite numbers of 0 or more, got nan for series 0",
        ),
        (np.zeros(60), "sample_weight: all weights are zero"),
        (["much"] * 60, "sample_weight: expected numbers: could not convert"),
        (np.r_[1.0, np.zeros(59)], "sample_weight: all that is (trained on|validated with) has the weight 0"),
    ],
)
def test_refuses_weights_that_say_nothing(sums: Any, weights: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make().fit(*sums, sample_weight=weights)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (lambda X, y: X, "y: LSTMRegressor requires y to be passed"),
        (
            lambda X, y: ([x[:, :1] for x in X], y),
            "validation: expected the 2 channels and 0 static .*, got 1 and 0",
        ),
        (lambda X, y: (X, y[:-1]), "y: expected a number, or as many for each, of the 60 series, got shape"),
        (lambda X, y: (X, np.column_stack([y, y])), "y: expected 1 numbers for each series, got 2"),
        (lambda X, y: (X, y * np.nan), "y: series 0 has nan"),
        (
            lambda X, y: Sequences.from_arrays(X, targets=y).with_static(y[:, None]),
            "validation: expected the 2 channels and 0 static features of X, got 2 and 1",
        ),
        (
            lambda X, y: Sequences.from_arrays(X, targets=y, channel_names=["b", "a"]),
            r"validation: expected the channels of X, \('a', 'b'\), got \('b', 'a'\)",
        ),
    ],
)
def test_refuses_a_validation_part_that_does_not_fit(sums: Any, validation: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make().fit(*sums, channel_names=["a", "b"], validation=validation(*sums))


def test_refuses_a_validation_part_without_a_search(sums: Any) -> None:
    with pytest.raises(
        ArgumentError, match="validation: validation_fraction=0 asks for a training without a search"
    ):
        make(validation_fraction=0).fit(*sums, validation=sums)


def test_one_series_is_trained_on_without_a_search_alone(sums: Any) -> None:
    X, y = sums
    with pytest.raises(DataError, match=r"X: got 1 series .* set validation_fraction=0"):
        make().fit(X[:1], y[:1])
    alone = make(validation_fraction=0, max_epochs=30, dropout=0, pooling="last").fit(X[:1], y[:1])
    assert alone.predict(X[:1]) == pytest.approx(y[:1], abs=0.02)


def test_what_is_asked_of_a_model_that_does_not_know_it(sums: Any) -> None:
    X, y = sums
    for ask in ("predict", "predict_quantiles", "trace"):
        with pytest.raises(NotFittedError, match="LSTMRegressor instance is not fitted yet"):
            getattr(make(), ask)(X)
    model = make(max_epochs=1).fit(X, y)
    with pytest.raises(ArgumentError, match="the model predicts no quantiles; fit it with quantiles="):
        model.predict_quantiles(X)
    with pytest.raises(DataError, match="step_duration: the series have no time stamps"):
        make(step_duration=True).fit(X, y)
