"""Models that are wired wrongly, as people wire them wrongly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .models import Read, width

__all__ = [
    "CarriedCells",
    "CarriedStates",
    "Chained",
    "IgnoresLengths",
    "LastRow",
    "Repacked",
    "Reshaped",
    "ViewedStates",
    "last_row",
    "last_valid",
    "reverse_only",
]


def reverse_only(_output: Tensor, h_n: Tensor) -> Tensor:
    """Read the final state of the reverse direction as if it were that of the LSTM."""
    return h_n[-1]


def last_row(output: Tensor, _h_n: Tensor) -> Tensor:
    """Read the last row of the output as if it were time-first."""
    return output[-1]


class LastRow(nn.Module):
    """Takes lengths, and reads the last row of a padded batch."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002 - the fault
        """(N, T, C) and (N,) -> (N, out)."""
        found: Tensor = self.head(self.lstm(x)[0][:, -1])
        return found


class Repacked(nn.Module):
    """Packs the sequences, pads the output again, and reads it with the lengths as it likes."""

    def __init__(self, lstm: Any, out: int, read: Read) -> None:
        super().__init__()
        self.lstm, self.head, self.read = lstm, nn.Linear(width(lstm), out), read

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(N, T, C) and (N,) -> (N, out)."""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        found: Tensor = self.head(self.read(output, lengths))
        return found


def last_valid(output: Tensor, lengths: Tensor) -> Tensor:
    """Read the output at the last valid step, where a reverse direction has only begun."""
    return output[torch.arange(len(lengths)), lengths - 1]


class Reshaped(nn.Module):
    """Makes a time-first batch by ``reshape``, which cuts the sequences up."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C) -> (N, out)."""
        N, T, C = x.shape
        output, _ = self.lstm(x.reshape(T, N, C))
        found: Tensor = self.head(output[-1])
        return found


class Chained(nn.Module):
    """Reads the sequences of a batch one after the other, and takes the state of one along to the next."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C) -> (N, out)."""
        states, read = None, []
        for sequence in x:
            output, states = self.lstm(sequence.unsqueeze(0), states)
            read.append(self.head(output[:, -1]))
        return torch.cat(read)


class IgnoresLengths(nn.Module):
    """Masks its output by the lengths, but its reverse direction starts in the padding."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(N, T, C) and (N,) -> (N, out)."""
        output, _ = self.lstm(x)
        valid = torch.arange(x.shape[1]) < lengths[:, None]
        found: Tensor = self.head((output * valid.unsqueeze(-1)).sum(1) / lengths[:, None])
        return found


class ViewedStates(nn.Module):
    """Joins the layers' final states by ``view``, which mixes the sequences."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm = lstm
        self.head = nn.Linear(lstm.num_layers * width(lstm), out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C) -> (N, out)."""
        _, (h_n, _) = self.lstm(x)
        found: Tensor = self.head(h_n.view(len(x), -1))
        return found


class CarriedStates(nn.Module):
    """Keeps the states of one call for the next, whatever sequences come."""

    def __init__(self, lstm: Any, out: int) -> None:
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(width(lstm), out)
        self.states: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C) -> (N, out)."""
        output, (h_n, c_n) = self.lstm(x, self.states)
        self.states = h_n.detach(), c_n.detach()
        found: Tensor = self.head(output[:, -1])
        return found


class CarriedCells(nn.Module):
    """The same with an LSTMCell in a loop."""

    def __init__(self, cell: Any, out: int) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(cell.hidden_size, out)
        self.states: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C) -> (N, out)."""
        h, c = self.states or (x.new_zeros(len(x), self.cell.hidden_size),) * 2
        for x_t in x.unbind(dim=1):
            h, c = self.cell(x_t, (h, c))
        self.states = h.detach(), c.detach()
        found: Tensor = self.head(h)
        return found
