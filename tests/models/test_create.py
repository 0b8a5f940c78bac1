"""create_model and build: figures, seeds, weights, and networks of a user's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from drbench.errors import InputError
from drbench.models import build, create_model
from drbench.operators import DRConv2d
from drbench.records import Variant

SMALL = {"num_classes": 6, "input_shape": (3, 32, 32), "stem_stride": 1}


def multiply_adds(model: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """By hooks: convolutions and linear layers by their shapes, what declares a cost by that."""
    total = 0

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if hasattr(module, "cost"):
            total += sum(module.cost(tuple(inputs[0].shape[1:])).values())
        else:
            total += module.weight.numel() * (output[0, 0].numel() if output.dim() == 4 else 1)

    def watch(module: nn.Module) -> None:
        if hasattr(module, "cost") or isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(note)
        else:
            for child in module.children():
                watch(child)

    watch(model)
    with torch.no_grad():
        model.eval()(torch.zeros(1, *input_shape))
    return total


@pytest.mark.parametrize(
    ("arguments", "madds"),
    [
        ({}, 40.48),
        ({"operator": "drconv"}, 45.57),
        ({"operator": "drconv", "where_args": {"guide": "block"}}, 46.36),
        ({"operator": "drconv", "where": "released"}, 50.10),
    ],
)
def test_the_worked_example(arguments, madds):
    model = create_model("shufflenet_v2_x0_5", **arguments)
    assert multiply_adds(model, (3, 224, 224)) / 1e6 == pytest.approx(madds, abs=0.005)


def test_the_released_network_in_figures():
    model = create_model("shufflenet_v2_x0_5", operator="drconv", where="released")
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(2.29, abs=0.005)
    layers = [m for m in model.modules() if isinstance(m, DRConv2d)]
    costs = [layer.cost((layer.in_channels, 1, 1)) for layer in layers]
    assert sum(cost["mixing"] for cost in costs) / 1e6 == pytest.approx(7.37, abs=0.005)
    assert sum(cost["routing"] for cost in costs) / 1e6 == pytest.approx(0.11, abs=0.005)
    assert sum(cost["guide"] for cost in costs) == 0
    assert all(layer.generator.initialisation == "released" for layer in layers)


def test_a_seed_means_equal_weights_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    one = create_model("mobilenet_v2_0.35", operator="drconv", seed=7, **SMALL)
    other = create_model("mobilenet_v2_0.35", operator="drconv", seed=7, **SMALL)
    third = create_model("mobilenet_v2_0.35", operator="drconv", seed=8, **SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())
    assert not torch.equal(one.classifier[1].weight, third.classifier[1].weight)


def test_build_makes_what_the_variant_says():
    variant = Variant("shufflenet_v2_x0_5", "drconv", {"regions": 3, "experts": 2}, **SMALL)
    model = build(variant, seed=0, device="cpu")
    assert model.variant is variant
    assert {m.regions for m in model.modules() if isinstance(m, DRConv2d)} == {3}
    wide = build(replace(variant, operator="conv", operator_args={}, match="madds", width=0.55), seed=0)
    assert wide.stage2[0].branch2[0].out_channels == 27  # half of 48 + (116 - 48) / 10, in even numbers


def test_weights_go_in_before_the_conversion_which_keeps_their_function(tmp_path):
    plain = create_model("shufflenet_v2_x0_5", **SMALL).eval()
    torch.save({"state_dict": plain.state_dict()}, file := tmp_path / "weights.pt")
    x = torch.randn(2, 3, 32, 32)
    for weights in (file, str(file), plain.state_dict()):
        model = create_model("shufflenet_v2_x0_5", operator="drconv", weights=weights, **SMALL).eval()
        assert model.conversion.init == "preserve"
        with torch.no_grad():
            torch.testing.assert_close(model(x), plain(x), atol=1e-5, rtol=1e-5)
            same = create_model("shufflenet_v2_x0_5", weights=weights, **SMALL).eval()
            assert torch.equal(same(x), plain(x))


def test_weights_that_do_not_fit_or_can_not_be_read_are_refused(tmp_path):
    state = create_model("shufflenet_v2_x0_5", num_classes=7, input_shape=(3, 32, 32)).state_dict()
    with pytest.raises(
        InputError, match=r"^weights don't fit .*: fc.weight is \(7, 1024\) instead of \(6, 1024\), fc.bias"
    ):
        create_model("shufflenet_v2_x0_5", weights=state, **SMALL)
    with pytest.raises(InputError, match=r"^weights: got 'nowhere.pt'; expected a file"):
        create_model("shufflenet_v2_x0_5", weights="nowhere.pt", **SMALL)
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(InputError, match=r"^weights: .*text") as raised:
            create_model("shufflenet_v2_x0_5", weights=tmp_path / name, **SMALL)
        assert "\n" not in str(raised.value)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match=r"holds a list; expected a state dict"):
        create_model("shufflenet_v2_x0_5", weights=tmp_path / "list.pt", **SMALL)


OWN = """
from torch import nn


def small(num_classes, channels=4, width=1.0):
    return nn.Sequential(nn.Conv2d(3, int(channels * width), 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(int(channels * width), num_classes))


def plain():
    return nn.Sequential(nn.Conv2d(3, 4, 3))


def broken():
    raise RuntimeError("out of\\nluck")


def number():
    return 3


def handed_on(**kwargs):
    return small(**kwargs)


def handed_on_to_fixed(**kwargs):
    return fixed(**kwargs)


def own_classes(**kwargs):
    return small(num_classes=4, **kwargs)


def swallowed(**_):
    return small(4)


def fixed():
    return small(4)


def grey(**kwargs):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, **kwargs))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own")
def test_a_network_of_ones_own():
    model = create_model(
        "own_networks:small",
        operator="drconv",
        where="0",
        num_classes=5,
        width=2.0,
        architecture_args={"channels": 6},
        input_shape=(3, 9, 9),
        regions=3,
    )
    assert model[0].out_channels == 12
    assert model(torch.zeros(2, 3, 9, 9)).shape == (2, 5)
    assert len(model.variant.sources["own_networks:small"]) == 64
    assert create_model("own_networks:plain")(torch.zeros(1, 3, 9, 9)).shape == (1, 4, 7, 7)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("own_networks:plain", {"width": 2.0}, r"^width: got 2.0, but 'own_networks:plain' has no argument 'width'"),
        ("own_networks:small", {"architecture_args": {"chanels": 3}}, r"has no argument 'chanels'; expected "),
        ("own_networks:broken", {}, r"^architecture 'own_networks:broken' failed: RuntimeError: out of luck"),
        ("own_networks:number", {}, r"made a int, allowed is a torch.nn.Module"),
        ("own_networks:missing", {}, r"has no 'missing'"),
        ("shufflenet_v2_x05", {}, r"^unknown model 'shufflenet_v2_x05': did you mean 'shufflenet_v2_x0_5'"),
        ("shufflenet_v2_x0_5", {"regions": 8}, r"^operator 'conv' takes no arguments, got regions"),
        (
            "own_networks:fixed",
            {"num_classes": 7},
            r"^num_classes: got 7, but 'own_networks:fixed' gives 4 classes. It has no argument 'num_classes'",
        ),
        ("own_networks:swallowed", {"num_classes": 7}, r"^num_classes: got 7, but .* gives 4 classes"),
        ("own_networks:own_classes", {"num_classes": 7}, r"^num_classes: got 7, but .* gives 4 classes"),
        ("own_networks:handed_on_to_fixed", {"num_classes": 7}, r"^num_classes: got 7, but .* gives 4 classes"),
        ("own_networks:handed_on", {"stem_stride": 1}, r"^stem_stride: got 1, but .* does not take it: TypeError"),
        ("own_networks:handed_on_to_fixed", {"width": 2.0}, r"^width: got 2.0, but .* does not take it: TypeError"),
        (
            "own_networks:handed_on",
            {"num_classes": 7, "input_shape": (1, 9, 9)},
            r"^input_shape: 'own_networks:handed_on' fails on \(1, 9, 9\): RuntimeError: .* to have 3 channels",
        ),
        ("shufflenet_v2_x0_5", {"input_shape": (32, 32)}, r"^input_shape: got \(32, 32\)"),
        ("shufflenet_v2_x0_5", {"input_shape": (3, 0, 32)}, r"^input_shape: got \(3, 0, 32\)"),
    ],
)
def test_errors_are_one_line(name, arguments, message):
    with pytest.raises(InputError, match=message) as raised:
        create_model(name, **arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("own")
def test_arguments_reach_what_is_behind_kwargs():
    model = create_model("own_networks:handed_on", num_classes=7, width=2.0, input_shape=(3, 9, 9))
    assert model(torch.zeros(2, 3, 9, 9)).shape == (2, 7)
    assert model[0].out_channels == 8
    model = create_model("torchvision.models:shufflenet_v2_x0_5", num_classes=7, input_shape=(3, 64, 64))
    assert model.fc.out_features == 7


@pytest.mark.usefixtures("own")
def test_what_does_not_take_an_argument_may_still_be_what_was_asked_for():
    for name in ("fixed", "swallowed", "own_classes", "handed_on_to_fixed"):
        for asked in ({"num_classes": 4}, {}):
            model = create_model(f"own_networks:{name}", input_shape=(3, 9, 9), **asked)
            assert model(torch.zeros(2, 3, 9, 9)).shape == (2, 4)


WRONG_TYPES = {
    "name": (None, 3, b"mobilenet", "", "a\nb"),
    "operator": (None, 3, DRConv2d),
    "where": (None, 3, [], [3], {"a": 1}),
    "where_args": ("own", 3, {3: 1}),
    "regions": ("8", 2.5, 0, [8]),
    "num_classes": ("10", 0, -1, 2.5, True, 10**18, [10]),
    "input_shape": (224, "3,224,224", (3, 224), (3, -1, 32), (3, 2.0, 32), (True, 32, 32), (3, 10**9, 32)),
    "stem_stride": ("1", 0, 1.5, 3),
    "width": ("1", 0, -1.0, float("nan"), float("inf"), 10**9, [1]),
    "init": ("keep", 3, True),
    "weights": (3, b"w.pt", ["w.pt"], "nowhere.pt", "", "a\0b"),
    "seed": ("0", -1, 1.5, 2**64, True),
    "architecture_args": (3, "a", {3: 1}, {"colour": 1}, {"num_classes": 3}, {"divisor": 1}),
}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_wrong_types_are_one_line_that_names_the_argument(name):
    for value in WRONG_TYPES[name]:
        arguments = {"name": "shufflenet_v2_x0_5", "operator": "drconv", "where": "last-pointwise", **SMALL}
        with pytest.raises(InputError) as raised:
            create_model(**(arguments | {name: value}))
        message = str(raised.value)
        assert {"name": "architecture"}.get(name, name) in message, (value, message)
        assert message.isprintable()
        assert len(message) < 500


def test_what_torchvision_refuses_is_one_line():
    with pytest.raises(InputError, match=r"^architecture_args {'dropout': 5} of .*: ValueError: dropout"):
        create_model("mobilenet_v2_0.35", architecture_args={"dropout": 5})
    with pytest.raises(InputError, match=r"^variant: got a str; expected a records.Variant"):
        build("mobilenet_v2_0.35")


@pytest.mark.parametrize("device", ["gpu", 3.5, "cuda:99", "meta:x"])
def test_a_device_that_is_none_is_refused(device):
    with pytest.raises(InputError, match=r"^device: got .*; expected one of this machine's"):
        build(Variant("shufflenet_v2_x0_5", **SMALL), device=device)


TRAINED = """
import torch
from torch import nn

def network(num_classes=3):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, num_classes, 3))
    model(torch.rand(4, 3, 9, 9))
    return model

class Bare(nn.Conv2d):
    pass
"""


def test_what_a_callable_was_trained_to_do_is_kept_unless_fresh_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "own_trained.py").write_text(TRAINED)
    monkeypatch.chdir(tmp_path)
    wanted = {"where": "*", "seed": 0, "input_shape": (3, 9, 9)}
    plain, kept, drawn = (
        create_model("own_trained:network", operator=operator, init=init, **wanted).eval()
        for operator, init in (("conv", None), ("drconv", None), ("drconv", "fresh"))
    )
    x = torch.rand(2, 3, 9, 9)
    torch.testing.assert_close(kept(x), plain(x), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(drawn(x), plain(x), atol=1e-3)
    assert (kept.variant.init, kept.conversion.notes()) == ("preserve", ())
    (note,) = drawn.conversion.notes()
    assert note.startswith("the network seems trained (its batch norms have seen data), but init 'fresh' discards")
    assert note in str(drawn.conversion)
    with pytest.raises(InputError, match=r"^init: got 'preserve'; expected 'fresh', because .*own_trained:Bare"):
        create_model("own_trained:network", operator="own_trained:Bare", **wanted)
