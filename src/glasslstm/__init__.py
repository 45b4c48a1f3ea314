"""An LSTM in glass: the numbers of torch.nn.LSTM, every gate visible, and the tools around it."""

from importlib import import_module
from typing import TYPE_CHECKING

from glasslstm._version import __version__
from glasslstm.nn.lstm import LSTM, LSTMCell
from glasslstm.nn.trace import GateTrace, Trace
from glasslstm.ops.dispatch import use_kernel
from glasslstm.ops.equations import GateWeights, concatenate_weights, split_weights

if TYPE_CHECKING:
    from glasslstm.estimators import LSTMClassifier
    from glasslstm.modelfile import load

__all__ = [
    "LSTM",
    "GateTrace",
    "GateWeights",
    "LSTMCell",
    "LSTMClassifier",
    "Trace",
    "__version__",
    "concatenate_weights",
    "load",
    "split_weights",
    "use_kernel",
]

# What needs an extra is imported at its first use.
_ON_USE = {"LSTMClassifier": "glasslstm.estimators", "load": "glasslstm.modelfile"}


def __getattr__(name: str) -> object:
    if name not in _ON_USE:
        raise AttributeError(f"module 'glasslstm' has no attribute {name!r}")
    return getattr(import_module(_ON_USE[name]), name)


def __dir__() -> list[str]:
    return __all__
