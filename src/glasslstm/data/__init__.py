"""Tables, files and arrays become series; the data set of the demo; tasks to try a memory on."""

from importlib import import_module
from typing import TYPE_CHECKING

from glasslstm._extras import require

if TYPE_CHECKING:
    from glasslstm.data.files import TableWriter, write_table
    from glasslstm.data.japanese_vowels import JAPANESE_VOWELS_CHANNELS, load_japanese_vowels
    from glasslstm.data.sequences import Sequences
    from glasslstm.data.synthetic import adding_problem, copy_task
    from glasslstm.data.table import iter_series, read_series
    from glasslstm.data.ts import read_ts

__all__ = [
    "JAPANESE_VOWELS_CHANNELS",
    "Sequences",
    "TableWriter",
    "adding_problem",
    "copy_task",
    "iter_series",
    "load_japanese_vowels",
    "read_series",
    "read_ts",
    "write_table",
]

_MODULES = {
    "JAPANESE_VOWELS_CHANNELS": "japanese_vowels",
    "Sequences": "sequences",
    "TableWriter": "files",
    "adding_problem": "synthetic",
    "copy_task": "synthetic",
    "iter_series": "table",
    "load_japanese_vowels": "japanese_vowels",
    "read_series": "table",
    "read_ts": "ts",
    "write_table": "files",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'glasslstm.data' has no attribute {name!r}")
    if _MODULES[name] in ("files", "japanese_vowels", "table"):  # the others need torch alone
        require("narwhals", extra="train")
        require("pyarrow", extra="train")
    return getattr(import_module(f"glasslstm.data.{_MODULES[name]}"), name)
