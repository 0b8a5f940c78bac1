from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from drbench.errors import InputError
from drbench.identity import variant_hash
from drbench.records import STAGES, LatencySettings, TrainSettings, Variant
from drbench.suite import overrides, plan, read, toml
from drbench.suite.tables import LatencyTable, Suite, TrainTable

TINY: dict[str, Any] = {
    "name": "tiny",
    "architectures": ["shufflenet_v2_x0_5"],
    "operators": [{"operator": "drconv", "regions": 8}],
}


def made(document: dict[str, Any] | None = None, **given: Any) -> Suite:
    return read.validate(overrides.apply({**TINY, **(document or {})}, given), "tiny")


def named(found: Suite) -> list[str]:
    return [f"{name}/{label}" for name, rows in plan.variants(found).items() for _, label in rows]


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


def test_controls_hold_what_else_could_explain_a_gain() -> None:
    labels = [label for _, label in plan.variants(read.read_suite("controls"))["shufflenet_v2_x0_5"]]
    assert labels == [
        "conv",
        "drconv m=8",
        "conv =madds(drconv m=8)",
        "conv =params(drconv m=8)",
        "drconv m=1 K=8",
        "fixed-grid m=8",
        "random-guide m=8",
        "condconv",
    ]


def test_sweep_of_regions_leaves_what_is_pinned_alone() -> None:
    found = read.read_suite("controls", {"regions": [2, 4], "match": []})
    labels = [label for _, label in plan.variants(found)["shufflenet_v2_x0_5"] if "conv =" not in label]
    assert labels == [
        *("conv", "drconv m=2", "drconv m=4", "drconv m=1 K=8", "fixed-grid m=2", "fixed-grid m=4"),
        *("random-guide m=2", "random-guide m=4", "condconv"),
    ]


def test_region_count_is_always_written_out() -> None:
    implicit, explicit = made({"operators": [{"operator": "drconv"}]}), made()
    assert plan.variants(implicit) == plan.variants(explicit)


def test_small_inputs_get_a_stem_without_strides_and_say_so() -> None:
    assert {v.stem_stride for v, _ in plan.variants(made())["shufflenet_v2_x0_5"]} == {1}
    large = made(input=[3, 224, 224], num_classes=1000)
    assert {v.stem_stride for v, _ in plan.variants(large)["shufflenet_v2_x0_5"]} == {None}
    stated = made(stem_stride=2)
    assert {v.stem_stride for v, _ in plan.variants(stated)["shufflenet_v2_x0_5"]} == {2}


def test_shape_and_classes_come_from_the_data_set() -> None:
    variant, _ = plan.variants(made(data="cifar100", data_root="nowhere"))["shufflenet_v2_x0_5"][0]
    assert (variant.input_shape, variant.num_classes) == ((3, 32, 32), 100)
    paper = read.read_suite("paper", {"data": "cifar10", "data_root": "nowhere"})
    variant, _ = plan.variants(paper)["shufflenet_v2_x0_5"][0]
    assert (variant.input_shape, variant.num_classes) == ((3, 32, 32), 10)


def test_plan_goes_through_the_stages_and_trains_seed_by_seed() -> None:
    work = plan.plan(made(seeds=2, match=["madds"], model=["mobilenet_v1_0.25", "shufflenet_v2_x0_5"]))
    order = [(one.stage, one.variants[0].architecture, one.labels, one.seed) for one in work]
    labels = ("conv", "drconv m=8", "conv =madds(drconv m=8)")
    nets = ("mobilenet_v1_0.25", "shufflenet_v2_x0_5")
    assert order == [
        *(("cost", net, (label,), None) for net in nets for label in labels),
        *(("memory", net, (label,), None) for net in nets for label in labels),
        *(("latency", net, labels, None) for net in nets),
        *(("train", net, (label,), seed) for seed in (0, 1) for net in nets for label in labels),
    ]


def test_matched_network_names_its_target_and_awaits_its_width() -> None:
    rows = plan.variants(made(match=["madds", "params"]))["shufflenet_v2_x0_5"]
    (plain, _), (converted, _), (madds, _), (params, _) = rows
    assert madds == Variant(
        "shufflenet_v2_x0_5",
        input_shape=(3, 32, 32),
        num_classes=10,
        stem_stride=1,
        match="madds",
        matched_to=variant_hash(converted),
    )
    assert (params.match, params.matched_to, params.width) == ("params", madds.matched_to, None)
    assert plain.match is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"only": ["*/conv"]}, ["shufflenet_v2_x0_5/conv"]),
        ({"only": ["shufflenet_v2_x0_5"]}, ["shufflenet_v2_x0_5/conv", "shufflenet_v2_x0_5/drconv m=8"]),
        ({"exclude": ["*/conv"]}, ["shufflenet_v2_x0_5/drconv m=8"]),
        ({"only": ["shuffle*"], "exclude": ["*drconv*"]}, ["shufflenet_v2_x0_5/conv"]),
    ],
)
def test_only_and_exclude(given: dict[str, Any], expected: list[str]) -> None:
    work = plan.plan(made(stages=["cost"], **given))
    assert [f"{one.variants[0].architecture}/{one.labels[0]}" for one in work] == expected


def test_nothing_left_is_an_error_with_the_candidates() -> None:
    with pytest.raises(InputError, match=r"leave nothing of suite 'tiny'.*shufflenet_v2_x0_5/drconv m=8"):
        plan.plan(made(only=["mobilenet*"]))


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


def test_suite_of_one_model() -> None:
    assert named(read.of_model("mobilenet_v1_0.25", {})) == ["mobilenet_v1_0.25/conv"]
    both = read.of_model("mobilenet_v1_0.25", {"regions": [4]})
    assert named(both) == ["mobilenet_v1_0.25/conv", "mobilenet_v1_0.25/drconv m=4"]


def test_a_users_own_callable_is_part_of_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("suite_test_op.py").write_text("def op(*args, **kwargs): ...\n")
    first, _ = plan.variants(made(operator=["suite_test_op:op"]))["shufflenet_v2_x0_5"][1]
    Path("suite_test_op.py").write_text("def op(*args, **kwargs): pass\n")
    second, _ = plan.variants(made(operator=["suite_test_op:op"]))["shufflenet_v2_x0_5"][1]
    assert set(first.sources) == {"suite_test_op:op"}
    assert variant_hash(first) != variant_hash(second)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"seeds": "two"}, r"seeds should be a valid integer, not 'two'"),
        ({"seeds": 0}, r"seeds should be greater than 0, not 0"),
        ({"operators": [{"operator": "drconv", "regions": [0]}]}, r"operators\.0\.regions\.0 should be greater than 0"),
        (
            {"operators": [{"operator": "drconv", "regoins": 4}]},
            r"key in operators\.0 'regoins': did you mean 'regions'",
        ),
        ({"operators": [{"regions": 4}]}, r"operators\.0\.operator is missing"),
        ({"achitectures": []}, r"unknown key 'achitectures': did you mean 'architectures'"),
        ({"architectures": []}, r"architectures should .*at least 1 item"),
        ({"train": {"epochs": 1.5}}, r"train\.epochs should be a valid integer"),
        ({"train": {"epoch": 1}}, r"key in train 'epoch': did you mean 'epochs'"),
        (
            {"latency": {"dtype": "float8"}},
            r"latency\.dtype should be 'float32', 'bfloat16' or 'float16', not 'float8'",
        ),
        ({"stages": ["cost", "trian"]}, r"stages\.1 should be 'cost', 'memory', 'latency' or 'train', not 'trian'"),
        ({"data": {"val_fraction": 1.0}}, r"data\.val_fraction should be less than 1"),
        ({"match": ["flops"]}, r"match\.0 should be 'madds' or 'params', not 'flops'"),
        ({"seeds": "two", "preset": 1}, r"\(and 1 more\)"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_with_its_place(document: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read.validate({**TINY, **document}, "tiny")
    assert "\n" not in str(caught.value)


def test_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(InputError, match="unknown preset 'quik': did you mean 'quick'"):
        plan.plan(made(preset="quik"))


def test_tables_have_the_fields_of_the_records() -> None:
    assert set(TrainTable.model_fields) | {"preset"} == {field.name for field in fields(TrainSettings)}
    assert set(LatencyTable.model_fields) == {field.name for field in fields(LatencySettings)}
    assert LatencySettings(**dict(LatencyTable())) == LatencySettings()


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


@pytest.mark.parametrize(
    "table",
    [
        {"a": 1, "b": -0.5, "c": True, "d": "x"},
        {"text": 'quote " back \\ newline \n tab \t delete \x7f snowman \u2603 astral \U0001f600'},
        {"list": [1, 2], "empty": [], "tables": [{"a": 1}, {"b": {"c": [True]}}], "nothing": {}},
        {"odd key": 1, "a.b": {"": 2}},
    ],
)
def test_toml_text_is_read_back_by_the_standard_library(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml.dumps(table)) == table


def units(found: Suite) -> set[tuple[str, str, int | None]]:
    """Stage, variant and seed of what is done once: all but latency, where plain networks come along."""
    work = plan.plan(found)
    return {(one.stage, variant_hash(v), one.seed) for one in work for v in one.variants if one.stage != "latency"}


def test_shards_are_all_of_a_suite_and_no_part_of_it_twice() -> None:
    document = {"architectures": ["shufflenet_v2_x0_5", "mobilenet_v1_0.25"], "match": ["madds"], "seeds": 2}
    operators = [{"operator": "drconv", "regions": [2, 4, 8]}]
    whole = made({**document, "operators": operators}, stages=["cost", "memory", "train"])
    parts = [units(whole.model_copy(update={"shard": (part, 3)})) for part in (1, 2, 3)]
    assert set.union(*parts) == units(whole)
    assert sum(map(len, parts)) == len(units(whole))
    for part in parts:  # all that belongs to a variant is in one part
        assert {name for stage, name, _ in part if stage == "cost"} == {name for _, name, _ in part}
    turned = whole.model_copy(update={"operators": (whole.operators[0].model_copy(update={"regions": (8, 2, 4)}),)})
    for number, part in enumerate(parts, 1):
        assert units(turned.model_copy(update={"shard": (number, 3)})) == part


def test_shards_differ_by_one_variant_with_its_matched_ones() -> None:
    plain = Variant("net")
    nets = [plain, *(replace(plain, operator="drconv", operator_args={"regions": m}) for m in range(1, 10))]
    matched = [replace(plain, match="madds", matched_to=variant_hash(net)) for net in nets[1:]]
    sizes = [len(plan.shard(nets, part, 4)) for part in (1, 2, 3, 4)]
    assert sum(sizes) == len(nets)
    assert max(sizes) - min(sizes) <= 1
    for part in (1, 2, 3, 4):
        ours = plan.shard([*nets, *matched], part, 4)
        for one in matched:
            assert (variant_hash(one) in ours) == (one.matched_to in ours)
    assert plan.shard(nets[:2], 3, 3) == set()


def test_latency_of_a_shard_has_its_plain_networks_along() -> None:
    whole = made({"operators": [{"operator": "drconv", "regions": [1, 2, 4, 8]}], "stages": ["latency"]})
    for part in (1, 2):
        for one in plan.plan(whole.model_copy(update={"shard": (part, 2)})):
            assert one.labels[0] == "conv"
            assert len(one.labels) > 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "x", "1", "1/0", "-1/3", "1/2/3"])
def test_wrong_shard_says_what_is_wanted(text: str) -> None:
    with pytest.raises(InputError, match=f"--shard '{text}': part/parts is wanted"):
        overrides.shard("--shard", text)


def test_limits_come_from_the_command_line_and_stay_with_the_run() -> None:
    found = made(timeout=5.0, memory_limit=1.5, shard=[1, 2])
    assert (found.limits.timeout_seconds, found.limits.memory_gib, found.shard) == (5.0, 1.5, (1, 2))
    assert read.validate(read.parse(read.to_toml(found), "again"), "again") == found


def test_memory_does_not_depend_on_how_long_is_timed() -> None:
    short, long = (made({"stages": ["memory"], "latency": {"batch_sizes": [1, 8], "min_runs": n}}) for n in (5, 50))
    assert plan.plan(short) == plan.plan(long)
    assert plan.plan(short)[0].latency == LatencySettings(batch_sizes=(8,))


HUGE = 10**30


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"operators": [{"operator": "drconv", "regions": HUGE}]},
            r"operators.0.regions should be a whole number of at",
        ),
        ({"operators": [{"operator": "drconv", "regions": 10**9}]}, r"less than or equal to 4096, not 1000000000"),
        ({"operators": [{"operator": "drconv", "operator_args": {"regions": HUGE}}]}, r"at most 64 bits"),
        ({"num_classes": 10**18}, r"num_classes should be less than or equal to 100000000"),
        ({"input_shape": [3, 60_000, 60_000]}, r"input_shape should be an input of at most 2,147,483,648 elements"),
        ({"latency": {"batch_sizes": [10**9]}}, r"latency.batch_sizes.0 should be less than or equal to 16777216"),
        ({"latency": {"workers": 10**6}}, r"latency.workers should be less than"),
        ({"latency": {"max_seconds": 1e300}}, r"latency.max_seconds should be less than"),
        ({"train": {"epochs": 10**9}}, r"train.epochs should be less than"),
        ({"train": {"batch_size": 10**9}}, r"train.batch_size should be less than"),
        ({"train": {"weight_decay": float("nan")}}, r"train.weight_decay should be a finite number"),
        ({"limits": {"memory_gib": 1e300}}, r"limits.memory_gib should be less than"),
        ({"limits": {"timeout_seconds": 1e300}}, r"limits.timeout_seconds should be less than"),
        ({"seeds": 10**9}, r"seeds should be less than or equal to 10000"),
        ({"shard": [1, 10**9]}, r"shard.1 should be less than"),
        ({"name": "a\0b"}, r"name should be text of at most"),
        ({"name": "a\x1bb"}, r"name should"),
        ({"name": "x" * 500}, r"name should have at most 200 characters, not a str of 500"),
        ({"name": tomllib.loads("d = 1979-05-27")["d"]}, r"name should be text, a number, .* not a date"),
        ({"description": "x" * 100_000}, r"description should be text of at most 10,000 characters"),
        (
            {"seeds": 10_000, "operators": [{"operator": "drconv", "regions": [*range(1, 30)]}]},
            r"pieces of work; at most",
        ),
        ({"architectures": [f"a{n}" for n in range(6000)]}, r"has 12,000 networks; at most 10,000 are allowed"),
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
        ("# " + "x" * (5 * 2**20), r"characters; at most 1,048,576 are read"),
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
    with pytest.raises(InputError, match="part/parts"):
        overrides.shard("--shard", text)


def test_many_networks_of_one_label_are_named_in_reasonable_time() -> None:
    found = made({"operators": [{"operator": "drconv", "where": f"layer{n}"} for n in range(3_000)]})
    labels = [label for _, label in plan.variants(found)["shufflenet_v2_x0_5"]]
    assert labels[1] == "drconv m=8 where=layer0"
    assert len(set(labels)) == 3_001
