"""The runs before and after a conversion: inputs of every kind, and what may differ between them."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from drbench.errors import InputError
from drbench.models import convert
from drbench.operators import DRConv2d


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)


class Two(Pair):
    def forward(self, x, time):
        return self.b(self.a(x)) + time


class Video(Pair):
    def forward(self, x):
        return self.b(self.a(x.flatten(0, 1))).unflatten(0, x.shape[:2])


class Detector(Pair):
    """Takes a list of images; how many rows it gives depends on the data."""

    def forward(self, images):
        found = []
        for image in images:
            scores = self.b(self.a(image[None])).flatten(2)[0].T
            found.append({"boxes": scores[scores[:, 0] > 0][:, :4], "scores": scores[scores[:, 0] > 0][:, 0]})
        return found


class StemLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        return self.b(self.stem(x))


X = torch.zeros(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        (Two(), {"inputs": (X, torch.ones(1))}),
        (Two(), {"inputs": {"time": torch.ones(1), "x": X}}),
        (Two(), {"inputs": lambda: (X, torch.ones(1))}),
        (Two(), {"probe": False}),
        (Video(), {"inputs": X[None]}),
        (Detector(), {"inputs": [X[0], X[1]]}),
        (Detector(), {"inputs": lambda: [torch.rand(3, 8, 8)]}),
        (StemLast(), {}),
        (StemLast(), {"input_shape": (3, 9, 9)}),
    ],
)
def test_any_inputs(model, arguments):
    assert isinstance(convert(model, "b", init="fresh", regions=3, **arguments).b, DRConv2d)


def test_a_guess_of_ours_is_not_called_the_users_argument():
    with pytest.raises(InputError) as raised:
        convert(Two(), "b", init="fresh")
    message = str(raised.value)
    assert message.startswith(
        "model: Two fails on the images that drbench tried (3x64x64, 3x224x224, 3x32x32, 3x28x28)"
    )
    assert "missing 1 required positional argument: 'time'" in message
    assert "Give inputs= (what to call it with)" in message
    assert "probe=False" in message


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((X,), r"^inputs: Two fails on inputs \(2x3x8x8\): TypeError: .*'time'"),
        ({"x": X, "when": X}, r"^inputs: Two fails on inputs \(x=2x3x8x8, when=2x3x8x8\): TypeError"),
        ({1: X}, r"^inputs: got a mapping with keys \[1\]"),
        ("image", r"^inputs: got a str; expected a tensor, a tuple"),
        ((), r"^inputs: got \[\]; expected a tensor"),
        (lambda: 1 / 0, r"^inputs: the callable failed: ZeroDivisionError: division by zero"),
    ],
)
def test_wrong_inputs(inputs, message):
    with pytest.raises(InputError, match=message) as raised:
        convert(Two(), "b", init="fresh", inputs=inputs)
    assert "\n" not in str(raised.value)


def test_inputs_and_a_shape_are_one_too_many():
    with pytest.raises(InputError, match=r"^inputs: got both inputs and input_shape"):
        convert(Two(), "b", init="fresh", inputs=X, input_shape=(3, 8, 8))


@pytest.mark.parametrize("shape", [224, (3, 8), (3, 8, 0), (3, 8, 8.0), ("3", 8, 8), True])
def test_wrong_shapes(shape):
    with pytest.raises(InputError, match=r"^input_shape: got .*; expected \(channels, height, width\)"):
        convert(StemLast(), "b", init="fresh", input_shape=shape)


def test_what_depends_on_data_may_change():
    """Fresh weights give other boxes; another number of them is no other network."""
    for seed in range(8):
        torch.manual_seed(seed)
        convert(Detector(), "b", init="fresh", regions=2, seed=seed, inputs=[torch.rand(3, 8, 8)])


class Narrow(nn.Module):
    """An operator that gives fewer channels, dimensions or rows than it should."""

    def __init__(self, in_channels, out_channels, kernel_size, cut="channels", **conv) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, **conv)
        self.cut = cut

    def forward(self, x):
        out = self.conv(x)
        return {"channels": out[:, :4], "rows": out[:, :, 1:], "batch": out[:0]}[self.cut]


@pytest.mark.parametrize(("cut", "shape"), [("channels", "4, 8, 8"), ("rows", "8, 7, 8"), ("batch", "8, 8, 8")])
def test_a_layer_that_gives_another_shape_is_named(cut, shape):
    with pytest.raises(InputError, match=rf"in place of 'b' gives \(\d, {shape}\), not \(1, 8, 8, 8\)"):
        convert(StemLast(), "b", Narrow, init="fresh", input_shape=(3, 8, 8), cut=cut)


class Reads(StemLast):
    def forward(self, x):
        return self.b(self.stem(x)) * self.b.weight.mean()


def test_code_that_misses_an_attribute_does_not_blame_the_input():
    with pytest.raises(InputError, match=r"^operator 'drconv' can't replace 'b', a layer whose 'weight' the network"):
        convert(Reads(), "b", input_shape=(3, 8, 8))


class Keeps(Pair):
    """Writes to all that a module may hold while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.register_buffer("calls", torch.zeros(()))
        self.sizes, self.seen, self.grid = [], {}, None

    def forward(self, x):
        self.calls += 1
        self.sizes.append(x.shape)
        self.seen[x.shape] = x
        if self.grid is None:
            self.grid = torch.ones(x.shape[-2:])
        return self.norm(self.b(self.a(x))) * self.grid + torch.rand(())


def test_the_network_is_as_it_was():
    model = Keeps().train()
    model.norm.eval()
    handle = model.a.register_forward_hook(lambda *_: None)
    state = copy.deepcopy(model.state_dict())
    numbers = torch.get_rng_state()
    converted = convert(model, "b", init="fresh", inplace=True, seed=0)
    assert converted is model
    assert torch.equal(torch.get_rng_state(), numbers)
    assert (model.sizes, model.seen, model.grid, model.calls.item()) == ([], {}, None, 0)
    assert (model.training, model.a.training, model.norm.training) == (True, True, False)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items() if not key.startswith("b."))
    handle.remove()
    assert not model.a._forward_hooks
    model(torch.zeros(2, 3, 5, 5))  # at another size than the probe's: nothing of it was kept


def test_lazy_layers_elsewhere_stay_lazy():
    model = nn.Sequential(OrderedDict(stem=nn.LazyConv2d(8, 3), b=nn.Conv2d(8, 8, 3, padding=1)))
    converted = convert(model, "b", init="fresh")
    assert (type(model.stem), type(converted.stem)) == (nn.LazyConv2d, nn.LazyConv2d)
    assert converted(torch.zeros(1, 5, 9, 9)).shape == (1, 8, 7, 7)


def test_no_detection_before_is_no_other_structure_than_one_after():
    class Finds(Pair):
        def forward(self, x):
            scores = self.b(self.a(x)).flatten()
            return {"boxes": [score for score in scores[:3] if score > 0], "kind": (scores, 3)}

    for seed in range(4):
        torch.manual_seed(seed)
        assert isinstance(convert(Finds(), "b", init="fresh", regions=2, seed=seed).b, DRConv2d)


def test_lazy_buffers_and_computed_weights_are_copied():
    lazy = nn.Sequential(OrderedDict(stem=nn.LazyConv2d(8, 3), norm=nn.LazyBatchNorm2d(), b=nn.Conv2d(8, 8, 1)))
    converted = convert(lazy, "b", init="fresh")
    assert (type(lazy.norm), type(converted.norm)) == (nn.LazyBatchNorm2d, nn.LazyBatchNorm2d)
    assert converted(torch.zeros(2, 5, 9, 9)).shape == (2, 8, 7, 7)
