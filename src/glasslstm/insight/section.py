"""A section of its own that a subject brings to the page, such as the forecasts of a forecaster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

__all__ = ["Choice", "Draw", "Section"]

Draw: TypeAlias = Callable[[], Any]
"""Returns a plotly figure; what it raises as a ``GlassLSTMError`` is said in the figure's place."""


class Choice(NamedTuple):
    """Several figures, of which the reader chooses the one that is shown."""

    label: str
    """What there is to choose, such as ``"Series"``."""
    options: Mapping[str, Draw]
    """By name what is drawn."""


@dataclass(frozen=True)
class Section:
    """A question, and the figures that answer it.

    Attributes
    ----------
    identifier
        What the address of the section ends with: letters and hyphens.
    heading
        The question, as plain text.
    lead
        The answer in words, as plain text; empty: there is none.
    parts
        What to see in a figure, as plain text, and the figure or a choice of several. Choices stand first.
    """

    identifier: str
    heading: str
    lead: str
    parts: Sequence[tuple[str, Draw | Choice]]
