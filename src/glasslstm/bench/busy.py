"""Other processes that keep every core busy, for as long as a context lasts, and never longer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from glasslstm.bench.machine import usable_cores

__all__ = ["busy_cores"]

# A child looks every few milliseconds whether its parent is still there, so it ends even where that was killed.
_SPIN = """
import os, sys
print(flush=True)
while os.getppid() == int(sys.argv[1]):
    for _ in range(100_000):
        pass
"""


@contextmanager
def busy_cores() -> Iterator[list[int]]:
    """Keep as many processes spinning as there are cores; give their ids."""
    with ExitStack() as stack:
        children = [stack.enter_context(_spinning()) for _ in range(usable_cores())]
        yield [child.pid for child in children]


@contextmanager
def _spinning() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-IS", "-c", _SPIN, str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            if child.stdout is not None:
                child.stdout.readline()  # it spins from here on
            yield child
        finally:
            child.kill()
