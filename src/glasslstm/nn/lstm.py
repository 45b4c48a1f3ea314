"""LSTM and LSTMCell: the arguments, numbers and state dict of torch.nn's, and every gate on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from glasslstm.errors import ArgumentError, ArgumentTypeError, ShapeError
from glasslstm.nn import inputs
from glasslstm.nn.arguments import (
    check_bools,
    check_dropout,
    check_proj_size,
    check_sizes,
    reset,
)
from glasslstm.nn.quick import infer
from glasslstm.nn.stream import Stream
from glasslstm.nn.trace import QUANTITIES, GateTrace, Trace
from glasslstm.ops import delegate, equations
from glasslstm.ops.dispatch import Work, choose
from glasslstm.ops.stack import StackResult, stack
from glasslstm.ops.transforms import autocast_dtype, differentiable_code_needed, without_autocast
from glasslstm.ops.values import LayerWeights, parameter_shapes

__all__ = ["LSTM", "LSTMCell"]

States: TypeAlias = tuple[Tensor, Tensor]


class LSTM(nn.Module):
    """A stack of LSTM layers: ``torch.nn.LSTM`` in glass.

    The same arguments, defaults, parameters, initial values, results and state dict as
    :class:`torch.nn.LSTM` (torch 2.13); beyond it, `lengths` and `return_trace` in the call. Shapes
    below: T time, B batch, I input size, H hidden size, L layers, D directions, P = `proj_size` or H.

    Parameters
    ----------
    input_size
        I, the channels of the input.
    hidden_size
        H, the units of each layer.
    num_layers
        L. Default: 1.
    bias
        Whether the layers have biases, two each. Default: True.
    batch_first
        The input and output are (B, T, ...) and not (T, B, ...); the states never are. Default: False.
    dropout
        Share of each layer's output but the last's that is zeroed in training. Default: 0.
    bidirectional
        A second set of weights reads each sequence from its end. Default: False.
    proj_size
        P > 0: h is projected to P values (Sak, Senior and Beaufays 2014). Default: 0, none.
    device, dtype
        Of the parameters. Default: torch's own.
    recompute
        For long sequences: keep the states alone for the backward pass, which computes the gates once more. Less
        than half the memory for about a third more time. Default: False.
    learn_initial_state
        Parameters ``h_0`` (L * D, P) and ``c_0`` (L * D, H), zero at first, from which every sequence starts where the
        call brings no states. Default: False, and both are ``None``.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For arguments out of range or of another type; they are a ValueError and a TypeError.

    Notes
    -----
    The equations, with sources, stand in :mod:`glasslstm.ops.equations`. Parameters are
    ``weight_ih_l{k}`` (4H, I or D * P), ``weight_hh_l{k}`` (4H, P), ``bias_ih_l{k}``,
    ``bias_hh_l{k}`` (4H,) and ``weight_hr_l{k}`` (P, H), with ``_reverse`` behind the names of the
    reverse direction; rows in the order i, f, g, o.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm = gl.LSTM(10, 20, num_layers=2)
    >>> output, (h_n, c_n) = lstm(torch.randn(15, 3, 10))
    >>> output.shape, h_n.shape
    (torch.Size([15, 3, 20]), torch.Size([2, 3, 20]))

    Ragged sequences need no packing, and every gate can be seen:

    >>> x, lengths = torch.randn(15, 3, 10), [15, 4, 9]
    >>> output, (h_n, c_n), trace = lstm(x, lengths=lengths, return_trace=True)
    >>> trace[0, 0].forget_gate.shape
    torch.Size([15, 3, 20])
    """

    mode = "LSTM"
    """As in torch's recurrent modules."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        recompute: bool = False,
        learn_initial_state: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        check_bools(
            bias=bias, batch_first=batch_first, recompute=recompute, learn_initial_state=learn_initial_state
        )
        check_dropout(dropout, num_layers)
        check_proj_size(proj_size, hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bool(bidirectional)
        self.proj_size = proj_size
        self.recompute = recompute
        self.learn_initial_state = learn_initial_state
        self._names: list[dict[str, str]] = []  # of the parameters of each layer and direction
        for layer in range(num_layers):
            width = input_size if layer == 0 else self._directions * self._output_size
            shapes = parameter_shapes(width, hidden_size, bias, proj_size)
            for suffix in ("", "_reverse")[: self._directions]:
                names = {name: f"{name}_l{layer}{suffix}" for name in shapes}
                for name, shape in shapes.items():
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(names[name], nn.Parameter(empty))
                self._names.append(names)
        self.h_0: nn.Parameter | None
        self.c_0: nn.Parameter | None
        for name, width in (("h_0", self._output_size), ("c_0", hidden_size)):
            state = torch.empty(num_layers * self._directions, width, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(state) if learn_initial_state else None)
        self.flatten_parameters()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight from U(-1/sqrt(H), 1/sqrt(H)), in order: torch's numbers for torch's seed.

        A learned initial state becomes zero again.
        """
        states = [state for state in (self.h_0, self.c_0) if state is not None]
        weights = [weight for weight in self.parameters() if all(weight is not state for state in states)]
        reset(weights, self.hidden_size)
        for state in states:
            nn.init.zeros_(state)

    @overload
    def forward(
        self,
        input: Tensor,
        hx: Sequence[Tensor] | None = ...,
        *,
        lengths: Tensor | Sequence[int] | None = ...,
        return_trace: Literal[False] = ...,
    ) -> tuple[Tensor, States]: ...
    @overload
    def forward(
        self,
        input: PackedSequence,
        hx: Sequence[Tensor] | None = ...,
        *,
        lengths: None = ...,
        return_trace: Literal[False] = ...,
    ) -> tuple[PackedSequence, States]: ...
    @overload
    def forward(
        self,
        input: Tensor,
        hx: Sequence[Tensor] | None = ...,
        *,
        lengths: Tensor | Sequence[int] | None = ...,
        return_trace: Literal[True],
    ) -> tuple[Tensor, States, Trace]: ...
    @overload
    def forward(
        self,
        input: PackedSequence,
        hx: Sequence[Tensor] | None = ...,
        *,
        lengths: None = ...,
        return_trace: Literal[True],
    ) -> tuple[PackedSequence, States, Trace]: ...
    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Sequence[Tensor] | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        return_trace: bool = False,
    ) -> tuple[Tensor | PackedSequence, States] | tuple[Tensor | PackedSequence, States, Trace]:
        """Run the stack.

        Parameters
        ----------
        input
            (T, B, I); (B, T, I) with `batch_first`; (T, I) unbatched; or packed.
        hx
            Initial ``(h_0, c_0)``, (L * D, B, P) and (L * D, B, H), without B for an unbatched input.
            Default: the learned initial state where there is one, else zeros.
        lengths
            Valid steps of each sequence, B integers, 0 to T, in any order and on any device. The rest is
            padding: it changes nothing, and the output there is zero; the states come from the last
            valid step, and the reverse direction starts there. Default: all have T.
        return_trace
            Also return the :class:`~glasslstm.Trace` of every gate at every step. Default: False.

        Returns
        -------
        output
            The last layer's h_t, the directions side by side, (T, B, D * P) in the input's layout.
        (h_n, c_n)
            The states after the last valid step, (L * D, B, P) and (L * D, B, H).
        trace
            Only with `return_trace`.

        Raises
        ------
        ArgumentError, ArgumentTypeError, ShapeError
            For an input, state or length that does not fit; they are a ValueError, TypeError and RuntimeError.

        Examples
        --------
        A sequence in two parts, the state handed on, gives what it gives in one:

        >>> import torch, glasslstm as gl
        >>> lstm, x = gl.LSTM(3, 4), torch.randn(8, 2, 3)
        >>> first, states = lstm(x[:5])
        >>> second, _ = lstm(x[5:], states)
        >>> torch.allclose(torch.cat([first, second]), lstm(x)[0], atol=1e-6)
        True
        """
        if hx is None and lengths is None and not return_trace:
            found = infer(self, input)
            if found is not None:
                return found
        batch = inputs.canonical(
            input, input_size=self.input_size, batch_first=self.batch_first, lengths=lengths
        )
        weights = self._weights()
        device = batch.x.device.type
        cast = autocast_dtype(device)
        if cast is None:
            inputs.check_dtype(batch.x, weights[0].weight_ih)
        h_0, c_0 = self._initial_states(hx, batch, any_dtype=cast is not None)
        with without_autocast(device):
            result = stack(
                _cast(batch.x, cast),
                _cast(h_0, cast),
                _cast(c_0, cast),
                weights
                if cast is None
                else [part.map(lambda weight: _cast(weight, cast)) for part in weights],
                lengths=batch.lengths,
                directions=self._directions,
                dropout=self.dropout if self.training else 0.0,
                gates=return_trace,
                recompute=self.recompute,
            )
        states = batch.state(result.h_n), batch.state(result.c_n)
        if not return_trace:
            return batch.output(result.output), states
        return batch.output(result.output), states, self._trace(result, batch, (h_0, c_0))

    def stream(self, batch_size: int = 1) -> Stream:
        """Return a stream: the stack with its state kept inside, to be run one step at a time.

        Parameters
        ----------
        batch_size
            B, the sequences that go side by side. Default: 1.

        Returns
        -------
        Stream
            With the weights as they are now; see :class:`~glasslstm.nn.stream.Stream`.

        Raises
        ------
        ArgumentError, ArgumentTypeError
            For a bidirectional LSTM, which cannot stream; for a batch size that is not 1 or more.

        Examples
        --------
        >>> import torch, glasslstm as gl
        >>> stream = gl.LSTM(3, 4).stream()
        >>> stream.step(torch.randn(1, 3)).shape
        torch.Size([1, 4])
        >>> stream.reset()
        """
        return Stream(self, batch_size)

    def flatten_parameters(self) -> None:
        """Lay the weights out as cuDNN wants them; nothing to do elsewhere."""
        first = next(self.parameters(), None)
        if first is not None and first.is_cuda:
            delegate.flatten_for_cudnn(self._weights(), self.input_size, self.bidirectional)

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters, one list for each layer and direction."""
        return [weights.present() for weights in self._weights()]

    def extra_repr(self) -> str:
        """Return the sizes, and the arguments that differ from their defaults."""
        changed = {
            "proj_size": self.proj_size,
            "num_layers": self.num_layers,
            "bias": self.bias,
            "batch_first": self.batch_first,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
            "recompute": self.recompute,
            "learn_initial_state": self.learn_initial_state,
        }
        defaults = (0, 1, True, False, 0, False, False, False)
        parts = [
            f"{k}={v}" for (k, v), default in zip(changed.items(), defaults, strict=True) if v != default
        ]
        return ", ".join([str(self.input_size), str(self.hidden_size), *parts])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LSTM:
        super()._apply(fn, recurse)
        self.flatten_parameters()  # a move makes new tensors
        return self

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _weights(self) -> list[LayerWeights]:
        """Read every parameter afresh, so that a weight is never out of date, however it was changed."""
        # Looked at first, for speed; a parametrized weight is not there, but an attribute.
        known: dict[str, Any] = self._parameters
        return [
            LayerWeights(
                **{field: known[n] if n in known else getattr(self, n) for field, n in names.items()}
            )
            for names in self._names
        ]

    def _initial_states(self, hx: Sequence[Tensor] | None, batch: inputs.Batch, *, any_dtype: bool) -> States:
        count, size = self.num_layers * self._directions, batch.x.size(1)
        if hx is None and self.h_0 is None:
            return batch.initial(None, self._output_size, count), batch.initial(None, self.hidden_size, count)
        states = []
        for name, given, width in zip(
            ("h_0", "c_0"), _pair(hx), (self._output_size, self.hidden_size), strict=True
        ):
            learned, state = getattr(self, name), given
            if given is None and learned is not None:
                state = batch.state(learned.unsqueeze(1).expand(-1, size, -1))
            if state is not None:
                expected = (count, size, width) if batch.layout.batched else (count, width)
                inputs.check_state(name, state, expected, batch.x, any_dtype=any_dtype)
            states.append(batch.initial(state, width, count))
        h_0, c_0 = states
        return h_0, c_0

    def _trace(self, result: StackResult, batch: inputs.Batch, hx: States) -> Trace:
        entries = {}
        h_0, c_0 = map(batch.state, hx)
        for k, (layer, gradients) in enumerate(result.layers):
            hidden = layer.output.chunk(self._directions, dim=-1)
            for d in range(self._directions):
                i, f, g, o = layer.gates[d].chunk(4, dim=-1)
                quantities = dict(zip(QUANTITIES, (i, f, g, o, layer.cell[d], hidden[d]), strict=True))
                steps = {name: batch.steps(tensor) for name, tensor in quantities.items()}
                row = k * self._directions + d
                entries[k, d] = GateTrace(
                    **steps,
                    initial_hidden=h_0[row],
                    initial_cell=c_0[row],
                    lengths=batch.lengths,
                    reverse=d == 1,
                    gradients=gradients[d],
                )
        return Trace(entries, batch.lengths, batch.steps(batch.x))


class LSTMCell(nn.Module):
    """One step of one layer: ``torch.nn.LSTMCell`` in glass.

    Parameters
    ----------
    input_size
        I, the channels of the input.
    hidden_size
        H, the units.
    bias
        Whether the cell has biases. Default: True.
    device, dtype
        Of the parameters ``weight_ih`` (4H, I), ``weight_hh`` (4H, H), ``bias_ih`` and ``bias_hh`` (4H,).

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For arguments out of range or of another type.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> cell = gl.LSTMCell(10, 20)
    >>> (h, c), gates = cell(torch.randn(3, 10), return_trace=True)
    >>> h.shape, gates.forget_gate.shape
    (torch.Size([3, 20]), torch.Size([3, 20]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        check_bools(bias=bias)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self.weight_ih: nn.Parameter
        self.weight_hh: nn.Parameter
        self.bias_ih: nn.Parameter | None
        self.bias_hh: nn.Parameter | None
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            shape = parameter_shapes(input_size, hidden_size, bias).get(name)
            empty = None if shape is None else nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
            self.register_parameter(name, empty)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/sqrt(H), 1/sqrt(H)), in order: torch's numbers for torch's seed."""
        reset(self.parameters(), self.hidden_size)

    @overload
    def forward(
        self, input: Tensor, hx: Sequence[Tensor] | None = ..., *, return_trace: Literal[False] = ...
    ) -> States: ...
    @overload
    def forward(
        self, input: Tensor, hx: Sequence[Tensor] | None = ..., *, return_trace: Literal[True]
    ) -> tuple[States, GateTrace]: ...
    def forward(
        self, input: Tensor, hx: Sequence[Tensor] | None = None, *, return_trace: bool = False
    ) -> States | tuple[States, GateTrace]:
        """Take one step.

        Parameters
        ----------
        input
            (B, I), or (I,) unbatched.
        hx
            ``(h, c)`` of the step before, each (B, H), or (H,) unbatched. Default: zeros.
        return_trace
            Also return the gates of this step. Default: False.

        Returns
        -------
        (h, c)
            Each (B, H), or (H,).
        gates
            Only with `return_trace`: a :class:`~glasslstm.GateTrace` whose tensors have the shape of h.

        Raises
        ------
        ArgumentError, ArgumentTypeError, ShapeError
            For an input or state that does not fit.

        Examples
        --------
        >>> import torch, glasslstm as gl
        >>> cell, states = gl.LSTMCell(3, 4), None
        >>> for x_t in torch.randn(5, 2, 3):
        ...     states = cell(x_t, states)
        >>> states[0].shape
        torch.Size([2, 4])
        """
        inputs.check_step(input, self.input_size)
        device = input.device.type
        cast = autocast_dtype(device)
        weights = LayerWeights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        if cast is None:
            inputs.check_dtype(input, weights.weight_ih)
        weights = weights.map(lambda weight: _cast(weight, cast))
        shape = (*input.shape[:-1], self.hidden_size)
        h, c = (
            _cast(state, cast).view(-1, self.hidden_size)
            for state in self._states(hx, input, shape, any_dtype=cast is not None)
        )
        x = _cast(input, cast).reshape(-1, self.input_size)
        work = Work(device=device, gates=return_trace, transform=differentiable_code_needed(), step=True)
        with without_autocast(device):
            if choose(work).kernel == "torch":
                h, c = torch.lstm_cell(x, (h, c), *weights[:4])
                return h.view(shape), c.view(shape)
            step = equations.step(x, h, c, equations.concatenate_weights(*weights[:4]))
        quantities = {name: quantity.view(shape) for name, quantity in step._asdict().items()}
        gates = GateTrace(**quantities, initial_hidden=h.view(shape), initial_cell=c.view(shape))
        return ((gates.hidden, gates.cell), gates) if return_trace else (gates.hidden, gates.cell)

    def _states(
        self, hx: Sequence[Tensor] | None, x: Tensor, shape: tuple[int, ...], *, any_dtype: bool
    ) -> list[Tensor]:
        states = []
        for name, state in zip(("h", "c"), _pair(hx), strict=True):
            if isinstance(state, Tensor) and state.dim() > 2:
                raise ArgumentError(
                    f"hx: expected {name} with 1 or 2 dimensions, got {state.dim()}, {tuple(state.shape)}"
                )
            if state is not None:
                inputs.check_state(name, state, shape, x, any_dtype=any_dtype)
            states.append(x.new_zeros(shape) if state is None else state)
        return states

    def extra_repr(self) -> str:
        """Return the sizes, and the bias where there is none."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


def _pair(hx: Sequence[Tensor] | None) -> tuple[Tensor | None, Tensor | None]:
    if hx is None:
        return None, None
    if isinstance(hx, Tensor) or not isinstance(hx, Sequence):
        raise ArgumentTypeError(
            f"hx: expected a tuple or list of two tensors, (h, c), got {type(hx).__name__}"
        )
    if len(hx) != 2:
        error = ArgumentError if len(hx) < 2 else ShapeError  # as torch does
        raise error(f"hx: expected two tensors, (h, c), got {len(hx)}")
    return hx[0], hx[1]


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Cast to autocast's type: one rule for every kernel, everything but float64, and the results have it too."""
    return tensor if dtype is None or tensor.dtype == torch.float64 else tensor.to(dtype)
