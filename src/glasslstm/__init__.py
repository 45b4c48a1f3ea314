"""An LSTM in glass: the numbers of torch.nn.LSTM, every gate visible at every step, and the tools around it."""

from glasslstm._version import __version__
from glasslstm.nn.lstm import LSTM, LSTMCell
from glasslstm.nn.trace import GateTrace, Trace
from glasslstm.ops.dispatch import use_kernel
from glasslstm.ops.equations import GateWeights, concatenate_weights, split_weights

__all__ = [
    "LSTM",
    "GateTrace",
    "GateWeights",
    "LSTMCell",
    "Trace",
    "__version__",
    "concatenate_weights",
    "split_weights",
    "use_kernel",
]
