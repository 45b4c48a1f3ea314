"""The public face: names, what an import loads, and how the errors hang together."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import glasslstm as gl
from glasslstm import errors

OPTIONAL = (
    *("sklearn", "lightning_fabric", "plotly", "pyarrow", "pandas", "polars", "narwhals"),
    *("typer", "rich", "safetensors", "pydantic"),
)


@pytest.fixture(scope="module")
def loaded() -> list[str]:
    """The modules that `import glasslstm` loads in a fresh process."""
    code = "import sys, glasslstm; glasslstm.LSTM(2, 3); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_an_import_loads_no_optional_dependency(loaded: list[str]) -> None:
    assert "torch" in loaded
    assert not set(OPTIONAL) & set(loaded)


def test_the_layers_below_know_nothing_of_those_above(loaded: list[str]) -> None:
    """Imports point down only: nn and ops are loaded, and nothing that stands on them."""
    ours = {module.split(".")[1] for module in loaded if module.startswith("glasslstm.")}
    assert ours >= {"nn", "ops", "errors"}
    assert not ours & {"estimators", "data", "insight", "demo", "doctor", "cli", "__main__", "modelfile"}


def test_the_list_of_names_is_complete_and_sorted() -> None:
    ours = {
        name for name, value in vars(gl).items() if getattr(value, "__module__", "").startswith("glasslstm")
    }
    assert {name for name in ours if not name.startswith("_")} <= set(gl.__all__)
    assert dir(gl) == sorted(gl.__all__)
    assert len(gl.__all__) == len(set(gl.__all__))
    assert gl.__all__ == sorted(gl.__all__, key=_like_imports)
    assert {"LSTM", "LSTMCell", "Trace", "GateTrace", "GateWeights", "use_kernel", "__version__"} <= set(
        gl.__all__
    )


def _like_imports(name: str) -> tuple[int, str]:
    """Constants first, then classes, then the rest, each by name: the order of sorted imports."""
    if name.isupper():
        return 0, name
    return (1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("name", gl.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(gl, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__ is not None
        assert len(value.__doc__.splitlines()[0]) > 10
        assert value.__module__.startswith("glasslstm.")


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'glasslstm' has no attribute 'GRU'"):
        gl.GRU  # noqa: B018
    assert not hasattr(gl, "gru")


def test_every_name_can_be_starred() -> None:
    names: dict[str, object] = {}
    exec("from glasslstm import *", names)
    assert set(gl.__all__) <= set(names)


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert version("glasslstm") == gl.__version__


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ArgumentError", ValueError),
        ("ArgumentTypeError", TypeError),
        ("ShapeError", RuntimeError),
        ("DataError", ValueError),
        ("ModelFileError", ValueError),
        ("KernelError", RuntimeError),
        ("MissingExtraError", ImportError),
    ],
)
def test_each_error_is_also_what_users_catch(name: str, builtin: type[Exception]) -> None:
    error = getattr(errors, name)
    assert issubclass(error, builtin)
    assert issubclass(error, errors.GlassLSTMError)
    assert name in errors.__all__
