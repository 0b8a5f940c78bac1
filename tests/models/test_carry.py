"""What a convolution carries is on the new layer, or is named: nothing is lost in silence."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from drbench.errors import InputError
from drbench.models import convert, create_model
from drbench.operators import OPERATORS, DRConv2d


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1))


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("init", ["preserve", "fresh"])
def test_what_is_frozen_stays_frozen(operator, init):
    model = network()
    model[0].requires_grad_(False)
    converted = convert(model, "*", operator, init=init, input_shape=(3, 8, 8))
    assert not any(parameter.requires_grad for parameter in converted[0].parameters())
    assert any(parameter.requires_grad for parameter in converted[2].parameters())
    converted(torch.randn(2, 3, 8, 8)).sum().backward()
    assert all(parameter.grad is None for parameter in converted[0].parameters())
    first, second = converted.conversion.replacements
    assert (first.notes, second.notes) == (("frozen",), ())


def test_weight_and_bias_are_frozen_apart():
    model = network()
    model[0].weight.requires_grad_(False)
    model[2].bias.requires_grad_(False)
    converted = convert(model, "*", input_shape=(3, 8, 8))
    assert trainable(converted[0]) == {"bias"}
    assert trainable(converted[2]) == {name for name, _ in converted[2].named_parameters()} - {"bias"}


def test_a_guide_that_frozen_layers_share_is_frozen():
    model = create_model("shufflenet_v2_x0_5", input_shape=(3, 64, 64), num_classes=3).requires_grad_(False)
    converted = convert(model, where_args={"guide": "block"}, input_shape=(3, 64, 64))
    assert converted.conversion.guided_blocks
    assert trainable(converted) == set()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("operator", OPERATORS)
def test_dtype_and_mode_are_kept_and_so_is_the_function(dtype, operator):
    model = network().to(dtype)
    model[2].eval()
    converted = convert(model, "*", operator, input_shape=(3, 8, 8))
    assert {parameter.dtype for parameter in converted.parameters()} == {dtype}
    assert (converted[0].training, converted[2].training) == (True, False)
    x = torch.randn(2, 3, 8, 8, dtype=dtype)
    with torch.no_grad():
        expected = model(x)
        error = (converted(x) - expected).abs().max() / expected.abs().max()
    assert error < 8 * torch.finfo(dtype).eps * 4


@pytest.mark.parametrize("inplace", [True, False])
def test_hooks_are_moved_and_keep_working(inplace):
    """Every kind of hook on inputs, outputs and gradients; removed by the handle that the user has."""
    model, seen = network(), []
    conv = model[0]
    handles = [
        conv.register_forward_pre_hook(lambda m, args: seen.append(("pre", type(m).__name__, args[0].shape))),
        conv.register_forward_pre_hook(lambda m, args, kwargs: seen.append(("kw pre", kwargs)), with_kwargs=True),
        conv.register_forward_hook(lambda m, args, out: seen.append(("post", out.shape)), always_call=True),
        conv.register_forward_hook(lambda m, args, kwargs, out: out * 2, with_kwargs=True),
        conv.register_full_backward_pre_hook(lambda m, grads: seen.append(("back pre", grads[0].shape))),
        conv.register_full_backward_hook(lambda m, ins, outs: seen.append(("back", outs[0].shape))),
    ]
    converted = convert(model, "0", inplace=inplace, probe=False)
    assert converted.conversion.replacements[0].notes == ("hooks moved",)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    out = converted(x)
    out.sum().backward()
    shape = (2, 4, 8, 8)
    assert seen == [
        ("pre", "DRConv2d", (2, 3, 8, 8)),
        ("kw pre", {}),
        ("post", shape),
        ("back pre", shape),
        ("back", shape),
    ]
    if inplace:
        for handle in handles:
            handle.remove()
        seen.clear()
        converted(x).sum().backward()
        assert not seen


def test_a_moved_hook_that_changes_the_output_is_part_of_the_function():
    model = network()
    model[0].register_forward_hook(lambda m, args, out: out * 2)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(convert(model, "0", input_shape=(3, 8, 8))(x), model(x), atol=1e-5, rtol=1e-5)


def test_attributes_of_others_are_moved():
    model = network()
    model[0].layer_id, model[0].friend = 7, None
    vars(model[0])["friend"] = model[2]  # held, but not a child
    converted = convert(model, "0", inplace=True, input_shape=(3, 8, 8))
    assert isinstance(converted[0], DRConv2d)
    assert converted[0].layer_id == 7
    assert converted[0].friend is model[2]
    assert "friend" not in dict(converted[0].named_children())


def carrying(change) -> nn.Module:
    model = network()
    change(model[0])
    return model


def tied(model: nn.Module) -> nn.Module:
    model.append(nn.Conv2d(3, 4, 3))
    model[3].weight = model[0].weight
    return model


def own_forward(conv: nn.Conv2d) -> None:
    conv.forward = lambda x: x


def adapter(conv: nn.Conv2d) -> None:
    conv.adapter = nn.Linear(2, 2)


def compiled(conv: nn.Conv2d) -> None:
    conv.compile(backend="eager")


LOST = {
    "parametrization": (lambda conv: parametrizations.weight_norm(conv), "with a parametrization of weight"),
    "spectral": (lambda conv: parametrizations.spectral_norm(conv), "with a parametrization of weight"),
    "pruned": (lambda conv: prune.l1_unstructured(conv, "weight", 0.5), "with a parameter of its own, 'weight_orig'"),
    "parameter": (lambda conv: conv.register_parameter("gain", nn.Parameter(torch.ones(1))), "'gain'"),
    "buffer": (lambda conv: conv.register_buffer("mask", torch.ones(1)), "with a buffer of its own, 'mask'"),
    "module": (adapter, "with a module of its own, 'adapter'"),
    "weight hook": (lambda conv: conv.weight.register_hook(lambda g: g), "with a gradient hook on its weight"),
    "accumulation hook": (
        lambda conv: conv.bias.register_post_accumulate_grad_hook(lambda p: None),
        "with a gradient hook on its bias",
    ),
    "old backward hook": (lambda conv: conv.register_backward_hook(lambda *_: None), "register_full_backward_hook"),
    "state hook": (lambda conv: conv.register_state_dict_post_hook(lambda *_: None), "with hooks on its state dict"),
    "state pre-hook": (lambda conv: conv.register_state_dict_pre_hook(lambda *_: None), "with hooks on its state dict"),
    "load pre-hook": (
        lambda conv: conv.register_load_state_dict_pre_hook(lambda *_: None),
        "with hooks on its state dict",
    ),
    "load hook": (
        lambda conv: conv.register_load_state_dict_post_hook(lambda *_: None),
        "with hooks on its state dict",
    ),
    "forward": (own_forward, "whose method 'forward' was replaced"),
    "compiled": (compiled, "that is compiled"),
}


@pytest.mark.parametrize("carried", LOST)
def test_what_would_be_lost_is_named_or_the_layer_is_skipped(carried):
    change, reason = LOST[carried]
    model = carrying(change)
    with pytest.raises(InputError, match=rf"^where: got '0', a torch.nn.*{reason}"):
        convert(model, "*", inplace=True, input_shape=(3, 8, 8))
    layer = model[0]
    converted = convert(model, "*", unsuitable="skip", inplace=True, probe=False)
    assert converted[0] is layer
    assert isinstance(converted[2], DRConv2d)
    assert reason in converted.conversion.skipped[0].reason


def test_a_shared_parameter_is_named():
    model = tied(network())
    with pytest.raises(InputError, match=r"^where: got '0', a torch.nn.Conv2d that shares a parameter with '3'"):
        convert(model, ["0", "2"], probe=False)
    converted = convert(model, "*", unsuitable="skip", probe=False)
    assert [skipped.name for skipped in converted.conversion.skipped] == ["0", "3"]
    assert converted[0].weight is converted[3].weight


def test_an_attribute_that_the_new_layer_needs_itself_is_named():
    model = network()
    model[0].regions = 3
    with pytest.raises(InputError, match=r"^operator 'drconv' in place of '0': .* 'regions' is one of DRConv2d too"):
        convert(model, "0", inplace=True)
    assert isinstance(model[0], nn.Conv2d)


def test_a_network_converted_in_inference_mode_can_be_trained():
    with torch.inference_mode():
        converted = convert(network(), "*", input_shape=(3, 8, 8))
    converted(torch.randn(2, 3, 8, 8)).sum().backward()
    assert converted[2].generator.bank.grad is not None
