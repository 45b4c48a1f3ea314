"""The sizes that are measured: the grid, its named parts, and how a user writes one."""

from __future__ import annotations

import re
from typing import NamedTuple

from glasslstm.errors import ArgumentError

__all__ = ["FIT", "GRID", "PEAK", "RAGGED", "SCALING", "STEP", "SUBSETS", "Shape", "parse_shapes"]


class Shape(NamedTuple):
    """Steps, sequences, channels, units, layers and directions.

    Examples
    --------
    >>> str(Shape(100, 32, 64, 128)), str(Shape(100, 32, 64, 128, 2, 2))
    ('100x32x64x128', '100x32x64x128x2x2')
    """

    T: int
    B: int
    I: int  # noqa: E741
    H: int
    L: int = 1
    D: int = 1

    def __str__(self) -> str:
        sizes = self if self.D > 1 else self[:5] if self.L > 1 else self[:4]
        return "x".join(map(str, sizes))

    @property
    def flops(self) -> int:
        """Of the matrix products of one forward pass."""
        widths = [self.I] + [self.D * self.H] * (self.L - 1)
        return sum(2 * (width + self.H) * 4 * self.H for width in widths) * self.D * self.T * self.B


GRID = (
    Shape(100, 1, 16, 32),
    Shape(1000, 1, 64, 128),
    Shape(100, 1, 64, 256),
    Shape(100, 1, 128, 512),
    Shape(100, 8, 32, 128),
    Shape(100, 32, 16, 64),
    Shape(100, 32, 64, 128),
    Shape(100, 64, 64, 256),
    Shape(100, 64, 128, 512),
    Shape(50, 256, 128, 256),
    Shape(200, 128, 8, 32),
    Shape(28, 128, 28, 128),
    Shape(784, 128, 1, 128),
    Shape(100, 32, 64, 128, 2, 2),
)
RAGGED = (Shape(100, 32, 64, 128),)
FIT = (
    Shape(29, 32, 12, 64, 1, 2),
    Shape(50, 64, 8, 64, 1, 2),
    Shape(100, 32, 64, 128),
    Shape(200, 32, 8, 64, 2, 2),
)
STEP = tuple(
    Shape(100, 1, width, H) for width, H in ((16, 32), (64, 128), (64, 256), (32, 32), (128, 128), (256, 256))
)
PEAK = (Shape(100, 64, 64, 256), Shape(100, 64, 128, 512), Shape(50, 256, 128, 256))
SCALING = (
    *(Shape(T, 1, 64, 128) for T in (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)),
    *(Shape(100, 2**k, 64, 128) for k in range(1, 10)),
)
"""Along T with one sequence, then along B with 100 steps."""

SUBSETS = {
    "all": GRID,
    "single": tuple(shape for shape in GRID if shape.B == 1),
    "small": tuple(shape for shape in GRID if shape.B > 1 and shape.B * shape.H <= 4096),
    "large": tuple(shape for shape in GRID if shape.B * shape.H > 4096),
}
"""The grid's parts by name: one sequence; several, at most 4096 states a step; more states."""

_WRITTEN = re.compile(r"[1-9]\d*(x[1-9]\d*){3,5}")


def parse_shapes(text: str) -> tuple[Shape, ...]:
    """Return the shapes that `text` names: parts of the grid and sizes, with commas between.

    Raises
    ------
    ArgumentError
        For a word that is neither.

    Examples
    --------
    >>> [str(shape) for shape in parse_shapes("single,5x2x3x4")]
    ['100x1x16x32', '1000x1x64x128', '100x1x64x256', '100x1x128x512', '5x2x3x4']
    >>> parse_shapes("5x2x3x4x2x2")
    (Shape(T=5, B=2, I=3, H=4, L=2, D=2),)
    """
    found = [shape for word in text.split(",") for shape in _named(word.strip())]
    return tuple(dict.fromkeys(found))


def _named(word: str) -> tuple[Shape, ...]:
    if word in SUBSETS:
        return SUBSETS[word]
    if not _WRITTEN.fullmatch(word):
        raise ArgumentError(
            f"{word!r} is no shape; expected {', '.join(SUBSETS)}, or sizes as TxBxIxH, TxBxIxHxL or "
            "TxBxIxHxLxD: steps, sequences, channels, units, layers, directions"
        )
    shape = Shape(*map(int, word.split("x")))
    if shape.D > 2:
        raise ArgumentError(f"{word!r} has {shape.D} directions; expected 1 or 2")
    return (shape,)
