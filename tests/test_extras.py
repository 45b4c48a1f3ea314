"""A missing optional dependency is one clear line."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest

from glasslstm._extras import installed_extras, require
from glasslstm.errors import MissingExtraError


def test_a_module_that_is_there_passes() -> None:
    require("json", extra="train")
    require("importlib.metadata", extra="train")


@pytest.mark.parametrize("module", ["no_such_module", "no_such_module.part"])
def test_a_missing_module_names_the_extra_and_the_command(module: str) -> None:
    with pytest.raises(
        MissingExtraError, match=r"no_such_module is not installed.*pip install 'glasslstm\[report\]'"
    ) as caught:
        require(module, extra="report")
    assert caught.value.name == "no_such_module"


def test_a_blocked_module_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(MissingExtraError, match="plotly is not installed"):
        require("plotly", extra="report")


def test_a_broken_module_keeps_its_own_error(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("import something_it_needs")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_it_needs") as caught:
        require("broken_module", extra="train")
    assert not isinstance(caught.value, MissingExtraError)


def test_extras_are_those_of_the_package_with_their_versions() -> None:
    extras = installed_extras()
    assert "all" not in extras
    assert extras["train"]["typer"] == metadata.version("typer")
    assert "numpy" not in extras["train"]


def test_what_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = ["numpy>=1.26", "no-such-package<9,>=2 ; python_version > '3' and extra == \"train\""]
    monkeypatch.setattr("glasslstm._extras.metadata.requires", lambda _: requirements)
    assert installed_extras() == {"train": {"no-such-package": None}}
