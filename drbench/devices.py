"""The device that a setting names: auto, cpu, cuda, cuda:1, mps, ..."""

from __future__ import annotations

import torch

from drbench.errors import InputError


def device_of(name: str) -> torch.device:
    """The device. "auto" is this machine's accelerator, or its CPU where there is none.

    Raises:
        InputError: a name that torch does not know, or a device that is not on this machine.
    """
    available = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return available or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device: got {name!r}; expected auto, cpu, or cuda, cuda:1, mps, ...") from error
    if device.type not in ("cpu", available.type if available else "cpu"):
        raise InputError(
            f"device: got {name!r}, which this machine does not have; expected {available or 'cpu'} or auto"
        )
    return device
