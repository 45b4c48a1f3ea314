"""Tables and files become lists of series; the data set of the demo."""

from glasslstm._extras import require

require("narwhals", extra="train")
require("pyarrow", extra="train")

from glasslstm.data.files import write_table  # noqa: E402
from glasslstm.data.japanese_vowels import JAPANESE_VOWELS_CHANNELS, load_japanese_vowels  # noqa: E402
from glasslstm.data.table import SeriesTable, read_series  # noqa: E402

__all__ = ["JAPANESE_VOWELS_CHANNELS", "SeriesTable", "load_japanese_vowels", "read_series", "write_table"]
