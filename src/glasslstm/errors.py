"""The errors of glasslstm: one base, few children.

Each child is also the built-in type that a user of PyTorch or scikit-learn expects, so code that
catches ``ValueError`` goes on to work. A message says which argument, what came, what is allowed,
and what to do.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "DataError",
    "GlassLSTMError",
    "KernelError",
    "MissingExtraError",
    "ModelFileError",
    "ShapeError",
    "TrainingError",
]


class GlassLSTMError(Exception):
    """Base of every error that glasslstm raises on purpose."""


class ArgumentError(GlassLSTMError, ValueError):
    """An argument has a value that is not allowed."""


class ArgumentTypeError(GlassLSTMError, TypeError):
    """An argument has a type that is not allowed."""


class ShapeError(GlassLSTMError, RuntimeError):
    """A tensor has a size or sits on a device that does not fit (``RuntimeError``, as in PyTorch)."""


class DataError(GlassLSTMError, ValueError):
    """A table or a list of series cannot be used as it is."""


class ModelFileError(GlassLSTMError, ValueError):
    """A model folder or a trace's file is missing, damaged, tampered with, or from a newer version."""


class KernelError(GlassLSTMError, RuntimeError):
    """A kernel was asked for by name and cannot do what is asked of it."""


class MissingExtraError(GlassLSTMError, ImportError):
    """An optional dependency is not installed; the message has the pip command."""


class TrainingError(GlassLSTMError, RuntimeError):
    """A training went wrong, such as by a loss that is no longer a number."""
