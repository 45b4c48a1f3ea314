"""A long table becomes series, or one clear error."""

from __future__ import annotations

import datetime as dt
import decimal
import re

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasslstm.data import iter_series, read_series, write_table
from glasslstm.data.table import column_names
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
    assert [x.tolist() for x in series] == [X_B, X_A]
    assert series.targets.tolist() == [1, 0]
    assert series.target_names == ("ok",)
    assert series.channel_names == ("x", "n")
    assert series.times.tolist() == [0, 1, 2, 10, 20]
    assert len(series) == 2


def test_channels_come_in_the_order_asked_for_and_the_target_is_optional() -> None:
    series = read_series(pa.table(COLUMNS), id="run", time="t", channels=["ok", "x"])
    assert series[0].tolist() == [[1.0, 1.0], [1.0, 3.0], [1.0, 5.0]]
    assert series.channel_names == ("ok", "x")
    assert series.targets is None
    assert series.target_names == ()


@pytest.mark.parametrize(
    ("kind", "offset", "expected"),
    [
        (pa.float32(), 0, np.float32),
        (pa.float32(), 2**24 - 2, np.float32),  # as exact as it came
        (pa.float64(), 0, np.float32),
        (pa.float64(), 2**24, np.float64),
        (pa.int64(), 2**24, np.float64),
        (pa.int64(), 2**53, np.float64),  # rounded, as numpy does
        (pa.int16(), 2**14, np.float32),
        (pa.decimal128(21, 2), 0, np.float32),
        (pa.float16(), 0, np.float32),
    ],
)
def test_values_have_32_bits_where_those_tell_the_steps_apart(kind, offset, expected) -> None:
    table = pa.table({"run": ["a", "a"], "t": [0, 1], "x": pa.array([1 + offset, 2 + offset]).cast(kind)})
    series = read_series(table, id="run", time="t")
    assert series.values.dtype == expected
    assert series[0].tolist() == [[1.0 + offset], [2.0 + offset]]


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
    y = read_series(table, id="run", time="t", target="label").targets
    assert y.dtype == expected.dtype
    assert y.tolist() == expected.tolist()


def test_categorical_labels_of_pandas_and_polars_are_text() -> None:
    columns = {"run": [1, 2], "t": [0, 0], "x": [1.0, 2.0], "label": ["u", "v"]}
    for frame in (
        pd.DataFrame(columns).astype({"label": "category"}),
        pl.DataFrame(columns, schema_overrides={"label": pl.Categorical}),
    ):
        assert read_series(frame, id="run", time="t", target="label").targets.tolist() == ["u", "v"]


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
    assert read_series(table, id="run", time="t", sort=True)[0].tolist() == [[1.0], [2.0], [3.0]]
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
    assert series.ids.tolist() == values
    numbers = {"1.0": [1.0, 1.0], "-0": [-0.0, 0.0]}  # what is written as a number is a target's number
    assert series.targets.tolist() == numbers.get(texts[0], values)
    write_table(
        tmp_path / "again.csv", {"run": series.ids, "t": np.zeros(len(values)), "x": series.ids == ""}
    )
    assert read_series(tmp_path / "again.csv", id="run", time="t").ids.tolist() == values


def test_the_other_columns_of_a_csv_file_are_still_numbers_and_a_gap_is_a_gap(tmp_path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("run,t,x\n01,01,007\n01,02,1e1\n")
    assert read_series(file, id="run", time="t")[0].tolist() == [[7.0], [10.0]]
    file.write_text("run,t,x\n01,01,NA\n")
    with pytest.raises(DataError, match="series '01' at t = 1: channel 'x' is missing"):
        read_series(file, id="run", time="t")


def test_timestamps_of_a_csv_file_are_times(tmp_path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("run,t,x\n7,2024-02-28 23:00:00,1\n7,2024-02-29T00:00:00,2\n")
    assert read_series(file, id="run", time="t")[0].tolist() == [[1.0], [2.0]]


@settings(deadline=None, max_examples=50)
@given(st.permutations(range(12)), st.lists(st.integers(0, 3), min_size=12, max_size=12))
def test_the_order_of_the_rows_changes_nothing_but_the_order_of_the_series(order, runs) -> None:
    table = pa.table({"run": runs, "t": range(12), "x": np.arange(12.0)})
    given_order = read_series(table, id="run", time="t")
    shuffled = read_series(table.take(order), id="run", time="t", sort=True)
    assert shuffled.ids.tolist() == list(dict.fromkeys(runs[k] for k in order))
    by_id = dict(zip(given_order.ids.tolist(), given_order, strict=True))
    for key, x in zip(shuffled.ids.tolist(), shuffled, strict=True):
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
            "column 'note' holds text such as '?', and a channel must hold numbers; name the channels: channels=['x'] "
            "(--channels x); if it holds categories, say so: categories=['note'] (--categories note)"
        ),
    ),
    "a text channel": (
        {"note": ["1", "2", "3"]},
        {"channels": ["x", "note"]},
        (
            "column 'note' holds text, and a channel must hold numbers; turn it into numbers, or leave it out; "
            "if it holds categories, say so: categories=['note'] (--categories note)"
        ),
    ),
    "a date channel": ({"x": [DAY, DAY, DAY]}, {}, "column 'x' holds dates or times, and a channel must"),
    "a missing id": ({"run": ["a", None, "b"]}, {}, "the id column 'run' is empty in row 2"),
    "an id of empty text": ({"run": ["a", "a", ""]}, {}, "the id column 'run' is empty in row 3"),
    "a missing time": ({"t": [0.0, float("nan"), 0.0]}, {}, "the time column 't' is empty in row 2"),
    "an infinite time": ({"t": [0.0, float("inf"), 0.0]}, {}, "the time column 't' is infinite in row 2"),
    "a missing label": (
        {"label": [None, "u", ""]},
        {},
        "series 'a' at t = 0: the target 'label' is missing; such series in the table: 2 of 2; fill it in, or drop",
    ),
    "an infinite target": (
        {"label": [1.0, 1.0, -np.inf]},
        {},
        "series 'b' at t = 0: the target 'label' is infinite; such series in the table: 1 of 2",
    ),
    "a target that is no number": (
        {"label": [1.0, np.nan, 1.0]},
        {},
        "series 'a' at t = 1: the target 'label' is missing; such series in the table: 1 of 2",
    ),
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
        (
            "series 'a' has two labels: label = 'u' and 'v'; a series has one label, the same in all its rows; for "
            "a label at each step, per_step=True"
        ),
    ),
    "a null": (
        {"x": [1.0, None, None]},
        {},
        (
            "series 'a' at t = 1: channel 'x' is missing; such values in the table: 2 of 3 (66.67%); fill the gaps, "
            "drop the rows, or train with missing='mask' (--missing mask), which keeps them"
        ),
    ),
    "NaN": ({"x": [float("nan"), 1.0, 2.0]}, {}, "series 'a' at t = 0: channel 'x' is missing"),
    "infinity": (
        {"x": [1.0, 2.0, -np.inf]},
        {},
        (
            "series 'b' at t = 0: channel 'x' is infinite; such values in the table: 1 of 3 (33.33%); every value must "
            "be a finite number: replace it, or drop the row"
        ),
    ),
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


def test_a_damaged_parquet_file_is_one_clear_error(tmp_path) -> None:
    noise = np.random.default_rng(0).normal(size=5000)
    file = as_parquet({"run": ["a"] * 5000, "t": range(5000), "x": noise}, tmp_path / "t.parquet")
    content = bytearray(file.read_bytes())
    content[1000:30000] = b"\xff" * 29000
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.parquet cannot be read as Parquet: "):
        read_series(file, id="run", time="t")


TABLE = {"run": ["a", "a", "b"], "t": [0, 1, 0], "x": [1.0, 2.0, 3.0]}


def read(columns=(), **arguments):
    """Read `TABLE`, with `columns` beside it."""
    return read_series(pa.table({**TABLE, **dict(columns)}), id="run", time="t", **arguments)


STAMPS = [dt.datetime(2024, 7, 1, 12), dt.datetime(2024, 7, 1, 13), dt.datetime(2024, 7, 2)]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (pa.array([1, 3, 2], pa.int16()), np.array([1, 3, 2], np.int16)),
        (pa.array([0.5, 0.75, 0.0]), np.array([0.5, 0.75, 0.0])),
        (pa.array(STAMPS, pa.timestamp("ms")), np.array(STAMPS, "datetime64[ms]")),
        (
            pa.array(STAMPS, pa.timestamp("s")).cast(pa.timestamp("s", "Europe/Berlin")),
            np.array(STAMPS, "datetime64[s]"),  # Arrow holds UTC beneath
        ),
        (
            pa.array([dt.date(2024, 2, 28), dt.date(2024, 2, 29), dt.date(2024, 1, 1)]),
            np.array(["2024-02-28", "2024-02-29", "2024-01-01"], "datetime64[D]"),
        ),
        (pa.array([dt.time(1), dt.time(1, 30), dt.time(0, 0, 1)]), np.array([3600.0, 5400.0, 1.0])),
        (pa.array([dt.time(1), dt.time(2), dt.time(0)], pa.time32("ms")), np.array([3600.0, 7200.0, 0.0])),
        (pa.array([dt.timedelta(1), dt.timedelta(2), dt.timedelta(0)]), np.array([86400.0, 172800.0, 0.0])),
        (
            pa.array([decimal.Decimal("0.5"), decimal.Decimal("1.5"), decimal.Decimal(0)]),
            np.array([0.5, 1.5, 0]),
        ),
    ],
)
def test_times_are_kept_as_numbers_or_dates(times, expected) -> None:
    series = read({"t": times})
    assert series.times.dtype == expected.dtype
    assert series.times.tolist() == expected.tolist()


def test_times_go_with_their_rows_when_these_are_sorted() -> None:
    series = read({"t": [5, 4, 0], "label": [1.0, 2.0, 3.0]}, sort=True, target="label", per_step=True)
    assert series.times.tolist() == [4, 5, 0]
    assert series.values.tolist() == [[2.0], [1.0], [3.0]]
    assert series.step_targets.tolist() == [2.0, 1.0, 3.0]


def test_a_time_zone_becomes_utc(tmp_path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("run,t,x\na,2024-07-01T12:00:00+02:00,1\na,2024-07-01T13:00:00+02:00,2\n")
    expected = ["2024-07-01T10:00:00", "2024-07-01T11:00:00"]
    assert (
        read_series(file, id="run", time="t").times.astype("datetime64[s]").astype(str).tolist() == expected
    )
    berlin = pd.DataFrame(
        {"run": 1, "t": pd.to_datetime(expected, utc=True).tz_convert("Europe/Berlin"), "x": 0.5}
    )
    times = read_series(berlin, id="run", time="t").times
    assert times.astype("datetime64[s]").astype(str).tolist() == expected


@pytest.mark.parametrize("second", ["2024-07-01T13:00:00+01:00", "2024-07-01T13:00:00Z"])
def test_two_time_zones_of_a_csv_file_are_refused(second, tmp_path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(f"run,t,x\na,2024-07-01T12:00:00+02:00,1\na,{second},2\n")
    message = r"t\.csv: the time column 't' has 2 time zones: \+0[01]:00, \+02:00; write all times in one, such as UTC"
    with pytest.raises(DataError, match=message):
        read_series(file, id="run", time="t")
    file.write_text("run,t,x\na,2024-07-01T12:00:00Z,1\na,2024-07-01T13:00:00+00:00,2\n")
    assert len(read_series(file, id="run", time="t")) == 1


def test_two_time_zones_of_python_dates_are_refused() -> None:
    stamps = [dt.datetime(2024, 7, 1, k, tzinfo=dt.timezone(dt.timedelta(hours=k))) for k in (1, 2)]
    frame = pd.DataFrame({"run": 1, "t": pd.Series(stamps, dtype=object), "x": 0.5})
    with pytest.raises(
        DataError, match=r"the time column 't' has 2 time zones: UTC\+01:00, UTC\+02:00; write all"
    ):
        read_series(frame, id="run", time="t")
    frame["t"] = pd.Series([stamps[0], stamps[0] + dt.timedelta(hours=1)], dtype=object)
    assert read_series(frame, id="run", time="t").times.tolist()[0] == dt.datetime(2024, 7, 1)


def test_several_targets_are_numbers_in_columns(tmp_path) -> None:
    series = read({"n": [7, 7, 8], "m": [0.5, 0.5, 1.5]}, target=["m", "n"])
    assert series.targets.tolist() == [[0.5, 7.0], [1.5, 8.0]]
    assert series.target_names == ("m", "n")
    assert series.channel_names == ("x",)
    file = as_csv({**TABLE, "n": [7, 7, 8], "m": [0.5, 0.5, -1e-3]}, tmp_path / "t.csv")
    assert read_series(file, id="run", time="t", target=["m", "n"]).targets.tolist() == [
        [0.5, 7],
        [-0.001, 8],
    ]
    with pytest.raises(
        DataError, match="target column 'm' holds text; expected numbers, because there are several"
    ):
        read({"m": ["u", "u", "v"], "n": 1.0 * np.arange(3)}, target=["m", "n"])
    with pytest.raises(DataError, match="'a' has two labels: n = 7 and 9;"):
        read({"m": [0, 0, 0], "n": [7, 9, 8]}, target=["m", "n"], per_step=None)
    with pytest.raises(ArgumentError, match="target: expected one column, because each step has one target"):
        read({"m": [0, 0, 0], "n": [7, 9, 8]}, target=["m", "n"], per_step=True)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["0.5", "-1", "2e3"], [0.5, -1.0, 2000.0]),
        (["0.5", "07"], ["0.5", "07"]),
        (["1234567890123456", "0.5"], ["1234567890123456", "0.5"]),
        (["0.5", "nan"], ["0.5", "nan"]),
    ],
)
def test_a_target_of_a_csv_file_is_a_number_where_all_are_written_as_one(texts, expected, tmp_path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("run,t,x,y\n" + "".join(f"{k},0,1,{text}\n" for k, text in enumerate(texts)))
    assert read_series(file, id="run", time="t", target="y").targets.tolist() == expected


def test_a_target_of_each_step_and_which_it_is() -> None:
    changing = read({"label": ["u", "v", "v"]}, target="label", per_step=None)
    assert changing.step_targets.tolist() == ["u", "v", "v"]
    assert changing.targets is None
    same = read({"label": ["u", "u", "v"]}, target="label", per_step=None)
    assert same.targets.tolist() == ["u", "v"]
    assert same.step_targets is None
    assert read({"label": [1, 1, 2]}, target="label", per_step=True).step_targets.tolist() == [1, 1, 2]
    apart = {"run": ["a", "b", "a"], "label": [1, 2, 1]}
    assert read({**apart, "t": [0, 0, 1]}, target="label", per_step=None).targets.tolist() == [1, 2]
    with pytest.raises(
        DataError, match=r"'a' at t = 1: the target 'label' is missing; such series .* 1 of 2"
    ):
        read({"label": ["u", None, "v"]}, target="label", per_step=True)


def test_categories_are_codes_of_their_sorted_texts(tmp_path) -> None:
    named = {"kind": ["z", "a", None], "level": [10, 9, 10], "on": [True, False, True]}
    series = read(named, categories=["kind", "level", "on"], missing="mask")
    assert series.channel_names == ("x", "kind", "level", "on")
    assert series.categories == {"kind": ("a", "z"), "level": ("9", "10"), "on": ("false", "true")}
    assert series.values.dtype == np.float32
    np.testing.assert_array_equal(series.values, [[1, 1, 1, 1], [2, 0, 0, 0], [3, np.nan, 1, 1]])
    with pytest.raises(
        DataError, match=r"series 'b' at t = 0: channel 'kind' is missing; .* 1 of 12 \(8\.33%\)"
    ):
        read(named, categories=["kind", "level", "on"])
    assert read(named, channels=["x"], categories=["level"]).channel_names == ("x", "level")
    file = tmp_path / "t.csv"
    file.write_text("run,t,kind\na,0,07\na,1,7\na,2,\n")
    series = read_series(file, id="run", time="t", categories=["kind"], missing="mask")
    assert series.categories == {"kind": ("07", "7")}
    np.testing.assert_array_equal(series.values, [[0], [1], [np.nan]])


def test_columns_that_the_table_types_as_categories_need_not_be_named(tmp_path) -> None:
    frame = pd.DataFrame({**TABLE, "kind": pd.Categorical(["z", "a", "z"], categories=["z", "m", "a"])})
    polars = pl.DataFrame(frame.astype({"kind": str})).with_columns(
        pl.col("kind").cast(pl.Enum(["z", "m", "a"]))
    )
    frame.to_parquet(tmp_path / "t.parquet")
    for source in (frame, polars, pa.Table.from_pandas(frame), tmp_path / "t.parquet"):
        series = read_series(source, id="run", time="t")
        assert series.categories == {"kind": ("a", "z")}
        assert series.values[:, 1].tolist() == [1, 0, 1]
    series = read_series(frame, id="run", time="t", target="kind", per_step=True)
    assert series.step_targets.tolist() == ["z", "a", "z"]
    assert series.categories == {}


def test_a_category_without_any_value_has_no_texts() -> None:
    series = read({"kind": pa.nulls(3)}, categories=["kind"], missing="mask")
    assert series.categories == {"kind": ()}
    assert np.isnan(series.values[:, 1]).all()


def test_static_features_are_numbers_and_categories() -> None:
    beside = {"age": [40, 40, 50], "sex": ["m", "m", "f"]}
    series = read(beside, static=["sex", "age"], categories=["sex"])
    assert series.static.tolist() == [[1.0, 40.0], [0.0, 50.0]]
    assert series.static_names == ("sex", "age")
    assert series.channel_names == ("x",)
    assert series.categories == {"sex": ("f", "m")}


STATIC = {
    "changing": (
        {"age": [40, 41, 50]},
        {},
        "'a' has two values of a static feature: age = 40 and 41; it must be the same",
    ),
    "missing": (
        {"age": [40, 40, None]},
        {},
        "series 'b' at t = 0: the static feature 'age' is missing; such series",
    ),
    "infinite": (
        {"age": [40.0, 40.0, np.inf]},
        {},
        "the static feature 'age' is infinite; such series in the table: 1 of 2",
    ),
    "missing, masked": ({"age": [40, 40, None]}, {"missing": "mask"}, "the static feature 'age' is missing"),
    "text": (
        {"age": ["u", "u", "v"]},
        {},
        "'age' holds text such as 'u', and a static feature must hold numbers; turn it",
    ),
    "a category and target": (
        {"age": [1, 1, 1]},
        {"static": (), "target": "age", "categories": ["age"]},
        "column 'age' is the target; only a channel or static feature has categories",
    ),
    "real numbers as categories": (
        {"age": [0.5, 0.5, 1.0]},
        {"categories": ["age"]},
        "the category column 'age' holds values of the type double; expected text, whole numbers, or true and false",
    ),
    "twice": (
        {"age": [1, 1, 1]},
        {"channels": ["age"]},
        "column 'age' is used twice, for channel and static",
    ),
    "an unknown category": (
        {"age": [1, 1, 1]},
        {"categories": ["agE"]},
        "no column 'agE' (category). Did you mean 'age'?",
    ),
    "an unknown feature": (
        {"age": [1, 1, 1]},
        {"static": ["agE"]},
        "no column 'agE' (static). Did you mean 'age'?",
    ),
}


@pytest.mark.parametrize("case", STATIC)
def test_bad_static_features_and_categories_are_refused(case) -> None:
    columns, arguments, message = STATIC[case]
    with pytest.raises(DataError, match=re.escape(message)):
        read(columns, **{"static": ["age"], **arguments})


def test_missing_values_stay_where_they_are_wanted_and_infinity_never() -> None:
    series = read({"x": [1.0, None, float("nan")]}, missing="mask")
    np.testing.assert_array_equal(series.values, [[1.0], [np.nan], [np.nan]])
    with pytest.raises(
        DataError, match=r"series 'b' at t = 0: channel 'x' is infinite; .* 1 of 3 \(33\.33%\); every"
    ):
        read({"x": [1.0, None, np.inf]}, missing="mask")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"missing": "fill"}, ArgumentError, "missing: expected 'error' or 'mask', got 'fill'"),
        ({"memory": -1}, ArgumentError, "memory: expected a number of bytes, 0 or more, got -1"),
        ({"memory": "1 GB"}, ArgumentError, "memory: expected a number of bytes, 0 or more, got '1 GB'"),
        (
            {"categories": "x"},
            ArgumentTypeError,
            "categories: expected a list of column names; got the text 'x'",
        ),
        ({"static": "x"}, ArgumentTypeError, "static: expected a list of column names; got the text 'x'"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message) -> None:
    with pytest.raises(error, match=re.escape(message)):
        read(**arguments)


def test_a_ts_file_is_sent_to_its_own_reader(tmp_path) -> None:
    (tmp_path / "a.ts").touch()
    with pytest.raises(
        DataError, match=r"a\.ts is no table but series .*: read it with glasslstm\.data\.read_ts"
    ):
        read_series(tmp_path / "a.ts", id="run", time="t")


def test_a_table_in_memory_is_handed_out_in_slices() -> None:
    table = pa.table(
        {"run": [1, 2, 1, 3, 4], "t": [0, 0, 1, 0, 0], "x": np.arange(5.0), "y": [5, 6, 5, 7, 8]}
    )
    parts = list(iter_series(table, id="run", time="t", target="y", steps=3))
    assert [part.ids.tolist() for part in parts] == [[1, 2], [3, 4]]
    assert [part.targets.tolist() for part in parts] == [[5, 6], [7, 8]]
    assert [x.tolist() for x in parts[0]] == [[[0.0], [2.0]], [[1.0]]]
    for steps in (0, 2.5):
        with pytest.raises(ArgumentError, match=f"steps: expected a whole number of 1 or more, got {steps}"):
            iter_series(table, id="run", time="t", steps=steps)


def test_the_columns_are_told(tmp_path) -> None:
    for source in (
        pa.table(TABLE),
        as_csv(TABLE, tmp_path / "t.csv"),
        as_parquet(TABLE, tmp_path / "t.parquet"),
    ):
        assert column_names(source) == ["run", "t", "x"]


MANY = {"run": [*"aabbccdd"], "t": [0, 1] * 4, "x": np.arange(8.0), "label": [*"uuvvuuvv"]}
OF_MANY = {
    "repeated time": ({"t": [0, 0, 0, 1, 0, 0, 1, 1]}, "'a', 'c', 'd'"),
    "unsorted time": ({"t": [1, 0, 0, 1, 1, 0, 0, 1]}, "'a', 'c'"),
    "a gap": ({"x": [0, 1, np.nan, np.nan, 2, 3, 4, np.nan]}, "'b', 'd'"),
    "infinity": ({"x": [0, 1, -np.inf, 5, 2, np.inf, 4, 6]}, "'b', 'c'"),
    "a missing label": ({"label": ["u", "u", "v", None, "u", "", "u", "u"]}, "'b', 'c'"),
    "two labels": ({"label": [*"uvuuvvvu"]}, "'a', 'd'"),
}


@pytest.mark.parametrize("case", OF_MANY)
def test_the_message_names_all_series_that_have_the_problem(case) -> None:
    columns, ids = OF_MANY[case]
    table = pa.table({**MANY, **columns})
    with pytest.raises(DataError) as caught:
        read_series(table, id="run", time="t", target="label", channels=["x"], per_step=False)
    assert str(caught.value).startswith(f"the table: series {ids[:3]} ")
    count = ids.count(",") + 1
    assert str(caught.value).endswith(f"; {count} series in the table have this: {ids}")


def test_a_static_feature_that_changes_names_all_series() -> None:
    table = pa.table({**MANY, "s": [1, 1, 1, 2, 1, 1, 2, 1]})
    with pytest.raises(DataError, match=r"make it a channel; 2 series in the table have this: 'b', 'd'$"):
        read_series(table, id="run", time="t", channels=["x"], static=["s"])


def test_the_message_names_ten_series_and_counts_the_others() -> None:
    table = pa.table({"run": np.repeat(np.arange(13), 2), "t": [1, 0] * 13, "x": np.arange(26.0)})
    with pytest.raises(
        DataError, match=r"; 13 series in the table have this: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 3 mo"
    ):
        read_series(table, id="run", time="t")


def test_two_time_zones_name_the_series_that_have_another_than_most(tmp_path) -> None:
    hours = dict.fromkeys("ab", 0) | {"c": 2, "d": 1}
    zones = [dt.timezone(dt.timedelta(hours=k)) for k in hours.values()]
    frame = pd.DataFrame(
        {
            "run": [*hours],
            "t": pd.Series([dt.datetime(2024, 7, 1, tzinfo=zone) for zone in zones], dtype=object),
        }
    ).assign(x=1.0)
    with pytest.raises(DataError, match=r"such as UTC; 2 series have another than UTC: 'c', 'd'$"):
        read_series(frame, id="run", time="t")
    file = tmp_path / "t.csv"
    file.write_text("run,t,x\n" + "".join(f"{one},2024-07-01 00:00+0{k}:00,1\n" for one, k in hours.items()))
    with pytest.raises(DataError, match=r"such as UTC; 2 series have another than \+00:00: 'c', 'd'$"):
        read_series(file, id="run", time="t")
