"""Japanese Vowels: 640 utterances of nine speakers, the data set of ``glasslstm demo``."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from glasslstm.data.table import read_series
from glasslstm.errors import ArgumentError

__all__ = ["JAPANESE_VOWELS_CHANNELS", "load_japanese_vowels"]

JAPANESE_VOWELS_CHANNELS = tuple(f"lpc_{k}" for k in range(1, 13))
"""The names of the 12 channels, LPC cepstrum coefficients, in the order of the columns of X."""


def load_japanese_vowels(split: Literal["train", "test"]) -> tuple[list[NDArray[np.float64]], NDArray[Any]]:
    """Return the utterances of one part of the official split, and who spoke each.

    Nine men said the vowels /ae/; each utterance is a series of 7 to 29 frames of 12 LPC cepstrum
    coefficients (frames of 25.6 ms every 6.4 ms). The training part has 30 utterances of each speaker,
    the test part 24 to 88, recorded on other occasions.

    Parameters
    ----------
    split
        ``"train"`` (270 utterances) or ``"test"`` (370).

    Returns
    -------
    X
        One (T_i, 12) float64 array an utterance, exactly the published values.
    y
        The speakers, ``"1"`` to ``"9"``, (N,).

    Raises
    ------
    ArgumentError
        If `split` is something else.

    References
    ----------
    M. Kudo, J. Toyama and M. Shimbo (1999), "Multidimensional curve classification using passing-through
    regions", Pattern Recognition Letters 20(11-13), 1103-1111, doi:10.1016/S0167-8655(99)00077-X.
    Data: UCI Machine Learning Repository, doi:10.24432/C5NS47, licensed CC BY 4.0.

    Examples
    --------
    >>> X, y = load_japanese_vowels(split="train")
    >>> len(X), X[0].shape, str(y[0])
    (270, (20, 12), '1')
    """
    if split not in ("train", "test"):
        raise ArgumentError(f'split: expected "train" or "test"; got {split!r}')
    with (files("glasslstm.data") / "japanese_vowels.parquet").open("rb") as file:
        table = pa_parquet.ParquetFile(file).read()
    table = table.filter(pc.equal(table["split"], split))
    series = read_series(table, id="series", time="step", target="speaker", channels=JAPANESE_VOWELS_CHANNELS)
    return [_published(x) for x in series], np.asarray(series.targets)


def _published(values: NDArray[np.floating]) -> NDArray[np.float64]:
    # The file holds float32, which still tells the six published decimals apart.
    exact: NDArray[np.float64] = values.astype(np.float64)
    return np.round(exact, 6, out=exact)
