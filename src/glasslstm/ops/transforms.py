"""What torch is doing around a call: transforms, forward-mode differentiation and autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.autograd import forward_ad

__all__ = ["autocast_dtype", "differentiable_code_needed", "transforms_active", "without_autocast"]


def differentiable_code_needed() -> bool:
    """Tell whether a ``torch.func`` transform or forward-mode differentiation is going on."""
    return transforms_active() or forward_ad._current_level >= 0


def transforms_active() -> bool:
    """Tell whether a ``torch.func`` transform is going on."""
    # Private to torch; torch.autograd.Function.apply reads it for the same purpose.
    return torch._C._are_functorch_transforms_active()


def autocast_dtype(device: str) -> torch.dtype | None:
    """Return the type that autocast asks for on a device, ``None`` where it is off."""
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Return a scope in which torch adds no casts."""
    # Entering torch's own takes longer than most of what a call does besides.
    return nullcontext() if autocast_dtype(device) is None else torch.autocast(device, enabled=False)
