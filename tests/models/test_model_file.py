"""Model files: nothing but the file is needed, and what can't be read is said in one line."""

from __future__ import annotations

import json
import resource
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from drbench import __version__
from drbench.errors import FailedError, InputError
from drbench.models import create_model, load_model, read_header, save_model

SMALL = {"num_classes": 6, "input_shape": (1, 32, 32), "stem_stride": 1}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    model = create_model("shufflenet_v2_x0_5", operator="drconv", where="released", regions=4, seed=3, **SMALL).eval()
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    save_model(path, model, model.variant, classes="abcdef", preprocessing={"mean": [0.5]}, extra={"epoch": 3})
    return path, model


@pytest.fixture
def saved(original, tmp_path):
    path, model = original
    return shutil.copy(path, tmp_path / "model.safetensors"), model


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
        (lambda p: p.unlink(), r"No such file"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1000]), r"is truncated or not safetensors"),
        (lambda p: p.write_bytes(p.read_bytes()[:100]), r"is truncated or not safetensors"),
        (lambda p: p.write_bytes(b""), r"is truncated or not safetensors"),
        (lambda p: p.write_text("hello, I am text"), r"is truncated or not safetensors"),
        (lambda p: save_file(load_file(p), p), r"has no drbench header; use create_model"),
        (lambda p: save_file(load_file(p), p, metadata={"drbench": "{"}), r"header of .* is damaged"),
        (lambda p: save_file(load_file(p), p, metadata={"drbench": "[]"}), r"header of .* is damaged"),
        (lambda p: rewritten(p, format=2), r"header format 2, .* reads up to 1: update it"),
        (lambda p: rewritten(p, variant={"architecture": "a", "colour": "red"}), r"describes no network"),
        (lambda p: save_file({"x": torch.zeros(10**6)}, p, {"drbench": json.dumps(read_header(p))}), r"don't fit"),
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
    load_model("m", trust=["own_changing:Own"])
    (tmp_path / "own_changing.py").write_text(source + "# changed\n")
    with pytest.warns(UserWarning, match=r"own_changing:Own has changed since 'm' was saved"):
        load_model("m", trust=["own_changing:Own"])


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "subprocess:getoutput", "architecture_args": {"cmd": "touch PWNED"}},
        {"operator": "own_bomb:Own"},
        {"sources": {"own_bomb:Own": "0" * 64}},
    ],
)
def test_code_that_a_header_names_is_not_imported(saved, tmp_path, monkeypatch, change):
    path, _ = saved
    (tmp_path / "own_bomb.py").write_text("open('PWNED', 'w').close()\nfrom torch import nn\nOwn = nn.Conv2d\n")
    monkeypatch.chdir(tmp_path)
    rewritten(path, variant=read_header(path)["variant"] | change)
    if "sources" in change:
        load_model(path)  # says nothing about what is built: not an error, and nothing to import
    else:
        name = change.get("architecture") or change["operator"]
        with pytest.raises(InputError, match=rf"names code to import: '{name}'.*trust=\('{name}',\)"):
            load_model(path)
        with pytest.raises(InputError, match="names code to import"):
            load_model(path, trust=("own:other",))
        with pytest.raises(InputError, match=r"trust: got .*; expected a tuple"):
            load_model(path, trust=name)
    assert not (tmp_path / "PWNED").exists()
    assert "own_bomb" not in sys.modules


HUGE = 10**18
WRONG = [
    ("architecture", [None, 7, [], "", "x" * 10_000, "no-such-network", "a\0b"]),
    ("operator", [None, 7, {}, "no-such-operator"]),
    ("operator_args", [None, [], "regions", {"regions": "x"}, {"regions": 10**30}, {"regions": [[[[]]]]}, {"no": 1}]),
    ("where", [None, 7, [], [None], [7], "released", [["released"]], ["x" * 10_000]]),
    ("where_args", [None, [], {"guide": {"a": {"b": []}}}, {"no": 1}]),
    ("init", [None, 7, "kept", []]),
    ("input_shape", [None, 224, "3,224,224", [3, 224], [3, -224, 224], [3, 0, 9], [3, 32.0, 32], [True, 9, 9]]),
    ("input_shape", [[3, HUGE, HUGE], [3, 60_000, 60_000], {"c": 3}, [None] * 3]),
    ("num_classes", [None, 0, -1, HUGE, 10**7, 10.0, "10", True, [10], 10**400]),
    ("stem_stride", ["4", -1, 0, HUGE, 2.0, []]),
    ("architecture_args", [None, [], {"dropout": {"a": {}}}, {"no_such": 1}, {"dropout": 1e999}]),
    ("match", [7, "cost", []]),
    ("matched_to", [7, "not a digest", []]),
    ("width", ["1", -1.0, 0.0, float("nan"), float("inf"), 1e300, []]),
    ("sources", [None, [], {"a": None}, {"a": "x"}]),
]


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG for value in values])
def test_a_wrong_value_in_a_header_is_said_in_one_line(saved, field, value):
    path, _ = saved
    rewritten(path, variant=read_header(path)["variant"] | {field: value})
    with pytest.raises(InputError) as raised:
        load_model(path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("variant", [None, [], 7, "x", {}, {"architecture": {}}, {"x": nested(900)}])
def test_a_header_without_a_variant(saved, variant):
    path, _ = saved
    rewritten(path, variant=variant)
    with pytest.raises(InputError, match="describes no network that this drbench knows: variant"):
        load_model(path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": None},
        {"format": "1"},
        {"format": True},
        {"format": 0},
        {"classes": 7},
        {"classes": [7]},
        {"preprocessing": []},
        {"extra": None},
        {"extra": {"seed": "x"}},
        {"extra": {"label": 7}},
        {"extra": nested(900)},
    ],
)
def test_a_damaged_field_of_a_header_is_named(saved, change):
    path, _ = saved
    rewritten(path, **change)
    with pytest.raises(InputError, match=r"the drbench header of .* is damaged: ") as raised:
        load_model(path)
    assert "\n" not in str(raised.value)


def test_a_header_nested_deeper_than_python_reads(saved):
    path, _ = saved
    save_file(load_file(path), path, metadata={"drbench": "[" * 100_000})
    with pytest.raises(InputError, match="is damaged"):
        load_model(path)


def test_a_device_that_is_none_is_refused(saved):
    path, _ = saved
    with pytest.raises(InputError, match=r"^device: got 'gpu'; expected one of this machine's"):
        load_model(path, device="gpu")


@pytest.mark.parametrize("path", [None, 3, b"m.safetensors", ["m"]])
def test_what_is_no_path(path):
    with pytest.raises(InputError, match="expected the path of a model file"):
        load_model(path)


@pytest.fixture(scope="module")
def of_timm(tmp_path_factory):
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    model = create_model("mobilenetv4_conv_small", architecture_args={"drop_rate": 0.1}, **{**SMALL, "stem_stride": 1})
    save_model(path, model, model.variant)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        {"pretrained": True},
        {"pretrained": True, "pretrained_cfg": {"file": "evil.pth"}},
        {"pretrained_cfg": {"url": "http://127.0.0.1:9/x"}},
        {"pretrained_cfg_overlay": {"hf_hub_id": "a/b"}},
        {"self": 1},
        {"drop_rate": "0.1"},
        {"drop_rate": 1.0},
    ],
    ids=str,
)
def test_a_header_opens_no_file_and_no_address(of_timm, tmp_path, monkeypatch, arguments):
    def opened(*_, **__):
        raise AssertionError("weights were fetched")

    monkeypatch.setattr("timm.models._builder.load_pretrained", opened)
    path = shutil.copy(of_timm, tmp_path / "m")
    load_model(path)
    rewritten(path, variant=read_header(path)["variant"] | {"architecture_args": arguments})
    with pytest.raises(InputError, match=r"^architecture_args: "):
        load_model(path)


@pytest.mark.parametrize(
    "change", [{"width": 99.0}, {"width": 20.0}, {"operator_args": {"regions": 4, "experts": 500}}]
)
def test_a_network_larger_than_its_file_takes_no_memory(saved, change):
    path, _ = saved
    rewritten(path, variant=read_header(path)["variant"] | change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"numbers, and has|expected"):
        load_model(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB
