"""The quick part of ``make faults``: planted faults are found at their place, healthy models have none."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from benchmarks.faults import __main__ as faults
from benchmarks.faults import models, tasks
from benchmarks.faults.healthy import FRESH, HEALTHY
from benchmarks.faults.planted import PLANTED
from benchmarks.faults.rounds import examine, look_for
from benchmarks.faults.settings import at
from benchmarks.faults.training import guessing_level, trained
from torch import Generator, nn

from glasslstm.insight.rules import RULES

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own

QUICK = [name for name, case in PLANTED.items() if case.quick]
DEAD = "dead units, half of the lower layer"


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_fault_is_found(name: str) -> None:
    result = look_for(name, PLANTED[name])
    assert result.right, str(result)


def test_every_code_has_a_planted_fault_and_a_quick_one() -> None:
    assert {case.code for case in PLANTED.values()} == set(RULES)
    assert {PLANTED[name].code for name in QUICK} == set(RULES)


@pytest.mark.parametrize(
    "name",
    [
        "regressor, H = 8, T = 10",
        "regressor, masked mean, lengths=",
        "regressor, ragged, gathered at the last valid step",
    ],
)
def test_a_healthy_model_raises_no_alarm(name: str) -> None:
    result = examine("healthy", name, HEALTHY[name])
    assert result.right, str(result)


@pytest.mark.parametrize("name", FRESH)
def test_an_untrained_model_has_no_error(name: str) -> None:
    result = examine("fresh", name, FRESH[name])
    assert not result.count("error"), str(result)


def test_another_place_another_code_and_more_units_do_not_count() -> None:
    case = PLANTED[DEAD]
    diagnosis = case.build().diagnose()
    assert case.found(diagnosis) is not None
    assert replace(case, place=at("lstm", 0, 0)).found(diagnosis) is not None  # any units
    for wrong in (
        at("lstm", 1, 0, 9),
        at("lstm", 0, 1, 9),
        at("head", 0, 0, 9),
        at("lstm", 0, 0, 8),
        at("lstm"),
    ):
        assert replace(case, place=wrong).found(diagnosis) is None
    assert replace(case, code="duplicate-units").found(diagnosis) is None


def test_a_model_that_has_not_learnt_is_not_healthy() -> None:
    build = lambda: models.Joined(nn.LSTM(1, 8, batch_first=True), 1)  # noqa: E731
    with pytest.raises(
        RuntimeError, match=r"not healthy: its loss is \d\.\d\d of guessing, and 0\.5 is allowed"
    ):
        trained(build, partial(tasks.levels, steps=10), steps=1)


def test_guessing_level() -> None:
    assert guessing_level(torch.tensor([1.0, 3.0])) == pytest.approx(1.0)
    assert guessing_level(torch.tensor([0, 0, 2, 2, -100])) == pytest.approx(math.log(2))


def test_exit_status_and_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["faults", "--json", DEAD])
    assert faults.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rates"] == {"faults found, with the right place": "1 of 1"}
    assert [result["name"] for result in found["results"]] == [DEAD]
    monkeypatch.setitem(PLANTED, DEAD, replace(PLANTED[DEAD], place=at("lstm", 1, 0, 9)))
    assert faults.main() == 1


def test_the_rates_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["faults", DEAD, "H = 8, T = 10"])
    assert faults.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"ok   planted: {DEAD} (dead-units in lstm, layer 0, forward, units 0-8, found as error)" in lines
    assert "faults found, with the right place: 1 of 1" in lines
    assert "healthy models without an error and with at most one warning: 1 of 1" in lines


def test_the_tasks_ask_for_what_they_say() -> None:
    generator = Generator().manual_seed(0)
    x, y = tasks.flip_flop(2, generator, steps=9)
    for n, t, bit in ((0, 8, 0), (1, 4, 2)):
        last = max(k for k in range(t + 1) if x[n, k, bit])
        assert y[n, t, bit] == x[n, last, bit]
    tokens, inside = tasks.enclosed(20, generator)
    for row, labels in zip(tokens.tolist(), inside.tolist(), strict=True):
        for t, label in enumerate(labels):
            before = next((k for k in reversed(row[: t + 1]) if k < 2), None)
            after = next((k for k in row[t:] if k < 2), None)
            assert label == (before == 0 and after == 1)
    (x, lengths), y = tasks.ragged(tasks.echo)(5, generator)
    assert not x[torch.arange(40) >= lengths[:, None]].any()
    assert not y[torch.arange(40) >= lengths[:, None]].any()
