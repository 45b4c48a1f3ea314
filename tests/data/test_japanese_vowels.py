"""The data set of the demo: what is published about it, and not a bit more or less."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import numpy as np
import pyarrow.parquet as pq
import pytest

from glasslstm.data import JAPANESE_VOWELS_CHANNELS, load_japanese_vowels
from glasslstm.errors import ArgumentError

SPEAKERS = list("123456789")
PARTS = {
    "train": {
        "counts": [30] * 9,
        "lengths": (7, 26),
        "frames": 4274,
        "sha256": "d59459acf8706ea680a21c7ddfefac0f14b9e0a26b62d44c2a3f02f3c7ade66c",
    },
    "test": {
        "counts": [31, 35, 88, 44, 29, 24, 40, 50, 29],
        "lengths": (7, 29),
        "frames": 5687,
        "sha256": "6487381885c028012c012fa201de240c8ba350651e88b3f607712fa991ccbf55",
    },
}


@pytest.mark.parametrize("split", PARTS)
def test_counts_and_lengths_are_the_published_ones(split) -> None:
    X, y = load_japanese_vowels(split)
    speakers, counts = np.unique(y, return_counts=True)
    assert speakers.tolist() == SPEAKERS
    assert counts.tolist() == PARTS[split]["counts"]
    assert (min(map(len, X)), max(map(len, X))) == PARTS[split]["lengths"]
    assert sum(map(len, X)) == PARTS[split]["frames"]
    assert {x.shape[1] for x in X} == {12}


@pytest.mark.parametrize("split", PARTS)
def test_every_value_is_the_published_one(split) -> None:
    """The checksum is that of the values as aeon hands them out, in float64."""
    X, _ = load_japanese_vowels(split)
    values = np.ascontiguousarray(np.concatenate(X), dtype="<f8")
    assert hashlib.sha256(values.tobytes()).hexdigest() == PARTS[split]["sha256"]


def test_the_first_frame_is_that_of_the_published_file() -> None:
    X, _ = load_japanese_vowels("train")
    published = (
        "1.860936 -0.207383 0.261557 -0.214562 -0.171253 -0.118167 "
        "-0.277557 0.025668 0.126701 -0.306756 -0.213076 0.088728"
    )
    assert X[0][0].tolist() == [float(value) for value in published.split()]
    assert X[0].dtype == np.float64


def test_channels_are_named_in_the_order_of_the_columns() -> None:
    assert JAPANESE_VOWELS_CHANNELS[0] == "lpc_1"
    assert JAPANESE_VOWELS_CHANNELS[11] == "lpc_12"
    X, _ = load_japanese_vowels("test")
    with (files("glasslstm.data") / "japanese_vowels.parquet").open("rb") as file:
        table = pq.read_table(file).to_pandas()
    last = table[table["series"] == 639]
    assert len(last) == len(X[-1])
    for k, name in enumerate(JAPANESE_VOWELS_CHANNELS):
        np.testing.assert_allclose(last[name], X[-1][:, k], rtol=0, atol=2e-7)


def test_the_attribution_is_beside_the_file() -> None:
    text = (files("glasslstm.data") / "japanese_vowels.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert "Kudo" in text
    assert "10.24432/C5NS47" in text


def test_another_split_is_refused() -> None:
    with pytest.raises(ArgumentError, match='split: expected "train" or "test"; got \'valid\''):
        load_japanese_vowels("valid")  # type: ignore[arg-type]
