"""Padded, packed, unbatched or batch-first input, with lengths or without: to one canonical batch, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from glasslstm.errors import ArgumentError, ArgumentTypeError, ShapeError
from glasslstm.ops.transforms import transforms_active

__all__ = ["Batch", "Layout", "canonical", "check_dtype", "check_state", "check_step"]


@dataclass(frozen=True)
class Layout:
    """How the caller's tensors are laid out."""

    batch_first: bool = False
    batched: bool = True
    packed: PackedSequence | None = None
    """The caller's packed sequence, whose order and batch sizes the output keeps."""


@dataclass(frozen=True)
class Batch:
    """The one form in which the layers see their input."""

    x: Tensor
    """(T, B, I)."""
    lengths: Tensor | None
    """(B,) int64 on the device of `x`, or ``None``: all sequences have T steps."""
    layout: Layout

    def output(self, output: Tensor) -> Tensor | PackedSequence:
        """(T, B, K) -> the caller's layout, packed if the input was."""
        packed = self.layout.packed
        if packed is None:
            return self.steps(output.transpose(0, 1) if self._swapped else output)
        assert self.lengths is not None
        lengths = self.lengths
        if packed.sorted_indices is not None:
            output, lengths = output.index_select(1, packed.sorted_indices), lengths[packed.sorted_indices]
        data = pack_padded_sequence(output, lengths.cpu()).data
        return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)

    def steps(self, tensor: Tensor) -> Tensor:
        """(T, B, K) -> (T, B, K), or (T, K) for an unbatched input."""
        return tensor if self.layout.batched else tensor.squeeze(1)

    def state(self, state: Tensor) -> Tensor:
        """(L * D, B, K) -> (L * D, B, K), or (L * D, K) for an unbatched input."""
        return state if self.layout.batched else state.squeeze(1)

    def initial(self, state: Tensor | None, size: int, count: int) -> Tensor:
        """Return the caller's initial state as (count, B, size); zeros where there is none."""
        if state is None:
            return self.x.new_zeros(count, self.x.size(1), size)
        return state if self.layout.batched else state.unsqueeze(1)

    @property
    def _swapped(self) -> bool:
        return self.layout.batch_first and self.layout.batched


def canonical(
    value: Tensor | PackedSequence, *, input_size: int, batch_first: bool, lengths: Any = None
) -> Batch:
    """Check the caller's input and bring it into the canonical form.

    Raises
    ------
    ArgumentTypeError
        For an input that is neither a tensor nor packed, and lengths that are no integers.
    ArgumentError
        For an input that is not 2-D or 3-D, lengths beside a packed or unbatched input or out of range.
    ShapeError
        For a last dimension other than `input_size`, and for sequences of no steps.
    """
    if isinstance(value, PackedSequence):
        if lengths is not None:
            raise ArgumentError("lengths: a PackedSequence has its own; leave lengths out")
        _check_features(value.data, input_size)
        if value.data.dim() != 2:
            raise ShapeError(
                f"input: expected a PackedSequence of sequences of vectors, got data of shape {tuple(value.data.shape)}"
            )
        x, host_lengths = pad_packed_sequence(value)
        return Batch(x, host_lengths.to(x.device), Layout(packed=value))
    if not isinstance(value, Tensor):
        raise ArgumentTypeError(
            f"input: expected a torch.Tensor or a PackedSequence, got {type(value).__name__}"
        )
    if value.dim() not in (2, 3):
        raise ArgumentError(
            f"input: expected 3 dimensions (batched) or 2 (unbatched), got {value.dim()}, shape {tuple(value.shape)}"
        )
    _check_features(value, input_size)
    layout = Layout(batch_first=batch_first, batched=value.dim() == 3)
    if not layout.batched:
        x = value.unsqueeze(1)
        if lengths is not None:
            raise ArgumentError("lengths: an unbatched input is one sequence; cut it to its length instead")
    else:
        x = value.transpose(0, 1) if batch_first else value
    if x.size(0) == 0:
        raise ShapeError(f"input {tuple(value.shape)}: expected at least one time step, got none")
    return Batch(x, None if lengths is None else _check_lengths(lengths, x), layout)


def check_step(value: Tensor, input_size: int) -> None:
    """Refuse an input for one step that is not (B, input_size) or (input_size,)."""
    if not isinstance(value, Tensor):
        raise ArgumentTypeError(f"input: expected a torch.Tensor, got {type(value).__name__}")
    if value.dim() not in (1, 2):
        raise ArgumentError(
            f"input: expected 2 dimensions (batched) or 1 (unbatched) for one step, got {value.dim()}, "
            f"shape {tuple(value.shape)}"
        )
    _check_features(value, input_size)


def check_dtype(x: Tensor, weight: Tensor) -> None:
    """Refuse an input of another type or on another device than the weights."""
    if x.dtype != weight.dtype:
        raise ArgumentError(
            f"input: its dtype {x.dtype} differs from the weights' {weight.dtype}; call input.to({weight.dtype})"
            + (f" or module.to({x.dtype})" if x.dtype.is_floating_point else "")
        )
    _check_device("input", x, weight)


def check_state(
    name: str, state: Tensor, expected: tuple[int, ...], x: Tensor, *, any_dtype: bool = False
) -> None:
    """Refuse an initial state of another shape, type or device than the input asks for."""
    if not isinstance(state, Tensor):
        raise ArgumentTypeError(f"hx: expected {name} as a torch.Tensor, got {type(state).__name__}")
    if state.dim() != len(expected):
        raise ShapeError(
            f"hx: expected {name} with {len(expected)} dimensions, {expected}, to go with an input of "
            f"{len(expected)} dimensions; got {state.dim()}, {tuple(state.shape)}"
        )
    if tuple(state.shape) != expected:
        raise ShapeError(f"hx: expected {name} of size {expected}, got {tuple(state.shape)}")
    if state.dtype != x.dtype and not any_dtype:
        raise ShapeError(f"hx: {name} is {state.dtype} and the input {x.dtype}; call {name}.to({x.dtype})")
    _check_device(f"hx: {name}", state, x)


def _check_device(name: str, tensor: Tensor, other: Tensor) -> None:
    if tensor.device != other.device:
        raise ShapeError(
            f"{name}: is on {tensor.device}, expected {other.device}; move it with .to({str(other.device)!r})"
        )


def _check_features(x: Tensor, input_size: int) -> None:
    if x.size(-1) != input_size:
        raise ShapeError(
            f"input {tuple(x.shape)}: expected input_size={input_size} in the last dimension, got {x.size(-1)}"
        )


def _check_lengths(lengths: Tensor | Sequence[int], x: Tensor) -> Tensor:
    time, batch = x.shape[:2]
    try:
        found = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ArgumentTypeError(f"lengths: expected integers, got {lengths!r}: {error}") from None
    whole = not (found.dtype.is_floating_point or found.dtype.is_complex or found.dtype == torch.bool)
    if not whole and found.numel():  # an empty list has no type of its own
        raise ArgumentTypeError(f"lengths: expected integers, got {found.dtype}")
    if found.shape != (batch,):
        raise ArgumentError(
            f"lengths: expected one for each of the {batch} sequences, got shape {tuple(found.shape)}"
        )
    found = found.to(device=x.device, dtype=torch.int64, copy=True)  # the backward pass reads them too
    if not (torch.compiler.is_compiling() or transforms_active()):  # there the values are not known
        wrong = ((found < 0) | (found > time)).nonzero()
        if len(wrong):
            first = int(wrong[0])
            raise ArgumentError(
                f"lengths: expected 0 to {time}, the steps of the input; got {int(found[first])} for sequence {first}"
            )
    return found
