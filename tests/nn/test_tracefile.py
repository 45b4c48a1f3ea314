"""The long table has every valid step once, and a saved trace comes back as it was or not at all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import glasslstm as gl
from glasslstm.errors import ArgumentError, ModelFileError
from glasslstm.nn.trace import GRADIENTS, QUANTITIES, GateTrace
from glasslstm.ops.values import StateGradients

INDEX = ["layer", "direction", "sequence", "step", "unit"]
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "one layer": ({}, None),
    "ragged, both directions, projection": (
        {"num_layers": 2, "bidirectional": True, "proj_size": 2},
        [6, 0, 3],
    ),
    "ragged, batch first": ({"num_layers": 2, "batch_first": True}, [1, 6, 5]),
    "unbatched": ({"bidirectional": True}, "unbatched"),
}
every_case = pytest.mark.parametrize(("options", "lengths"), CASES.values(), ids=CASES)


def make(
    options: dict[str, Any], lengths: Any, *, backward: bool = True, dtype: torch.dtype = torch.float64
) -> gl.Trace:
    lstm = gl.LSTM(3, 4, dtype=dtype, **options)
    shape = (3, 6, 3) if lstm.batch_first else (6, 3, 3)
    x = torch.randn(shape if lengths != "unbatched" else (6, 3), dtype=dtype)
    call = {"lengths": lengths} if isinstance(lengths, list) else {}
    output, _, trace = lstm(x, return_trace=True, **call)
    if backward:
        output.square().abs().sum().backward()
    return trace


@every_case
@pytest.mark.parametrize("backward", [False, True])
def test_the_table_by_hand(options: dict[str, Any], lengths: Any, backward: bool) -> None:
    trace = make(options, lengths, backward=backward)
    names = [*QUANTITIES, *(GRADIENTS if backward else ())]
    rows = []
    for layer, direction in trace:
        gates = trace[layer, direction]
        for b in range(1 if lengths == "unbatched" else 3):
            for t, unit in product(range(lengths[b] if isinstance(lengths, list) else 6), range(4)):
                at = (t, unit) if lengths == "unbatched" else (t, b, unit)
                values = [
                    float(value[at]) if unit < (value := getattr(gates, name).detach()).shape[-1] else np.nan
                    for name in names
                ]
                rows.append([layer, direction, b, t, unit, *values])
    table = trace.table()
    assert list(table) == [*INDEX, *names]
    for name, expected in zip(table, zip(*rows, strict=True), strict=True):
        np.testing.assert_array_equal(table[name], expected, err_msg=name)
    if options.get("proj_size"):
        missing = table["unit"] >= 2
        assert np.isnan(table["hidden"][missing]).all()
        assert not np.isnan(table["hidden"][~missing]).any()


def test_the_table_is_what_the_table_libraries_take() -> None:
    table = make({"num_layers": 2}, [6, 2, 0], dtype=torch.float32).table()
    assert {name: str(column.dtype) for name, column in table.items()} == dict(
        zip(INDEX, ("int16", "int8", "int32", "int32", "int32"), strict=True)
    ) | dict.fromkeys((*QUANTITIES, *GRADIENTS), "float32")
    assert sum(column.itemsize for column in table.values()) == 47
    for frame in (pd.DataFrame(table), pl.DataFrame(table), pa.table(table)):
        assert frame.shape == (2 * 8 * 4, 13)
        np.testing.assert_array_equal(frame["cell"].to_numpy(), table["cell"])
        np.testing.assert_array_equal(frame["layer"].to_numpy(), table["layer"])


def test_some_layers_and_some_steps() -> None:
    trace = make({"num_layers": 3, "bidirectional": True}, [6, 2, 4])
    whole = pd.DataFrame(trace.table())
    some = pd.DataFrame(trace.table(layers=[2, 0]))
    pd.testing.assert_frame_equal(some, whole[whole.layer != 1].reset_index(drop=True))
    part = pd.DataFrame(trace.window(1, 4).table())
    pd.testing.assert_frame_equal(part, whole[whole.step.between(1, 3)].reset_index(drop=True))
    with pytest.raises(ArgumentError, match=r"trace\[\(3, 0\)\]: there is no such entry"):
        trace.table(layers=[1, 3])
    with pytest.raises(ArgumentError, match="layers: expected some of 0 to 2, got none"):
        trace.table(layers=[])


def test_sixteen_bits_become_float32_and_nothing_is_no_row() -> None:
    table = make({}, [0, 0, 0], dtype=torch.bfloat16).table()
    assert table["cell"].dtype == np.float32
    assert all(len(column) == 0 for column in table.values())


def test_gradients_that_only_one_layer_has() -> None:
    trace = make({"num_layers": 2}, None, backward=False)
    gradient = torch.randn(6, 3, 4, dtype=torch.float64)
    trace._entries[1, 0] = _with_gradients(trace[1, 0], gradient)
    table = trace.table()
    assert list(table)[-1] == "cell_grad"
    assert np.isnan(table["cell_grad"][table["layer"] == 0]).all()
    np.testing.assert_array_equal(
        table["cell_grad"][table["layer"] == 1], gradient.transpose(0, 1).flatten().numpy()
    )


def test_numpy_by_layer_and_direction() -> None:
    trace = make({"bidirectional": True}, [6, 2, 0])
    found = trace.numpy()
    assert list(found) == [(0, 0), (0, 1)]
    assert list(found[0, 1]) == [*QUANTITIES, *GRADIENTS]
    np.testing.assert_array_equal(found[0, 1]["forget_gate"], trace[0, 1].forget_gate.detach().numpy())


@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backward", [False, True])
def test_save_then_load_is_the_identity(
    options: dict[str, Any], lengths: Any, dtype: torch.dtype, backward: bool, tmp_path: Path
) -> None:
    trace = make(options, lengths, dtype=dtype, backward=backward)
    trace.save(tmp_path / "new" / "trace.safetensors")
    _same(gl.Trace.load(str(tmp_path / "new" / "trace.safetensors")), trace)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["trace.safetensors"]


def test_a_part_a_trace_without_input_and_one_of_complex_numbers(tmp_path: Path) -> None:
    whole = make({"bidirectional": True}, [6, 2, 0])
    part = whole.window(2, 5)
    part.left_out, part.input = "the first 2 steps: \u2205", None
    path = tmp_path / "trace.safetensors"
    part.save(path)
    _same(gl.Trace.load(path), part)
    make({}, None, dtype=torch.complex64).save(path)  # over the one before
    assert gl.Trace.load(path)[0, 0].cell.dtype == torch.complex64
    with pytest.raises(
        ArgumentError, match=r"0\.0\.input_gate is of torch.complex128, which a trace file cannot"
    ):
        make({}, None, dtype=torch.complex128).save(path)
    assert gl.Trace.load(path)[0, 0].cell.dtype == torch.complex64


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    trace = make({}, [6, 2, 0], dtype=torch.float32)
    trace.save(tmp_path / "trace.safetensors")
    with safe_open(tmp_path / "trace.safetensors", "np") as file:
        assert file.metadata() == {"format": "glasslstm.trace", "format_version": "1", "start": "0"}
        assert sorted(file.keys()) == sorted(
            [f"0.0.{name}" for name in (*QUANTITIES, *GRADIENTS, "initial_hidden", "initial_cell")]
            + ["input", "lengths", "reverse"]
        )
        np.testing.assert_array_equal(file.get_tensor("0.0.cell"), trace[0, 0].cell.detach().numpy())


def test_where_no_file_can_be_written(tmp_path: Path) -> None:
    trace = make({}, None)
    with pytest.raises(ArgumentError, match=r"path: \S+ is a folder; a trace is saved to one file"):
        trace.save(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="is a file; expected a folder"):
        trace.save(tmp_path / "file" / "trace.safetensors")


def test_what_cannot_be_read_as_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "trace.safetensors"
    with pytest.raises(
        ModelFileError, match=r"trace.safetensors: there is no such file; expected one that Trace.save"
    ):
        gl.Trace.load(path)
    with pytest.raises(ModelFileError, match="there is no such file"):
        gl.Trace.load(tmp_path)
    make({}, None).save(path)
    content = path.read_bytes()
    for wrong in (b"", b"PK\3\4 something else", content[:-1], content[:100], b"\xff" * 8 + content[8:]):
        path.write_bytes(wrong)
        with pytest.raises(
            ModelFileError, match=r"cannot be read as a safetensors file \(.+\); it is damaged or of"
        ):
            gl.Trace.load(path)


def test_another_kind_of_file_and_another_version(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.ones(3)}, path)
    with pytest.raises(
        ModelFileError, match=r"has no trace in it \(format None, expected 'glasslstm.trace'\)"
    ):
        gl.Trace.load(path)
    save_file({"weight": torch.ones(3)}, path, {"format": "pt"})
    with pytest.raises(ModelFileError, match=r"has no trace in it \(format 'pt'"):
        gl.Trace.load(path)
    save_file({"weight": torch.ones(3)}, path, {"format": "glasslstm.trace", "format_version": "2"})
    with pytest.raises(
        ModelFileError, match="has version '2' of the format, this glasslstm reads 1; a newer one may read it"
    ):
        gl.Trace.load(path)


Change = Callable[[dict[str, Tensor], dict[str, str]], Any]
FAULTS: dict[str, tuple[Change, str]] = {
    "no start": (lambda t, m: m.pop("start"), "start is None, expected a number of steps"),
    "a start that is none": (lambda t, m: m.update(start="-1"), "start is '-1', expected a number"),
    "no directions": (
        lambda t, m: t.pop("reverse"),
        r"reverse, booleans of shape \(layers, directions\), is not",
    ),
    "directions as numbers": (lambda t, m: t.update(reverse=torch.zeros(2, 2)), "reverse, booleans of shape"),
    "three directions": (lambda t, m: t.update(reverse=torch.zeros(2, 3) > 0), "reverse, booleans of shape"),
    "a layer too few": (lambda t, m: t.update(reverse=torch.zeros(3, 2) > 0), r"2\.0\.candidate is missing"),
    "a layer too many": (
        lambda t, m: t.update(reverse=torch.zeros(1, 2) > 0),
        r"'1\.0\.candidate' is nothing",
    ),
    "a quantity missing": (lambda t, m: t.pop("1.1.forget_gate"), r"1\.1\.forget_gate is missing"),
    "an initial state missing": (lambda t, m: t.pop("0.1.initial_cell"), r"0\.1\.initial_cell is missing"),
    "a stranger": (lambda t, m: t.update(other=torch.ones(1)), "'other' is nothing that such a trace has"),
    "no axis of time": (
        lambda t, m: t.update({"0.0.cell": torch.ones(4)}),
        r"0\.0\.cell has shape \(4,\), expected",
    ),
    "an axis too many": (
        lambda t, m: t.update({"0.0.cell": torch.ones(6, 3, 1, 4)}),
        r"0\.0\.cell has shape \(6, 3, 1, 4\), expected",
    ),
    "other steps": (
        lambda t, m: t.update({"1.0.cell": torch.ones(5, 3, 4)}),
        r"1\.0\.\w+ has shape \(5, 3, 4\), expected \(6, 3, 4\)",
    ),
    "other units": (
        lambda t, m: t.update({"1.0.candidate": torch.ones(6, 3, 5)}),
        r"1\.0\.candidate has shape \(6, 3, 5\), expected \(6, 3, 4\)",
    ),
    "more values than units": (
        lambda t, m: t.update({"0.0.hidden": torch.ones(6, 3, 5)}),
        r"0\.0\.hidden has shape \(6, 3, 5\), expected \(6, 3, 4\)",
    ),
    "an initial state of another batch": (
        lambda t, m: t.update({"0.0.initial_hidden": torch.ones(2, 2)}),
        r"0\.0\.initial_hidden has shape \(2, 2\), expected \(3, 2\)",
    ),
    "a gradient without a batch": (
        lambda t, m: t.update({"0.0.cell_grad": torch.ones(6, 4)}),
        r"0\.0\.cell_grad has shape \(6, 4\), expected \(6, 3, 4\)",
    ),
    "an input of other steps": (
        lambda t, m: t.update(input=torch.ones(3, 6, 3)),
        r"input has shape \(3, 6, 3\), expected \(6, 3, 3\)",
    ),
    "gates as integers": (
        lambda t, m: t.update({"0.0.cell": torch.ones(6, 3, 4, dtype=torch.int64)}),
        r"0\.0\.cell is of torch.int64",
    ),
    "lengths of another batch": (
        lambda t, m: t.update(lengths=torch.ones(2, dtype=torch.int64)),
        r"lengths has shape \(2,\), expected \(3,\)",
    ),
    "lengths as numbers": (lambda t, m: t.update(lengths=torch.ones(3)), "lengths is of torch.float32"),
    "a length too long": (
        lambda t, m: t.update(lengths=torch.tensor([7, 0, 0])),
        r"lengths has \[7, 0, 0\], expected 0 to 6",
    ),
    "a length below 0": (
        lambda t, m: t.update(lengths=torch.tensor([1, 0, -1])),
        r"lengths has \[1, 0, -1\], expected 0 to 6",
    ),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_what_does_not_fit_is_refused(change: Change, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.safetensors"
    make({"num_layers": 2, "bidirectional": True, "proj_size": 2}, [6, 0, 3]).save(path)
    metadata, tensors = _content(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)
    with pytest.raises(
        ModelFileError, match=f"{path}: {message}.*; the file was damaged or changed, save the trace"
    ):
        gl.Trace.load(path)


def test_lengths_beside_one_sequence_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.safetensors"
    make({}, "unbatched").save(path)
    metadata, tensors = _content(path)
    save_file(tensors | {"lengths": torch.tensor(6)}, path, metadata)
    with pytest.raises(ModelFileError, match="'lengths' is nothing that such a trace has"):
        gl.Trace.load(path)


def _content(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, "pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _with_gradients(gates: GateTrace, cell: Tensor) -> GateTrace:
    own = {name: getattr(gates, name) for name in (*QUANTITIES, "initial_hidden", "initial_cell")}
    return GateTrace(**own, gradients=StateGradients(cell))


def _same(found: gl.Trace, expected: gl.Trace) -> None:
    def equal(one: Tensor | None, other: Tensor | None) -> bool:
        if one is None or other is None:
            return one is other
        return one.dtype == other.dtype and torch.equal(one, other)

    assert list(found) == list(expected)
    assert (found.start, found.left_out) == (expected.start, expected.left_out)
    assert equal(found.lengths, expected.lengths)
    assert equal(found.input, expected.input)
    for key in expected:
        assert found[key].reverse == expected[key].reverse
        assert equal(found[key].valid, expected[key].valid)
        for name in (*QUANTITIES, *GRADIENTS, "initial_hidden", "initial_cell", "lengths"):
            assert equal(getattr(found[key], name), getattr(expected[key], name)), (key, name)
            if name not in (*GRADIENTS, "lengths"):
                assert not getattr(found[key], name).requires_grad
