from __future__ import annotations

import pytest
import torch

from drbench.devices import device_of
from drbench.errors import InputError


def test_auto_is_the_accelerator_or_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert device_of("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    assert device_of("auto") == torch.device("cuda")
    assert device_of("cuda:1") == torch.device("cuda:1")
    assert device_of("cpu") == torch.device("cpu")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match=r"device: got 'gpu'; expected auto, cpu"):
        device_of("gpu")


def test_a_device_of_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    with pytest.raises(InputError, match=r"device: got 'cuda', which this machine does not have; expected cpu or auto"):
        device_of("cuda")
