"""A trace as a long table, and as one safetensors file that is checked when it is read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glasslstm._files import check_writable, written_whole
from glasslstm.errors import ArgumentError, ModelFileError
from glasslstm.nn.trace import GRADIENTS, QUANTITIES, GateTrace, Trace
from glasslstm.ops.values import StateGradients

__all__ = ["FORMAT", "FORMAT_VERSION", "load", "save", "table"]

FORMAT = "glasslstm.trace"
FORMAT_VERSION = 1
_INITIAL = ("initial_hidden", "initial_cell")
_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64)


def table(trace: Trace, layers: Collection[int] | None = None) -> dict[str, NDArray[Any]]:
    """Return the columns of a long table: see :meth:`glasslstm.Trace.table`."""
    chosen: Collection[int] = range(trace.num_layers) if layers is None else set(layers)
    for layer in chosen:
        trace[layer, 0]  # refuses one that is not there
    if not chosen:
        raise ArgumentError(f"layers: expected some of 0 to {trace.num_layers - 1}, got none")
    keys = [key for key in trace if key[0] in chosen]
    gradients = [name for name in GRADIENTS if any(getattr(trace[key], name) is not None for key in keys)]
    parts = [_rows(trace, key, [*QUANTITIES, *gradients]) for key in keys]
    # What is joined is let go of, so that the table is in memory once and not twice.
    return {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}


def save(trace: Trace, path: str | PathLike[str]) -> None:
    """Write a trace to a safetensors file: see :meth:`glasslstm.Trace.save`."""
    path = Path(path)
    if path.is_dir():
        raise ArgumentError(f"path: {path} is a folder; a trace is saved to one file")
    check_writable(path)
    found = {f"{k}.{d}.{name}": getattr(trace[k, d], name) for k, d in trace for name in _NAMES}
    found["input"] = trace.input
    for name, tensor in found.items():
        if tensor is not None and tensor.dtype not in _DTYPES:
            raise ArgumentError(f"trace: {name} is of {tensor.dtype}, which a trace file cannot hold")
    layers, directions = range(trace.num_layers), range(trace.num_directions)
    found["reverse"] = torch.tensor([[trace[k, d].reverse for d in directions] for k in layers])
    found["lengths"] = trace.lengths
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "start": str(trace.start)}
    metadata |= {} if trace.left_out is None else {"left_out": trace.left_out}
    with written_whole(path) as partial:
        save_file({n: _in_own_memory(t) for n, t in found.items() if t is not None}, partial, metadata)


def load(path: str | PathLike[str]) -> Trace:
    """Read a trace from a safetensors file: see :meth:`glasslstm.Trace.load`."""
    metadata, tensors = _read(Path(path))
    wrong = next(_faults(metadata, tensors), None)
    if wrong:
        raise ModelFileError(f"{path}: {wrong}; the file was damaged or changed, save the trace again")
    lengths, reverse = tensors.get("lengths"), tensors["reverse"]
    entries = {}
    for k, d in _keys(reverse):
        own = {name: tensors[f"{k}.{d}.{name}"] for name in (*QUANTITIES, *_INITIAL)}
        gradients = StateGradients(*(tensors.get(f"{k}.{d}.{name}") for name in GRADIENTS))
        entries[k, d] = GateTrace(**own, lengths=lengths, reverse=bool(reverse[k, d]), gradients=gradients)
    return Trace(entries, lengths, tensors.get("input"), int(metadata["start"]), metadata.get("left_out"))


_NAMES = (*QUANTITIES, *_INITIAL, *GRADIENTS)


def _rows(trace: Trace, key: tuple[int, int], names: list[str]) -> dict[str, NDArray[Any]]:
    """Return the columns of one layer and direction, sequence by sequence."""
    gates, H = trace[key], trace[key].cell.shape[-1]
    shape = len(gates.cell), *(gates.cell.shape[1:-1] or (1,))  # (T, B)
    valid = gates.valid.cpu().numpy().reshape(shape).T
    sequence, step = np.nonzero(valid)
    found: dict[str, NDArray[Any]] = {
        "layer": np.full(len(step) * H, key[0], np.int16),
        "direction": np.full(len(step) * H, key[1], np.int8),
        "sequence": sequence.astype(np.int32).repeat(H),
        "step": (step + trace.start).astype(np.int32).repeat(H),
        "unit": np.tile(np.arange(H, dtype=np.int32), len(step)),
    }
    values = gates.numpy()
    nothing = np.full_like(values["cell"], np.nan)  # for a gradient that only other layers have
    for name in names:
        value = values.get(name, nothing)
        rows = value.reshape(*shape, value.shape[-1]).swapaxes(0, 1)[valid]
        missing = H - rows.shape[-1]  # units of h that a projection does not have
        found[name] = np.pad(rows, ((0, 0), (0, missing)), constant_values=np.nan).ravel()
    return found


def _in_own_memory(tensor: Tensor) -> Tensor:
    """Copy what may be a part of another tensor: the format wants each on its own, without gaps."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors of a file that says of itself that it is a trace."""
    if not path.is_file():
        raise ModelFileError(f"{path}: there is no such file; expected one that Trace.save has written")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            _check_format(path, metadata)
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"{path}: cannot be read as a safetensors file ({error}); it is damaged or of another kind, expected "
            "one that Trace.save has written"
        ) from None


def _check_format(path: Path, metadata: Mapping[str, str]) -> None:
    kind, version = metadata.get("format"), metadata.get("format_version")
    if kind != FORMAT:
        raise ModelFileError(
            f"{path}: has no trace in it (format {kind!r}, expected {FORMAT!r}); Trace.save writes one"
        )
    if version != str(FORMAT_VERSION):
        raise ModelFileError(
            f"{path}: has version {version!r} of the format, this glasslstm reads {FORMAT_VERSION}; a newer one "
            "may read it: pip install --upgrade glasslstm"
        )


def _faults(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Give what does not fit: only the first thing counts, since each look relies on those before it."""
    if not re.fullmatch("[0-9]{1,9}", metadata.get("start", "")):
        yield f"start is {metadata.get('start')!r}, expected a number of steps"
    reverse = tensors.get("reverse", torch.empty(0))
    if (
        reverse.dtype != torch.bool
        or reverse.dim() != 2
        or reverse.size(0) < 1
        or reverse.size(1) not in (1, 2)
    ):
        yield "reverse, booleans of shape (layers, directions), is not there"
    needed = {f"{k}.{d}.{name}" for k, d in _keys(reverse) for name in (*QUANTITIES, *_INITIAL)}
    if missing := needed - tensors.keys():
        yield f"{min(missing)} is missing"
    cell = tensors["0.0.cell"]
    allowed = needed | {f"{k}.{d}.{name}" for k, d in _keys(reverse) for name in GRADIENTS}
    allowed |= {"reverse", "input"} if cell.dim() == 2 else {"reverse", "input", "lengths"}
    if unknown := tensors.keys() - allowed:
        yield f"{min(unknown)!r} is nothing that such a trace has"
    if cell.dim() not in (2, 3):
        yield f"0.0.cell has shape {tuple(cell.shape)}, expected (T, B, H) or (T, H)"
    for name, expected in _shapes(tensors, reverse).items():
        if tuple(tensors[name].shape) != expected:
            yield f"{name} has shape {tuple(tensors[name].shape)}, expected {expected}"
        if tensors[name].dtype not in (_DTYPES if name != "lengths" else (torch.int64,)):
            yield f"{name} is of {tensors[name].dtype}"
    lengths = tensors.get("lengths", torch.empty(0))
    if ((lengths < 0) | (lengths > len(cell))).any():
        yield f"lengths has {lengths.tolist()}, expected 0 to {len(cell)}"


def _shapes(tensors: Mapping[str, Tensor], reverse: Tensor) -> dict[str, tuple[int, ...]]:
    """Return the shape that each tensor must have, where the first cell states say T and B."""
    steps = tuple(tensors["0.0.cell"].shape[:-1])  # (T, B), or (T,) for an unbatched input
    shapes = {"lengths": steps[1:], "input": (*steps, *_width(tensors, "input"))}
    for k, d in _keys(reverse):
        H = _width(tensors, f"{k}.{d}.cell")
        P = min(H, _width(tensors, f"{k}.{d}.hidden"))
        for name in _NAMES:
            lead = steps[1:] if name in _INITIAL else steps
            shapes[f"{k}.{d}.{name}"] = (*lead, *(P if "hidden" in name else H))
    return {name: shape for name, shape in shapes.items() if name in tensors}


def _width(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    return tuple(tensors[name].shape[-1:]) if name in tensors else ()


def _keys(reverse: Tensor) -> Iterator[tuple[int, int]]:
    return product(range(reverse.size(0)), range(reverse.size(1)))
