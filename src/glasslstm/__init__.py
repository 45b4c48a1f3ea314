"""An LSTM in glass: the numbers of torch.nn.LSTM, every gate visible, and the tools around it."""

from importlib import import_module
from typing import TYPE_CHECKING

from glasslstm._version import __version__

if TYPE_CHECKING:
    from glasslstm.estimators import LSTMClassifier
    from glasslstm.insight.diagnose import diagnose
    from glasslstm.insight.findings import Diagnosis, Finding
    from glasslstm.insight.watch import Watcher, watch
    from glasslstm.modelfile import load
    from glasslstm.nn.lstm import LSTM, LSTMCell
    from glasslstm.nn.stream import Stream
    from glasslstm.nn.trace import GateTrace, Trace
    from glasslstm.ops.dispatch import use_kernel
    from glasslstm.ops.equations import GateWeights, concatenate_weights, split_weights

__all__ = [
    "LSTM",
    "Diagnosis",
    "Finding",
    "GateTrace",
    "GateWeights",
    "LSTMCell",
    "LSTMClassifier",
    "Stream",
    "Trace",
    "Watcher",
    "__version__",
    "concatenate_weights",
    "diagnose",
    "load",
    "split_weights",
    "use_kernel",
    "watch",
]

# Each name is imported at its first use: the command line answers before torch is loaded, and what needs an
# extra asks for it only then.
_MODULES = {
    "LSTM": "glasslstm.nn.lstm",
    "Diagnosis": "glasslstm.insight.findings",
    "Finding": "glasslstm.insight.findings",
    "GateTrace": "glasslstm.nn.trace",
    "GateWeights": "glasslstm.ops.equations",
    "LSTMCell": "glasslstm.nn.lstm",
    "LSTMClassifier": "glasslstm.estimators",
    "Stream": "glasslstm.nn.stream",
    "Trace": "glasslstm.nn.trace",
    "Watcher": "glasslstm.insight.watch",
    "concatenate_weights": "glasslstm.ops.equations",
    "diagnose": "glasslstm.insight.diagnose",
    "load": "glasslstm.modelfile",
    "split_weights": "glasslstm.ops.equations",
    "use_kernel": "glasslstm.ops.dispatch",
    "watch": "glasslstm.insight.watch",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'glasslstm' has no attribute {name!r}")
    if name == "load":
        import_module("glasslstm.estimators")  # says in one line which extra is missing
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
