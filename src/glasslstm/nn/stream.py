"""One step at a time: a stack with its state kept inside, and its weights made ready once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from glasslstm.errors import ArgumentError, ArgumentTypeError, ShapeError
from glasslstm.ops import cpu
from glasslstm.ops.dispatch import Work, choose
from glasslstm.ops.stack import stack
from glasslstm.ops.values import LayerWeights

if TYPE_CHECKING:
    from glasslstm.nn.lstm import LSTM

__all__ = ["Stream"]


class Stream:
    """Run an LSTM one step at a time; made by :meth:`glasslstm.LSTM.stream`.

    The weights are copied when the stream is made, and stay as they were then: a stream is frozen. After a
    change of the module's weights make a new one. Nothing here can be differentiated.

    Shapes below: B batch, I input size, H hidden size, L layers, P = `proj_size` or H.

    Attributes
    ----------
    batch_size
        B.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm = gl.LSTM(3, 4, num_layers=2)
    >>> stream = lstm.stream()
    >>> x = torch.randn(10, 1, 3)
    >>> y = torch.stack([stream.step(x_t) for x_t in x])
    >>> torch.allclose(y, lstm(x)[0], atol=1e-6)
    True
    """

    def __init__(self, lstm: LSTM, batch_size: int) -> None:
        _check(lstm, batch_size)
        self.batch_size = batch_size
        weights = [part.map(lambda weight: weight.detach().clone()) for part in lstm._weights()]
        like = weights[0].weight_ih
        width = lstm.proj_size or lstm.hidden_size
        self._start = [
            like.new_zeros(lstm.num_layers, size) if state is None else state.detach().clone()
            for state, size in ((lstm.h_0, width), (lstm.c_0, lstm.hidden_size))
        ]
        self._h, self._c = (state.unsqueeze(1).repeat(1, batch_size, 1) for state in self._start)
        self._shape, self._dtype = torch.Size((batch_size, lstm.input_size)), like.dtype
        self._device, self._on_cpu = like.device, like.is_cpu
        work = Work(
            device=like.device.type,
            complex=like.is_complex(),
            sixteen=like.itemsize == 2,
            projection=lstm.proj_size > 0,
        )
        engine = _Native if choose(work).kernel == "native" else _General
        self._step = engine(weights, self._h, self._c, lstm.input_size).step

    def step(self, x_t: Tensor) -> Tensor:
        """Take one step.

        Parameters
        ----------
        x_t
            The input of this step, (B, I), of the weights' type and device.

        Returns
        -------
        Tensor
            The last layer's h_t, (B, P): a new tensor each time.

        Raises
        ------
        ShapeError, ArgumentError, ArgumentTypeError
            For an input of another shape, type or device.
        """
        if type(x_t) is not Tensor or x_t.shape != self._shape or x_t.dtype is not self._dtype:
            self._refuse(x_t)
        if x_t.is_cpu is not self._on_cpu:
            self._refuse(x_t)
        return self._step(x_t)

    @property
    def state(self) -> tuple[Tensor, Tensor]:
        """(h, c) after the last step, (L, B, P) and (L, B, H): copies. Set it to go on from another state."""
        return self._h.clone(), self._c.clone()

    @state.setter
    def state(self, value: tuple[Tensor, Tensor]) -> None:
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise ArgumentTypeError("state: expected a pair (h, c) of tensors")
        for name, new, own in zip(("h", "c"), value, (self._h, self._c), strict=True):
            if not isinstance(new, Tensor):
                raise ArgumentTypeError(f"state: expected {name} as a torch.Tensor, got {type(new).__name__}")
            if new.shape != own.shape:
                raise ShapeError(f"state: expected {name} of size {tuple(own.shape)}, got {tuple(new.shape)}")
        with torch.no_grad():
            self._h.copy_(value[0])
            self._c.copy_(value[1])

    def reset(self, mask: Tensor | None = None) -> None:
        """Set the state to what it was when the stream was made: the learned initial state, or zero.

        Parameters
        ----------
        mask
            Which sequences of the batch, (B,) bool. Default: all.

        Raises
        ------
        ArgumentError
            For another shape or type.
        """
        fits = isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == (self.batch_size,)
        if mask is not None and not fits:
            got = f"{tuple(mask.shape)}, {mask.dtype}" if isinstance(mask, Tensor) else type(mask).__name__
            raise ArgumentError(f"mask: expected a bool tensor of shape ({self.batch_size},), got {got}")
        for state, start in zip((self._h, self._c), self._start, strict=True):
            state[:, slice(None) if mask is None else mask] = start.unsqueeze(1)

    def __repr__(self) -> str:
        layers, batch, width = self._h.shape
        return f"Stream(batch_size={batch}, input_size={self._shape[1]}, num_layers={layers}, output_size={width})"

    def _refuse(self, x_t: Tensor) -> None:
        """Raise for what cannot be a step; subclasses of Tensor may."""
        if not isinstance(x_t, Tensor):
            raise ArgumentTypeError(f"x_t: expected a torch.Tensor, got {type(x_t).__name__}")
        if x_t.shape != self._shape:
            raise ShapeError(
                f"x_t: expected shape {tuple(self._shape)}, batch_size and input_size; got {tuple(x_t.shape)}"
            )
        if x_t.dtype != self._dtype:
            raise ArgumentError(
                f"x_t: its dtype {x_t.dtype} differs from the weights' {self._dtype}; call x_t.to({self._dtype})"
            )
        if x_t.device != self._device:
            raise ShapeError(f"x_t: is on {x_t.device}, expected {self._device}; move it with .to()")


class _Native:
    """Steps of the native kernel, without torch between them."""

    def __init__(self, weights: list[LayerWeights], h: Tensor, c: Tensor, input_size: int) -> None:
        self._kept = h, c
        self._like = h[-1]
        make = cpu.NATIVE.StreamF32 if h.dtype == torch.float32 else cpu.NATIVE.StreamF64
        sizes = [1, h.size(1), input_size, h.size(2)]
        for k, part in enumerate(weights):
            cpu.check_weights([part], h.new_empty(input_size) if k == 0 else h, h.size(2))
        addresses = [0 if w is None else w.contiguous().data_ptr() for part in weights for w in part[:4]]
        self._run = make(sizes, torch.get_num_threads(), addresses, h.data_ptr(), c.data_ptr()).step

    def step(self, x_t: Tensor) -> Tensor:
        if not x_t.is_contiguous() or x_t.is_neg():
            x_t = x_t.clone(memory_format=torch.contiguous_format)
        y = torch.empty_like(self._like)  # half the time of torch.empty with a shape
        self._run(x_t.data_ptr(), y.data_ptr())
        return y


class _General:
    """Steps of whatever kernel there is."""

    def __init__(self, weights: list[LayerWeights], h: Tensor, c: Tensor, _: int) -> None:
        self._weights, self._h, self._c = weights, h, c

    @torch.no_grad()
    def step(self, x_t: Tensor) -> Tensor:
        found = stack(x_t.unsqueeze(0), self._h, self._c, self._weights)
        self._h.copy_(found.h_n)
        self._c.copy_(found.c_n)
        return found.output[0]


def _check(lstm: LSTM, batch_size: int) -> None:
    if lstm.bidirectional:
        raise ArgumentError(
            "stream: a bidirectional LSTM reads each sequence from its end too, and cannot stream"
        )
    if not isinstance(batch_size, int) or isinstance(batch_size, bool):
        raise ArgumentTypeError(
            f"batch_size: expected an int, got {batch_size!r} ({type(batch_size).__name__})"
        )
    if batch_size < 1:
        raise ArgumentError(f"batch_size: expected 1 or more, got {batch_size}")
