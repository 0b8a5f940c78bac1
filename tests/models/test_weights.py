"""State dicts as training scripts leave them: what is loaded, what is refused, and that nothing in a file runs."""

from __future__ import annotations

import argparse
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from drbench.errors import InputError
from drbench.models.weights import load_into


def network() -> nn.Module:
    model = nn.Sequential()
    model.add_module("stem", nn.Conv2d(3, 4, 3, bias=False))
    model.add_module("norm", nn.BatchNorm2d(4))
    model.add_module("head", nn.Conv2d(4, 2, 1))
    return model


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    model = network()
    model(torch.randn(2, 3, 8, 8))
    return model.state_dict()


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


USUAL = {
    "as it is": lambda s: s,
    "DataParallel": lambda s: prefixed(s, "module."),
    "torch.compile": lambda s: prefixed(s, "_orig_mod."),
    "both": lambda s: prefixed(s, "module._orig_mod."),
    "Lightning": lambda s: {"state_dict": prefixed(s, "model."), "epoch": 3, "optimizer_states": [{"state": {}}]},
    "of torchvision's references": lambda s: {
        "model": s,
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(1)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 1,
        "model_ema": prefixed({name: 0 * tensor for name, tensor in s.items()}, "module."),
    },
    "of a tutorial": lambda s: {"model_state_dict": s, "loss": torch.zeros(1).item()},
    "an average alone": lambda s: {"ema": s, "step": 7},
    "half precision": lambda s: {n: t.half() if t.is_floating_point() else t for n, t in s.items()},
}


@pytest.mark.parametrize("kind", USUAL)
def test_usual_checkpoints_are_loaded(kind, state, tmp_path):
    torch.save(USUAL[kind](state), tmp_path / "w.pt")
    load_into(model := network(), tmp_path / "w.pt", "it")
    tolerance = 1e-3 if kind == "half precision" else 0
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == state[name].dtype
        torch.testing.assert_close(tensor, state[name], atol=tolerance, rtol=tolerance)


def test_step_counters_may_be_missing(state):
    load_into(model := network(), {n: t for n, t in state.items() if "num_batches" not in n}, "it")
    assert torch.equal(model.stem.weight, state["stem.weight"])
    assert model.norm.num_batches_tracked == 0


def without(state, *names):
    return {name: tensor for name, tensor in state.items() if name not in names}


WRONG = {
    "shape": (lambda s: s | {"head.bias": torch.zeros(3)}, r"head.bias is \(3,\) instead of \(2,\)"),
    "missing": (lambda s: without(s, "head.bias"), r"it: head.bias is missing$"),
    "unknown": (lambda s: s | {"tail.bias": torch.zeros(3)}, r"it: tail.bias is unknown$"),
    "no tensor": (lambda s: s | {"epoch": 3}, r"it: epoch is a int, not a tensor$"),
    "no text": (lambda s: s | {3: torch.zeros(1)}, r"it: 3 is unknown$"),
    "complex": (lambda s: s | {"head.bias": torch.zeros(2, dtype=torch.complex64)}, r"is complex64 instead of float32"),
    "integers": (
        lambda s: s | {"head.bias": torch.zeros(2, dtype=torch.int8)},
        r"is int8 instead of float32",
    ),
    "sparse": (lambda s: s | {"head.bias": torch.zeros(2).to_sparse()}, r"is float32 sparse_coo instead of float32"),
    "no data": (lambda s: s | {"head.bias": torch.zeros(2, device="meta")}, r"on the meta device, without data"),
    "another prefix": (
        lambda s: prefixed(without(s, "head.bias"), "module."),
        r"it \(after 'module.', with which all names begin, was taken away\): head.bias is missing$",
    ),
    "beside a loss": (
        lambda s: prefixed(s, "model.") | {"loss.weight": torch.zeros(1)},
        r"stem.weight is missing.* and \d+ more. 8 of 9 names begin with 'model.': hand over those, without it$",
    ),
    "empty": (lambda s: {}, r"it: stem.weight is missing"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_fit_is_named_and_changes_nothing(kind, state):
    change, message = WRONG[kind]
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=rf"^weights don't fit .*{message}") as raised:
        load_into(model, change(dict(state)), "it")
    assert "\n" not in str(raised.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class Runs:
    def __reduce__(self):
        return os.system, ("touch PWNED",)


REFUSED = {
    "arguments": (lambda s: {"state_dict": s, "args": argparse.Namespace()}, r"holds argparse.Namespace, and only"),
    "a module": (lambda s: nn.Linear(2, 2), r"holds torch.nn.modules.linear.Linear, and only tensors"),
    "code": (lambda s: {"state_dict": s, "hook": Runs()}, r"holds \w+.system, and only tensors .* can run code"),
    "a list": (lambda s: list(s.values()), r"holds a list; expected a state dict"),
    "nothing": (lambda s: {}, r"holds no state dict \(names and tensors\), but nothing"),
    "no state": (lambda s: {"epoch": 1, "lr": 0.1}, r"holds no state dict .*, but keys 'epoch', 'lr'$"),
    "two of them": (lambda s: {"generator": s, "critic": s}, r"holds several state dicts, under 'generator', 'critic'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_hold_no_state_dict(kind, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change, message = REFUSED[kind]
    torch.save(change(dict(state)), "w.pt")
    with pytest.raises(InputError, match=rf"^weights: .*'w.pt' {message}") as raised:
        load_into(network(), "w.pt", "it")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 300
    assert not (tmp_path / "PWNED").exists()


def test_files_that_torch_did_not_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "pickle.pt": pickle.dumps({"state_dict": Runs()}),
        "old.pt": pickle.dumps({"state_dict": Runs()}, protocol=2),
        "empty.pt": b"",
        "noise.pt": bytes(range(256)) * 4,
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"^weights: '{name}' ") as raised:
            load_into(network(), name, "it")
        assert str(raised.value).isprintable()
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("new", [False, True])
def test_damaged_files_are_refused_in_one_line(new, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(state, "whole.pt", _use_new_zipfile_serialization=new)
    content = (tmp_path / "whole.pt").read_bytes()
    said = []
    for start in range(0, len(content), len(content) // 40):
        for part in (content[:start] + bytes(50) + content[start + 50 :], content[:start]):
            (tmp_path / "w.pt").write_bytes(part)
            try:
                load_into(network(), "w.pt", "it")  # what is damaged may be a weight
            except InputError as error:
                said.append(str(error))
    assert len(said) > 40
    assert all(text.startswith("weights") and text.isprintable() and len(text) < 600 for text in said)


def test_safetensors_of_any_precision(state, tmp_path):
    save_file(
        {n: t.bfloat16() if t.is_floating_point() else t for n, t in state.items()}, path := tmp_path / "w.safetensors"
    )
    load_into(model := network(), path, "it")
    torch.testing.assert_close(model.stem.weight, state["stem.weight"], atol=1e-2, rtol=1e-2)
    header = b'{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(InputError, match=r"w.safetensors' is truncated or not safetensors"):
        load_into(network(), path, "it")


@pytest.mark.parametrize("given", [3, None, b"w.pt", ["w.pt"]])
def test_other_types_are_refused(given):
    with pytest.raises(InputError, match=r"^weights: got a \w+; expected a path or a mapping"):
        load_into(network(), given, "it")
