"""Initialisations for LSTMs, in the manner of :mod:`torch.nn.init`: in place, and the module comes back."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.nn.lstm import LSTM, LSTMCell

__all__ = ["chrono_", "forget_bias_", "orthogonal_"]

AnyLSTM = TypeVar("AnyLSTM", LSTM, LSTMCell, nn.LSTM, nn.LSTMCell)


@torch.no_grad()
def forget_bias_(lstm: AnyLSTM, value: float = 1.0) -> AnyLSTM:
    """Set the bias of every forget gate, so that the memory is kept from the start.

    With the usual initial values a forget gate is about 1/2, and after 20 steps a millionth of the memory is left, and
    of the gradient. At a bias of 1 the gate is about 0.73, at 2 about 0.88, at 5 about 0.993.

    Parameters
    ----------
    lstm
        An LSTM or LSTMCell, of glasslstm or torch; every layer and direction is set.
    value
        The bias of the forget gates. There are two in each layer, and their sum acts: ``bias_ih`` gets the value,
        ``bias_hh`` zero. Default: 1, as Jozefowicz, Zaremba and Sutskever advise.

    Returns
    -------
    LSTM or LSTMCell
        The module itself. Nothing else in it changes.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For another module, one without biases or with a parametrization on them; for a value that is no finite number.

    References
    ----------
    F. A. Gers, J. Schmidhuber and F. Cummins (2000), "Learning to forget: continual prediction with LSTM", Neural
    Computation 12(10), 2451-2471.
    R. Jozefowicz, W. Zaremba and I. Sutskever (2015), "An empirical exploration of recurrent network architectures",
    ICML, section 2.2.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm = forget_bias_(gl.LSTM(3, 4), 2.0)
    >>> (lstm.bias_ih_l0 + lstm.bias_hh_l0)[4:8].tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    _check_number("value", value)
    for bias_ih, bias_hh in _biases(lstm):
        _set(bias_ih, bias_hh, "f", value)
    return lstm


@torch.no_grad()
def orthogonal_(lstm: AnyLSTM, gain: float = 1.0, *, generator: torch.Generator | None = None) -> AnyLSTM:
    """Make the recurrent matrix of each gate orthogonal, so that it neither shrinks nor stretches h.

    Each gate's block of ``weight_hh``, (H, H), is drawn by itself, uniformly from the orthogonal matrices
    (:func:`torch.nn.init.orthogonal_`). With a projection a block is (H, P), and its columns are orthonormal.

    Parameters
    ----------
    lstm
        An LSTM or LSTMCell, of glasslstm or torch; every layer and direction is set.
    gain
        What every block is multiplied by. Default: 1.
    generator
        Where the random numbers come from. Default: torch's own.

    Returns
    -------
    LSTM or LSTMCell
        The module itself. Nothing else in it changes.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For another module, or one with a parametrization on ``weight_hh``; for a gain that is no finite number.

    References
    ----------
    A. M. Saxe, J. L. McClelland and S. Ganguli (2014), "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks", ICLR, arXiv:1312.6120.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm = orthogonal_(gl.LSTM(3, 4))
    >>> W_hf = lstm.weight_hh_l0[4:8]
    >>> torch.allclose(W_hf @ W_hf.T, torch.eye(4), atol=1e-6)
    True
    """
    _check_number("gain", gain)
    _check_generator(generator)
    for weight_hh in _each(lstm, "weight_hh"):
        for block in weight_hh.chunk(4):
            block.copy_(nn.init.orthogonal_(_drawn_into(block), gain, generator=generator))
    return lstm


@torch.no_grad()
def chrono_(
    lstm: AnyLSTM, max_steps: float, min_steps: float = 2.0, *, generator: torch.Generator | None = None
) -> AnyLSTM:
    """Spread the memory of the units over lags up to `max_steps`: the chrono initialisation.

    A unit whose forget gate is f keeps its memory for about 1 / (1 - f) steps. Each unit's time T is drawn from
    U(`min_steps`, `max_steps`), and its forget gate's bias is log(T - 1), at which f = 1 - 1 / T; its input gate's bias
    is the negative of that, at which i = 1 / T. With the default of `min_steps` these are Tallec and Ollivier's
    b_f = log(U(1, T_max - 1)), b_i = -b_f (their equation 16).

    Parameters
    ----------
    lstm
        An LSTM or LSTMCell, of glasslstm or torch; every layer and direction is set.
    max_steps
        T_max, the longest lag that matters, in steps; above `min_steps`.
    min_steps
        The shortest, above 1. Default: 2.
    generator
        Where the random numbers come from. Default: torch's own.

    Returns
    -------
    LSTM or LSTMCell
        The module itself. The biases of the input and forget gates are set, as the sum of both: ``bias_ih`` has it,
        ``bias_hh`` is zero there. Nothing else changes.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For another module, one without biases or with a parametrization on them; for steps out of range.

    References
    ----------
    C. Tallec and Y. Ollivier (2018), "Can recurrent neural networks warp time?", ICLR, arXiv:1804.11188, section 2.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm = chrono_(gl.LSTM(3, 50), max_steps=1000)
    >>> b_i, b_f, _, _ = (lstm.bias_ih_l0 + lstm.bias_hh_l0).chunk(4)
    >>> kept_for = 1 / (1 - b_f.sigmoid())
    >>> 2 <= kept_for.min() < 200, 800 < kept_for.max() <= 1000.1, torch.equal(b_i, -b_f)
    (tensor(True), tensor(True), True)
    """
    _check_number("min_steps", min_steps, above=1)
    _check_number("max_steps", max_steps, above=min_steps)
    _check_generator(generator)
    for bias_ih, bias_hh in _biases(lstm):
        times = _drawn_into(bias_ih.chunk(4)[0]).uniform_(min_steps - 1, max_steps - 1, generator=generator)
        forget_bias = times.log()
        _set(bias_ih, bias_hh, "f", forget_bias)
        _set(bias_ih, bias_hh, "i", -forget_bias)
    return lstm


def _drawn_into(like: Tensor) -> Tensor:
    """Return an empty tensor of this shape, in float32 or better: sixteen bits are too few to draw in."""
    return torch.empty_like(like, dtype=torch.promote_types(like.dtype, torch.float32))


def _set(bias_ih: Tensor, bias_hh: Tensor, gate: str, value: Tensor | float) -> None:
    """Make `value` the sum of both biases of one gate."""
    k = "ifgo".index(gate)
    bias_ih.chunk(4)[k].copy_(torch.as_tensor(value))
    bias_hh.chunk(4)[k].zero_()


def _biases(lstm: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return ``bias_ih`` and ``bias_hh`` of each layer and direction."""
    return list(zip(_each(lstm, "bias_ih"), _each(lstm, "bias_hh"), strict=True))


def _each(lstm: nn.Module, name: str) -> list[Tensor]:
    """Return the parameter of this name of each layer and direction; refuse a module that has it not."""
    if not isinstance(lstm, (LSTM, LSTMCell, nn.LSTM, nn.LSTMCell)):
        raise ArgumentTypeError(
            f"lstm: expected an LSTM or LSTMCell of glasslstm or torch, got {type(lstm).__name__}"
            + ("; call this on each LSTM inside of it" if isinstance(lstm, nn.Module) else "")
        )
    if name.startswith("bias") and not lstm.bias:
        raise ArgumentError("lstm: has no biases to set; make it with bias=True")
    return [_parameter(lstm, name + suffix) for suffix in _suffixes(lstm)]


def _suffixes(lstm: LSTM | LSTMCell | nn.LSTM | nn.LSTMCell) -> Iterator[str]:
    """Yield what stands behind the parameters' names, for each layer and direction."""
    if isinstance(lstm, (LSTMCell, nn.LSTMCell)):
        yield ""
        return
    for layer in range(lstm.num_layers):
        for direction in ("", "_reverse")[: 1 + lstm.bidirectional]:
            yield f"_l{layer}{direction}"


def _parameter(lstm: nn.Module, name: str) -> Tensor:
    found: Tensor = getattr(lstm, name)
    if not isinstance(found, nn.Parameter):  # what is written into it would be lost
        raise ArgumentError(
            f"lstm: {name} is computed from other parameters; initialise first, parametrize afterwards"
        )
    return found


def _check_number(name: str, value: float, above: float = -math.inf) -> None:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ArgumentTypeError(f"{name}: expected a number, got {value!r} ({type(value).__name__})")
    if not (math.isfinite(value) and value > above):
        more = "" if above == -math.inf else f" above {above:g}"
        raise ArgumentError(f"{name}: expected a finite number{more}, got {value!r}")


def _check_generator(generator: torch.Generator | None) -> None:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ArgumentTypeError(
            f"generator: expected a torch.Generator, got {generator!r} ({type(generator).__name__})"
        )
