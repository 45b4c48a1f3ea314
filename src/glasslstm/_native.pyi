"""The native kernels, compiled from csrc/.

Tensors go in as addresses, 0 where there is none; csrc/core.h says what each must hold. ``glasslstm.ops.cpu`` and
``glasslstm.nn.stream`` call it, and nothing else does.

`sizes` are time, batch, input and hidden size; `weights` has four addresses (ih, hh, bias_ih, bias_hh) for each
direction or layer, `d_weights` three (ih, hh, bias).
"""

from collections.abc import Sequence

from torch import Tensor

def instruction_set() -> str: ...
def instruction_sets() -> list[str]: ...
def empty_pool() -> None: ...
def empty_f32(sizes: Sequence[int]) -> Tensor: ...
def empty_f64(sizes: Sequence[int]) -> Tensor: ...
def forward_f32(
    sizes: Sequence[int],
    threads: int,
    weights: Sequence[int],
    lengths: int,
    x: int,
    x_time: int,
    x_batch: int,
    h_0: int,
    c_0: int,
    output: int,
    output_time: int,
    output_batch: int,
    h_n: int,
    c_n: int,
    gates: int,
    cell: int,
    clear_padding: bool,
) -> None: ...
def backward_f32(
    sizes: Sequence[int],
    threads: int,
    weights: Sequence[int],
    lengths: int,
    x: int,
    x_time: int,
    x_batch: int,
    h_0: int,
    c_0: int,
    output: int,
    output_time: int,
    output_batch: int,
    gates: int,
    cell: int,
    grad_output: int,
    grad_time: int,
    grad_batch: int,
    grad_h_n: int,
    grad_c_n: int,
    grad_gates: int,
    grad_cell: int,
    d_x: int,
    d_h_0: int,
    d_c_0: int,
    d_weights: Sequence[int],
    d_cell: int,
    d_hidden: int,
    block_bytes: int,
) -> None: ...

forward_f64 = forward_f32
backward_f64 = backward_f32

class StreamF32:
    def __init__(
        self, sizes: Sequence[int], threads: int, weights: Sequence[int], h: int, c: int
    ) -> None: ...
    def step(self, x: int, y: int) -> None: ...

StreamF64 = StreamF32
