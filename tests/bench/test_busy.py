"""The busy processes are there, and are gone with whoever started them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glasslstm.bench.busy import busy_cores
from glasslstm.bench.machine import usable_cores

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it reads /proc")

PARENT = """
import sys, time
from glasslstm.bench.busy import busy_cores
with busy_cores() as ids:
    print(*ids, flush=True)
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ticks(pid: int) -> int:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def wait_for(condition) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("it did not come to pass in 10 s")


def test_as_many_as_cores_are_busy_and_gone_afterwards() -> None:
    with busy_cores() as ids:
        assert len(set(ids)) == usable_cores()
        assert os.getpid() not in ids
        wait_for(lambda: all(ticks(pid) > 2 for pid in ids))
    assert [pid for pid in ids if alive(pid)] == []


def test_an_error_ends_them() -> None:
    with pytest.raises(KeyboardInterrupt), busy_cores() as ids:
        raise KeyboardInterrupt
    assert [pid for pid in ids if alive(pid)] == []


def test_they_end_when_their_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        ids = [int(word) for word in parent.stdout.readline().split()]
        assert len(ids) == usable_cores()
        assert all(map(alive, ids))
        parent.kill()
    wait_for(lambda: not any(map(alive, ids)))
