"""What the build makes: a module where there is a compiler, one OpenMP in the process, no code that leaks."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OBJECTS = sorted(ROOT.glob("build/module/CMakeFiles/avx*.dir/**/*.o"))
COMPILER = shutil.which(os.environ.get("CXX", "c++"))
HEADERS = Path(sysconfig.get_path("include"), "Python.h").exists()

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process or a library")
built = pytest.mark.skipif(
    importlib.util.find_spec("glasslstm._native") is None, reason="glasslstm._native was not built here"
)


@pytest.mark.skipif(not (COMPILER and HEADERS), reason="no C++ compiler, or no headers of Python")
def test_where_there_is_a_compiler_there_is_the_module() -> None:
    assert importlib.util.find_spec("glasslstm._native"), "why: GLASSLSTM_REQUIRE_NATIVE=1 pip install -v ."


@linux
@built
@pytest.mark.parametrize("order", ["torch, glasslstm._native", "glasslstm._native, torch"])
def test_torch_and_the_module_share_one_openmp(order: str) -> None:
    code = f"import {order}; print(open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    mapped = {line.split()[-1] for line in done.stdout.splitlines() if "/" in line}
    runtimes = [path for path in mapped if "gomp" in path or "libomp" in path or "iomp" in path]
    assert len(runtimes) == 1, runtimes


@linux
@built
@pytest.mark.skipif(not shutil.which("readelf"), reason="binutils are not installed")
def test_the_module_looks_for_libraries_by_name_alone() -> None:
    spec = importlib.util.find_spec("glasslstm._native")
    assert spec is not None
    assert spec.origin is not None
    needs = _output("readelf", "--dynamic", spec.origin)
    assert "Shared library: [libc" in needs
    assert "RPATH" not in needs
    assert "RUNPATH" not in needs


@pytest.mark.skipif(not (OBJECTS and shutil.which("nm")), reason="no objects of `make setup`, or no binutils")
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.relative_to(ROOT).parts[3])
def test_code_for_one_instruction_set_has_its_name(path: Path) -> None:
    """Under a name that is not its own, the linker could pick it for a processor that cannot run it."""
    isa = path.relative_to(ROOT).parts[3].removesuffix(".dir")
    symbols = _output("nm", "--demangle", "--defined-only", "--extern-only", str(path)).splitlines()
    assert symbols
    assert [symbol for symbol in symbols if isa not in symbol.split(maxsplit=2)[-1]] == []


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
