"""Model files: nothing but the file is needed, and what can't be read is said in one line."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from drbench import __version__
from drbench.errors import FailedError, InputError
from drbench.models import create_model, load_model, read_header, save_model

SMALL = {"num_classes": 6, "input_shape": (1, 32, 32), "stem_stride": 1}


@pytest.fixture
def saved(tmp_path):
    model = create_model("shufflenet_v2_x0_5", operator="drconv", where="released", regions=4, seed=3, **SMALL).eval()
    path = tmp_path / "model.safetensors"
    save_model(path, model, model.variant, classes="abcdef", preprocessing={"mean": [0.5]}, extra={"epoch": 3})
    return path, model


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"operator": "condconv", "where": "stage3.*", "experts": 2},
        {"operator": "drconv", "where": "pointwise", "where_args": {"guide": "block"}, "generator": "grouped"},
        {"width": 0.7, "operator": "fixed-grid", "init": "preserve"},
    ],
)
def test_what_is_loaded_computes_what_was_saved(tmp_path, arguments):
    model = create_model("shufflenet_v2_x0_5", **SMALL, **arguments).eval().to(memory_format=torch.channels_last)
    save_model(tmp_path / "m", model, model.variant)
    state = torch.get_rng_state()
    loaded = load_model(tmp_path / "m", device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert not loaded.training
    assert loaded.variant == model.variant
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(loaded(x), model(x))
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in model.state_dict().items())


def test_the_header_says_all(saved):
    path, _ = saved
    header = load_model(path).header
    assert header == read_header(path)
    assert (header["format"], header["drbench"]) == (1, __version__)
    assert header["classes"] == list("abcdef")
    assert header["preprocessing"] == {"mean": [0.5]}
    assert header["extra"] == {"epoch": 3}
    assert header["variant"]["operator_args"] == {"regions": 4}
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def rewritten(path, **changes):
    header = read_header(path) | changes
    save_file(load_file(path), path, metadata={"drbench": json.dumps(header)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.unlink(), r"no file"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1000]), r"is truncated or not safetensors"),
        (lambda p: p.write_bytes(p.read_bytes()[:100]), r"is truncated or not safetensors"),
        (lambda p: p.write_bytes(b""), r"is truncated or not safetensors"),
        (lambda p: p.write_text("hello, I am text"), r"is truncated or not safetensors"),
        (lambda p: save_file(load_file(p), p), r"has no drbench header; use create_model"),
        (lambda p: save_file(load_file(p), p, metadata={"drbench": "{"}), r"header of .* is damaged"),
        (lambda p: save_file(load_file(p), p, metadata={"drbench": "[]"}), r"header of .* is damaged"),
        (lambda p: rewritten(p, format=2), r"header format 2, .* reads up to 1: update it"),
        (lambda p: rewritten(p, variant={"architecture": "a", "colour": "red"}), r"describes no network"),
        (lambda p: save_file({"x": torch.zeros(1)}, p, {"drbench": json.dumps(read_header(p))}), r"don't fit"),
    ],
)
def test_what_can_not_be_loaded_is_said_in_one_line(saved, damage, message):
    path, _ = saved
    damage(path)
    with pytest.raises(InputError, match=message) as raised:
        load_model(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_can_not_be_written_leaves_nothing(saved, tmp_path):
    _, model = saved
    with pytest.raises(FailedError, match=r"^can't write .*nowhere"):
        save_model(tmp_path / "nowhere" / "m", model, model.variant)
    with pytest.raises(InputError, match=r"must be plain JSON"):
        save_model(tmp_path / "m", model, model.variant, extra={"x": object()})
    assert not (tmp_path / "m").exists()


def test_a_changed_operator_of_ones_own_is_noticed(tmp_path, monkeypatch):
    source = "from torch import nn\n\n\nclass Own(nn.Conv2d):\n    pass\n"
    (tmp_path / "own_changing.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    model = create_model("shufflenet_v2_x0_5", operator="own_changing:Own", **SMALL)
    save_model("m", model, model.variant)
    load_model("m")
    (tmp_path / "own_changing.py").write_text(source + "# changed\n")
    with pytest.warns(UserWarning, match=r"own_changing:Own has changed since 'm' was saved"):
        load_model("m")
