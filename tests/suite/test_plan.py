from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drbench.errors import InputError
from drbench.identity import variant_hash
from drbench.records import LatencySettings, Variant
from drbench.suite import plan, read
from drbench.suite.tables import Suite
from tests.suite.suites import made


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
    with pytest.raises(InputError, match=r"leave no network of suite 'tiny'.*shufflenet_v2_x0_5/drconv m=8"):
        plan.plan(made(only=["mobilenet*"]))


def test_a_users_own_callable_is_part_of_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("suite_test_op.py").write_text("def op(*args, **kwargs): ...\n")
    first, _ = plan.variants(made(operator=["suite_test_op:op"]))["shufflenet_v2_x0_5"][1]
    Path("suite_test_op.py").write_text("def op(*args, **kwargs): pass\n")
    second, _ = plan.variants(made(operator=["suite_test_op:op"]))["shufflenet_v2_x0_5"][1]
    assert set(first.sources) == {"suite_test_op:op"}
    assert variant_hash(first) != variant_hash(second)


def test_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(InputError, match="unknown preset 'quik': did you mean 'quick'"):
        plan.plan(made(preset="quik"))


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


def test_memory_does_not_depend_on_how_long_is_timed() -> None:
    short, long = (made({"stages": ["memory"], "latency": {"batch_sizes": [1, 8], "min_runs": n}}) for n in (5, 50))
    assert plan.plan(short) == plan.plan(long)
    assert plan.plan(short)[0].latency == LatencySettings(batch_sizes=(8,))


def test_many_networks_of_one_label_are_named_in_reasonable_time() -> None:
    found = made({"operators": [{"operator": "drconv", "where": f"layer{n}"} for n in range(3_000)]})
    labels = [label for _, label in plan.variants(found)["shufflenet_v2_x0_5"]]
    assert labels[1] == "drconv m=8 where=layer0"
    assert len(set(labels)) == 3_001
