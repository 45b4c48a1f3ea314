"""Facts about this installation: versions, cores, kernels, extras."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from glasslstm._extras import installed_extras, installed_version
from glasslstm._version import __version__
from glasslstm.ops import cpu
from glasslstm.ops.dispatch import NOT_BUILT, explain

__all__ = ["facts", "versions"]


def facts() -> dict[str, Any]:
    """Return what a report of a problem should say about the machine and what is installed there.

    Examples
    --------
    >>> sorted(facts())
    ['extras', 'kernels', 'machine', 'versions']
    """
    return {
        "versions": versions(),
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "native_kernels": f"not built: {NOT_BUILT}"
            if cpu.NATIVE is None
            else cpu.NATIVE.instruction_set(),
            "cores": _usable_cores(),
            "threads": torch.get_num_threads(),
            "accelerator": _accelerator(),
        },
        "kernels": [
            {"device": device, "work": work, "kernel": choice.kernel, "reason": choice.reason}
            for device, work, choice in explain()
        ],
        "extras": installed_extras(),
    }


def versions() -> dict[str, str | None]:
    """Return the versions that a result depends on."""
    packages = ("torch", "numpy", "scikit-learn", "lightning-fabric")
    own = {"glasslstm": __version__, "python": platform.python_version()}
    return own | {name: installed_version(name) for name in packages}


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _accelerator() -> str:
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "none" if device is None else str(device)
