"""The modules to compare, with the same weights, and what is done with one: a pass forward, or gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import glasslstm as gl
from glasslstm.bench.measure import Run
from glasslstm.bench.shapes import Shape

__all__ = ["Call", "Twins"]

Call: TypeAlias = Callable[[nn.Module, Tensor], Tensor]
"""How a module is called for its output, (T, B, D * H)."""


class Twins:
    """Two LSTMs with the same weights, torch's and ours, and data for them.

    Attributes
    ----------
    theirs, ours
        ``torch.nn.LSTM`` and :class:`glasslstm.LSTM`, float32.
    x, d_output
        An input, (T, B, I), and a gradient of the output, (T, B, D * H).
    lengths
        Of the sequences, uniform from T/5 to T; B integers.
    """

    def __init__(self, shape: Shape) -> None:
        T, B, I, H, L, D = self.shape = shape  # noqa: E741
        draw = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        self.theirs = nn.LSTM(I, H, L, bidirectional=D == 2)
        self.ours = self.our()
        self.x = torch.randn(T, B, I, generator=draw)
        self.d_output = torch.randn(T, B, D * H, generator=draw)
        self.lengths = torch.randint(max(1, T // 5), T + 1, (B,), generator=draw)

    def our(self, **more: Any) -> gl.LSTM:
        """Return another :class:`glasslstm.LSTM` with these weights."""
        shape = self.shape
        module = gl.LSTM(shape.I, shape.H, shape.L, bidirectional=shape.D == 2, **more)
        module.load_state_dict(self.theirs.state_dict())
        return module

    def inference(self, module: nn.Module, call: Callable[[nn.Module, Tensor], Any]) -> Run:
        """Return a run without gradients; `call` gives a tensor or a list of them."""
        weights = [] if module is self.theirs else list(module.parameters())

        @torch.no_grad()
        def run() -> Sequence[Any]:
            increment_version(weights)  # torch packs its weights in every call: ours count as changed
            found = call(module, self.x)
            return [found] if isinstance(found, Tensor) else found

        return run

    def training(self, module: nn.Module, call: Call) -> Run:
        """Return a run forward and backward: the gradients of the input and of the weights."""
        x = self.x.clone().requires_grad_()
        leaves = [x, *module.parameters()]
        return lambda: torch.autograd.grad(call(module, x), leaves, self.d_output)

    def output_in_float64(self, call: Callable[[nn.Module, Tensor], Any]) -> Callable[[], list[Tensor]]:
        """Return what gives the output, or what else `call` gives, in float64 and by torch's module."""

        @cache
        @torch.no_grad()
        def truth() -> list[Tensor]:
            found = call(self._exact(), self.x.double())
            return [found] if isinstance(found, Tensor) else list(found)

        return truth

    def gradients_in_float64(self, call: Call) -> Callable[[], list[Tensor]]:
        """Return what gives the gradients in float64, by torch's module."""

        @cache
        def truth() -> list[Tensor]:
            module, x = self._exact(), self.x.double().requires_grad_()
            return list(
                torch.autograd.grad(call(module, x), [x, *module.parameters()], self.d_output.double())
            )

        return truth

    def padded(self, module: nn.Module, x: Tensor) -> Tensor:
        """Call a module, all sequences being full."""
        output: Tensor = module(x)[0]
        return output

    def with_lengths(self, module: nn.Module, x: Tensor) -> Tensor:
        """Call our module on the ragged batch."""
        output: Tensor = module(x, lengths=self.lengths)[0]
        return output

    def packed(self, module: nn.Module, x: Tensor) -> Tensor:
        """Call torch's module on the ragged batch: pack, run, pad."""
        output, _ = module(pack_padded_sequence(x, self.lengths, enforce_sorted=False))
        padded: Tensor = pad_packed_sequence(output, total_length=len(x))[0]
        return padded

    def _exact(self) -> nn.LSTM:
        return copy.deepcopy(self.theirs).double()
