"""Tables and files become lists of series; the data set of the demo; tasks to try a memory on."""

from importlib import import_module
from typing import TYPE_CHECKING

from glasslstm._extras import require

if TYPE_CHECKING:
    from glasslstm.data.files import write_table
    from glasslstm.data.japanese_vowels import JAPANESE_VOWELS_CHANNELS, load_japanese_vowels
    from glasslstm.data.synthetic import adding_problem, copy_task
    from glasslstm.data.table import SeriesTable, read_series

__all__ = [
    "JAPANESE_VOWELS_CHANNELS",
    "SeriesTable",
    "adding_problem",
    "copy_task",
    "load_japanese_vowels",
    "read_series",
    "write_table",
]

_MODULES = {
    "JAPANESE_VOWELS_CHANNELS": "japanese_vowels",
    "SeriesTable": "table",
    "adding_problem": "synthetic",
    "copy_task": "synthetic",
    "load_japanese_vowels": "japanese_vowels",
    "read_series": "table",
    "write_table": "files",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'glasslstm.data' has no attribute {name!r}")
    if _MODULES[name] != "synthetic":  # which needs torch alone
        require("narwhals", extra="train")
        require("pyarrow", extra="train")
    return getattr(import_module(f"glasslstm.data.{_MODULES[name]}"), name)
