from __future__ import annotations

import tomllib
from typing import Any

import pytest

from drbench.errors import InputError
from drbench.identity import variant_hash
from drbench.records import STAGES
from drbench.suite import plan, read
from tests.suite.suites import HUGE, TINY, made, named


def test_shipped_suites_are_those_of_the_issue() -> None:
    assert set(read.shipped()) >= {"mobilenet", "shufflenet", "paper", "controls", "smoke"}


@pytest.mark.parametrize("name", read.shipped())
def test_shipped_suite(name: str) -> None:
    found = read.read_suite(name)
    assert found.name == name
    assert found.description
    for rows in plan.variants(found).values():
        assert rows[0][1] == "conv"
        assert len({label for _, label in rows}) == len(rows)
        assert len({variant_hash(variant) for variant, _ in rows}) == len(rows)
    work = plan.plan(found)
    assert [one.stage for one in work] == sorted((one.stage for one in work), key=STAGES.index)


@pytest.mark.parametrize("name", read.shipped())
def test_a_suite_written_back_is_the_same_suite(name: str) -> None:
    found = read.read_suite(name, {"seeds": 3, "epochs": 2, "only": ["*conv*"], "set": {"text": 'a "b"\n\\ \x7f é'}})
    again = read.validate(read.parse(read.to_toml(found), name), name)
    assert again == found
    assert plan.plan(again) == plan.plan(found)


def test_suite_of_one_model() -> None:
    assert named(read.of_model("mobilenet_v1_0.25", {})) == ["mobilenet_v1_0.25/conv"]
    both = read.of_model("mobilenet_v1_0.25", {"regions": [4]})
    assert named(both) == ["mobilenet_v1_0.25/conv", "mobilenet_v1_0.25/drconv m=4"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"seeds": "two"}, r"seeds: got 'two'; expected a valid integer"),
        ({"seeds": 0}, r"seeds: got 0; expected greater than 0"),
        (
            {"operators": [{"operator": "drconv", "regions": [0]}]},
            r"operators\.0\.regions\.0: got .*; expected greater than 0",
        ),
        (
            {"operators": [{"operator": "drconv", "regoins": 4}]},
            r"key in operators\.0 'regoins': did you mean 'regions'",
        ),
        ({"operators": [{"regions": 4}]}, r"operators\.0\.operator: the key is missing"),
        ({"achitectures": []}, r"unknown key 'achitectures': did you mean 'architectures'"),
        ({"architectures": []}, r"architectures: got .*; expected .*at least 1 item"),
        ({"train": {"epochs": 1.5}}, r"train\.epochs: got .*; expected a valid integer"),
        ({"train": {"epoch": 1}}, r"key in train 'epoch': did you mean 'epochs'"),
        (
            {"latency": {"dtype": "float8"}},
            r"latency\.dtype: got 'float8'; expected 'float32', 'bfloat16' or 'float16'",
        ),
        ({"stages": ["cost", "trian"]}, r"stages\.1: got 'trian'; expected 'cost', 'memory', 'latency' or 'train'"),
        ({"data": {"val_fraction": 1.0}}, r"data\.val_fraction: got .*; expected less than 1"),
        ({"match": ["flops"]}, r"match\.0: got 'flops'; expected 'madds' or 'params'"),
        ({"seeds": "two", "preset": 1}, r"\(and 1 more: see `drbench suites validate`\)"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_with_its_place(document: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read.validate({**TINY, **document}, "tiny")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"operators": [{"operator": "drconv", "regions": HUGE}]},
            r"operators.0.regions: got a whole number of 101 bits; expected at most 64",
        ),
        (
            {"operators": [{"operator": "drconv", "regions": 10**9}]},
            r"got 1000000000; expected less than or equal to 4096",
        ),
        ({"operators": [{"operator": "drconv", "operator_args": {"regions": HUGE}}]}, r"at most 64 bits"),
        ({"num_classes": 10**18}, r"num_classes: got .*; expected less than or equal to 100000000"),
        (
            {"input_shape": [3, 60_000, 60_000]},
            r"input_shape: got .*; expected an input of at most 2,147,483,648 elements",
        ),
        (
            {"latency": {"batch_sizes": [10**9]}},
            r"latency.batch_sizes.0: got .*; expected less than or equal to 16777216",
        ),
        ({"latency": {"workers": 10**6}}, r"latency.workers: got .*; expected less than"),
        ({"latency": {"max_seconds": 1e300}}, r"latency.max_seconds: got .*; expected less than"),
        ({"train": {"epochs": 10**9}}, r"train.epochs: got .*; expected less than"),
        ({"train": {"batch_size": 10**9}}, r"train.batch_size: got .*; expected less than"),
        ({"train": {"weight_decay": float("nan")}}, r"train.weight_decay: got .*; expected a finite number"),
        ({"limits": {"memory_gib": 1e300}}, r"limits.memory_gib: got .*; expected less than"),
        ({"limits": {"timeout_seconds": 1e300}}, r"limits.timeout_seconds: got .*; expected less than"),
        ({"seeds": 10**9}, r"seeds: got .*; expected less than or equal to 10000"),
        ({"shard": [1, 10**9]}, r"shard.1: got .*; expected less than"),
        ({"name": "a\0b"}, r"name: got text with NUL; expected text without it"),
        ({"name": "a\x1bb"}, r"name: got .*; expected text that matches"),
        ({"name": "x" * 500}, r"name: got a str of 500; expected at most 200 characters"),
        ({"name": tomllib.loads("d = 1979-05-27")["d"]}, r"name: got a date; expected text, a number"),
        ({"description": "x" * 100_000}, r"description: got 100,000 characters; expected at most 10,000"),
        (
            {"seeds": 10_000, "operators": [{"operator": "drconv", "regions": [*range(1, 30)]}]},
            r"pieces of work; expected at most",
        ),
        ({"architectures": [f"a{n}" for n in range(6000)]}, r"got 12,000 networks; expected at most 10,000"),
    ],
    ids=range(22),
)
def test_what_is_beyond_any_use_is_said_before_anything_is_made(document: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        plan.plan(made(document))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"name = {'[' * 900}{']' * 900}", r"nested more than 16 levels deep"),
        (f"name = {'[' * 90_000}", r"nested more than 16 levels deep"),
        (f"{'a.' * 100_000}a = 1", r"nested more than 16 levels deep"),
        (f"b = {{ {'a.' * 100_000}a = 1 }}", r"nested more than 16 levels deep"),
        (f"[{'a.' * 100_000}a]\nb = 1", r"nested more than 16 levels deep"),
        (f"seeds = {'9' * 5_000}", r"is not valid TOML: .*digits"),
        ("# " + "x" * (5 * 2**20), r"characters; expected at most 1,048,576"),
        ("a = 1\0", r"is not valid TOML"),
    ],
    ids=["lists", "unclosed lists", "dotted keys", "inline dotted keys", "dotted table", "digits", "size", "NUL"],
)
def test_a_text_that_would_exhaust_the_reader_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read.validate(read.parse(text, "tiny"), "tiny")


def test_dots_in_text_are_no_nesting() -> None:
    dots = "a." * 50
    lines = (f'"{dots}"', f"'{dots}'", f'"""{dots}\n{dots}"""', f"'''\n{dots}'''", f'"x" # {dots}')
    for line in lines:
        assert read.parse(f"description = {line}", "tiny")["description"].rstrip("a.\n") in ("", "x")
