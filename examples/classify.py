"""Classification of whole sequences: last hidden state -> linear layer -> 3 classes, trained with Adam.

The problem needs memory: the class is shown in the first step only, and 20 steps of noise follow. A
model that looks at the last steps alone is right one time in three. With the usual initial weights the
forget gate is about 1/2, so that after 20 steps a millionth of the memory is left, and of the gradient
too; a bias of 2 opens the gate, and the network has something to learn from (Gers, Schmidhuber and
Cummins 2000, "Learning to forget"; Jozefowicz, Zaremba and Sutskever 2015).

Two traps, where the "last hidden state" is not what it seems:

- With ``bidirectional=True``, ``h_n[-1]`` is only the reverse direction, which has read the sequence
  from its end; take ``torch.cat([h_n[-2], h_n[-1]], dim=1)``.
- With sequences of several lengths, padded to one, ``output[-1]`` is not the last valid step of the
  short ones. Call ``lstm(x, lengths=lengths)``, and h_n comes from each sequence's own last step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import glasslstm as gl

CLASSES, CHANNELS, NOISE_STEPS = 3, 4, 20


class Classifier(nn.Module):
    """An LSTM and a linear layer on its last hidden state."""

    def __init__(self, hidden_size: int = 16) -> None:
        super().__init__()
        self.lstm = gl.LSTM(CHANNELS, hidden_size)
        self.linear = nn.Linear(hidden_size, CLASSES)
        forget_gate = slice(hidden_size, 2 * hidden_size)  # rows stand in the order i, f, g, o
        nn.init.constant_(self.lstm.get_parameter("bias_ih_l0")[forget_gate], 2.0)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, channels) -> logits, (B, classes)."""
        _, (h_n, _) = self.lstm(x)
        logits: Tensor = self.linear(h_n[-1])  # the last layer's state after the last step
        return logits


def make_data(count: int) -> tuple[Tensor, Tensor]:
    """Return `count` sequences, (T, B, channels), and their classes, (B,)."""
    y = torch.randint(CLASSES, (count,))
    x = torch.randn(1 + NOISE_STEPS, count, CHANNELS)
    x[0, :, :CLASSES] += 6 * nn.functional.one_hot(y, CLASSES)
    return x, y


def main(steps: int = 300) -> tuple[Tensor, float]:
    """Train on fresh batches; return the held-out probabilities and the held-out accuracy."""
    torch.manual_seed(0)
    model = Classifier()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(1, steps + 1):
        x, y = make_data(64)
        loss = nn.functional.cross_entropy(model(x), y)  # takes logits: it has the softmax inside
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 0:
            print(f"step {step:3d}  loss {loss.item():.4f}")

    x, y = make_data(1000)  # never trained on
    with torch.no_grad():
        probabilities = model(x).softmax(dim=1)
    accuracy = (probabilities.argmax(dim=1) == y).double().mean().item()
    print(f"held-out accuracy {accuracy:.3f}")
    print("probabilities of the first sequence:", " ".join(f"{p:.3f}" for p in probabilities[0].tolist()))
    return probabilities, accuracy


if __name__ == "__main__":
    main()
