"""The command: tables or JSON on standard output, progress beside it, and the status at the end."""

from __future__ import annotations

import json
import re
import sys

import pytest
from typer.testing import CliRunner

import glasslstm as gl
from glasslstm import cli
from glasslstm.bench import machine, works
from glasslstm.bench.findings import Finding

TINY = ("--shapes", "3x2x4x5", "--seconds", "0", "--threads", "1")


def bench(*args: str):
    return CliRunner().invoke(cli.app, ["bench", *args])


def test_json_is_all_that_is_printed_and_progress_goes_to_standard_error() -> None:
    result = bench("--work", "training,training", *TINY, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert [row["against"] for row in document["rows"]] == ["torch.nn.LSTM"]
    line = r"training, threads 1, 3x2x4x5: glasslstm against torch.nn.LSTM, speed-up \d+\.\d\d\n"
    assert re.fullmatch(line, result.stderr)


def test_the_tables_have_machine_values_means_and_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Finding(
            "glasslstm", "torch.nn.LSTM", "speed-up", "s per run", 0.002, 0.003, 1.5, 1.4, 1.6, 9, goal=1.1
        ),
        Finding("glasslstm", "torch.mm", "share", "s per flop", 2e-11, 1e-11, 0.5, 0.4, 0.6, 9, goal=0.75),
        Finding("glasslstm", "torch.nn.LSTM", "cost", "bytes", 2 << 20, 4 << 20, 0.5, goal=1.0),
    ]
    work = works.WORKS["training"]._replace(findings=lambda *_: iter(found))
    monkeypatch.setitem(works.WORKS, "training", work)
    result = bench("--work", "training", "--shapes", "100x1x16x32", "--threads", "1", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [re.split(r"\s{2,}", line) for line in result.stdout.splitlines()]
    assert ["cpu", machine.facts()["cpu"]] in lines
    start = "100x1x16x32"
    for row in (
        "speed-up, glasslstm, 2, torch.nn.LSTM, 3, ms, 1.50, 1.40 - 1.60, at least 1.1: reached",
        "share, glasslstm, 50.0, torch.mm, 100.0, GFLOP/s, 0.50, 0.40 - 0.60, at least 0.75: MISSED",
        "cost, glasslstm, 2, torch.nn.LSTM, 4, MiB, 0.50, at most 1: reached",
    ):
        assert [start, *row.split(", ")] in lines
    assert ["training", "1", "glasslstm", "torch.nn.LSTM", "speed-up", "s per run", "1", "1.50"] in lines


def test_a_wrong_kernel_is_not_timed_and_the_status_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    correct = gl.LSTM.forward
    monkeypatch.setattr(gl.LSTM, "forward", lambda self, x, **more: correct(self, 1.01 * x, **more))
    result = bench("--work", "training", *TINY)
    assert result.exit_code == 1
    assert re.search(
        r"\ntraining, threads 1, 3x2x4x5: glasslstm is refused: result \d differs by \S+ of", result.stdout
    )
    assert "speed-up" not in result.stdout


def test_what_others_take_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {"stolen_percent": 7.5, "others_percent": 0.3}
    monkeypatch.setattr(machine.Ticks, "percent_since", lambda *_: taken)
    words = "other machines took 7.5 % of the processors' time, other processes 0.3 %: these figures are not"
    assert words in bench("--work", "training", *TINY).stdout


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_without_onnx_one_line_says_how_to_get_it(module, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, module, None)
    result = bench("--work", "inference", *TINY)
    assert result.exit_code == 0
    (line,) = (line for line in result.stdout.splitlines() if "left out" in line)
    assert line.startswith(f"ONNX Runtime is left out: {module} is not installed")
    assert line.endswith("pip install 'glasslstm[bench]'")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--work", "gate"], "Invalid value for '--work': 'gate' is no work; expected all, inference, "),
        (["--shapes", "5x5"], "Invalid value for '--shapes': '5x5' is no shape; expected all, single, "),
        (
            ["--threads", "0"],
            "Invalid value for '--threads': '0' is no number of threads; expected 1 or more",
        ),
        (["--seconds", "-1"], "Invalid value for '--seconds'"),
    ],
)
def test_a_wrong_use_is_one_line_and_status_2(args, message) -> None:
    result = bench(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(rf"error: {re.escape(message)}[^\n]* \(see \S+ bench --help\)\n", result.stderr)


def test_help_has_an_example_that_names_the_command() -> None:
    assert "Example:\n    glasslstm bench --work training" in bench("--help").stdout
