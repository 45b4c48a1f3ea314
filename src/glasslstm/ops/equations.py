"""The six equations of the LSTM in plain torch: the truth that everything else is tested against.

With ``[h, x]`` for concatenation, ``@`` for the matrix product and ``*`` element by element::

    f_t = sigmoid(W_f @ [h_{t-1}, x_t] + b_f)      forget gate: 1 keeps, 0 forgets
    i_t = sigmoid(W_i @ [h_{t-1}, x_t] + b_i)      input gate
    g_t = tanh   (W_c @ [h_{t-1}, x_t] + b_c)      candidate
    c_t = f_t * c_{t-1} + i_t * g_t                cell state: the long memory
    o_t = sigmoid(W_o @ [h_{t-1}, x_t] + b_o)      output gate
    h_t = o_t * tanh(c_t)                          hidden state: what the next layer sees

and, where the layer has a projection, ``h_t = W_hr @ (o_t * tanh(c_t))``.

Sources: Hochreiter and Schmidhuber 1997, "Long short-term memory", Neural Computation 9(8); the forget
gate: Gers, Schmidhuber and Cummins 2000, "Learning to forget", Neural Computation 12(10); the projection:
Sak, Senior and Beaufays 2014, "Long short-term memory recurrent neural network architectures for large
scale acoustic modeling", Interspeech.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from glasslstm.errors import ShapeError

__all__ = ["GateWeights", "Step", "concatenate_weights", "sequence", "split_weights", "step"]


class GateWeights(NamedTuple):
    """One weight and one bias for each gate, in the textbook's concatenated form.

    With hidden size H, input size I and P the size of h (P = H without a projection), each weight is
    (H, P + I), its first P columns for h_{t-1} and its last I columns for x_t; each bias is (H,).
    :func:`concatenate_weights` makes it of PyTorch's weights, :func:`split_weights` goes back.
    """

    W_f: Tensor
    b_f: Tensor
    W_i: Tensor
    b_i: Tensor
    W_c: Tensor
    b_c: Tensor
    W_o: Tensor
    b_o: Tensor


class Step(NamedTuple):
    """The six quantities of one step, each (B, H); `hidden` is (B, P) with a projection."""

    input_gate: Tensor
    forget_gate: Tensor
    candidate: Tensor
    output_gate: Tensor
    cell: Tensor
    hidden: Tensor


def step(x_t: Tensor, h: Tensor, c: Tensor, weights: GateWeights, weight_hr: Tensor | None = None) -> Step:
    """Apply the six equations once.

    Parameters
    ----------
    x_t
        Input of this step, (B, I).
    h, c
        Hidden and cell state of the step before, (B, P) and (B, H).
    weights
        The concatenated weights; see :func:`concatenate_weights`.
    weight_hr
        Projection, (P, H), or ``None``.

    Examples
    --------
    >>> import torch
    >>> ones, zeros = torch.ones(1, 2), torch.zeros(1)
    >>> weights = GateWeights(ones, zeros, ones, zeros, ones, zeros, ones, zeros)
    >>> step(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1), weights).cell
    tensor([[0.5000]])
    """
    hx = torch.cat([h, x_t], dim=-1)
    f = torch.sigmoid(hx @ weights.W_f.T + weights.b_f)
    i = torch.sigmoid(hx @ weights.W_i.T + weights.b_i)
    g = torch.tanh(hx @ weights.W_c.T + weights.b_c)
    c = f * c + i * g
    o = torch.sigmoid(hx @ weights.W_o.T + weights.b_o)
    h = o * torch.tanh(c)
    if weight_hr is not None:
        h = h @ weight_hr.T
    return Step(i, f, g, o, c, h)


def sequence(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weights: GateWeights,
    weight_hr: Tensor | None = None,
    lengths: Tensor | None = None,
    reverse: bool = False,
    on_step: Callable[[int, Step], None] = lambda *_: None,
) -> tuple[Step, Tensor, Tensor]:
    """Apply the six equations to every step of a batch of sequences.

    Parameters
    ----------
    x
        Input, (T, B, I).
    h_0, c_0
        Initial states, (B, P) and (B, H).
    weights, weight_hr
        As in :func:`step`.
    lengths
        Valid steps of each sequence, (B,), each 0 to T; ``None``: all have T.
    reverse
        Read from each sequence's last valid step to its first.
    on_step
        Called with t and the quantities of each step before they are used.

    Returns
    -------
    steps
        The six quantities, each (T, B, H) in the input's time order, zero past a sequence's length;
        `hidden` is (T, B, P).
    h_n, c_n
        The states after the last step read, (B, P) and (B, H).

    Examples
    --------
    >>> import torch
    >>> lstm = torch.nn.LSTM(3, 4)
    >>> x, zeros = torch.randn(5, 2, 3), torch.zeros(2, 4)
    >>> steps, h_n, c_n = sequence(x, zeros, zeros, concatenate_weights(*lstm.parameters()))
    >>> torch.allclose(steps.hidden, lstm(x)[0], atol=1e-6)
    True
    """
    time = x.size(0)
    h, c = h_0, c_0
    steps: list[Step | None] = [None] * time
    for t in reversed(range(time)) if reverse else range(time):
        if lengths is None:
            steps[t] = now = step(x[t], h, c, weights, weight_hr)
            on_step(t, now)
            h, c = now.hidden, now.cell
        else:
            valid = (lengths > t).unsqueeze(-1)
            # The padding is replaced before it is used: a NaN there would reach the gradients.
            now = step(torch.where(valid, x[t], 0.0), h, c, weights, weight_hr)
            on_step(t, now)
            h, c = torch.where(valid, now.hidden, h), torch.where(valid, now.cell, c)
            steps[t] = Step(*(torch.where(valid, quantity, 0.0) for quantity in now))
    return Step(*map(torch.stack, zip(*(s for s in steps if s is not None), strict=True))), h, c


def concatenate_weights(
    weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor | None = None, bias_hh: Tensor | None = None
) -> GateWeights:
    """Turn PyTorch's two matrices and two biases into one weight and one bias for each gate.

    Parameters
    ----------
    weight_ih, weight_hh
        As PyTorch stores them, (4H, I) and (4H, P), rows in the order i, f, g, o.
    bias_ih, bias_hh
        (4H,) each, or ``None`` (``bias=False``): the bias is then zero.

    Returns
    -------
    GateWeights
        ``W_k = [W_hk, W_ik]`` and ``b_k = b_ik + b_hk``; gradients flow through.

    Raises
    ------
    ShapeError
        Where the sizes do not belong together.

    Examples
    --------
    >>> import torch
    >>> lstm = torch.nn.LSTM(10, 20)
    >>> concatenate_weights(*lstm.parameters()).W_f.shape
    torch.Size([20, 30])
    """
    rows = weight_ih.size(0) if weight_ih.dim() else 0
    if not weight_ih.dim() == weight_hh.dim() == 2 or rows % 4 or weight_hh.size(0) != rows:
        raise ShapeError(
            f"weight_ih {tuple(weight_ih.shape)} and weight_hh {tuple(weight_hh.shape)}: expected 4 * hidden_size "
            "rows in both (the gates i, f, g, o one below the other) of a matrix each"
        )
    weight = torch.cat([weight_hh, weight_ih], dim=1)
    bias = weight.new_zeros(rows)
    for name, part in (("bias_ih", bias_ih), ("bias_hh", bias_hh)):
        if part is not None and part.shape != (rows,):
            raise ShapeError(
                f"{name} {tuple(part.shape)}: expected ({rows},), one value for each row of weight_ih"
            )
        bias = bias if part is None else bias + part
    (W_i, W_f, W_c, W_o), (b_i, b_f, b_c, b_o) = weight.chunk(4), bias.chunk(4)
    return GateWeights(W_f, b_f, W_i, b_i, W_c, b_c, W_o, b_o)


def split_weights(weights: GateWeights, proj_size: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Turn one weight and one bias for each gate into PyTorch's two matrices and two biases.

    The inverse of :func:`concatenate_weights`. Two biases cannot be told apart in their sum: the whole
    of it goes to `bias_ih`, and `bias_hh` is zero.

    Parameters
    ----------
    weights
        The concatenated weights, each (H, P + I) and (H,).
    proj_size
        P where the layer has a projection, else 0 (P is then H).

    Returns
    -------
    weight_ih, weight_hh, bias_ih, bias_hh
        (4H, I), (4H, P), (4H,) and (4H,), rows in the order i, f, g, o.

    Raises
    ------
    ShapeError
        Where the four weights or biases differ in shape, or are too narrow for h; or `proj_size` is negative.

    Examples
    --------
    >>> import torch
    >>> lstm = torch.nn.LSTM(10, 20)
    >>> weight_ih, weight_hh, bias_ih, bias_hh = split_weights(concatenate_weights(*lstm.parameters()))
    >>> torch.equal(weight_hh, lstm.weight_hh_l0)
    True
    """
    hidden = weights.W_f.size(0)
    if proj_size < 0:
        raise ShapeError(f"proj_size: expected 0 (no projection) or more, got {proj_size}")
    columns = proj_size or hidden
    for name, tensor in weights._asdict().items():
        expected = weights.W_f.shape if name.startswith("W") else (hidden,)
        if tensor.shape != expected:
            raise ShapeError(f"{name} {tuple(tensor.shape)}: expected {tuple(expected)}, to go with W_f")
    if weights.W_f.size(1) <= columns:
        raise ShapeError(
            f"W_f {tuple(weights.W_f.shape)}: expected more than {columns} columns, the first {columns} for h and the "
            "rest for x; with a projection give proj_size"
        )
    weight = torch.cat([weights.W_i, weights.W_f, weights.W_c, weights.W_o])
    bias = torch.cat([weights.b_i, weights.b_f, weights.b_c, weights.b_o])
    return weight[:, columns:].contiguous(), weight[:, :columns].contiguous(), bias, torch.zeros_like(bias)
