"""One layer: a sequence goes in, a hidden state for every step comes out, and every gate can be looked at.

15 steps, one sequence, 10 numbers a step, 20 units. `output` holds the hidden state h_t of every step;
h_n and c_n are the hidden and the cell state after the last one, so h_n is the last row of `output`.
"""

from __future__ import annotations

import torch
from torch import Tensor

import glasslstm as gl


def main() -> tuple[Tensor, Tensor, Tensor, gl.Trace]:
    """Run the layer, print what came out, and return it."""
    torch.manual_seed(0)
    lstm = gl.LSTM(input_size=10, hidden_size=20)
    x = torch.randn(15, 1, 10)  # (time, batch, input)

    # The states start at zero. With return_trace=True the gates of every step come too.
    output, (h_n, c_n), trace = lstm(x, return_trace=True)
    print("output", tuple(output.shape), " h_n", tuple(h_n.shape), " c_n", tuple(c_n.shape))

    # c_t = f_t * c_{t-1} + i_t * g_t: a forget gate near 1 keeps the memory, near 0 it forgets.
    layer = trace[0, 0]  # layer 0, forward direction
    kept = layer.forget_gate.mean(dim=(1, 2))
    print("share of the memory kept, step by step:", " ".join(f"{share:.2f}" for share in kept.tolist()))
    return output, h_n, c_n, trace


if __name__ == "__main__":
    main()
