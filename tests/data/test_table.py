"""A long table becomes a list of series, or one clear error."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import re
import sys

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasslstm.data import read_series, write_table
from glasslstm.data.files import check_table_path
from glasslstm.errors import ArgumentError, ArgumentTypeError, DataError

COLUMNS = {
    "run": ["b", "a", "b", "a", "b"],
    "t": [0, 10, 1, 20, 2],
    "x": [1.0, 2.0, 3.0, 4.0, 5.0],
    "n": [10, 20, 30, 40, 50],
    "ok": [1, 0, 1, 0, 1],
}
X_B = [[1.0, 10.0], [3.0, 30.0], [5.0, 50.0]]
X_A = [[2.0, 20.0], [4.0, 40.0]]


def as_csv(columns, path):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def as_parquet(columns, path):
    pq.write_table(pa.table(columns), path)
    return path


SOURCES = {
    "pandas": lambda columns, _: pd.DataFrame(columns),
    "pandas with an index": lambda columns, _: pd.DataFrame(columns, index=list("vwxyz")),
    "polars": lambda columns, _: pl.DataFrame(columns),
    "pyarrow": lambda columns, _: pa.table(columns),
    "narwhals": lambda columns, _: nw.from_native(pl.DataFrame(columns)),
    "csv": lambda columns, folder: as_csv(columns, folder / "t.csv"),
    "CSV as text": lambda columns, folder: str(as_csv(columns, folder / "t.CSV")),
    "parquet": lambda columns, folder: as_parquet(columns, folder / "t.parquet"),
    "pq": lambda columns, folder: as_parquet(columns, folder / "t.pq"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_series(kind, tmp_path) -> None:
    source = SOURCES[kind](COLUMNS, tmp_path)
    series = read_series(source, id="run", time="t", target="ok")
    assert series.ids.tolist() == ["b", "a"]  # in order of first appearance
    assert [x.tolist() for x in series.X] == [X_B, X_A]
    assert series.y.tolist() == series.labels.tolist() == [1, 0]
    assert series.channels == ("x", "n")
    assert len(series) == 2


def test_channels_come_in_the_order_asked_for_and_the_target_is_optional() -> None:
    series = read_series(pa.table(COLUMNS), id="run", time="t", channels=["ok", "x"])
    assert series.X[0].tolist() == [[1.0, 1.0], [1.0, 3.0], [1.0, 5.0]]
    assert series.channels == ("ok", "x")
    assert series.y is None
    with pytest.raises(DataError, match="the table was read without labels; name the column"):
        _ = series.labels


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ((pa.float32(), pa.float32()), np.float32),
        ((pa.float32(), pa.float64()), np.float64),
        ((pa.int8(), pa.float32()), np.float64),
        ((pa.decimal128(5, 2), pa.float16()), np.float64),
    ],
)
def test_float32_stays_float32_and_the_rest_becomes_float64(types, expected) -> None:
    columns = {f"c{k}": pa.array([1, 2], kind) for k, kind in enumerate(types)}
    series = read_series(pa.table({"run": ["a", "a"], "t": [0, 1], **columns}), id="run", time="t")
    assert series.X[0].dtype == expected
    assert series.X[0].tolist() == [[1.0, 1.0], [2.0, 2.0]]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array(["x", "y"]), np.array(["x", "y"])),
        (pa.array(["x", "y"]).dictionary_encode(), np.array(["x", "y"])),
        (pa.array(["x", "y"], pa.large_string()), np.array(["x", "y"])),
        (pa.array([7, 3], pa.int16()), np.array([7, 3], np.int16)),
        (pa.array([7, 3]).dictionary_encode(), np.array([7, 3])),
        (pa.array([False, True]), np.array([False, True])),
        (pa.array([0.5, 1.5]), np.array([0.5, 1.5])),
    ],
)
def test_labels_keep_their_type(labels, expected) -> None:
    table = pa.table({"run": [1, 2], "t": [0, 0], "x": [1.0, 2.0], "label": labels})
    y = read_series(table, id="run", time="t", target="label").y
    assert y.dtype == expected.dtype
    assert y.tolist() == expected.tolist()


def test_categorical_labels_of_pandas_and_polars_are_text() -> None:
    columns = {"run": [1, 2], "t": [0, 0], "x": [1.0, 2.0], "label": ["u", "v"]}
    for frame in (
        pd.DataFrame(columns).astype({"label": "category"}),
        pl.DataFrame(columns, schema_overrides={"label": pl.Categorical}),
    ):
        assert read_series(frame, id="run", time="t", target="label").y.tolist() == ["u", "v"]


DAY = dt.datetime(2024, 2, 28)
TIMES = {
    "integers": [1, 2, 3],
    "floats": [-0.5, 0.0, 1e9],
    "dates": [DAY.date() + dt.timedelta(days=k) for k in range(3)],
    "timestamps": [DAY + dt.timedelta(hours=k) for k in range(3)],
    "times of day": [dt.time(k) for k in range(3)],
    "durations": [dt.timedelta(k) for k in range(3)],
    "decimals": [decimal.Decimal(k) / 10 for k in range(3)],
}


@pytest.mark.parametrize("kind", TIMES)
def test_time_of_every_type_sorts(kind) -> None:
    first, second, third = TIMES[kind]
    table = pa.table({"run": [0, 0, 0], "t": [second, third, first], "x": [2.0, 3.0, 1.0]})
    assert read_series(table, id="run", time="t", sort=True).X[0].tolist() == [[1.0], [2.0], [3.0]]
    with pytest.raises(DataError, match="series 0 is not sorted by time"):
        read_series(table, id="run", time="t")


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["7", "-12", "0"], [7, -12, 0]),
        (["123456789012345678", "-123456789012345678"], [123456789012345678, -123456789012345678]),
        (["07", "7"], ["07", "7"]),
        (["001", "1", "01"], ["001", "1", "01"]),
        (["12345678901234567890", "12345678901234567891"], ["12345678901234567890", "12345678901234567891"]),
        (["-0", "0"], ["-0", "0"]),
        (["+1", "1"], ["+1", "1"]),
        (["1.0", "1"], ["1.0", "1"]),
        (["nan", "null", "NA", "N/A"], ["nan", "null", "NA", "N/A"]),
        (["true", "True"], ["true", "True"]),
        (["2024-01-01", "1"], ["2024-01-01", "1"]),
        ([" 1", "1"], [" 1", "1"]),
    ],
)
def test_ids_and_labels_of_a_csv_file_are_integers_only_where_that_loses_nothing(
    texts, values, tmp_path
) -> None:
    file = tmp_path / "t.csv"
    file.write_text("run,t,x,label\n" + "".join(f"{text},0,1,{text}\n" for text in texts))
    series = read_series(file, id="run", time="t", target="label")
    assert series.ids.tolist() == series.labels.tolist() == values
    write_table(
        tmp_path / "again.csv", {"run": series.ids, "t": np.zeros(len(values)), "x": series.ids == ""}
    )
    assert read_series(tmp_path / "again.csv", id="run", time="t").ids.tolist() == values


def test_the_other_columns_of_a_csv_file_are_still_numbers_and_a_gap_is_a_gap(tmp_path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("run,t,x\n01,01,007\n01,02,1e1\n")
    assert read_series(file, id="run", time="t").X[0].tolist() == [[7.0], [10.0]]
    file.write_text("run,t,x\n01,01,NA\n")
    with pytest.raises(DataError, match="series '01' at t = 1: channel 'x' is missing"):
        read_series(file, id="run", time="t")


def test_timestamps_of_a_csv_file_are_times(tmp_path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("run,t,x\n7,2024-02-28 23:00:00,1\n7,2024-02-29T00:00:00,2\n")
    assert read_series(file, id="run", time="t").X[0].tolist() == [[1.0], [2.0]]


@settings(deadline=None, max_examples=50)
@given(st.permutations(range(12)), st.lists(st.integers(0, 3), min_size=12, max_size=12))
def test_the_order_of_the_rows_changes_nothing_but_the_order_of_the_series(order, runs) -> None:
    table = pa.table({"run": runs, "t": range(12), "x": np.arange(12.0)})
    given_order = read_series(table, id="run", time="t")
    shuffled = read_series(table.take(order), id="run", time="t", sort=True)
    assert shuffled.ids.tolist() == list(dict.fromkeys(runs[k] for k in order))
    by_id = dict(zip(given_order.ids.tolist(), given_order.X, strict=True))
    for key, x in zip(shuffled.ids.tolist(), shuffled.X, strict=True):
        assert x.tolist() == by_id[key].tolist() == [[float(k)] for k in range(12) if runs[k] == key]


GOOD = {"run": ["a", "a", "b"], "t": [0, 1, 0], "x": [1.0, 2.0, 3.0], "label": ["u", "u", "v"]}
BAD = {
    "an unknown id": (
        {},
        {"id": "rum"},
        "there is no column 'rum' (id). Did you mean 'run'? The columns are 'run', 't', 'x', 'label'",
    ),
    "another case": ({}, {"time": "T"}, "there is no column 'T' (time). Did you mean 't'?"),
    "an unknown target": ({}, {"target": "qqqq"}, "there is no column 'qqqq' (target). The columns are"),
    "an unknown channel": ({}, {"channels": ["x", "y0"]}, "there is no column 'y0' (channel)."),
    "one column for two": ({}, {"time": "run"}, "column 'run' is used twice, for id and time"),
    "the target as channel": ({}, {"channels": ["label"]}, "'label' is used twice, for target and channel"),
    "a channel twice": ({}, {"channels": ["x", "x"]}, "'x' is used twice, for channel and channel"),
    "no channel asked for": ({}, {"channels": []}, "there is no channel; expected at least one column"),
    "no rows": (dict.fromkeys(GOOD, pa.array([], pa.float64())), {}, "the table has no rows"),
    "text among the columns": (
        {"note": ["1", "2e-3", "?"]},
        {},
        (
            "column 'note' holds text such as '?', and a channel must hold numbers; name the channels: "
            "channels=['x'] (--channels x)"
        ),
    ),
    "a text channel": (
        {"note": ["1", "2", "3"]},
        {"channels": ["x", "note"]},
        "column 'note' holds text, and a channel must hold numbers; turn it into numbers, or leave it out",
    ),
    "a date channel": ({"x": [DAY, DAY, DAY]}, {}, "column 'x' holds dates or times, and a channel must"),
    "a missing id": ({"run": ["a", None, "b"]}, {}, "the id column 'run' is empty in row 2"),
    "an id of empty text": ({"run": ["a", "a", ""]}, {}, "the id column 'run' is empty in row 3"),
    "a missing time": ({"t": [0.0, float("nan"), 0.0]}, {}, "the time column 't' is empty in row 2"),
    "a missing label": ({"label": [None, "u", "v"]}, {}, "the target column 'label' is empty in row 1"),
    "text as time": ({"t": ["1", "2", "3"]}, {}, "the time column 't' holds text; expected numbers, dates"),
    "booleans as time": (
        {"t": [False, True, False]},
        {},
        "'t' holds values of the type bool; expected numbers",
    ),
    "dates as labels": ({"label": [DAY, DAY, DAY]}, {}, "the target column 'label' holds dates or times"),
    "lists as ids": ({"run": [[1], [1], [2]]}, {}, "the id column 'run' holds values of the type list<"),
    "repeated time": (
        {"t": [0, 0, 0]},
        {},
        (
            "series 'a' has t = 0 more than once; within a series each time must be there once: drop the "
            "duplicates, or check that 'run' tells all series apart"
        ),
    ),
    "unsorted time": (
        {"t": [1, 0, 0]},
        {},
        (
            "series 'a' is not sorted by time: t = 0 comes after t = 1; rows sorted by time are required: "
            "sort the table, or ask for it with sort=True (--sort)"
        ),
    ),
    "two labels": (
        {"label": ["u", "v", "v"]},
        {},
        "series 'a' has two labels: label = 'u' and 'v'; a series has one label",
    ),
    "a null": (
        {"x": [1.0, None, None]},
        {},
        (
            "series 'a' at t = 1: channel 'x' is missing; such values in the table: 2; every value must be a "
            "finite number: fill the gap, or drop the row"
        ),
    ),
    "NaN": ({"x": [float("nan"), 1.0, 2.0]}, {}, "series 'a' at t = 0: channel 'x' is missing"),
    "infinity": ({"x": [1.0, 2.0, -np.inf]}, {}, "series 'b' at t = 0: channel 'x' is infinite"),
    "nothing but nulls": ({"x": pa.nulls(3)}, {}, "series 'a' at t = 0: channel 'x' is missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_one_clear_error(case) -> None:
    columns, arguments, message = BAD[case]
    names = {"id": "run", "time": "t", "target": "label", **arguments}
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_series(pa.table({**GOOD, **columns}), **names)
    assert str(caught.value).startswith("the table: ")
    assert "\n" not in str(caught.value)


def test_time_may_repeat_between_series_and_a_repeat_is_found_in_unsorted_rows() -> None:
    table = pa.table({"run": [1, 1, 1], "t": [0, 1, 0], "x": [1.0, 2.0, 3.0]})
    with pytest.raises(DataError, match="series 1 has t = 0 more than once"):
        read_series(table, id="run", time="t")


def test_a_long_list_of_columns_is_cut() -> None:
    table = pa.table({f"c{k}": [1.0] for k in range(25)})
    with pytest.raises(DataError, match=r"'c19' and 5 more$"):
        read_series(table, id="something else", time="c0")


def test_channels_as_one_text_are_refused() -> None:
    with pytest.raises(
        ArgumentTypeError, match="channels: expected a list of column names; got the text 'x'"
    ):
        read_series(pa.table(GOOD), id="run", time="t", channels="x")


@pytest.mark.parametrize("source", [3, None, {"run": [1]}, pl.LazyFrame({"run": [1]}), pd.Series([1])])
def test_something_else_than_a_table_is_refused(source) -> None:
    with pytest.raises(ArgumentTypeError, match="expected a path to a CSV or Parquet file, or a dataframe"):
        read_series(source, id="run", time="t")


def test_pandas_columns_without_one_type_or_name_are_refused() -> None:
    frame = pd.DataFrame(GOOD)
    with pytest.raises(DataError, match="two columns share a name"):
        read_series(frame.rename(columns={"t": "x"}), id="run", time="x")
    with pytest.raises(DataError, match=r"column names must be text; got \['run', 't', 0, 'label'\]"):
        read_series(frame.rename(columns={"x": 0}), id="run", time="t")
    with pytest.raises(DataError, match=r"column run .*; all values of a column must have one type"):
        read_series(frame.assign(run=[1, "a", 2.5]), id="run", time="t", channels=["x"])


FILES = {
    "missing.csv": (None, "there is no such file; expected a table as .csv, .parquet or .pq"),
    "table.xlsx": (b"", "expected a name that ends in .csv, .parquet or .pq"),
    "empty.csv": (b"", "cannot be read as CSV (UTF-8, separated by commas): Empty CSV file"),
    "ragged.csv": (b"run,t,x\na,0,1\na,1\n", "cannot be read as CSV (UTF-8, separated by commas): CSV parse"),
    "latin.csv": ("run,t,\xe9\na,0,1\n".encode("latin-1"), "cannot be read as CSV (UTF-8, separated by"),
    "semicolon.csv": (b"run;t;x\na;0;1\n", "there is no column 'run' (id). The columns are 'run;t;x'"),
    "header.csv": (b"run,t,x\n", "the table has no rows"),
    "twice.csv": (b"run,t,x,x\na,0,1,2\n", "two columns share a name"),
    "label.csv": (
        "run,t,x\n\xe9,0,1\n".encode("latin-1"),
        "cannot be read as CSV (UTF-8, separated by commas): In CSV column #0: CSV conversion error to string",
    ),
    "time.csv": (
        "run,t,x\na,\xe9,1\n".encode("latin-1"),
        "the time column 't' holds bytes that are not UTF-8 text",
    ),
    "id.csv": (b"run,t,x\nNA,0,1\n,1,1\n", "the id column 'run' is empty in row 2"),
    "gap.csv": (b"run,t,x\na,0,1\na,1,\n", "series 'a' at t = 1: channel 'x' is missing"),
    "text.parquet": (b"run,t,x\na,0,1\n", "cannot be read as Parquet: "),
    "cut.pq": (b"PAR1 and no more", "cannot be read as Parquet: "),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_one_clear_error(name, tmp_path) -> None:
    content, message = FILES[name]
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=f"^{re.escape(str(file))}:? {re.escape(message)}") as caught:
        read_series(file, id="run", time="t")
    assert "\n" not in str(caught.value)


def test_a_folder_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="is a folder; expected one file"):
        read_series(tmp_path, id="run", time="t")


def test_a_damaged_parquet_file_is_one_clear_error(tmp_path) -> None:
    noise = np.random.default_rng(0).normal(size=5000)
    file = as_parquet({"run": ["a"] * 5000, "t": range(5000), "x": noise}, tmp_path / "t.parquet")
    content = bytearray(file.read_bytes())
    content[1000:30000] = b"\xff" * 29000
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.parquet cannot be read as Parquet: "):
        read_series(file, id="run", time="t")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".pq"])
def test_write_table_writes_what_read_series_reads(suffix, tmp_path) -> None:
    file = tmp_path / f"out{suffix}"
    write_table(
        file, {"run": np.array(['a,"b"', "c\nd"]), "t": np.array([0, 1]), "x": np.array([0.1, 1e-300])}
    )
    series = read_series(file, id="run", time="t")
    assert series.ids.tolist() == ['a,"b"', "c\nd"]
    assert [x.tolist() for x in series.X] == [[[0.1]], [[1e-300]]]
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
