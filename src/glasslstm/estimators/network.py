"""The network of a sequence classifier: a stack of LSTM layers, and a linear layer on its final states."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glasslstm.nn.lstm import LSTM

__all__ = ["SequenceClassifier"]


class SequenceClassifier(nn.Module):
    """Logits from the last layer's final hidden states, of both directions where there are two.

    The final state of a sequence is the one after its last *valid* step: `lengths` goes to the LSTM,
    which reads it there, so that padding never counts.

    Parameters
    ----------
    channels, classes
        Input channels F and number of classes K.
    hidden_size, num_layers, bidirectional
        As in :class:`glasslstm.LSTM`.
    dropout
        Between the layers, and on the final states.

    Examples
    --------
    >>> import torch
    >>> network = SequenceClassifier(channels=3, classes=2, hidden_size=4)
    >>> network(torch.zeros(5, 2, 3), torch.tensor([5, 2])).shape
    torch.Size([2, 2])
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.lstm = LSTM(
            channels,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size * (2 if bidirectional else 1), classes)
        initialise(self.lstm)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, F) and (B,) -> (B, K)."""
        _, (h_n, _) = self.lstm(x, lengths=lengths)
        directions = 2 if self.lstm.bidirectional else 1
        return self.head(self.dropout(torch.cat(tuple(h_n[-directions:]), dim=-1)))  # type: ignore[no-any-return]


@torch.no_grad()
def initialise(lstm: LSTM, forget_bias: float = 1.0) -> None:
    """Start with gates that keep: orthogonal recurrent weights, and a bias of `forget_bias` on the forget gate.

    Sources: Saxe, McClelland and Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", ICLR (orthogonal); Jozefowicz, Zaremba and Sutskever 2015, "An empirical
    exploration of recurrent network architectures", ICML (the forget gate's bias); Glorot and Bengio 2010,
    "Understanding the difficulty of training deep feedforward neural networks", AISTATS (input weights).
    """
    H = lstm.hidden_size
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            if name.startswith("bias_ih"):
                parameter[H : 2 * H] = forget_bias
        elif name.startswith("weight_hh"):
            for gate in parameter.chunk(4):
                nn.init.orthogonal_(gate)
        else:
            nn.init.xavier_uniform_(parameter)
