"""The adding problem and the copy task: made-up data on which only a long memory beats guessing."""

from __future__ import annotations

import torch
from torch import Tensor

from glasslstm.errors import ArgumentError, ArgumentTypeError

__all__ = ["adding_problem", "copy_task"]

_ALPHABET, _MARKER = 8, 9  # the symbols are 1 to 8; 0 is blank


def adding_problem(n: int, steps: int, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Draw sequences of numbers, two of them marked; the target is the sum of these two.

    The protocol of Bai, Kolter and Koltun (2018), section 5.2: the first channel holds numbers from U(0, 1), the
    second is zero but for two ones. The two marked steps are any two different ones, all pairs equally likely:
    Hochreiter and Schmidhuber's first version (1997) and some later ones have one in each half instead.

    **Guessing level.** The best answer without memory is the mean, 1. Its mean squared error is the variance of a sum
    of two numbers from U(0, 1): 2 / 12 = 0.1667.

    Parameters
    ----------
    n
        N, the sequences.
    steps
        T, the steps of each, 2 or more. Bai, Kolter and Koltun have 200, 400 and 600.
    generator
        Where the random numbers come from. Default: torch's own.

    Returns
    -------
    x
        (T, N, 2), of torch's default type: time, sequence, channel, as :class:`glasslstm.LSTM` reads it.
    y
        The sums, (N,), from 0 to 2.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For sizes that are too small, or of another type.

    References
    ----------
    S. Hochreiter and J. Schmidhuber (1997), "Long short-term memory", Neural Computation 9(8), 1735-1780,
    experiment 4.
    S. Bai, J. Z. Kolter and V. Koltun (2018), "An empirical evaluation of generic convolutional and recurrent
    networks for sequence modeling", arXiv:1803.01271.

    Examples
    --------
    >>> x, y = adding_problem(5, steps=600)
    >>> x.shape, y.shape
    (torch.Size([600, 5, 2]), torch.Size([5]))
    >>> numbers, marks = x.unbind(dim=-1)
    >>> torch.allclose((numbers * marks).sum(dim=0), y)
    True
    """
    _check(generator, n=(n, 1), steps=(steps, 2))
    numbers = torch.rand(steps, n, generator=generator)
    first = torch.randint(steps, (n,), generator=generator)
    second = (first + torch.randint(1, steps, (n,), generator=generator)) % steps
    marked = torch.stack([first, second])
    marks = torch.zeros(steps, n).scatter_(0, marked, 1.0)
    return torch.stack([numbers, marks], dim=-1), numbers.gather(0, marked).sum(dim=0)


def copy_task(
    n: int, delay: int, *, length: int = 10, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw sequences that begin with a few symbols, which are to be repeated at the very end.

    The protocol of Bai, Kolter and Koltun (2018), section 5.2, with their T as `delay` and K as `length`. Input:
    K symbols, each 1 to 8 with equal probability; T - 1 blanks (0); K + 1 times 9, of which the first says that the
    answer is due. Target: T + K blanks, then the K symbols, one under each of the last K nines. (Arjovsky, Shah and
    Bengio, 2016, have one marker and blanks after it.)

    **Guessing level.** A model without memory can still say blank where blank is due, which costs nothing, and give
    each of the 8 symbols the same probability at the last K steps: a cross-entropy of K ln 8 / (T + 2 K) a step, over
    all steps. This is 0.0204 for T = 1,000 and K = 10.

    Parameters
    ----------
    n
        N, the sequences.
    delay
        T, the steps from a symbol to its answer, less `length`; 1 or more. Bai, Kolter and Koltun have 500, 1,000
        and 2,000.
    length
        K, the symbols to remember, 1 or more. Default: 10, as theirs.
    generator
        Where the random numbers come from. Default: torch's own.

    Returns
    -------
    x
        The symbols read, (T + 2 K, N), int64, 0 to 9: time, sequence. They had the number itself as the one channel
        of the input; ``torch.nn.functional.one_hot(x, 10)`` makes ten.
    y
        The symbols due, (T + 2 K, N), int64, 0 to 8.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For sizes that are too small, or of another type.

    References
    ----------
    S. Bai, J. Z. Kolter and V. Koltun (2018), "An empirical evaluation of generic convolutional and recurrent
    networks for sequence modeling", arXiv:1803.01271.
    M. Arjovsky, A. Shah and Y. Bengio (2016), "Unitary evolution recurrent neural networks", ICML,
    arXiv:1511.06464.

    Examples
    --------
    >>> x, y = copy_task(1, delay=4, length=3)
    >>> bool((x[:3] == y[-3:]).all())
    True
    >>> x[3:, 0].tolist(), y[:-3, 0].tolist()
    ([0, 0, 0, 9, 9, 9, 9], [0, 0, 0, 0, 0, 0, 0])
    """
    _check(generator, n=(n, 1), delay=(delay, 1), length=(length, 1))
    symbols = torch.randint(1, _ALPHABET + 1, (length, n), generator=generator)
    blank = symbols.new_zeros(delay + length, n)
    markers = symbols.new_full((length + 1, n), _MARKER)
    return torch.cat([symbols, blank[: delay - 1], markers]), torch.cat([blank, symbols])


def _check(generator: torch.Generator | None, **sizes: tuple[int, int]) -> None:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ArgumentTypeError(
            f"generator: expected a torch.Generator, got {generator!r} ({type(generator).__name__}); "
            "for a seed, torch.Generator().manual_seed(seed)"
        )
    for name, (size, least) in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool):
            raise ArgumentTypeError(f"{name}: expected an int, got {size!r} ({type(size).__name__})")
        if size < least:
            raise ArgumentError(f"{name}: expected {least} or more, got {size}")
