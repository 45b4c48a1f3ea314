"""The rules behind :func:`glasslstm.diagnose`: each looks for one thing, and says by which figure it found it.

A rule is a function from a :class:`~glasslstm.insight.case.Case` to hits, under the :class:`Code` of what it finds;
to add one is to write it in the file where its kind stands, and its page in ``docs/findings/``.
"""

from glasslstm.insight.rules import (
    axes,
    cell,
    dropout,
    ends,
    gates,
    gradients,
    inputs,
    memory,
    numbers,
    padding,
    state,
    units,
)
from glasslstm.insight.rules.registry import RULES, Hit, Rule, Skip, rule

__all__ = ["RULES", "Hit", "Rule", "Skip", "rule"]

# Causes before effects: in this order they are looked for, and come up where they are equally bad.
_FILES = (numbers, inputs, axes, ends, padding, state, gates, cell, memory, gradients, units, dropout)
_ORDER = [file.__name__ for file in _FILES]
for _code in sorted(RULES, key=lambda code: _ORDER.index(RULES[code].look.__module__)):
    RULES[_code] = RULES.pop(_code)
