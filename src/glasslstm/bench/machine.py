"""Facts about the machine, as data: what is in it, what is installed, and what others take of it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

from glasslstm import doctor
from glasslstm._extras import installed_version
from glasslstm.ops.cpu import NATIVE

__all__ = ["TRUSTED_PERCENT", "Ticks", "facts", "trusted", "usable_cores", "versions"]

STAT = Path("/proc/stat")
TRUSTED_PERCENT = {"stolen_percent": 2.0, "others_percent": 5.0}
"""Where more of the processors' time went to other machines, or to other processes, no figure is to be trusted."""


def facts() -> dict[str, Any]:
    """Return processor, instruction set of our kernels, cores, load, and what the doctor knows of the machine.

    Examples
    --------
    >>> facts()["cores"] >= 1
    True
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    machine: dict[str, Any] = doctor.facts()["machine"]
    own = {"cpu": _cpu(), "instruction_set": NATIVE and NATIVE.instruction_set()}
    return own | machine | {"load_before": load}


def versions() -> dict[str, str | None]:
    """Return the versions that a figure depends on; ``None`` for what is not installed."""
    return doctor.versions() | {name: installed_version(name) for name in ("onnx", "onnxruntime")}


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return int(doctor.facts()["machine"]["cores"])


class Ticks(NamedTuple):
    """Ticks of the processors' clocks so far: for other machines, for other processes of this one, and all."""

    stolen: float
    others: float
    all: float

    @classmethod
    def now(cls) -> Ticks:
        """Read the counters; zeros where the system has none."""
        if not STAT.exists():
            return cls(0, 0, 0)
        ticks = [int(value) for value in STAT.read_text().splitlines()[0].split()[1:9]]
        idle, waiting, stolen = ticks[3], ticks[4], ticks[7]
        own = os.sysconf("SC_CLK_TCK") * sum(os.times()[:4])  # with the children that have ended
        return cls(stolen, sum(ticks) - idle - waiting - stolen - own, sum(ticks))

    def percent_since(self, earlier: Ticks) -> dict[str, float]:
        """Return what share of the time went to others.

        Examples
        --------
        >>> Ticks(stolen=5, others=3, all=200).percent_since(Ticks(1, 3, 100))
        {'stolen_percent': 4.0, 'others_percent': 0.0}
        """
        spent = max(1.0, self.all - earlier.all)
        shares = (self.stolen - earlier.stolen) / spent, (self.others - earlier.others) / spent
        return {
            name: max(0.0, round(100 * share, 1)) for name, share in zip(TRUSTED_PERCENT, shares, strict=True)
        }


def trusted(percent: dict[str, float]) -> bool:
    """Tell whether others took so little that figures mean something."""
    return all(percent[name] <= bound for name, bound in TRUSTED_PERCENT.items())


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
