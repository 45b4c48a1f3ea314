"""Parquet larger than memory is read in pieces: the same series as at once, or one clear error."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasslstm.data import iter_series, read_series
from glasslstm.data.frames import Piece
from glasslstm.data.parquet import open_parquet, whole_series
from glasslstm.errors import DataError

READ = {"id": "run", "time": "t", "target": "label"}


def long_table(lengths, names="abcdefghij") -> pa.Table:
    """Series of these lengths, the rows of each together."""
    rng = np.random.default_rng(0)
    runs = np.repeat(np.array(list(names))[: len(lengths)], lengths)
    columns = {
        "run": runs,
        "t": np.concatenate([np.arange(n) for n in lengths]),
        "x": rng.normal(size=len(runs)),
    }
    columns |= {"n": np.arange(len(runs), dtype=np.int16), "label": np.char.add("of ", runs)}
    return pa.table(columns)


def write_parts(folder, table, cuts, row_group_size=None):
    """Write the table as parts that end at these rows."""
    edges = [0, *cuts, len(table)]
    for k in range(len(edges) - 1):
        part = table.slice(edges[k], edges[k + 1] - edges[k])
        pq.write_table(part, folder / f"part-{k}.parquet", row_group_size=row_group_size)
    return folder


def assert_same(one, other) -> None:
    """Compare every field of two containers, values in 32 bits."""
    assert one.ids.tolist() == other.ids.tolist()
    assert one.lengths.tolist() == other.lengths.tolist()
    assert one.values.astype(np.float32).tolist() == other.values.astype(np.float32).tolist()
    for name in ("times", "targets", "step_targets", "static"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None and b is None) or (a.dtype == b.dtype and a.tolist() == b.tolist())
    assert one.channel_names == other.channel_names
    assert one.target_names == other.target_names
    assert one.static_names == other.static_names
    assert one.categories == other.categories


@pytest.mark.parametrize("memory", [0, 1 << 30])
@pytest.mark.parametrize("row_group_size", [1, 3, None])
@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 4, 9]])
def test_a_folder_has_the_series_of_one_table(cuts, row_group_size, memory, tmp_path) -> None:
    table = long_table([3, 1, 5, 1])
    write_parts(tmp_path, table, cuts, row_group_size)
    whole = read_series(table, **READ)
    assert_same(read_series(tmp_path, **READ, memory=memory), whole)
    assert whole.values.dtype == np.float32


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_blocks_have_all_whole_series_in_order(data) -> None:
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, sum(lengths) - 1)), max_size=3)) - {sum(lengths)})
    steps = data.draw(st.integers(1, 12))
    table = long_table(lengths)
    with tempfile.TemporaryDirectory() as folder:
        write_parts(Path(folder), table, cuts)
        parts = list(iter_series(folder, **READ, steps=steps))
    whole = read_series(table, **READ)
    assert [x.tolist() for part in parts for x in part] == [x.tolist() for x in whole]
    assert np.concatenate([part.targets for part in parts]).tolist() == whole.targets.tolist()
    for (
        part
    ) in parts:  # less than `steps` rows, one long series, and the rest of a piece of at most `steps` rows
        assert part.steps - part.lengths.max() < 2 * steps


def test_one_large_file_is_read_in_pieces_and_a_small_one_at_once(tmp_path) -> None:
    table = long_table([3, 2, 4])
    file = tmp_path / "t.parquet"
    pq.write_table(table, file)
    size = 9 * 2 * 4  # rows, channels, bytes
    assert_same(read_series(file, **READ, memory=size - 1), read_series(file, **READ, memory=size))
    pq.write_table(table.take([0, 3, 1, 4, 2, 5, 6, 7, 8]), file)
    assert_same(read_series(file, **READ, memory=size), read_series(table, **READ))
    with pytest.raises(
        DataError, match="series 'a' comes back after other series; what does not fit into memory"
    ):
        read_series(file, **READ, memory=size - 1)


def test_all_jobs_of_columns_are_as_for_one_table(tmp_path) -> None:
    table = long_table([3, 2, 4])
    table = table.append_column("kind", pa.array(["q", "p", None, "r", "q", "p", "p", "p", "s"]))
    table = table.append_column("age", pa.array([5, 5, 5, 6, 6, 7, 7, 7, 7]))
    table = table.append_column("state", pa.array(["z", "long", "z", "z", "z", "longer", "z", "z", "z"]))
    table = table.append_column("when", pa.array(pd.date_range("2024-01-01", periods=9, tz="Europe/Berlin")))
    write_parts(tmp_path, table, [2, 5])
    jobs = {"id": "run", "time": "when", "channels": ["x", "n"], "categories": ["kind"], "static": ["age"]}
    jobs |= {"missing": "mask"}
    for per_step in (True, None):
        one, other = (
            read_series(source, **jobs, target="state", per_step=per_step) for source in (tmp_path, table)
        )
        assert one.step_targets.tolist() == other.step_targets.tolist() == table["state"].to_pylist()
        assert one.categories == other.categories == {"kind": ("p", "q", "r", "s")}
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.times, other.times)
        assert one.static.tolist() == [[5.0], [6.0], [7.0]]
    labels = read_series(tmp_path, **jobs, target="label", per_step=None)
    assert labels.targets.tolist() == ["of a", "of b", "of c"]
    for part in iter_series(tmp_path, **jobs, steps=1):
        assert part.categories == {"kind": ("p", "q", "r", "s")}  # also where a block has not all of them


def test_categories_of_the_type_are_found_though_each_part_has_its_own(tmp_path) -> None:
    for k, kinds in enumerate((["b", "c"], ["a", "c"])):
        frame = pd.DataFrame({"run": k, "t": [0, 1], "kind": pd.Categorical(kinds)})
        frame.to_parquet(tmp_path / f"{k}.parquet")
    series = read_series(tmp_path, id="run", time="t")
    assert series.categories == {"kind": ("a", "b", "c")}
    assert series.values.tolist() == [[1], [2], [0], [2]]


def test_steps_are_sorted_on_request_within_their_series(tmp_path) -> None:
    table = long_table([3, 2])
    write_parts(tmp_path, table.take([2, 0, 1, 4, 3]), [2])
    with pytest.raises(DataError, match="series 'a' is not sorted by time: t = 0 comes after t = 2"):
        read_series(tmp_path, **READ)
    assert_same(read_series(tmp_path, **READ, sort=True), read_series(table, **READ))


@pytest.mark.parametrize("steps", [1, 4, 100])
def test_a_series_that_comes_back_is_refused(steps, tmp_path) -> None:
    write_parts(tmp_path, long_table([2, 2, 2, 2, 2], "abcac"), [3, 7], row_group_size=2)
    message = (
        "series 'a' comes back after other series; what does not fit into memory must have the rows of each series "
        "together: sort it by 'run' and 't', or give one file and more memory="
    )
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}: {message}")):
        list(iter_series(tmp_path, **READ, steps=steps))


def test_hidden_files_and_marks_of_success_are_no_parts(tmp_path) -> None:
    write_parts(tmp_path, long_table([2, 1]), [1])
    for name in ("_SUCCESS", "_metadata", ".part-0.parquet.crc"):
        (tmp_path / name).write_text("nothing")
    assert len(read_series(str(tmp_path), **READ)) == 2


def test_what_large_values_would_lose_in_32_bits_is_refused(tmp_path) -> None:
    table = long_table([2, 2])
    far = table.set_column(2, "x", pa.array([1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3]))
    write_parts(tmp_path, far, [2])
    message = (
        r"channel 'x' has values up to 1e\+09 and a standard deviation of 1\.12, .*: subtract an offset first"
    )
    with pytest.raises(DataError, match=message):
        read_series(tmp_path, **READ)
    assert read_series(far, **READ).values.dtype == np.float64
    assert [part.values.dtype for part in iter_series(tmp_path, **READ, steps=2)] == [np.float64] * 2
    one_each = table.set_column(2, "x", pa.array([1e9, 1e9, 1e9 + 1, 1e9 + 1]))  # constant within each block
    write_parts(tmp_path, one_each, [2])
    with pytest.raises(DataError, match="channel 'x' has values up to"):
        read_series(tmp_path, **READ)
    whole = table.set_column(
        2, "x", pa.array([1.6e7, 1.6e7 + 1, 1.6e7 + 2, 1.6e7 + 3])
    )  # below 2^24: all exact
    write_parts(tmp_path, whole, [2])
    assert read_series(tmp_path, **READ)[0][:, 0].tolist() == [1.6e7, 1.6e7 + 1]
    huge = table.set_column(2, "x", pa.array([1e300, 0.0, 0.0, 1.0]))
    write_parts(tmp_path, huge, [2])
    with pytest.raises(DataError, match=r"channel 'x' has values up to 1e\+300"):
        read_series(tmp_path, **READ)
    for harmless in ([1e9, 0.0, 0.0, 1.0], [1e9] * 4):
        write_parts(tmp_path, table.set_column(2, "x", pa.array(harmless)), [2])
        assert read_series(tmp_path, **READ).values[:, 0].tolist() == harmless


def test_the_moments_of_blocks_are_those_of_all() -> None:
    from glasslstm.data.gather import _Moments

    values = np.random.default_rng(0).normal(size=(50, 3)) * [1, 10, 1e-3] + [0, 100, -5]
    values[7, 1] = np.nan
    moments = _Moments()
    for part in np.split(values, [1, 20, 21]):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, np.nanmean(values, axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.squares / moments.count, np.nanvar(values, axis=0), rtol=1e-12)
    assert moments.largest.tolist() == np.nanmax(np.abs(values), axis=0).tolist()


def folder_of(tmp_path, **parts):
    for name, content in parts.items():
        path = tmp_path / name.replace("__", ".")
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is None:
            path.mkdir()
        else:
            pq.write_table(content, path)
    return tmp_path


GOOD = pa.table({"run": [1, 1], "t": [0, 1], "x": [0.5, 1.5], "label": [3, 3]})
UTC, BERLIN = (
    GOOD.set_column(1, "t", GOOD["t"].cast(pa.timestamp("ms", zone))) for zone in ("UTC", "Europe/Berlin")
)
FOLDERS = {
    "nothing": ({}, "F: there are no Parquet files (.parquet, .pq) in this folder"),
    "hidden files alone": ({"_SUCCESS": b""}, "F: there are no Parquet files"),
    "a folder": (
        {"a__parquet": GOOD, "year=2024": None},
        "F/year=2024 is a folder; expected Parquet files side by",
    ),
    "a CSV file": (
        {"a__csv": b"run,t"},
        "F/a.csv is no Parquet file (.parquet, .pq); a folder of parts has nothing",
    ),
    "no Parquet inside": (
        {"a__parquet": GOOD, "b__parquet": b"run"},
        "F/b.parquet cannot be read as Parquet: ",
    ),
    "an empty file": ({"a__parquet": GOOD, "b__parquet": b""}, "F/b.parquet cannot be read as Parquet: "),
    "a part without rows": (
        {"a__parquet": GOOD, "b__pq": GOOD[:0]},
        "F/b.pq: the table has no rows; expected",
    ),
    "another type": (
        {"a__parquet": GOOD, "b__parquet": GOOD.set_column(2, "x", pa.array([1, 2]))},
        (
            "F/b.parquet has another schema than the first part: column 'x' is int64 here and double in a.parquet; "
            "write all parts with one schema"
        ),
    ),
    "a column less": (
        {"a__parquet": GOOD, "b__parquet": GOOD.drop_columns("x")},
        "F/b.parquet has another schema than the first part: column 'x' is in a.parquet and not in b.parquet; write",
    ),
    "a column more": (
        {"a__parquet": GOOD, "b__parquet": GOOD.append_column("z", GOOD["x"])},
        "F/b.parquet has another schema than the first part: column 'z' is in b.parquet and not in a.parquet; write",
    ),
    "two time zones": (
        {"a__parquet": UTC, "b__parquet": BERLIN},
        (
            "F/b.parquet has another schema than the first part: column 't' is timestamp[ms, tz=Europe/Berlin] here "
            "and timestamp[ms, tz=UTC] in a.parquet; write all times in one time zone"
        ),
    ),
    "a column twice": (
        {"a__parquet": pa.table([[1], [0], [1.0], [1.0]], names=["run", "t", "x", "x"])},
        "F/a.parquet: two columns share a name ('x'); rename one",
    ),
    "an unknown column": (
        {"a__parquet": GOOD.rename_columns(["rum", "t", "x", "label"])},
        "F: there is no column 'run'",
    ),
    "a text channel": (
        {"a__parquet": GOOD.set_column(2, "x", pa.array(["u", "v"]))},
        "F/a.parquet: column 'x' holds text such as 'u', and a channel must hold numbers",
    ),
    "a missing id": (
        {"a__parquet": GOOD, "b__parquet": GOOD.set_column(0, "run", pa.array([2, None]))},
        "F/b.parquet: the id column 'run' is empty in row 2 (counted from 1, without a header)",
    ),
    "a missing value": (
        {"a__parquet": GOOD.set_column(2, "x", pa.array([0.5, None]))},
        "F: series 1 at t = 1: channel 'x' is missing; such values in this block of rows: 1 of 2 (50.00%); fill",
    ),
    "a missing target": (
        {"a__parquet": GOOD.set_column(3, "label", pa.array([0.5, None]))},
        "F: series 1 at t = 1: the target 'label' is missing; such series in this block of rows: 1 of 1",
    ),
    "times twice": ({"a__parquet": GOOD, "b__parquet": GOOD}, "F: series 1 has t = 0 more than once"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_bad_folder_is_one_clear_error(case, tmp_path) -> None:
    parts, message = FOLDERS[case]
    folder = folder_of(tmp_path, **parts)
    with pytest.raises(DataError) as caught:
        read_series(folder, **READ)
    assert str(caught.value).replace(str(tmp_path), "F").startswith(message)
    assert "\n" not in str(caught.value)


def test_schemas_are_compared_before_any_row_is_read(tmp_path) -> None:
    """The rows of the first part are damaged, and its footer is not."""
    values = np.random.default_rng(0).normal(size=4000)
    noise = pa.table(
        {"run": np.arange(4000), "t": np.zeros(4000, int), "x": values, "label": np.ones(4000, int)}
    )
    folder = folder_of(tmp_path, a__parquet=noise, b__parquet=GOOD.drop_columns("x"))
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[500:20000] = b"\xff" * 19500
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match="another schema"):
        read_series(folder, **READ)
    (tmp_path / "b.parquet").unlink()
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet: "):
        read_series(folder, **READ)


def test_only_some_rows_are_held_at_once(tmp_path) -> None:
    """What is asked for piece by piece has a piece more than the block, however large the row group is."""
    pq.write_table(long_table([10] * 10), tmp_path / "t.parquet")
    sizes = [piece.table.num_rows for piece in open_parquet(tmp_path).scan(["run"], 8)]
    assert max(sizes) == 8
    pieces = (Piece("", 0, pa.table({"run": ["a"] * 5})) for _ in range(4))
    assert [table.num_rows for table in whole_series(pieces, "run", 7)] == [20]


def test_a_temporary_file_holds_what_is_over_the_memory_and_leaves_nothing(tmp_path, monkeypatch) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    (tmp_path / "parts").mkdir()
    write_parts(tmp_path / "parts", long_table([3, 2, 4]), [4])
    size = 9 * (2 * 4 + 8)  # rows; values and time
    held = read_series(tmp_path / "parts", **READ, memory=size)
    mapped = read_series(tmp_path / "parts", **READ, memory=size - 1)
    assert not isinstance(held.values.base, np.memmap)
    assert isinstance(mapped.values.base, np.memmap)
    assert isinstance(mapped.times.base, np.memmap)
    assert type(mapped.values) is np.ndarray
    assert_same(mapped, held)
    if os.name != "nt":
        assert not list(room.iterdir())


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no room can be asked for beforehand")
def test_a_full_disk_is_an_error_before_the_reading(tmp_path) -> None:
    """The limit on the size of a file stands in for the disk."""
    import resource

    write_parts(tmp_path, long_table([3, 2, 4]), [4])
    message = (
        r"0\.0 GB do not fit into a temporary file in .* \(File too large\); make room, set TMPDIR to a folder with "
        r"more, or read into memory with a larger memory="
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
        with pytest.raises(DataError, match=message):
            read_series(tmp_path, **READ, memory=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_row_of_a_missing_id_is_counted_in_its_file_and_not_in_the_piece(tmp_path) -> None:
    folder = folder_of(tmp_path, a__parquet=GOOD, b__parquet=GOOD.set_column(0, "run", pa.array([2, None])))
    with pytest.raises(
        DataError, match=r"b\.parquet: the id column 'run' is empty in row 2 \(counted from 1"
    ):
        list(iter_series(folder, **READ, steps=1))
