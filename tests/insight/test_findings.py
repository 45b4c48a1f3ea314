from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from glasslstm.insight.findings import SEVERITIES, Code, Diagnosis, Finding, Measured, Place
from glasslstm.insight.rules import RULES

ROOT = Path(__file__).parents[2]


def finding(severity="error", **other):
    values = {
        "code": "some-code",
        "severity": severity,
        "title": "something is wrong",
        "place": Place("encoder.lstm", 1, 0, (0, 1, 2, 5)),
        "value": 0.015,
        "threshold": 0.02,
        "evidence": "f never rises above 0.015 in 4 of 8 units",
        "meaning": "These units forget.",
        "change": "gl.init.forget_bias_(lstm, 1.0)",
        "page": "docs/findings/some-code.md",
    }
    return Finding(**values | other)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Place(""), "the model"),
        (Place("lstm"), "lstm"),
        (Place("a.b", 0, 0), "a.b, layer 0, forward"),
        (Place("lstm", 2, 1), "lstm, layer 2, reverse"),
        (Place("lstm", 0, 0, (7,)), "lstm, layer 0, forward, units 7"),
        (Place("lstm", 0, 0, (3, 0, 1, 2, 5, 8, 9)), "lstm, layer 0, forward, units 0-3, 5, 8-9"),
        (
            Place("lstm", 0, 0, tuple(range(0, 24, 2))),
            "lstm, layer 0, forward, units 0, 2, 4, 6, 8, 10, 12, 14 and 4 more ranges",
        ),
    ],
)
def test_a_place_in_words(place, words) -> None:
    assert str(place) == words


def test_a_diagnosis_is_a_sequence() -> None:
    found = Diagnosis((finding(), finding("note", code="other")), ("some-code", "other"), {})
    assert len(found) == 2
    assert found[0].severity == "error"
    assert [one.code for one in found] == ["some-code", "other"]
    assert found.of("other") == (found[1],)
    assert found.of("nothing") == ()


@pytest.mark.parametrize(
    ("severities", "worst"),
    [
        ((), None),
        (("note",), "note"),
        (("note", "warning", "note"), "warning"),
        (("warning", "error"), "error"),
    ],
)
def test_the_worst(severities, worst) -> None:
    assert Diagnosis(tuple(map(finding, severities)), (), {}).worst == worst


def test_severities_go_from_mild_to_bad() -> None:
    assert SEVERITIES == ("note", "warning", "error")


def test_to_dict_goes_through_json_unchanged() -> None:
    found = Diagnosis((finding(),), ("some-code",), {"other": "no targets"}).to_dict()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["worst"] == "error"
    assert again["findings"][0].keys() == {field.name for field in fields(Finding)}
    assert again["findings"][0]["place"] == {
        "module": "encoder.lstm",
        "layer": 1,
        "direction": 0,
        "units": [0, 1, 2, 5],
    }
    assert (again["findings"][0]["value"], again["findings"][0]["threshold"]) == (0.015, 0.02)
    assert again["looked_for"] == ["some-code"]
    assert again["skipped"] == {"other": "no targets"}


def test_what_was_measured_goes_through_json_too() -> None:
    shown = Measured("mean |c|", (1.0, 6.0), "step", (0, 8), (1,), 5.0)
    found = Diagnosis((finding(measured=shown), finding()), (), {}).to_dict()
    first, second = json.loads(json.dumps(found, allow_nan=False))["findings"]
    assert first["measured"] == {
        "quantity": "mean |c|",
        "values": [1.0, 6.0],
        "along": "step",
        "at": [0, 8],
        "beyond": [1],
        "limit": 5.0,
        "logarithmic": False,
    }
    assert second["measured"] is None


@pytest.mark.parametrize(
    ("along", "curve"),
    [("step", True), ("step from the end", True), ("lag (steps)", True), ("unit", False), ("channel", False)],
)
def test_steps_and_lags_make_a_curve(along, curve) -> None:
    assert Measured("q", (1.0,), along).is_curve is curve


def test_as_text() -> None:
    assert str(Diagnosis((finding(),), ("some-code",), {})) == (
        "1 error; 1 codes looked for\n"
        "\n"
        "error: something is wrong [some-code] in encoder.lstm, layer 1, forward, units 0-2, 5\n"
        "  evidence  f never rises above 0.015 in 4 of 8 units\n"
        "  meaning   These units forget.\n"
        "  change    gl.init.forget_bias_(lstm, 1.0)\n"
        "  page      docs/findings/some-code.md"
    )
    nothing = Diagnosis((), ("a", "b"), {"c": "why", "d": "why"})
    assert str(nothing) == (
        "nothing found; 2 codes looked for, 2 could not be: c, d\n\nnot looked for:\n  c: why\n  d: why"
    )
    several = Diagnosis((finding(), finding("warning"), finding("warning"), finding("note")), (), {})
    assert str(several).startswith("1 error, 2 warnings, 1 note; 0 codes looked for\n")


def test_long_text_is_wrapped_under_its_label() -> None:
    lines = str(Diagnosis((finding(meaning="word " * 40),), (), {})).splitlines()
    assert all(len(line) <= 110 for line in lines)
    assert lines[5].startswith(" " * 12 + "word")


def test_nothing_can_be_changed_afterwards() -> None:
    with pytest.raises(FrozenInstanceError):
        finding().value = 1.0


def test_the_page_of_a_code() -> None:
    code = Code("some-code", "note", "t", 0, "m", "c")
    assert code.page == "docs/findings/some-code.md"


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_a_page_with_its_name_as_title(name) -> None:
    code = RULES[name].code
    assert code.name == name
    assert code.severity in SEVERITIES
    page = (ROOT / code.page).read_text(encoding="utf-8")
    assert name in page.splitlines()[0]
    assert page.startswith("# ")


def test_every_page_has_a_rule() -> None:
    assert {page.stem for page in (ROOT / "docs" / "findings").glob("*.md")} - {"README", "index"} <= set(
        RULES
    )


def test_the_code_of_a_change_can_be_copied() -> None:
    found = finding(change="Do this, and that: `a = 1` `b = 2`")
    assert (found.advice, found.snippet) == ("Do this, and that:", "a = 1\nb = 2")
    assert (finding(change="Think.").advice, finding(change="Think.").snippet) == ("Think.", "")


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("", "model"),
        ("encoder.lstm", "model.encoder.lstm"),
        ("0", "model.get_submodule('0')"),
        ("import.lstm", "model.get_submodule('import.lstm')"),
    ],
)
def test_a_place_as_code(module: str, expected: str) -> None:
    assert Place(module).expression == expected
