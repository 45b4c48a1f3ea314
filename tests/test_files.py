from __future__ import annotations

import os

import pytest

from glasslstm._files import check_writable
from glasslstm.errors import ArgumentError


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes; there are none here")
def test_what_is_no_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArgumentError, match="pipe cannot be written: it is a device or the like"):
        check_writable(tmp_path / "pipe")
    check_writable(tmp_path / "file")
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("name", ["x" * 201, "a\0b"])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(ArgumentError, match="cannot be written: its name is too long or no name"):
        check_writable(tmp_path / name)
