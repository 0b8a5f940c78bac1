"""Blocks that share a guide: against the plain block with the guide smuggled in by hooks; whole networks hold."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from drbench.models import convert, create_model
from drbench.models.guided import GUIDED
from drbench.operators import DRConv2d, GuideConv2d, RandomGuideConv2d

SMALL = {"num_classes": 6, "input_shape": (3, 32, 32), "stem_stride": 1, "regions": 4, "experts": 2}
NETWORKS = [
    ("shufflenet_v2_x0_5", "released", {}),
    ("shufflenet_v2_x0_5", "pointwise", {"guide": "block"}),
    ("mobilenet_v1_0.25", "last-pointwise", {"guide": "block"}),
    ("mobilenet_v2_0.35", "pointwise", {"guide": "block"}),
    ("mobilenet_v3_small_0.75", "last-pointwise", {"guide": "block"}),
]


def network(name: str, where: str, where_args: dict[str, str]) -> nn.Module:
    return create_model(name, operator="drconv", where=where, where_args=where_args, seed=1, **SMALL).eval()


def smuggled(model: nn.Module) -> nn.Module:
    """The same network with the blocks' own forward, the guide computed and handed over by hooks."""
    model = copy.deepcopy(model)
    plain = {guided: kind for kind, guided in GUIDED.items()}
    for block in model.modules():
        if type(block) not in plain:
            continue
        block.__class__ = plain[type(block)]
        current = {}

        def compute(block, inputs, current=current):
            x = inputs[0]
            if hasattr(block, "branch2") and block.stride == 1:
                x = x[:, x.shape[1] // 2 :]  # the half that goes through the right branch
            current["guide"] = nn.functional.conv2d(x, block.guide.weight)

        block.register_forward_pre_hook(compute)
        for layer in block.modules():
            if isinstance(layer, DRConv2d):
                layer.register_forward_pre_hook(
                    lambda module, args, kwargs, current=current: (args, {"guide": current["guide"]}), with_kwargs=True
                )
    return model


@pytest.mark.parametrize(("name", "where", "where_args"), NETWORKS)
def test_the_guide_is_a_pointwise_convolution_of_the_blocks_input(name, where, where_args):
    model = network(name, where, where_args)
    x = torch.randn(2, 3, 32, 32)
    assert len(model.conversion.guided_blocks) == sum(isinstance(m, GuideConv2d) for m in model.modules())
    assert not any(isinstance(m, DRConv2d) and m.guide is not None for m in model.modules())
    with torch.no_grad():
        torch.testing.assert_close(model(x), smuggled(model)(x))


@pytest.mark.parametrize(("name", "where", "where_args"), NETWORKS)
def test_all_parameters_learn(name, where, where_args):
    model = network(name, where, where_args).train()
    model(torch.randn(8, 3, 32, 32)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    guides = [m for m in model.modules() if isinstance(m, GuideConv2d)]
    assert all(guide.weight.grad.abs().sum() > 0 for guide in guides)


@pytest.mark.parametrize(("name", "where", "where_args"), [*NETWORKS, ("mobilenetv4_conv_small", "pointwise", {})])
def test_whole_networks_copy_and_pickle(name, where, where_args):
    model = network(name, where, where_args)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(x)
        assert torch.equal(copy.deepcopy(model)(x), expected)
        assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)


def holds_as_one_graph(model: nn.Module, x: torch.Tensor) -> None:
    torch._dynamo.reset()
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), expected)
        torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)


@pytest.mark.slow
def test_a_whole_released_network_compiles_and_exports():
    holds_as_one_graph(network("shufflenet_v2_x0_5", "released", {}), torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize(("name", "where", "where_args"), NETWORKS[2:])
def test_the_first_blocks_of_the_others_compile_and_export(name, where, where_args):
    features = network(name, where, where_args).features[:4]
    assert sum(isinstance(module, DRConv2d) for module in features.modules()) >= 3
    holds_as_one_graph(features, torch.randn(2, 3, 32, 32))


def test_state_dict_goes_into_another_network_of_the_kind():
    model, other = (create_model("shufflenet_v2_x0_5", operator="drconv", where="released", **SMALL) for _ in range(2))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(other.eval()(x), model.eval()(x))


def test_names_of_what_was_there_are_kept():
    plain = create_model("shufflenet_v2_x0_5", num_classes=6, input_shape=(3, 64, 64))
    model = convert(plain, "last-pointwise", where_args={"guide": "block"}, input_shape=(3, 64, 64))
    replaced = {f"{r.name}.weight" for r in model.conversion.replacements}
    assert set(plain.state_dict()) - replaced == set(model.state_dict()) & set(plain.state_dict())


@pytest.mark.slow
def test_a_released_block_trains_when_compiled_for_real():
    torch._dynamo.reset()
    plain = create_model("shufflenet_v2_x0_5", num_classes=6, input_shape=(3, 32, 32), seed=0)
    model = convert(plain.stage2[1], "released", regions=4, experts=2, input_shape=(48, 8, 8), seed=0)
    x, twin = torch.randn(2, 48, 8, 8), copy.deepcopy(model)
    compiled, expected = torch.compile(model, fullgraph=True)(x), twin(x)
    torch.testing.assert_close(compiled, expected, atol=1e-5, rtol=1e-4)
    compiled.square().sum().backward()
    expected.square().sum().backward()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize(("name", "where", "where_args"), NETWORKS[:1] + NETWORKS[-1:])
def test_runs_under_autocast(name, where, where_args):
    model = network(name, where, where_args)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = model(x)
    assert got.dtype == torch.bfloat16
    assert got.isfinite().all()
    assert (got.float() - expected).abs().max() < 0.3 * expected.abs().max()


def test_one_region_needs_no_guide():
    model = create_model(
        "shufflenet_v2_x0_5", operator="drconv", where="released", num_classes=6, input_shape=(3, 32, 32), regions=1
    )
    assert model.conversion.guided_blocks == ()
    assert not any(isinstance(m, GuideConv2d) for m in model.modules())
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 6)


def test_a_random_guide_is_shared_frozen():
    model = create_model("shufflenet_v2_x0_5", operator="random-guide", where="released", **SMALL)
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    guides = [m for m in model.modules() if isinstance(m, GuideConv2d)]
    assert len(guides) == 16
    assert all(guide.weight.grad is None for guide in guides)
    assert sum(isinstance(m, RandomGuideConv2d) for m in model.modules()) == 32
