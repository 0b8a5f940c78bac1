"""Arguments of convert: a wrong one is refused by its name, in one line."""

from __future__ import annotations

import re
from collections import OrderedDict

import pytest
from torch import nn

from drbench.errors import InputError
from drbench.models import convert


def network() -> nn.Sequential:
    return nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 8, 3), norm=nn.BatchNorm2d(8), down=nn.Conv2d(8, 12, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operator": "drcnv"}, r"^unknown operator 'drcnv': did you mean 'drconv'"),
        ({"init": "keep"}, r"^init: got 'keep'; expected one of preserve, fresh"),
        ({"regions": 0}, r"^operator 'drconv' in place of 'stem': regions: got 0"),
        ({"region": 4}, r"^operator 'drconv' has no argument 'region'; expected regions, "),
        (
            {"operator": "condconv", "regions": 4},
            r"^operator 'condconv' has no argument 'regions'; expected experts",
        ),
        ({"stride": 2}, r"^operator argument 'stride' comes from the convolution"),
        ({"input_shape": (4, 9, 9)}, r"^input_shape: Sequential fails on an input of shape \(1, 4, 9, 9\)"),
        ({"input_shape": (9, 9)}, r"^input_shape: got \(9, 9\)"),
        ({"where": "nothing"}, r"^where: no convolution matches 'nothing'. Candidates: stem, down"),
    ],
)
def test_errors_are_one_line_and_say_what_is_allowed(arguments, message):
    with pytest.raises(InputError, match=message) as raised:
        convert(network(), **{"where": "*"} | arguments)
    assert "\n" not in str(raised.value)


WRONG = {
    "model": [{}, None, nn.Conv2d, "mobilenet_v2"],
    "where": [None, 3, [], [1], nn.Conv2d, nn.Conv2d(3, 4, 3), {"stem": 1}, re.compile("s"), b"stem", (), [["stem"]]],
    "operator": [None, 3, ["drconv"], nn.Conv2d(3, 4, 3), ""],
    "regions": ["8", True, 0, -1, 2.5, [8], float("nan"), 10**30],
    "init": [None, "x", 3, ["fresh"], True],
    "guide": [None, 1, ["own"]],
    "unsuitable": [None, "ignore", True, ["skip"]],
    "inplace": [None, 1, "yes"],
    "probe": [None, 1, "no"],
    "seed": ["1", 1.5, True, [1]],
    "where_args": ["guide=block", [("guide", "own")], {1: 2}, 3],
    "input_shape": [224, "3x9x9", (9, 9), (3, 9.0, 9), (3, 0, 9), (3, -9, 9), [3, True, 9], {3, 9}],
    "experts": ["8", 0, 1.5, None],
    "generator": [None, "", 3],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_argument_is_refused_by_its_name(name, value):
    arguments = {"model": network(), "where": "stem"} | {name: value}
    if name == "guide":
        arguments = {"model": network(), "where": "pointwise", "where_args": {name: value}}
    with pytest.raises(InputError, match=name) as raised:
        convert(**arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "where", [("stem", "down"), {"down", "stem"}, iter(["stem", "down"]), {"stem": 1, "down": 2}.keys()]
)
def test_where_is_any_collection_of_patterns(where):
    conversion = convert(network(), where).conversion
    assert [row.name for row in conversion.replacements] == ["stem", "down"]
    assert set(conversion.where) == {"stem", "down"}


def test_a_message_is_of_bounded_length():
    with pytest.raises(InputError, match=r"^where: no convolution matches 'aaa") as raised:
        convert(network(), "a" * 100_000)
    assert len(str(raised.value)) < 400


def test_modules_that_hold_one_another_are_refused():
    model = network()
    model.norm.parent = model
    with pytest.raises(InputError, match=r"^model: got modules that hold one another"):
        convert(model, "*")
