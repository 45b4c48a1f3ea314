"""Two layers: the second reads the hidden states of the first, step by step.

`output` is the upper layer's; h_n and c_n have a row for each layer, the upper one last.
"""

from __future__ import annotations

import torch
from torch import Tensor

import glasslstm as gl


def main() -> tuple[Tensor, Tensor, Tensor]:
    """Run the stack, print what came out, and return it."""
    torch.manual_seed(0)
    lstm = gl.LSTM(input_size=10, hidden_size=20, num_layers=2)
    x = torch.randn(15, 1, 10)

    output, (h_n, c_n) = lstm(x)
    print("output", tuple(output.shape), " h_n", tuple(h_n.shape), " c_n", tuple(c_n.shape))
    print("the last step of the output is the upper layer's h_n:", torch.equal(output[-1], h_n[-1]))

    # The states may be handed on: the sequence in two parts gives what it gives in one.
    first, states = lstm(x[:9])
    second, _ = lstm(x[9:], states)
    print("in two parts the same:", torch.allclose(torch.cat([first, second]), output, atol=1e-6))
    return output, h_n, c_n


if __name__ == "__main__":
    main()
