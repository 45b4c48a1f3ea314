"""The other sides, beyond torch.nn.LSTM: the loop that people write by hand, and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from glasslstm._extras import require
from glasslstm.bench.measure import Run
from glasslstm.bench.twins import Twins
from glasslstm.errors import MissingExtraError

__all__ = ["LOOP", "ONNX", "loop_by_hand", "missing", "onnx_run", "onnx_steps"]

LOOP = "loop by hand"
ONNX = "ONNX Runtime"

_ORDER = (0, 3, 1, 2)  # ONNX has the gates as i, o, f, c; torch as i, f, g, o


def missing() -> dict[str, str]:
    """Return the opponents that are not installed, with how to get them."""
    try:
        require("onnx", extra="bench")
        require("onnxruntime", extra="bench")
    except MissingExtraError as error:
        return {ONNX: str(error)}
    return {}


def loop_by_hand(lstm: Any, x: Tensor) -> list[Tensor]:
    """Do what people write to see the gates: step by step, with one product for four gates.

    Parameters
    ----------
    lstm
        A ``torch.nn.LSTM``, or one with the same parameters.
    x
        The input, (T, B, I).

    Returns
    -------
    list of Tensor
        i, f, g, o, c and h of each layer and direction, each (T, B, H); then the output, (T, B, D * H).
    """
    record: list[Tensor] = []
    for layer in range(lstm.num_layers):
        outputs = []
        for suffix in ("", "_reverse") if lstm.bidirectional else ("",):
            steps = _steps(x.flip(0) if suffix else x, *_weights(lstm, f"l{layer}{suffix}"))
            quantities = [torch.stack(quantity) for quantity in zip(*steps, strict=True)]
            record += [quantity.flip(0) if suffix else quantity for quantity in quantities]
            outputs.append(record[-1])
        x = torch.cat(outputs, dim=-1)
    return [*record, x]


def onnx_run(twins: Twins, *, ragged: bool = False) -> Run:
    """Return a run of torch's module in ONNX Runtime, with as many threads as torch has."""
    session = _session(_model(twins.theirs, ragged=ragged))
    feeds = {"x": twins.x.numpy()}
    if ragged:
        feeds["lengths"] = twins.lengths.int().numpy()
    return lambda: session.run(["output"], feeds)


def onnx_steps(twins: Twins) -> Run:
    """Return a run that goes step by step, the state handed on; for one layer and direction."""
    session = _session(_model(twins.theirs, states=True))
    h = c = torch.zeros(1, twins.shape.B, twins.shape.H).numpy()
    inputs = [x_t.numpy() for x_t in twins.x.split(1)]

    def run() -> list[Any]:
        nonlocal h, c
        outputs = []
        for x_t in inputs:
            y, h, c = session.run(None, {"x": x_t, "h": h, "c": c})
            outputs.append(y)
        return outputs

    return run


def _steps(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Iterator[tuple[Tensor, ...]]:
    h = c = x.new_zeros(x.size(1), w_hh.size(1))
    for x_t in x:
        i, f, g, o = (x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        yield i, f, g, o, c, h


def _weights(lstm: Any, suffix: str) -> list[Tensor]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [getattr(lstm, f"{name}_{suffix}") for name in names]


def _session(model: Any) -> Any:
    """Start ONNX Runtime; its threads do not go on spinning after a run, where they would slow the next side."""
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _model(lstm: nn.LSTM, *, ragged: bool = False, states: bool = False) -> Any:
    """Write torch's module as an ONNX model: one LSTM operator a layer.

    The inputs are x, (T, B, I); lengths, (B,), for a `ragged` batch; h and c, (1, B, H), with `states`. The
    outputs are the output, (T, B, D * H), and with `states` the new h and c.
    """
    onnx = import_module("onnx")
    helper, numbers = onnx.helper, onnx.numpy_helper
    nodes: list[Any] = []
    constants = [numbers.from_array(torch.tensor([0, 0, -1]).numpy(), "joined")]
    for layer in range(lstm.num_layers):
        constants += [
            numbers.from_array(value.numpy(), f"{name}{layer}") for name, value in _packed(lstm, layer)
        ]
        nodes += _layer(helper, lstm, layer, ragged=ragged, states=states)
    nodes[-1].output[0] = "output"
    real, integer = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
    inputs = [helper.make_tensor_value_info("x", real, [None, None, lstm.input_size])]
    outputs = [helper.make_tensor_value_info("output", real, [None, None, None])]
    if ragged:
        inputs.append(helper.make_tensor_value_info("lengths", integer, [None]))
    if states:
        shape = [1, None, lstm.hidden_size]
        inputs += [helper.make_tensor_value_info(name, real, shape) for name in ("h", "c")]
        outputs += [helper.make_tensor_value_info(name, real, shape) for name in ("h_n", "c_n")]
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, initializer=constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def _layer(helper: Any, lstm: nn.LSTM, layer: int, *, ragged: bool, states: bool) -> list[Any]:
    """Return the LSTM operator, and what makes (T, B, D * H) of its result, (T, D, B, H)."""
    source = "x" if layer == 0 else f"output{layer - 1}"
    operator = helper.make_node(
        "LSTM",
        [source, f"W{layer}", f"R{layer}", f"b{layer}", "lengths" if ragged else ""]
        + (["h", "c"] if states else []),
        [f"Y{layer}"] + (["h_n", "c_n"] if states else []),
        hidden_size=lstm.hidden_size,
        direction="bidirectional" if lstm.bidirectional else "forward",
    )
    aside = helper.make_node("Transpose", [f"Y{layer}"], [f"Y'{layer}"], perm=[0, 2, 1, 3])
    joined = helper.make_node("Reshape", [f"Y'{layer}", "joined"], [f"output{layer}"])
    return [operator, aside, joined]


def _packed(lstm: nn.LSTM, layer: int) -> list[tuple[str, Tensor]]:
    """Return W, R and b of one layer, a direction first, the gates in ONNX's order."""
    suffixes = ("", "_reverse") if lstm.bidirectional else ("",)
    parts = [[_reordered(weight) for weight in _weights(lstm, f"l{layer}{suffix}")] for suffix in suffixes]
    w, r, b_ih, b_hh = (torch.stack(part) for part in zip(*parts, strict=True))
    return [("W", w), ("R", r), ("b", torch.cat([b_ih, b_hh], dim=1))]


def _reordered(weight: Tensor) -> Tensor:
    gates = weight.detach().chunk(4)
    return torch.cat([gates[k] for k in _ORDER])
