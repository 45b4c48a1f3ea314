"""Convolutions before the LSTM: local shapes, and fewer steps to remember."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ConvolutionalFront"]


class ConvolutionalFront(nn.Module):
    """Blocks of convolution over time, batch norm over the valid steps, and ReLU; each adds what it reads.

    In the manner of the fully convolutional branch of Karim, Majumdar, Darabi and Chen 2018, "LSTM fully convolutional
    networks for time series classification" (IEEE Access 6), but before the LSTM instead of beside it, and with the
    sums of He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition" (CVPR), where the shapes agree.
    A block takes every second step where what reaches it is longer than `max_steps`.

    Parameters
    ----------
    inputs
        Input channels F.
    blocks, filters, kernel_size
        How many blocks, output channels C of each, and steps that each output reads.
    longest, max_steps
        Steps of the longest series, and from how many on they are halved; ``None``: never.
    causal
        Read no later step.

    Examples
    --------
    >>> front = ConvolutionalFront(2, blocks=3, filters=8, kernel_size=9, longest=150, max_steps=64)
    >>> x, lengths = front(torch.zeros(150, 2, 2), torch.tensor([150, 9]))
    >>> x.shape, lengths.tolist()
    (torch.Size([38, 2, 8]), [38, 3])
    """

    def __init__(
        self,
        inputs: int,
        *,
        blocks: int,
        filters: int,
        kernel_size: int,
        longest: int,
        max_steps: int | None = 64,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.causal, self.filters = causal, filters
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for _ in range(blocks):
            stride = 2 if max_steps is not None and longest > max_steps else 1
            longest = -(-longest // stride)
            self.convolutions.append(nn.Conv1d(inputs, filters, kernel_size, stride, bias=False))
            self.norms.append(nn.BatchNorm1d(filters))
            inputs = filters

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(T, B, F) and (B,) -> (T', B, C), zero past each length, and the lengths there."""
        x = x * _valid(x, lengths)  # a kernel reaches into the padding, where anything may stand
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            found, lengths = self._block(convolution, norm, x, lengths)
            x = found + x if found.shape == x.shape else found
        return x, lengths

    def _block(
        self, convolution: nn.Module, norm: nn.Module, x: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        assert isinstance(convolution, nn.Conv1d)
        reach = convolution.kernel_size[0] - 1
        before = reach if self.causal else reach // 2
        padded = nn.functional.pad(x.permute(1, 2, 0), (before, reach - before))
        found = convolution(padded).permute(2, 0, 1)
        lengths = -(-lengths // convolution.stride[0])
        valid = _valid(found, lengths)[..., 0]
        values = found[valid]
        if len(values) > 1 or not self.training:  # of one value there is no variance
            values = norm(values)
        return found.new_zeros(found.shape).index_put((valid,), torch.relu(values).to(found.dtype)), lengths


def _valid(x: Tensor, lengths: Tensor) -> Tensor:
    """Tell which steps of a batch are there, (T, B, 1)."""
    return (torch.arange(len(x), device=x.device)[:, None] < lengths.to(x.device))[..., None]
