"""Make src/glasslstm/data/japanese_vowels.parquet from the values that aeon hands out.

Run with ``pip install aeon pyarrow``, then ``python tools/make_japanese_vowels.py``. The file that comes
out is part of the package, so nobody needs aeon to use it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from aeon.datasets import load_japanese_vowels

TARGET = Path(__file__).parents[1] / "src" / "glasslstm" / "data" / "japanese_vowels.parquet"
SPLITS = ("train", "test")
CHANNELS = [f"lpc_{k}" for k in range(1, 13)]


def main() -> None:
    """Write the file and say how large it is."""
    loaded = {split: load_japanese_vowels(split=split) for split in SPLITS}
    series = [x.T for X, _ in loaded.values() for x in X]  # aeon has (channels, steps)
    lengths = [len(x) for x in series]
    split = np.repeat(SPLITS, [len(X) for X, _ in loaded.values()])
    speaker = np.concatenate([y for _, y in loaded.values()])
    columns = {
        "series": pa.array(np.repeat(np.arange(len(series)), lengths), pa.int16()),
        "split": pa.array(np.repeat(split, lengths)).dictionary_encode(),
        "speaker": pa.array(np.repeat(speaker, lengths)).dictionary_encode(),
        "step": pa.array(np.concatenate([np.arange(n) for n in lengths]), pa.int16()),
    }
    values = as_float32(np.concatenate(series))
    columns |= {name: pa.array(values[:, k]) for k, name in enumerate(CHANNELS)}
    write(pa.table(columns))


def as_float32(values: np.ndarray) -> np.ndarray:
    """Halve the file: six published decimals are exact again once float32 is rounded to them."""
    small = values.astype(np.float32)
    if not np.array_equal(np.round(small.astype(np.float64), 6), values):
        raise SystemExit("float32 no longer holds every published decimal; store float64")
    return small


def write(table: pa.Table) -> None:
    """Write `table` with the encodings that make it smallest."""
    pq.write_table(
        table,
        TARGET,
        compression="zstd",
        compression_level=19,
        use_dictionary=["series", "split", "speaker"],
        use_byte_stream_split=CHANNELS,
    )
    print(f"{TARGET}: {table.num_rows} rows, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
