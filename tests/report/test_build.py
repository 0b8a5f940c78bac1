"""The figures of the tables, against what the records in conftest say by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from drbench_db import Store

from drbench.errors import NothingError
from drbench.identity import variant_hash
from drbench.records import Measurement, Variant
from drbench.report import load, render
from drbench.report.build import build, natural
from drbench.report.model import Report, Row, Table


def rows(store: Store) -> dict[str, Row]:
    """The rows of the one table, by label."""
    (table,) = build(load(store)).tables
    return {row.label: row for row in table.rows}


def only(report: Report) -> Table:
    (table,) = report.tables
    return table


def test_plain_comes_first_and_the_equal_cost_row_after_its_target(filled: Callable[..., Store]) -> None:
    table = only(build(load(filled())))
    assert [(row.kind, row.label) for row in table.rows] == [
        ("plain", "conv"),
        ("converted", "drconv m=8"),
        ("matched", "conv =madds(drconv m=8)"),
    ]
    assert table.matches == ("madds",)
    assert table.rows[2].values["width"] == 0.61


def test_costs_and_their_differences(filled: Callable[..., Store]) -> None:
    found = rows(filled())
    values = found["drconv m=8"].values
    assert (values["madds"], values["executed"], values["params"]) == (45_000_000, 90_000_000, 2_000_000)
    assert values["madds_delta"] == pytest.approx(0.125)
    assert values["params_delta"] == pytest.approx(1.0)
    assert "madds_delta" not in found["conv"].values


def test_latency_with_quartiles_and_paired_ratio(filled: Callable[..., Store]) -> None:
    found = rows(filled())
    values = found["drconv m=8"].values
    samples = [0.003 * 8 * (1 + i / 100) for i in range(21)]
    expected = np.quantile(samples, [0.5, 0.25, 0.75, 0.9, 0.99])
    names = ("latency_b8", "latency_b8_p25", "latency_b8_p75", "latency_b8_p90", "latency_b8_p99")
    assert [values[name] for name in names] == pytest.approx(expected.tolist(), rel=1e-12)
    assert values["latency_b8_samples"] == 21
    ratios = [values[f"ratio_b1{end}"] for end in ("", "_p25", "_p75", "_low", "_high")]
    assert ratios == pytest.approx([1.5, 1.45, 1.55, 1.48, 1.52], rel=1e-12)
    assert [values[f"floor_b1{end}"] for end in ("", "_low", "_high")] == [1.005, 0.99, 1.02]
    assert "ratio_b1" not in found["conv"].values


def test_top1_over_seeds_and_its_paired_differences(filled: Callable[..., Store], demo: ModuleType) -> None:
    found = rows(filled())
    plain, drconv, matched = (np.array(demo.TOP1[label]) for label in demo.TOP1)
    values = found["drconv m=8"].values
    assert values["top1"] == pytest.approx(drconv.mean())
    assert values["top1_sd"] == pytest.approx(drconv.std(ddof=1))
    assert values["seeds"] == 6
    assert values["top5"] == pytest.approx(drconv.mean() + 0.3)
    for name, reference in (("top1", plain), ("top1_equal_madds", matched)):
        difference = drconv - reference
        assert values[f"{name}_delta"] == pytest.approx(difference.mean())
        half = 2.570582 * difference.std(ddof=1) / np.sqrt(6)  # Student's t, 97.5%, 5 degrees of freedom
        assert values[f"{name}_delta_ci95"] == pytest.approx(half, rel=2e-3)
        assert values[f"{name}_delta_seeds"] == 6
    assert not any(name.startswith("top1_equal") for name in found["conv"].values)


def test_under_five_seeds_no_interval(filled: Callable[..., Store]) -> None:
    values = rows(filled(seeds=4))["drconv m=8"].values
    assert values["top1_delta_seeds"] == 4
    assert "top1_delta_ci95" not in values


def test_differences_are_over_common_seeds_only(store: Store, demo: ModuleType) -> None:
    store.add_many(demo.RUN.id, [demo.training(demo.PLAIN, seed) for seed in (0, 1)])
    store.add_many(demo.RUN.id, [demo.training(demo.DRCONV, seed) for seed in (1, 2)])
    values = rows(store)["drconv m=8"].values
    assert values["top1"] == pytest.approx((0.63 + 0.66) / 2)
    assert values["top1_delta"] == pytest.approx(0.63 - 0.61)
    assert values["top1_delta_seeds"] == 1


def test_the_newest_done_record_counts(store: Store, demo: ModuleType) -> None:
    old, new = demo.cost(demo.PLAIN), replace(demo.cost(demo.PLAIN), finished="2026-01-02T00:00:00Z")
    newer = tuple(replace(m, value=41e6) if m.name == "madds" and not m.part else m for m in new.measurements)
    store.begin_run(replace(demo.RUN, id="again"))
    store.add("again", replace(new, measurements=newer))
    store.add(demo.RUN.id, old)
    failed = replace(old, status="failed", error="later", measurements=(), finished="2026-01-03T00:00:00Z")
    store.add(demo.RUN.id, failed)
    values = rows(store)["conv"].values
    assert (values["madds"], values["status"]) == (41_000_000, "done")


def test_failures_are_rows_with_their_reason(store: Store, demo: ModuleType) -> None:
    store.add(demo.RUN.id, demo.training(demo.PLAIN, 0))
    failed = demo.record(
        demo.DRCONV, "train", seed=0, status="failed", error="no memory", settings=demo.settings(found=False)
    )
    store.add(demo.RUN.id, failed)
    store.add(demo.RUN.id, demo.record(demo.DRCONV, "cost", status="interrupted"))
    table = only(build(load(store)))
    values = table.rows[1].values
    assert values["status"] == "cost interrupted, train failed"
    assert values["error"] == "cost interrupted: no reason recorded; train failed (seed 0): no memory"
    assert any("no memory" in note for note in table.notes)


def test_an_operator_without_cost_is_said_to_have_none(store: Store, demo: ModuleType) -> None:
    figures = [Measurement("executed", 5e6, ""), Measurement("params", 1e6, "")]
    store.add(demo.RUN.id, demo.record(demo.DRCONV, "cost", figures))
    table = only(build(load(store)))
    assert "madds" not in table.rows[0].values
    assert "convention not declared" in table.notes[0]


def test_what_is_not_comparable_is_not_in_one_table(store: Store, demo: ModuleType) -> None:
    plain, run = demo.PLAIN, demo.RUN
    for settings in (demo.settings(), demo.settings(epochs=9), demo.settings("shapes")):
        store.add(run.id, demo.training(plain, 0, settings=settings))
    store.add(run.id, demo.training(plain, 1, settings={**demo.settings(), "data_digest": "other"}))
    large = replace(plain, input_shape=(3, 64, 64))
    store.add(run.id, demo.record(large, "train", [Measurement("top1", 0.5, "")], seed=0, settings=demo.settings()))
    for number, other in enumerate(
        (
            replace(run, machine=replace(demo.MACHINE, memory_bytes=1)),
            replace(run, suite="another"),
        )
    ):
        store.begin_run(replace(other, id=f"run{number}"))
        store.add(f"run{number}", demo.training(plain, 0))
    store.begin_run(replace(run, id="later"))
    store.add("later", demo.training(plain, 0, settings={**demo.settings(), "training": 2}))
    tables = build(load(store)).tables
    assert len(tables) == 8
    assert all(len(table.rows) == 1 for table in tables)
    assert len({table.conditions for table in tables}) == 8


def test_two_releases_with_the_same_protocols_share_a_table(store: Store, demo: ModuleType) -> None:
    store.add(demo.RUN.id, demo.training(demo.PLAIN, 0))
    store.begin_run(replace(demo.RUN, id="newer", code=replace(demo.RUN.code, drbench="0.2")))
    store.add("newer", demo.training(demo.DRCONV, 0))
    table = only(build(load(store)))
    assert [row.kind for row in table.rows] == ["plain", "converted"]
    assert table.conditions.drbench == f"{demo.RUN.code.drbench}, 0.2"


def test_trainings_on_other_threads_share_a_table(store: Store, demo: ModuleType) -> None:
    """As the gate has it: threads say how fast, not what."""
    for number, place in enumerate(({"threads": 1}, {"threads": 4}, {"device": "cuda"}, {"loader_workers": 2})):
        settings = demo.settings()
        store.add(
            demo.RUN.id,
            demo.training(demo.PLAIN, number, settings={**settings, "train": {**settings["train"], **place}}),
        )
    assert only(build(load(store))).rows[0].values["seeds"] == 4


def test_costs_of_two_ways_of_counting_are_in_two_tables(store: Store, demo: ModuleType) -> None:
    for number, version in enumerate((None, 2)):
        store.begin_run(replace(demo.RUN, id=f"run{number}"))
        said = {} if version is None else {"counting": version}
        for variant in (demo.PLAIN, demo.DRCONV):
            made = demo.cost(variant)
            store.add(f"run{number}", replace(made, settings={**made.settings, **said}))
    tables = build(load(store)).tables
    assert [(len(table.rows), table.conditions.older_protocol) for table in tables] == [
        (2, ""),
        (2, "counting 1, now 2"),
    ]


def test_a_run_that_counts_nothing_goes_with_the_latest_counting(store: Store, demo: ModuleType) -> None:
    for number, version in enumerate((1, 2)):
        store.begin_run(replace(demo.RUN, id=f"run{number}"))
        made = demo.cost(demo.PLAIN)
        store.add(f"run{number}", replace(made, settings={**made.settings, "counting": version}))
    store.add(demo.RUN.id, demo.training(demo.PLAIN, 0))
    known = {t.conditions.older_protocol: t.rows[0].values for t in build(load(store)).tables}
    assert {older: "top1" in values and values["top1"] is not None for older, values in known.items()} == {
        "": True,
        "counting 1, now 2": False,
    }


def test_records_that_failed_before_the_data_was_opened_stay_with_the_others(store: Store, demo: ModuleType) -> None:
    store.add(demo.RUN.id, demo.training(demo.PLAIN, 0, "shapes"))
    asked = demo.settings("shapes", found=False)
    store.add(demo.RUN.id, demo.record(demo.DRCONV, "train", seed=0, status="failed", settings=asked))
    assert len(only(build(load(store))).rows) == 2


def test_cost_of_one_run_stands_beside_the_training_of_another(store: Store, demo: ModuleType) -> None:
    store.add(demo.RUN.id, demo.cost(demo.PLAIN))
    store.begin_run(replace(demo.RUN, id="later"))
    store.add("later", demo.training(demo.PLAIN, 0))
    values = only(build(load(store))).rows[0].values
    assert values["madds"] == 40_000_000
    assert values["top1"] == 0.60


def test_latencies_of_different_settings_are_columns_of_their_own(store: Store, demo: ModuleType) -> None:
    for threads, value in ((1, 0.4), (2, 0.2)):
        about = {"batch_size": 1, "threads": threads, "dtype": "float32", "device": "cpu"}
        figures = [Measurement("latency", value, "s", context=about)]
        variant = demo.PLAIN if threads == 1 else demo.DRCONV
        store.add(demo.RUN.id, demo.record(variant, "latency", figures))
    table = only(build(load(store)))
    plain, drconv = (row.values for row in table.rows)
    assert [way.suffix for way in table.latencies] == ["b1_t1_float32_cpu", "b1_t2_float32_cpu"]
    assert plain["latency_b1_t1_float32_cpu"] == 0.4
    assert "latency_b1_t1_float32_cpu" not in drconv


def test_memory_formats_are_columns_of_their_own(store: Store, demo: ModuleType) -> None:
    for last, value, variant in ((True, 0.4, demo.PLAIN), (False, 0.2, demo.DRCONV)):
        about = {"batch_size": 1, "threads": 1, "dtype": "float32", "device": "cpu", "channels_last": last}
        store.add(demo.RUN.id, demo.record(variant, "latency", [Measurement("latency", value, "s", context=about)]))
    table = only(build(load(store)))
    plain, drconv = (row.values for row in table.rows)
    suffixes = ["b1_t1_float32_cpu_contiguous", "b1_t1_float32_cpu_channels_last"]
    assert [way.suffix for way in table.latencies] == suffixes
    assert (drconv[f"latency_{suffixes[0]}"], plain[f"latency_{suffixes[1]}"]) == (0.2, 0.4)
    text = render(store, width=400)
    assert "p50 b=1 t=1 float32 cpu contiguous" in text


def test_one_process_has_a_ratio_without_an_interval(store: Store, demo: ModuleType) -> None:
    about = {"batch_size": 1, "threads": 1, "dtype": "float32", "device": "cpu"}
    figures = [
        Measurement("latency", 0.2, "s", context=about),
        Measurement("latency_ratio", 1.25, "ratio", samples=(1.2, 1.25, 1.3), context=about),
    ]
    store.add(demo.RUN.id, demo.record(demo.DRCONV, "latency", figures))
    values = only(build(load(store))).rows[0].values
    assert values["ratio_b1"] == 1.25
    assert "ratio_b1_low" not in values
    assert " 1.25\n" in render(store, width=200, columns=["ratio"])


def test_networks_of_different_width_or_arguments_have_their_own_plain_row(store: Store, demo: ModuleType) -> None:
    for width, arguments, madds in ((None, {}, 100), (0.5, {}, 50), (None, {"depth": 3}, 30)):
        plain = Variant("net", width=width, architecture_args=arguments)
        for variant, factor in ((plain, 1), (replace(plain, operator="drconv"), 2)):
            store.add(demo.RUN.id, demo.record(variant, "cost", [Measurement("madds", madds * factor, "")]))
    table = only(build(load(store)))
    assert [row.architecture for row in table.rows[::2]] == ["net", "net depth=3", "net x0.5"]
    assert all(row.values["madds_delta"] == 1.0 for row in table.rows[1::2])


def test_published_rows_stand_beside_our_count(filled: Callable[..., Store], demo: ModuleType) -> None:
    report = build(load(filled(seeds=1)))
    plain = [row for row in report.published if row.values["operator"] == "conv" and "counted_madds" in row.values]
    assert plain
    assert all(row.kind == "published" and row.architecture == demo.ARCHITECTURE for row in report.published)
    first = plain[0].values
    assert first["published_madds"] == 41e6
    assert first["counted_madds"] == 40_000_000
    assert first["madds_deviation"] == pytest.approx(40 / 41 - 1)
    drconv = [row for row in report.published if row.values["operator"] == "drconv"]
    assert [row.values.get("counted") for row in drconv] == ["drconv m=8"]
    others = [row for row in report.published if row.values["operator"] == "weightnet-1x"]
    assert others
    assert all("counted" not in row.values and row.values["source"] for row in others)


def test_a_network_of_another_width_is_not_compared_with_what_was_published(store: Store, demo: ModuleType) -> None:
    narrow = replace(demo.PLAIN, width=0.3)
    store.add(demo.RUN.id, demo.record(narrow, "cost", [Measurement("reference_madds", 5, "")]))
    assert all("counted" not in row.values for row in build(load(store)).published)


def test_nothing_to_report(store: Store) -> None:
    with pytest.raises(NothingError, match="no results to report"):
        build(load(store))


def test_natural_order() -> None:
    names = ["net_x10", "net_x1_0", "net_0.75", "net_x2", "net_1.00", "other"]
    assert sorted(names, key=natural) == ["net_0.75", "net_1.00", "net_x1_0", "net_x2", "net_x10", "other"]


def test_hashes_of_the_fixtures_are_the_programs(demo: ModuleType) -> None:
    assert demo.MATCHED.matched_to == variant_hash(demo.DRCONV)


def _two_networks(store: Store, demo: ModuleType, plains: tuple[Variant, Variant]) -> Table:
    """Both plain networks with a converted one each, the second pair in another run: top-1 0.90, 0.91, 0.50, 0.51."""
    later = replace(demo.RUN, id="20260102-1200-demo-cd34")
    store.begin_run(later)
    top1 = iter((0.90, 0.91, 0.50, 0.51))
    for run, plain in ((demo.RUN, plains[0]), (later, plains[1])):
        for variant in (plain, replace(plain, operator="drconv", operator_args={"regions": 8})):
            figures = [Measurement("top1", next(top1), "fraction", "higher")]
            label = "conv" if variant is plain else "drconv m=8"
            store.add(run.id, demo.record(variant, "train", figures, label=label, seed=0, settings=demo.settings()))
    return only(build(load(store)))


@pytest.mark.parametrize("what", ["stem_stride", "source"])
def test_a_difference_is_to_the_plain_network_of_the_same_definition(store: Store, demo: ModuleType, what: str) -> None:
    if what == "stem_stride":
        plains = (replace(demo.PLAIN, stem_stride=1), replace(demo.PLAIN, stem_stride=4))
    else:
        own = replace(demo.PLAIN, architecture="my:net")
        plains = (replace(own, sources={"my:net": "a" * 64}), replace(own, sources={"my:net": "b" * 64}))
    table = _two_networks(store, demo, plains)
    gains = [row.values["top1_delta"] for row in table.rows if row.kind == "converted"]
    assert gains == pytest.approx([0.01, 0.01])
    assert all("top1_delta" not in row.values for row in table.rows if row.kind == "plain")
    assert len({row.architecture for row in table.rows}) == 2


def test_rows_that_would_read_the_same_are_told_apart(store: Store, demo: ModuleType) -> None:
    for experts in (4, 16):
        variant = replace(demo.DRCONV, operator_args={"regions": 8, "experts": experts})
        store.add(demo.RUN.id, demo.record(variant, "cost", label="drconv m=8"))
    found = {row.label: row.values["variant"] for row in only(build(load(store))).rows}
    assert len(found) == 2
    assert all(label == f"drconv m=8 #{str(variant)[:6]}" for label, variant in found.items())


def test_weights_of_unlike_trainings_share_no_table(store: Store, demo: ModuleType) -> None:
    for variant, epochs, top1 in ((demo.PLAIN, 200, 0.9), (demo.DRCONV, 1, 0.4)):
        evaluated = {**demo.settings(), "eval_weights": f"/{epochs}", "trained": {"preset": "quick", "epochs": epochs}}
        figures = [Measurement("top1", top1, "fraction", "higher")]
        store.add(demo.RUN.id, demo.record(variant, "train", figures, seed=0, settings=evaluated))
    tables = build(load(store)).tables
    assert len(tables) == 2
    assert all("top1_delta" not in row.values for table in tables for row in table.rows)


def test_memory_stands_where_it_was_measured(filled: Callable[..., Store], demo: ModuleType) -> None:
    store = filled(1)
    assert "MiB" not in render(store)
    store.add_many(demo.RUN.id, [demo.memory(demo.PLAIN)])
    assert rows(store)["conv"].values["memory_host"] == 5_048_576
    assert "memory_host" not in rows(store)["drconv m=8"].values
    text = render(store)
    assert "4.8" in text
    assert "memory: peak host memory of inference at the largest batch size" in text
