from __future__ import annotations

import pytest

from drbench.errors import InputError
from drbench.records import LatencySettings
from drbench.suite import overrides, plan, read
from tests.suite.suites import HUGE, made, named


def test_overrides_reach_the_experiments() -> None:
    given = {"preset": "standard", "epochs": 3, "batch_size": 16, "lr": 0.02, "threads": 2, "device": "cpu"}
    found = made(**given, precision="bf16", batch_sizes=[2, 4], val_fraction=0.25, set={"experts": 2}, where=["a.*"])
    work = plan.plan(found)
    train, latency = work[-1].train, next(one.latency for one in work if one.stage == "latency")
    assert train is not None
    assert latency is not None
    assert (train.preset, train.epochs, train.batch_size, train.learning_rate) == ("standard", 3, 16, 0.02)
    assert (train.threads, train.device, train.precision) == (2, "cpu", "bf16")
    assert latency == LatencySettings(batch_sizes=(2, 4), threads=2, device="cpu", dtype="bfloat16")
    assert work[-1].data is not None
    assert work[-1].data.val_fraction == 0.25
    converted = work[-1].variants[0]
    assert (converted.where, converted.operator_args) == (("a.*",), {"experts": 2, "regions": 8})


def test_operator_on_the_command_line_replaces_the_suites() -> None:
    labels = [name.partition("/")[2] for name in named(made(operator=["condconv", "drconv"], regions=[2, 4]))]
    assert labels == ["conv", "condconv", "drconv m=2", "drconv m=4"]


def test_regions_where_no_operator_has_any_are_an_error() -> None:
    with pytest.raises(InputError, match="no operator with `regions`"):
        made(operator=["condconv"], regions=[2])


def test_training_options_ask_for_training() -> None:
    assert read.read_suite("paper").stages == ("cost", "memory", "latency")
    assert read.read_suite("paper", {"epochs": 1}).stages == ("cost", "memory", "latency", "train")
    assert read.read_suite("paper", {"epochs": 1, "stages": ["train"]}).stages == ("train",)


@pytest.mark.parametrize(("text", "value"), [("8", [8]), ("1,2,4", [1, 2, 4]), (" 16 , 8", [16, 8])])
def test_integers(text: str, value: list[int]) -> None:
    assert overrides.integers("--regions", text) == value


@pytest.mark.parametrize(("text", "value"), [("3,224,224", [3, 224, 224]), ("32", [3, 32, 32])])
def test_shape(text: str, value: list[int]) -> None:
    assert overrides.shape("--input", text) == value


def test_set_reads_values_as_toml_else_as_text() -> None:
    pairs = ["a=8", "b=0.5", "c=true", "d=grouped", 'e="8"', "f=[1, 2]", "g=x=y", "h="]
    expected = {"a": 8, "b": 0.5, "c": True, "d": "grouped", "e": "8", "f": [1, 2], "g": "x=y", "h": ""}
    assert overrides.settings(pairs) == expected


@pytest.mark.parametrize("text", ["0/3", "4/3", "x", "1", "1/0", "-1/3", "1/2/3"])
def test_wrong_shard_says_what_is_wanted(text: str) -> None:
    with pytest.raises(InputError, match=f"--shard: got '{text}'; expected PART/PARTS"):
        overrides.shard("--shard", text)


def test_limits_come_from_the_command_line_and_stay_with_the_run() -> None:
    found = made(timeout=5.0, memory_limit=1.5, shard=[1, 2])
    assert (found.limits.timeout_seconds, found.limits.memory_gib, found.shard) == (5.0, 1.5, (1, 2))
    assert read.validate(read.parse(read.to_toml(found), "again"), "again") == found


@pytest.mark.parametrize(
    "pair", [f"regions={HUGE}", f"regions={'9' * 5_000}", f"a={'[' * 5_000}", "a=nan", "a=1979-05-27", f"{'k' * 300}=1"]
)
def test_a_set_value_beyond_any_use(pair: str) -> None:
    with pytest.raises(InputError, match=r"^--set"):
        overrides.settings([pair])


@pytest.mark.parametrize("text", ["²", "9" * 5_000, "3,²,2", "", ",", "3,4", "0", "-1"])
def test_a_shape_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="channels,height,width"):
        overrides.shape("--input", text)


@pytest.mark.parametrize("text", ["²/4", f"1/{'9' * 5_000}", "1/2/3", "1", "/", "3/2", "0/2", ""])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="PART/PARTS"):
        overrides.shard("--shard", text)
