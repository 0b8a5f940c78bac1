"""The report of a conversion: counts, costs, what was skipped."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drbench.measure.cost import count
from drbench.models import convert, create_model


class Own(nn.Conv2d):
    """An operator that does not declare a cost."""


class Twice(nn.Module):
    """One convolution that two parents hold and that runs three times, another that never runs, another not 2-D."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.other = nn.Sequential(self.one[0], nn.Sigmoid())
        self.idle = nn.Conv2d(4, 4, 1)
        self.line = nn.Conv1d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(self.other(self.one(self.one(x))).flatten(2))


def test_a_row_for_every_layer_and_what_it_costs():
    conversion = convert(Twice(), "*", regions=4, experts=2, unsuitable="skip", input_shape=(4, 6, 6)).conversion
    one, idle = conversion.replacements
    filters, positions = 4 * 4 * 9, 36
    routing, mixing, guide = 4 * (4 * 2), 4 * 2 * filters, positions * 4 * 4 * 9
    assert (one.name, one.replaced, one.by) == ("one.0", "Conv2d 3x3, 4 -> 4", "DRConv2d")
    assert one.output_shape == (4, 6, 6)
    assert one.madds == (3 * positions * filters, 3 * (positions * filters + routing + mixing + guide))
    assert one.params == (filters + 4, 2 * filters + (4 * 8 + 8) + 4 * 4 * 9 + 4)
    assert (idle.name, idle.output_shape, idle.madds, idle.notes) == ("idle", (), (0, 0), ("not run",))
    assert [(skipped.name, skipped.reason) for skipped in conversion.skipped] == [
        ("line", "a torch.nn.Conv1d, which is no torch.nn.Conv2d")
    ]
    assert (conversion.convolutions, conversion.input_shape) == (3, (4, 6, 6))


def test_printed_it_is_a_table():
    conversion = convert(Twice(), "*", regions=4, experts=2, unsuitable="skip", input_shape=(4, 6, 6)).conversion
    lines = str(conversion).splitlines()
    assert lines[0] == "drconv(experts=2, regions=4) replaces 2 of 3 convolutions, init='preserve'"
    assert lines[1] == "where: *, unsuitable=skip; input 4x6x6"
    firsts = [line.split("  ")[0].strip("- ") for line in lines[3:]]
    assert firsts == ["layer", "", "one.0", "idle", "", "total", "", "not replaced", "", "line"]
    assert "15,552 -> 34,656" in lines[5]
    assert lines[-1].endswith("a torch.nn.Conv1d, which is no torch.nn.Conv2d")
    assert repr(conversion) == f"<Conversion: {lines[0]}>"
    assert conversion.notes() == (
        "selected layers that are not replaced: 1 ('line', a torch.nn.Conv1d, which is no torch.nn.Conv2d)",
    )


@pytest.mark.parametrize("where_args", [{}, {"guide": "block"}])
def test_the_totals_are_what_counting_the_whole_network_says(where_args):
    plain = create_model("shufflenet_v2_x0_5", num_classes=4, input_shape=(3, 64, 64))
    converted = convert(plain, where_args=where_args, regions=4, input_shape=(3, 64, 64))
    before, after = (count(model, (3, 64, 64)) for model in (plain, converted))
    rows = [*converted.conversion.replacements, *converted.conversion.guides]
    assert sum(row.madds[1] - row.madds[0] for row in rows) == after.madds - before.madds
    assert sum(row.params[1] - row.params[0] for row in rows) == after.params - before.params
    assert len(converted.conversion.guides) == (16 if where_args else 0)


def test_what_is_not_known_is_not_made_up():
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    (row,) = convert(model, "*", Own, init="fresh").conversion.replacements
    assert row.madds == (64 * 64 * 12, None)
    (row,) = convert(model, "*", probe=False).conversion.replacements
    assert (row.madds, row.output_shape, row.notes) == ((None, None), (), ())
    assert "? -> ?" in str(convert(model, "*", probe=False).conversion)


def test_a_second_conversion_is_printed_after_the_first():
    first = convert(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)), "0")
    conversion = convert(first, "1", "condconv").conversion
    assert str(conversion).startswith(str(first.conversion) + "\n\ncondconv() replaces 1 of 1 convolutions")


def test_layers_with_one_position_are_noted_and_warned_about():
    """Of MobileNetV3-Small the squeeze-and-excitation layers, 18 of 52."""
    model = create_model("mobilenet_v3_small_1.00", num_classes=4)
    with pytest.warns(
        UserWarning, match=r"^18 of 52 replaced layers have one output position.*features\.1\.block\.1\.fc1"
    ):
        conversion = convert(model, "*", input_shape=(3, 224, 224)).conversion
    assert len(conversion.one_position) == 18
    assert all(name.rpartition(".")[2] in ("fc1", "fc2") for name in conversion.one_position)
    assert convert(model, "*", regions=1, input_shape=(3, 224, 224)).conversion.one_position == ()
    assert convert(model, "*", "condconv", input_shape=(3, 224, 224)).conversion.one_position == ()
