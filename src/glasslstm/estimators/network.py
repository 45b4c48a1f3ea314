"""The network of the estimators: a stack of LSTM layers, what it is read by, and a linear layer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from glasslstm.estimators.front import ConvolutionalFront
from glasslstm.nn import init
from glasslstm.nn.lstm import LSTM

__all__ = ["Pooling", "SequenceNetwork"]

Pooling = Literal["last", "mean", "max", "attention"]


class SequenceNetwork(nn.Module):
    """An answer for each sequence, or for each step, from the hidden states of the last LSTM layer.

    `lengths` goes to the LSTM, and to whatever reads its output: padding never counts.

    Parameters
    ----------
    inputs, outputs
        Input channels F, and numbers K of an answer.
    hidden_size, num_layers, bidirectional
        As in :class:`glasslstm.LSTM`.
    dropout
        Between the layers, and on what the linear layer reads.
    recurrent_dropout
        Share of the weights from the hidden state to the gates that are zeroed in a training step, the same for all
        steps of the sequences: DropConnect (Wan et al. 2013, ICML) on ``weight_hh``, as in Merity, Keskar and Socher
        2018, "Regularizing and optimizing LSTM language models" (ICLR), section 2.
    pooling
        What of a sequence is read, for one answer each: ``"last"``, the hidden states after the last valid step, of
        both directions; ``"mean"`` or ``"max"`` over the valid steps of the output; ``"attention"``, a mean with
        weights that are the softmax of a learned linear score of each step (Bahdanau, Cho and Bengio 2015, ICLR,
        without a query).
    layer_norm
        Normalise what is read over its units (Ba, Kiros and Hinton 2016, "Layer normalization", arXiv:1607.06450).
    per_step
        An answer for each step instead of one for each sequence.
    answer
        What the numbers go through at the end, such as back to the target's units.
    front
        What stands before the LSTM; ``None``: nothing.
    initialisation
        ``"orthogonal"``: recurrent weights orthogonal, input weights after Glorot, and a forget gate's bias of 1;
        ``"chrono"``: the same with biases for memories of up to `max_steps`; ``"torch"``: as ``torch.nn.LSTM``.

    Examples
    --------
    >>> import torch
    >>> network = SequenceNetwork(inputs=3, outputs=2, hidden_size=4)
    >>> network(torch.zeros(5, 2, 3), torch.tensor([5, 2])).shape
    torch.Size([2, 2])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        pooling: Pooling = "last",
        layer_norm: bool = False,
        per_step: bool = False,
        answer: nn.Module | None = None,
        initialisation: Literal["orthogonal", "chrono", "torch"] = "orthogonal",
        max_steps: int = 100,
        front: ConvolutionalFront | None = None,
    ) -> None:
        super().__init__()
        self.per_step, self.pooling, self.recurrent_dropout = per_step, pooling, recurrent_dropout
        self.front = front
        self.lstm = LSTM(
            inputs if front is None else front.filters,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        features = hidden_size * (2 if bidirectional else 1)
        if pooling == "attention" and not per_step:
            self.attention = nn.Linear(features, 1)
        self.norm = nn.LayerNorm(features) if layer_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, outputs)
        self.answer = answer or nn.Identity()
        if initialisation != "torch":
            initialise(self.lstm)
        if initialisation == "chrono":
            init.chrono_(self.lstm, max(max_steps, 3))

    def read(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the LSTM reads, and its lengths."""
        return (x, lengths) if self.front is None else self.front(x, lengths)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, F) and (B,) -> (B, K), or (T, B, K) for an answer at each step."""
        return self.answer(self.numbers(x, lengths))  # type: ignore[no-any-return]

    def numbers(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return what the linear layer gives, which `answer` makes the answer of."""
        x, lengths = self.read(x, lengths)
        output, (h_n, _) = self._run(x, lengths)
        return self._linear(self._read_from(output, h_n, lengths))

    def say(self, features: Tensor) -> Tensor:
        """Return the answer from what is read of the hidden states: (..., D * H) -> (..., K)."""
        return self.answer(self._linear(features))  # type: ignore[no-any-return]

    def _linear(self, features: Tensor) -> Tensor:
        return self.head(self.dropout(self.norm(features)))  # type: ignore[no-any-return]

    def _run(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if not (self.training and self.recurrent_dropout):
            return self.lstm(x, lengths=lengths)  # type: ignore[no-any-return]
        weights = {
            name: nn.functional.dropout(weight, self.recurrent_dropout)
            for name, weight in self.lstm.named_parameters()
            if name.startswith("weight_hh")
        }
        return functional_call(self.lstm, weights, (x,), {"lengths": lengths})  # type: ignore[no-any-return]

    def _read_from(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        """Return what the linear layer reads: (T, B, D * H), or (B, D * H) of each sequence."""
        return output if self.per_step else self._pooled(output, h_n, lengths)

    def _pooled(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, D * H) -> (B, D * H)."""
        if self.pooling == "last":
            return torch.cat(tuple(h_n[-2:] if self.lstm.bidirectional else h_n[-1:]), dim=-1)
        lengths = lengths.to(output.device)
        valid = (torch.arange(len(output), device=output.device)[:, None] < lengths)[..., None]
        if self.pooling == "mean":
            return output.sum(0) / lengths[:, None]  # the output is zero past each length
        if self.pooling == "max":
            return output.masked_fill(~valid, -torch.inf).amax(0)
        scores = self.attention(output).masked_fill(~valid, -torch.inf)
        return (torch.softmax(scores, 0) * output).sum(0)


@torch.no_grad()
def initialise(lstm: LSTM) -> None:
    """Start with gates that keep: orthogonal recurrent weights, and a bias of 1 on the forget gate.

    Sources: :func:`glasslstm.init.orthogonal_`, :func:`glasslstm.init.forget_bias_`; Glorot and Bengio 2010,
    "Understanding the difficulty of training deep feedforward neural networks", AISTATS (input weights).
    """
    for name, parameter in lstm.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter)
        elif name.startswith("bias"):
            nn.init.zeros_(parameter)
    init.forget_bias_(init.orthogonal_(lstm), 1.0)
