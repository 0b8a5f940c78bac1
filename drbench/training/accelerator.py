"""Where a training runs: device, precision, processes, threads, and the random state around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from drbench.errors import InputError
from drbench.precision import full_float32
from drbench.records import TrainSettings


def make_accelerator(settings: TrainSettings) -> Accelerator:
    """Device, precision and processes. InputError for a device that is not there, or cannot do the precision."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(settings.device, True):
        raise InputError(f"device {settings.device!r} is not available here: choose cpu, or auto for the best there is")
    # Accelerate keeps one state per process and refuses a second, different one; the next experiment may well want it.
    AcceleratorState._reset_state(reset_partial_state=True)
    precision = {"fp32": "no"}.get(settings.precision, settings.precision)
    try:
        accelerator = Accelerator(cpu=settings.device == "cpu", mixed_precision=precision)
    except ValueError as error:
        raise InputError(f"precision {settings.precision!r} does not work here: {error}; choose fp32") from error
    if settings.precision == "fp16" and accelerator.device.type == "cpu":  # accelerate would train in fp32, in silence
        raise InputError("precision 'fp16' needs a GPU: choose bf16 or fp32")
    if settings.device not in ("auto", accelerator.device.type):
        raise InputError(f"device {settings.device!r} is not what accelerate uses here ({accelerator.device.type})")
    return accelerator


@contextmanager
def surroundings(settings: TrainSettings, device: torch.device) -> Iterator[None]:
    """Set threads, a separate random state and full float32 precision (TF32 off); restore them at the end."""
    threads = torch.get_num_threads()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), full_float32():
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def prepared(accelerator: Accelerator, model: nn.Module) -> Iterator[nn.Module]:
    """`model` on its device, ready for mixed precision and several processes; without these wrappers afterwards."""
    had_forward = "forward" in vars(model)
    model.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = accelerator.prepare_model(model)
    try:
        yield network
    finally:
        accelerator.unwrap_model(network, keep_fp32_wrapper=False)
        vars(model).pop("_is_accelerate_prepared", None)
        if not had_forward:  # accelerate puts the original back on the instance, where it hides the class's
            vars(model).pop("forward", None)
