"""Files of the time-series archive: as aeon's loader reads them, or one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glasslstm.data import read_ts
from glasslstm.errors import ArgumentError, DataError, MissingExtraError


def shipped() -> list[Path]:
    """Return the files that come with aeon."""
    try:
        import aeon.datasets
    except ImportError:
        return []
    return sorted((Path(aeon.datasets.__file__).parent / "data").glob("*/*.ts"))


@pytest.mark.skipif(not shipped(), reason="aeon is not installed")
@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_every_file_that_aeon_ships_is_read_as_aeon_reads_it(path) -> None:
    if "TimeStamps" in path.name:
        pytest.skip("aeon does not read time stamps")
    from aeon.datasets import load_from_ts_file

    X, y = load_from_ts_file(str(path))
    series = read_ts(path)
    assert len(series) == len(X)
    for ours, theirs in zip(series, X, strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs).T.astype(ours.dtype))
    if series.targets.dtype.kind == "f":
        assert series.targets.tolist() == np.asarray(y, float).tolist()
    else:
        assert [label.lower() for label in series.targets] == y.tolist()
    assert series.channel_names is None


@pytest.mark.skipif(not shipped(), reason="aeon is not installed")
def test_lengths_that_differ_are_kept() -> None:
    files = {path.stem: path for path in shipped()}
    vowels = read_ts(files["JapaneseVowels_TRAIN"])
    assert (len(vowels), vowels.channels, vowels.lengths.min(), vowels.lengths.max()) == (270, 12, 7, 26)
    assert len(set(read_ts(files["PickupGestureWiimoteZ_TEST"]).lengths)) > 1


def ts(tmp_path, text: str, **arguments):
    file = tmp_path / "f.ts"
    file.write_text(text, encoding="utf-8")
    return read_ts(file, **arguments)


def test_comments_empty_lines_and_the_case_of_tags_mean_nothing(tmp_path) -> None:
    text = "# about\n\n@problemName x\n@CLASSLABEL True Up down\n@Data\n# more\n1, 2 :3,4: Up\n\n5:6:down\n"
    series = ts(tmp_path, text)
    assert [x.tolist() for x in series] == [[[1.0, 3.0], [2.0, 4.0]], [[5.0, 6.0]]]
    assert series.targets.tolist() == ["Up", "down"]
    assert series.times is None


def test_a_regression_has_numbers_and_a_file_without_targets_none(tmp_path) -> None:
    assert ts(tmp_path, "@targetlabel true\n@data\n1,2:0.5\n3:-1e3\n").targets.tolist() == [0.5, -1000.0]
    series = ts(tmp_path, "@classLabel false\n@data\n1,2:3,4\n")
    assert series.targets is None
    assert series.channels == 2


def test_missing_values(tmp_path) -> None:
    text = "@classLabel true a\n@data\n1,?,3:a\nNaN, ? :a\n"
    series = ts(tmp_path, text, missing="mask")
    np.testing.assert_array_equal(series.values[:, 0], [1, np.nan, 3, np.nan, np.nan])
    with pytest.raises(
        DataError, match=r"f\.ts: X: series 0 has NaN at step 1, .*3 of 5 values, 60\.00%.*missing='mask'"
    ):
        ts(tmp_path, text)
    with pytest.raises(ArgumentError, match="missing: expected 'error' or 'mask', got 'fill'"):
        ts(tmp_path, text, missing="fill")


def test_time_stamps(tmp_path) -> None:
    head = "@timeStamps true\n@classLabel true a\n@data\n"
    series = ts(tmp_path, head + "(0,1.5),(2,2.5):(0,3),(2,?):a\n", missing="mask")
    assert series.times.tolist() == [0, 2]
    np.testing.assert_array_equal(series[0], [[1.5, 3.0], [2.5, np.nan]])
    series = ts(tmp_path, head + "(2024-02-28 23:00:00, 1),(2024-02-29 00:00:00, 2):a\n")
    assert series.times.astype(str).tolist() == ["2024-02-28T23:00:00.000000", "2024-02-29T00:00:00.000000"]
    assert series[0].tolist() == [[1.0], [2.0]]


HEAD = "@classLabel true a b\n@data\n"
STAMPS = "@timeStamps true\n@data\n"
BAD = {
    "no tags": (
        "1,2,3:a\n",
        "line 1: expected a tag such as @classLabel, or @data before the series, got '1,2,3:a'",
    ),
    "no data tag": (
        "@classLabel true a\n",
        "there is no @data; expected a .ts file: tags, @data, and a line for each",
    ),
    "nothing": ("", "there is no @data"),
    "no series": (HEAD, "there are no series after @data"),
    "a tag that is neither": (
        "@classLabel maybe\n@data\n1\n",
        "@classLabel: expected true or false, got 'maybe'",
    ),
    "two answers": (
        "@classLabel true a\n@targetLabel true\n@data\n1:a\n",
        "@classLabel and @targetLabel are both true",
    ),
    "a count in words": ("@dimensions two\n@data\n1\n", "@dimensions: expected a whole number, got 'two'"),
    "an unknown class": (HEAD + "1:a\n1:c\n", "line 4: its class 'c' is not in @classLabel: a, b"),
    "no class": (HEAD + "1,2\n", "line 3: its class '1,2' is not in @classLabel: a, b"),
    "only a class": (HEAD + "a\n", "line 3: expected at least 1 dimensions, got 0"),
    "text": (HEAD + "1,x:a\n", "line 3: expected numbers separated by commas, ? where one is missing: "),
    "a gap": (HEAD + "1,,2:a\n", "line 3: expected numbers separated by commas, ? where one is missing: "),
    "lengths within a series": (
        HEAD + "1,2:3:a\n",
        "line 3: the dimensions have [2, 1] steps; expected as many",
    ),
    "another length": (
        "@equalLength true\n@seriesLength 2\n@data\n1,2\n1,2,3\n",
        "line 5: expected 2 steps, as @seriesLength says, got 3",
    ),
    "more dimensions": ("@dimensions 1\n" + HEAD + "1:2:a\n", "line 4: expected 1 dimensions, got 2"),
    "several in a univariate file": (
        "@univariate true\n" + HEAD + "1:2:a\n",
        "line 4: expected 1 dimensions, got 2",
    ),
    "dimensions that differ": (HEAD + "1:2:a\n1:a\n", "X: series 1 has 1 channels and series 0 has 2"),
    "no target": ("@targetLabel true\n@data\n1,2:?\n", "line 3: its target is '?'; expected a finite number"),
    "stamps of another kind": (
        STAMPS + "(0,1),2\n",
        "line 3: expected time stamps as (stamp,value),(stamp,value), got",
    ),
    "no stamps": (STAMPS + "1,2\n", "line 3: expected time stamps as (stamp,value),(stamp,value), got '1,2'"),
    "stamps that are none": (
        STAMPS + "(noon,1)\n",
        "line 3: expected time stamps that are numbers or dates: ",
    ),
    "stamps that differ": (
        STAMPS + "(0,1):(1,1)\n",
        "line 3: the time stamps of the dimensions differ; expected the",
    ),
    "stamps that fall": (STAMPS + "(1,1),(0,1)\n", "times: "),
    "infinity": (HEAD + "1,inf:a\n", "X: series 0 has infinity (inf) at step 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_clear_error(case, tmp_path) -> None:
    text, message = BAD[case]
    with pytest.raises(DataError) as caught:
        ts(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'f.ts'}: {message}")


def test_no_file_and_bytes_are_one_clear_error(tmp_path) -> None:
    with pytest.raises(DataError, match=r"none\.ts: there is no such file; expected a \.ts file"):
        read_ts(tmp_path / "none.ts")
    (tmp_path / "b.ts").write_bytes(b"@data\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"b\.ts: it is no \.ts file, for it is not UTF-8 text"):
        read_ts(tmp_path / "b.ts")


def test_series_and_this_reader_need_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import glasslstm.data

    def missing(module: str, extra: str) -> None:
        raise MissingExtraError(f"{module}: {extra}")

    monkeypatch.setattr(glasslstm.data, "require", missing)
    assert glasslstm.data.read_ts is read_ts
    assert glasslstm.data.Sequences.__name__ == "Sequences"
    for name in ("read_series", "iter_series", "TableWriter", "write_table"):
        with pytest.raises(MissingExtraError, match="narwhals: train"):
            getattr(glasslstm.data, name)
