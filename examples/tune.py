"""Tune an estimator: with scikit-learn's search, and with Optuna's, which learns from trial to trial.

The figures are of cross-validation on the training part; the test part is scored once, at the end.
"""

from __future__ import annotations

import numpy as np
import optuna
from numpy.typing import NDArray
from scipy.stats import loguniform
from sklearn.model_selection import RandomizedSearchCV, cross_val_score

import glasslstm as gl


def make_data(n: int, seed: int) -> tuple[list[NDArray[np.float64]], NDArray[np.str_]]:
    """Return series of 10 to 30 steps, noise around a sine that is slow or fast."""
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(n) < 0.5, "slow", "fast")
    X = []
    for label in y:
        steps = np.arange(rng.integers(10, 31))
        wave = np.sin((0.4 if label == "slow" else 0.7) * steps + rng.uniform(0, 6))
        X.append((wave + rng.normal(0, 0.3, len(steps)))[:, None])
    return X, y


def main(trials: int = 4) -> tuple[float, float]:
    """Search in both ways, and return the test accuracy of each one's best."""
    X, y = make_data(80, seed=0)
    X_test, y_test = make_data(200, seed=1)
    base = gl.LSTMClassifier(max_epochs=15, validation_fraction=0, random_state=0, verbose=False)

    ranges = {"hidden_size": [8, 16, 32], "learning_rate": loguniform(1e-3, 3e-2)}
    search = RandomizedSearchCV(base, ranges, n_iter=trials, cv=2, random_state=0).fit(X, y)
    print(f"scikit-learn: {search.best_params_}, cross-validation {search.best_score_:.3f}")

    def objective(trial: optuna.Trial) -> float:
        base.set_params(
            hidden_size=trial.suggest_categorical("hidden_size", [8, 16, 32]),
            learning_rate=trial.suggest_float("learning_rate", 1e-3, 3e-2, log=True),
        )
        return float(np.mean(cross_val_score(base, X, y, cv=2)))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=trials)
    print(f"Optuna: {study.best_params}, cross-validation {study.best_value:.3f}")

    best = base.set_params(**study.best_params).fit(X, y)
    scores = float(search.score(X_test, y_test)), best.score(X_test, y_test)
    print(f"test accuracy {scores[0]:.3f} and {scores[1]:.3f}")
    return scores


if __name__ == "__main__":
    main()
