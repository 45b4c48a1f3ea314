"""The networks around the LSTMs of the zoo, as people build them. The LSTM comes from outside, of either library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

__all__ = [
    "Attention",
    "Autoencoder",
    "CellLoop",
    "Convolved",
    "Forecaster",
    "Gathered",
    "Hierarchy",
    "Joined",
    "LanguageModel",
    "MaskedMean",
    "Packed",
    "Stepwise",
    "Streamed",
    "Twins",
    "Unbatched",
    "both_ends",
    "last_state",
    "last_step",
    "width",
]

Read: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(output, h_n) -> what the head sees."""


def width(lstm: Any) -> int:
    """Return the size of an LSTM's output at one step."""
    size: int = lstm.proj_size or lstm.hidden_size
    return 2 * size if lstm.bidirectional else size


def last_step(output: Tensor, _h_n: Tensor) -> Tensor:
    """Read the last step of a sequence-first output."""
    return output[:, -1]


def both_ends(_output: Tensor, h_n: Tensor) -> Tensor:
    """Read the final states of both directions of the last layer."""
    return torch.cat([h_n[-2], h_n[-1]], dim=-1)


def last_state(_output: Tensor, h_n: Tensor) -> Tensor:
    """Read the last layer's final state."""
    return h_n[-1]


class Joined(nn.Module):
    """A head on one vector that is read from the LSTM; by default the final state, or both joined."""

    def __init__(self, lstm: Any, out: int, read: Read | None = None, features: int | None = None) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(features or width(lstm), out)
        self.read = read or (both_ends if lstm.bidirectional else last_state)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C), or (T, N, C) as the LSTM wants it -> (N, out)."""
        output, (h_n, _) = self.lstm(x)
        found: Tensor = self.head(self.read(output, h_n))
        return found


class Packed(nn.Module):
    """A classifier on ragged sequences, packed for the LSTM."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)
        self.read = both_ends if lstm.bidirectional else last_state

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(N, T, C) and (N,) -> (N, out)."""
        packed = pack_padded_sequence(x, lengths, self.lstm.batch_first, enforce_sorted=False)
        output, (h_n, _) = self.lstm(packed)
        found: Tensor = self.head(self.read(output, h_n))
        return found


class Gathered(nn.Module):
    """A head on the output at the last valid step of each padded sequence."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(N, T, C) and (N,) -> (N, out)."""
        output, _ = self.lstm(x)
        found: Tensor = self.head(output[torch.arange(len(x)), lengths - 1])
        return found


class Hierarchy(nn.Module):
    """One LSTM reads each part of a sequence by itself, another one what the first made of the parts."""

    def __init__(self, lower: Any, upper: Any, out: int) -> None:
        super().__init__()
        self.lower, self.upper, self.head = lower, upper, nn.Linear(width(upper), out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, parts, T, C) -> (N, out)."""
        _, (h_n, _) = self.lower(x.flatten(0, 1))
        _, (h_n, _) = self.upper(h_n[-1].unflatten(0, x.shape[:2]))
        found: Tensor = self.head(h_n[-1])
        return found


class MaskedMean(nn.Module):
    """A head on the mean of the valid outputs of ``glasslstm.LSTM``."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(N, T, C) and (N,) -> (N, out)."""
        output, _ = self.lstm(x, lengths=lengths)  # zero past a length
        found: Tensor = self.head(output.sum(1) / lengths[:, None])
        return found


class Attention(nn.Module):
    """Tokens and marks; the head reads what it attends to over all outputs."""

    def __init__(self, lstm: Any, words: int, out: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, lstm.input_size - 1)
        self.lstm, self.score = lstm, nn.Linear(width(lstm), 1)
        self.head = nn.Linear(width(lstm), out)

    def forward(self, tokens: Tensor, marks: Tensor) -> Tensor:
        """(N, T) and (N, T) -> (N, out)."""
        x = torch.cat([self.embedding(tokens), marks.unsqueeze(-1).float()], dim=-1)
        output, _ = self.lstm(x)
        weights = self.score(output).softmax(dim=1)
        found: Tensor = self.head((weights * output).sum(1))
        return found


class Stepwise(nn.Module):
    """A head on every step: (N, T, C) -> (N, T, out)."""

    def __init__(self, lstm: Any, out: int, norm: bool = False) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)
        self.norm = nn.LayerNorm(width(lstm)) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Read what is in front of each step, and with two directions what is behind it."""
        found: Tensor = self.head(self.norm(self.lstm(x)[0]))
        return found


class LanguageModel(nn.Module):
    """Tokens in, logits at every step out; ragged with lengths."""

    def __init__(self, lstm: Any, words: int, out: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, lstm.input_size)
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(N, T) -> (N, T, out)."""
        x = self.embedding(tokens)
        if lengths is None:
            output, _ = self.lstm(x)
        else:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            output, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        found: Tensor = self.head(output)
        return found


class Forecaster(nn.Module):
    """An encoder hands its states to a decoder that is fed its own forecasts, step by step."""

    def __init__(self, encoder: Any, decoder: Any, horizon: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.horizon = encoder, decoder, horizon
        self.head = nn.Linear(decoder.hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, 1) -> (N, horizon, 1)."""
        _, (h_n, c_n) = self.encoder(x)
        states, last, found = (h_n[-1], c_n[-1]), x[:, -1], []
        for _ in range(self.horizon):
            states = self.decoder(last, states)
            last = self.head(states[0])
            found.append(last)
        return torch.stack(found, dim=1)


class Autoencoder(nn.Module):
    """The encoder's final state is the code; the decoder reads it at every step."""

    def __init__(self, encoder: Any, decoder: Any) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.head = nn.Linear(decoder.hidden_size, encoder.input_size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C) -> (N, T, C)."""
        _, (h_n, _) = self.encoder(x)
        code = h_n[-1].unsqueeze(1).expand(-1, x.shape[1], -1)
        found: Tensor = self.head(self.decoder(code)[0])
        return found


class Convolved(nn.Module):
    """A convolution with a stride shortens the sequence before the LSTM reads it."""

    def __init__(self, lstm: Any, out: int, stride: int = 4) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, lstm.input_size, kernel_size=2 * stride, stride=stride)
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, 1) -> (N, out)."""
        x = self.convolution(x.transpose(1, 2)).relu().transpose(1, 2)
        found: Tensor = self.head(self.lstm(x)[0][:, -1])
        return found


class CellLoop(nn.Module):
    """An LSTMCell in a loop over the steps."""

    def __init__(self, cell: Any, out: int) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(cell.hidden_size, out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C) -> (N, T, out)."""
        states, outputs = None, []
        for x_t in x.unbind(dim=1):
            states = self.cell(x_t, states)
            outputs.append(self.head(states[0]))
        return torch.stack(outputs, dim=1)


class Streamed(nn.Module):
    """One chunk at a time: the states come in and go out."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)

    def forward(self, x: Tensor, states: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Any]:
        """(N, T, C) -> (N, T, out), and the states behind it."""
        output, states = self.lstm(x, states)
        return self.head(output), states


class Twins(nn.Module):
    """The same LSTM reads two sequences; the head compares."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm = lstm
        self.head = nn.Sequential(nn.Linear(width(lstm), 16), nn.ReLU(), nn.Linear(16, out))

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """(N, T, C) twice -> (N, out)."""
        codes = [self.lstm(x)[1][0][-1] for x in (one, other)]
        found: Tensor = self.head(codes[0] - codes[1])
        return found


class Unbatched(nn.Module):
    """One sequence, without a dimension for the batch: (T, C) -> (T, out)."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)

    def forward(self, x: Tensor) -> Tensor:
        """Read one sequence."""
        found: Tensor = self.head(self.lstm(x)[0])
        return found
