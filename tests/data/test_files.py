"""Tables are written block by block, whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from glasslstm.data import TableWriter, read_series, write_table
from glasslstm.data.files import check_table_path
from glasslstm.errors import ArgumentError, DataError


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".pq"])
def test_write_table_writes_what_read_series_reads(suffix, tmp_path) -> None:
    file = tmp_path / f"out{suffix}"
    write_table(
        file, {"run": np.array(['a,"b"', "c\nd"]), "t": np.array([0, 1]), "x": np.array([0.25, -3e30])}
    )
    series = read_series(file, id="run", time="t")
    assert series.ids.tolist() == ['a,"b"', "c\nd"]
    assert [x.tolist() for x in series] == [[[0.25]], [[float(np.float32(-3e30))]]]
    assert list(tmp_path.iterdir()) == [file]


def test_a_table_is_written_whole_or_not_at_all(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "out.csv"
    file.write_text("old")

    def fail(*_) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(type(file), "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_table(file, {"x": np.array([1])})
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_path_that_cannot_be_written_is_refused_beforehand(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_table_path(tmp_path / "new" / "out.csv")
    assert not list(tmp_path.iterdir())
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    for name, message in {
        "out.txt": "expected a name that ends in .csv, .parquet or .pq",
        "folder.csv": "is a folder; expected the name of a file to write",
        "file/out.csv": "file is a file; expected a folder",
    }.items():
        with pytest.raises(ValueError, match=message):
            check_table_path(tmp_path / name)
    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(
        ArgumentError, match=r"out\.csv cannot be written: .* \(No space left\); choose another"
    ):
        check_table_path(tmp_path / "out.csv")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that not even root can write into")
def test_a_folder_that_even_root_cannot_write_into_is_refused_beforehand() -> None:
    with pytest.raises(ArgumentError, match=r"^/proc/new/out\.csv cannot be written: .* in /proc \("):
        check_table_path("/proc/new/out.csv")


def full(*_, **__):
    raise OSError(28, "No space left")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_blocks_stand_one_below_the_other(suffix, tmp_path) -> None:
    file = tmp_path / f"out{suffix}"
    with TableWriter(file) as table:
        for k in range(3):
            table.write({"run": np.array([f"{k}" * (k + 1)] * 2), "t": np.arange(2), "x": np.array([k, 0.5])})
        assert not file.exists()
    series = read_series(file, id="run", time="t")
    assert [str(one) for one in series.ids] == ["0", "11", "222"]
    assert series.values[:, 0].tolist() == [0, 0.5, 1, 0.5, 2, 0.5]
    assert list(tmp_path.iterdir()) == [file]


def test_a_parquet_file_is_written_as_it_comes(tmp_path) -> None:
    with TableWriter(tmp_path / "t.parquet") as table:
        for _ in range(3):
            table.write({"x": np.arange(2)})
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("old", [None, "old"])
def test_an_error_between_blocks_leaves_all_as_it_was(suffix, old, tmp_path) -> None:
    file = tmp_path / f"out{suffix}"
    if old:
        file.write_text(old)
    before = list(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError):
        write_blocks(file, [{"x": np.arange(2)}, None])
    assert list(tmp_path.iterdir()) == before
    assert not old or file.read_text() == old


def test_a_writer_without_a_block_writes_nothing(tmp_path) -> None:
    with TableWriter(tmp_path / "new" / "t.csv"):
        pass
    assert not list(tmp_path.iterdir())


def test_another_suffix_and_other_columns_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"expected a name that ends in \.csv, \.parquet or \.pq"):
        TableWriter(tmp_path / "t.xlsx")
    message = "a block has the columns x (double); expected x (int64), as in the first block"
    with pytest.raises(DataError, match=re.escape(message)):
        write_blocks(tmp_path / "t.csv", [{"x": np.arange(2)}, {"x": np.arange(2.0)}])
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("rows", [20_000, 300_000])
def test_a_full_disk_is_one_clear_error_and_nothing_stays(suffix, rows, tmp_path) -> None:
    """The limit on the size of a file stands in for the disk; some rows fail in `write`, some only at the end."""
    import resource

    file = tmp_path / f"out{suffix}"
    file.write_text("old")
    noise = np.random.default_rng(0).normal(size=rows)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(
            OSError, match=f"out\\{suffix} cannot be written: .*; nothing of it was kept"
        ) as caught:
            write_table(file, {"x": noise})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def write_blocks(file, blocks) -> None:
    """Write blocks; ``None`` stands for an error of the caller."""
    with TableWriter(file) as table:
        for block in blocks:
            if block is None:
                raise ZeroDivisionError
            table.write(block)
