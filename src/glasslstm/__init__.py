"""An LSTM in glass: the numbers of torch.nn.LSTM, every gate visible, and the tools around it."""

from importlib import import_module
from typing import TYPE_CHECKING

from glasslstm._version import __version__

if TYPE_CHECKING:
    from glasslstm.estimators import LSTMClassifier, LSTMRegressor, LSTMTagger
    from glasslstm.forecasting import LSTMForecaster
    from glasslstm.insight import figures
    from glasslstm.insight.diagnose import diagnose
    from glasslstm.insight.explain import Explanation, explain
    from glasslstm.insight.findings import Diagnosis, Finding
    from glasslstm.insight.logits import logit_contributions
    from glasslstm.insight.memory import contributions, half_life, retention, retention_by_lag, saturation
    from glasslstm.insight.record import Record
    from glasslstm.insight.report import report
    from glasslstm.insight.watch import Watcher, watch
    from glasslstm.modelfile import load
    from glasslstm.nn import init
    from glasslstm.nn.convert import convert, revert
    from glasslstm.nn.lstm import LSTM, LSTMCell
    from glasslstm.nn.stream import Stream
    from glasslstm.nn.trace import GateTrace, Trace
    from glasslstm.ops.dispatch import use_kernel
    from glasslstm.ops.equations import GateWeights, concatenate_weights, split_weights

__all__ = [
    "LSTM",
    "Diagnosis",
    "Explanation",
    "Finding",
    "GateTrace",
    "GateWeights",
    "LSTMCell",
    "LSTMClassifier",
    "LSTMForecaster",
    "LSTMRegressor",
    "LSTMTagger",
    "Record",
    "Stream",
    "Trace",
    "Watcher",
    "__version__",
    "concatenate_weights",
    "contributions",
    "convert",
    "diagnose",
    "explain",
    "figures",
    "half_life",
    "init",
    "load",
    "logit_contributions",
    "report",
    "retention",
    "retention_by_lag",
    "revert",
    "saturation",
    "split_weights",
    "use_kernel",
    "watch",
]

# Each name is imported at its first use: the command line answers before torch is loaded, and what needs an
# extra asks for it only then.
_MODULES = {
    "LSTM": "glasslstm.nn.lstm",
    "Diagnosis": "glasslstm.insight.findings",
    "Explanation": "glasslstm.insight.explain",
    "Finding": "glasslstm.insight.findings",
    "GateTrace": "glasslstm.nn.trace",
    "GateWeights": "glasslstm.ops.equations",
    "LSTMCell": "glasslstm.nn.lstm",
    "LSTMClassifier": "glasslstm.estimators",
    "LSTMForecaster": "glasslstm.forecasting",
    "LSTMRegressor": "glasslstm.estimators",
    "LSTMTagger": "glasslstm.estimators",
    "Record": "glasslstm.insight.record",
    "Stream": "glasslstm.nn.stream",
    "Trace": "glasslstm.nn.trace",
    "Watcher": "glasslstm.insight.watch",
    "concatenate_weights": "glasslstm.ops.equations",
    "contributions": "glasslstm.insight.memory",
    "convert": "glasslstm.nn.convert",
    "diagnose": "glasslstm.insight.diagnose",
    "explain": "glasslstm.insight.explain",
    "half_life": "glasslstm.insight.memory",
    "load": "glasslstm.modelfile",
    "logit_contributions": "glasslstm.insight.logits",
    "report": "glasslstm.insight.report",
    "retention": "glasslstm.insight.memory",
    "retention_by_lag": "glasslstm.insight.memory",
    "revert": "glasslstm.nn.convert",
    "saturation": "glasslstm.insight.memory",
    "split_weights": "glasslstm.ops.equations",
    "use_kernel": "glasslstm.ops.dispatch",
    "watch": "glasslstm.insight.watch",
}


# Modules of functions, as torch.nn.init is one.
_FUNCTIONS = {"figures": "glasslstm.insight.figures", "init": "glasslstm.nn.init"}


def __getattr__(name: str) -> object:
    if name in _FUNCTIONS:
        return import_module(_FUNCTIONS[name])
    if name not in _MODULES:
        raise AttributeError(f"module 'glasslstm' has no attribute {name!r}")
    if name == "load":
        import_module("glasslstm.estimators")  # says in one line which extra is missing
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
