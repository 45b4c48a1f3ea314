"""One fault each, planted in an otherwise healthy setting: what must be found, and where."""

from __future__ import annotations

from .planted_gates import GATES
from .planted_memory import MEMORY
from .planted_wiring import WIRING
from .settings import Planted

__all__ = ["PLANTED", "Planted"]

PLANTED: dict[str, Planted] = GATES | MEMORY | WIRING
"""Name -> the fault."""
