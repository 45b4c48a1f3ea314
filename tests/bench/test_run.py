"""The document has what docs/bench.md says, and goals where they are set."""

from __future__ import annotations

import json
import os
import re
from itertools import count
from pathlib import Path

import pytest
import torch

from glasslstm.bench import machine, parse_threads, parse_works, run
from glasslstm.bench.findings import Finding, Refusal
from glasslstm.bench.machine import Ticks
from glasslstm.bench.measure import Box
from glasslstm.bench.shapes import GRID, SCALING, Shape
from glasslstm.bench.works import WORKS, Work
from glasslstm.errors import ArgumentError

PAGE = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")
QUICK = Box(rounds=3, seconds=0, sample=0)
TINY = Shape(3, 2, 4, 5)


def fields(start: str) -> list[str]:
    """Return the first column of the table that follows `start` on the page."""
    table = PAGE.partition(start)[2].partition("|---|---|\n")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def finding(
    value: float, goal: float | None = 1.0, against: str = "torch.nn.LSTM", unit="s per run"
) -> Finding:
    return Finding("glasslstm", against, "speed-up", unit, 1.0, value, value, goal=goal)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch):
    """Put a work in place of training, whose findings a function of the shape gives."""

    def put(findings, shapes=GRID) -> None:
        work = Work("words", tuple(shapes), lambda shape, _: iter(findings(shape)), mean_goal=2.0)
        monkeypatch.setitem(WORKS, "training", work)

    return put


def test_the_document_is_json_and_has_the_fields_of_the_page() -> None:
    document = run(["inference", "gates-training", "scaling-training"], [TINY], box=QUICK)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert list(document) == fields("One object:")
    for row in document["rows"]:
        assert list(row) == fields("Each of `rows`:")
    for name in ("means", "growths"):
        words = re.findall(r"`(\w+)`", PAGE.partition(f"| `{name}` |")[2].partition("\n")[0])
        assert sorted(document[name][0]) == sorted(words)
    assert {"cpu", "instruction_set", "cpu_capability", "cores", "threads", "load_before"} <= set(
        document["machine"]
    )


def test_values_compare_the_two_sides() -> None:
    document = run(["training", "gates-training"], [TINY], box=QUICK)
    for row in document["rows"]:
        ratio = row["against_value"] / row["subject_value"]
        expected = 1 / ratio if row["kind"] == "cost" else ratio
        assert row["value"] == pytest.approx(expected, rel=1e-12)  # two divisions round one by one
        assert row["low"] <= row["high"]
        assert (row["shape"], row["runs"]) == (TINY._asdict(), 3)


def test_goals_are_set_for_the_shapes_of_a_work_alone(fake) -> None:
    fake(lambda _: [finding(1.5)])
    rows = run(["training"], [GRID[0], TINY])["rows"]
    assert [(row["goal"], row["reached"]) for row in rows] == [(1.0, True), (None, None)]


@pytest.mark.parametrize(("value", "expected"), [(2.5, True), (1.5, False)])
def test_the_mean_has_a_goal_where_all_shapes_were_measured(fake, value, expected) -> None:
    fake(lambda _: [finding(value), finding(9.0, None, "ONNX Runtime")])
    theirs, onnx = run(["training"])["means"]
    assert theirs["value"] == pytest.approx(value)
    assert (theirs["shapes"], theirs["goal"], theirs["reached"]) == (len(GRID), 2.0, expected)
    assert (onnx["against"], onnx["goal"], onnx["reached"]) == ("ONNX Runtime", None, None)
    (part,) = (mean for mean in run(["training"], GRID[1:])["means"] if mean["against"] == "torch.nn.LSTM")
    assert (part["shapes"], part["goal"], part["reached"]) == (len(GRID) - 1, None, None)


def test_the_mean_is_geometric(fake) -> None:
    fake(lambda shape: [finding(8.0 if shape == TINY else 2.0)])
    (mean,) = run(["training"], [TINY, GRID[0]])["means"]
    assert mean["value"] == pytest.approx(4.0)


def test_a_refused_side_is_no_row_and_spoils_the_goal_of_the_mean(fake) -> None:
    fake(lambda shape: [Refusal("glasslstm", "result 0 differs") if shape == GRID[3] else finding(9.0)])
    document = run(["training"])
    assert document["refused"] == [
        {
            "work": "training",
            "threads": torch.get_num_threads(),
            "shape": GRID[3]._asdict(),
            "refused": "glasslstm",
            "reason": "result 0 differs",
        }
    ]
    assert len(document["rows"]) == len(GRID) - 1
    assert document["means"][0]["goal"] is None


def test_growth_is_that_of_the_time_of_a_step_over_a_smaller_shape(fake) -> None:
    cliff = SCALING[5]

    def findings(shape):
        time = 3.0 if shape == cliff else 1.0 / shape.B
        return [
            Finding(
                "glasslstm", "torch.nn.LSTM", "speed-up", "s per step and sequence", time, 2.0, 2.0 / time
            )
        ]

    fake(findings, SCALING)
    ours, theirs = run(["training"])["growths"]
    assert (ours["side"], ours["value"], ours["shape"]) == ("glasslstm", 3.0, cliff._asdict())
    assert (theirs["side"], theirs["value"]) == ("torch.nn.LSTM", 1.0)


def test_each_number_of_threads_is_in_force_and_torch_has_its_own_back(fake) -> None:
    before, seen = torch.get_num_threads(), []
    fake(lambda _: [finding(float(seen.append(torch.get_num_threads()) or 1))])
    document = run(["training"], [TINY], threads=(2, 1))
    assert seen == [2, 1] == [row["threads"] for row in document["rows"]]
    assert [mean["threads"] for mean in document["means"]] == [2, 1]
    assert torch.get_num_threads() == before


def test_progress_has_a_line_for_each_finding(fake) -> None:
    fake(lambda _: [finding(1.5), Refusal("ONNX Runtime", "result 0 differs by nan of its largest value")])
    lines: list[str] = []
    run(["training"], [TINY], threads=(1,), progress=lines.append)
    assert lines == [
        "training, threads 1, 3x2x4x5: glasslstm against torch.nn.LSTM, speed-up 1.50",
        "training, threads 1, 3x2x4x5: ONNX Runtime is refused: result 0 differs by nan of its largest value",
    ]


@pytest.mark.parametrize(
    ("stolen", "others", "trusted"), [(0, 0, True), (2, 5, True), (3, 0, False), (0, 6, False)]
)
def test_what_others_take_is_counted_and_too_much_is_not_trusted(
    fake, stolen, others, trusted, monkeypatch
) -> None:
    ticks = count()
    monkeypatch.setattr(machine.Ticks, "now", lambda: Ticks(stolen * (k := next(ticks)), others * k, 100 * k))
    fake(lambda _: [finding(1.5)])
    document = run(["training"], [TINY])
    for counted in (document, document["rows"][0]):
        assert (counted["stolen_percent"], counted["others_percent"]) == (stolen, others)
    assert document["trusted"] is trusted


def test_our_own_time_and_that_of_our_children_are_not_the_others(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    assert Ticks.now() == (0, 0, 0)
    #                          user nice system idle iowait irq softirq steal guest guest_nice
    machine.STAT.write_text(
        "cpu  500   20     80  300     40   5       6     9     7          8\ncpu0 1 2 3\n"
    )
    monkeypatch.setattr(os, "times", lambda: (1.0, 0.5, 2.0, 0.25, 1000.0))
    own = 3.75 * os.sysconf("SC_CLK_TCK")
    assert Ticks.now() == (9, 500 + 20 + 80 + 5 + 6 - own, 960)


def test_works_by_name_and_by_what_stands_before_the_hyphen() -> None:
    assert parse_works("all") == tuple(WORKS)
    assert parse_works("busy,training, busy-training") == ("busy-inference", "busy-training", "training")
    with pytest.raises(ArgumentError, match=r"'gate' is no work; expected all, inference, training, "):
        parse_works("training,gate")


@pytest.mark.parametrize("text", ["0", "", "two", "-1", "1,", "1.5"])
def test_what_is_no_number_of_threads_is_refused(text) -> None:
    with pytest.raises(ArgumentError, match="is no number of threads; expected 1 or more"):
        parse_threads(text)


def test_every_work_is_on_the_page() -> None:
    assert [name for name in WORKS if f"`{name}`" not in PAGE] == []


def test_a_fit_and_a_plain_loop_have_the_same_losses() -> None:
    document = run(["fit"], [Shape(6, 4, 2, 3, 1, 2)], box=Box(rounds=3, seconds=0, sample=0))
    assert document["refused"] == []
    assert [row["against"] for row in document["rows"]] == ["a plain loop, torch.nn.LSTM"]
