"""Files that are written whole or not at all, and the check beforehand that they can be."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from glasslstm.errors import ArgumentError

__all__ = ["check_writable", "written_whole"]


def check_writable(path: Path) -> None:
    """Raise ``ArgumentError`` where no file could be written at `path`: before the work, not after it.

    The nearest folder that is there is tried out, because permissions alone do not tell; nothing stays in it.
    """
    if len(os.fsencode(path.name)) > _LONGEST or "\0" in str(path):
        raise ArgumentError(
            f"{path.name[:40]!r}... cannot be written: its name is too long or no name; choose another"
        )
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ArgumentError(
            f"{path} cannot be written: it is a device or the like; choose the name of a file"
        )
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise ArgumentError(f"{path} cannot be written: {parent} is a file; expected a folder")
    try:
        tempfile.TemporaryDirectory(dir=parent).cleanup()
    except OSError as error:
        raise ArgumentError(
            f"{path} cannot be written: nothing can be made in {parent} ({error.strerror}); choose another"
        ) from None


_LONGEST = 200  # bytes of a name: most file systems take 255, and the temporary name is longer


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to, and rename it to `path` at the end if all went well.

    The folder is made where there is none.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "notes" / "note.txt"
    >>> with written_whole(path) as partial:
    ...     size = partial.write_text("whole")
    >>> path.read_text()
    'whole'
    """
    path = path.resolve()  # a link stays one, and what it points to is replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        yield partial
        _flush(partial)
        partial.replace(path)
        _flush(path.parent)
    except OSError as error:
        if error.errno is None or error.filename:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # which file it was
    finally:
        partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until `path` is on the disk, so that no power cut keeps the new name and loses what it names."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
