"""Moved: see glasslstm.nn.trace."""

from glasslstm.nn.trace import QUANTITIES, GateTrace, Trace

__all__ = ["QUANTITIES", "GateTrace", "Trace"]
