"""A small problem that an LSTM solves within seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


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
