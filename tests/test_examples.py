"""The scripts in examples/ run and give what they promise."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def _main(name: str) -> Any:
    return runpy.run_path(str(EXAMPLES / name))["main"]


def test_every_example_is_tested_and_explains_itself() -> None:
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert [script.name for script in scripts] == [
        "classify.py",
        "long_memory.py",
        "one_layer.py",
        "tune.py",
        "two_layers.py",
    ]
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert text.startswith('"""')
        assert 'if __name__ == "__main__":' in text


def test_one_layer(capsys: pytest.CaptureFixture[str]) -> None:
    output, h_n, c_n, trace = _main("one_layer.py")()
    assert output.shape == (15, 1, 20)
    assert h_n.shape == c_n.shape == (1, 1, 20)
    assert torch.equal(output[-1], h_n[0])
    assert trace[0, 0].forget_gate.shape == (15, 1, 20)
    assert torch.equal(trace[0, 0].cell[-1], c_n[0])
    assert "output (15, 1, 20)  h_n (1, 1, 20)  c_n (1, 1, 20)" in capsys.readouterr().out


def test_two_layers(capsys: pytest.CaptureFixture[str]) -> None:
    output, h_n, c_n = _main("two_layers.py")()
    assert output.shape == (15, 1, 20)
    assert h_n.shape == c_n.shape == (2, 1, 20)
    assert torch.equal(output[-1], h_n[-1])
    printed = capsys.readouterr().out
    assert "h_n (2, 1, 20)" in printed
    assert "False" not in printed


def test_classification_learns_to_remember(capsys: pytest.CaptureFixture[str]) -> None:
    probabilities, accuracy = _main("classify.py")()
    assert accuracy > 0.98
    assert probabilities.shape == (1000, 3)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(1000))
    assert probabilities.min() >= 0
    assert "held-out accuracy" in capsys.readouterr().out


def test_classification_needs_its_training() -> None:
    """Without training the same model guesses: the problem is no gift."""
    _, accuracy = _main("classify.py")(steps=0)
    assert accuracy < 0.6


def test_a_long_memory_is_a_matter_of_the_initialisation(capsys: pytest.CaptureFixture[str]) -> None:
    """In small, over 100 steps; the lags of 600 and 1,000 take minutes, and stand in docs/long_memory.md."""
    losses = _main("long_memory.py")(["--quick"])
    assert losses["guessing"] == 1 / 6
    assert losses["usual"] > 0.14
    assert losses["chrono"] < 0.05
    assert f"chrono {losses['chrono']:.5f}" in capsys.readouterr().out


def test_the_copy_task_is_learned_with_the_chrono_initialisation_alone() -> None:
    losses = _main("long_memory.py")(["--quick", "--task", "copy"])
    assert losses["guessing"] == pytest.approx(10 * math.log(8) / 70)
    assert losses["usual"] == pytest.approx(losses["guessing"], rel=0.01)
    assert losses["chrono"] < 0.95 * losses["guessing"]


def test_the_two_traps_are_real() -> None:
    """What the text of classify.py warns of happens."""
    import glasslstm as gl

    assert "two traps" in (EXAMPLES / "classify.py").read_text(encoding="utf-8").lower()
    both, x = gl.LSTM(3, 4, bidirectional=True), torch.randn(5, 2, 3)
    output, (h_n, _) = both(x)
    assert torch.equal(h_n[-1], output[0, :, 4:])  # the reverse direction, which ends at the first step
    assert torch.equal(h_n[-2], output[-1, :, :4])
    lstm = gl.LSTM(3, 4)
    output, (h_n, _) = lstm(x, lengths=[5, 2])
    assert not output[-1, 1].any()
    assert torch.equal(h_n[-1, 1], output[1, 1])


def test_tune(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    by_scikit_learn, by_optuna = _main("tune.py")(trials=2)
    assert min(by_scikit_learn, by_optuna) > 0.7  # a coin: 0.5
    printed = capsys.readouterr().out
    assert "scikit-learn: {'hidden_size': " in printed
    assert f"test accuracy {by_scikit_learn:.3f} and {by_optuna:.3f}" in printed
