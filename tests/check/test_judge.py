"""Verdicts on figures whose answer is known beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drbench.check.judge import judge
from drbench.check.rules import LEVEL, rules
from drbench.errors import InputError
from drbench.figures import CLASSIFY
from drbench.records import Machine
from drbench.suite.tables import CheckTable, ThresholdTable

ALL = ["costs", "latency", "memory", "top1"]


def verdicts(before, now, **options):
    asked = rules(CheckTable(), metrics=options.pop("metrics", ALL), **options).of_task(CLASSIFY)
    return judge(before.facts(), now.facts(), asked)[0]


def one(before, now, **options):
    (found,) = verdicts(before, now, **options)
    return found


def layers(book, **changes: dict[str, int]):
    """A book whose layers differ in these."""
    from tests.books import LAYERS

    return book().costs(layers=[replace(layer, **changes.get(layer.name, {})) for layer in LAYERS])


# -- costs ------------------------------------------------------------------------------------------------------------


def test_costs_that_are_the_same_hold(book) -> None:
    found = verdicts(book().costs(), book().costs())
    assert [(v.figure, v.outcome, v.before, v.now) for v in found] == [
        ("madds", "held", 25424.0, 25424.0),
        ("params", "held", 486.0, 486.0),
    ]


def test_one_channel_more_names_its_layer(book) -> None:
    """body: 8 -> 9 outputs of 4 inputs, 3x3 at 8x8; head: 9 inputs."""
    now = layers(book, body={"madds": 20736, "params": 324}, head={"madds": 90, "params": 100})
    madds, params = verdicts(book().costs(), now)
    assert (madds.outcome, madds.layer, madds.now) == ("regression", "body", 27738.0)
    assert (params.outcome, params.layer, params.now) == ("regression", "body", 532.0)
    assert madds.effect == pytest.approx(27738 / 25424)
    assert "18,432 -> 20,736" in madds.text
    assert "1 more layer" in madds.text


def test_less_is_an_improvement(book) -> None:
    found = verdicts(book().costs(), layers(book, stem={"madds": 6000}))
    assert {v.figure: v.outcome for v in found} == {"madds": "improvement", "params": "held"}


def test_the_same_total_in_other_layers_is_told(book) -> None:
    found = verdicts(book().costs(), layers(book, stem={"madds": 6911}, body={"madds": 18433}))
    (madds,) = (v for v in found if v.figure == "madds")
    assert (madds.outcome, madds.layer) == ("regression", "stem")
    assert "the same total" in madds.text


def test_layers_that_come_and_go(book) -> None:
    from tests.books import LAYERS

    (more, _), (less, _) = (
        verdicts(book().costs(layers=old), book().costs(layers=new))
        for old, new in ((LAYERS[:2], LAYERS), (LAYERS, LAYERS[:2]))
    )
    assert (more.outcome, more.layer) == ("regression", "head")
    assert "is new" in more.text
    assert (less.outcome, less.layer) == ("improvement", "head")
    assert "is missing" in less.text


def test_other_names_alone_are_no_other_cost(book) -> None:
    found = verdicts(book().costs(), layers(book, stem={"name": "first"}))
    assert {v.outcome for v in found} == {"held"}
    assert "some renamed" in found[0].text


def test_layers_of_one_name_are_no_way_past_the_gate(book) -> None:
    from tests.books import LAYERS

    found = verdicts(book().costs(), book().costs(layers=[*LAYERS, LAYERS[0]]))
    assert {v.outcome for v in found} == {"regression"}


def test_another_way_of_counting_is_refused(book) -> None:
    found = one(book().costs(counting=1), book().costs(counting=2))
    assert found.outcome == "refused"
    assert "counting 2, was 1" in found.text
    assert not found.fails
    allowed = verdicts(book().costs(counting=1), book().costs(counting=2), allowed=["counting"])
    assert {(v.outcome, v.allowed) for v in allowed} == {("held", ("counting",))}


def test_costs_within_a_limit(book) -> None:
    now = layers(book, head={"madds": 90})
    assert {v.outcome for v in verdicts(book().costs(), now, limits=["costs=0.01"])} == {"held"}


# -- both sides -------------------------------------------------------------------------------------------------------


def test_new_vanished_and_failed_variants(book) -> None:
    before = book().costs("net/a").costs("net/b")
    now = book().costs("net/b").costs("net/c").record("cost", "net/a", status="failed", error="crashed: SIGSEGV")
    found = {v.variant: v for v in verdicts(before, now) if v.outcome != "held"}
    assert {name: v.outcome for name, v in found.items()} == {"net/a": "failed", "net/c": "new"}
    assert found["net/a"].text == "crashed: SIGSEGV"


def test_a_variant_that_is_gone(book) -> None:
    found = verdicts(book().costs("net/a").costs("net/b"), book().costs("net/b"))
    assert [(v.variant, v.outcome) for v in found if v.outcome != "held"] == [("net/a", "vanished")]


def test_the_worst_comes_first(book) -> None:
    before = book().costs("net/a").costs("net/b")
    now = book().costs("net/a").record("cost", "net/b", status="failed", error="oom")
    assert [v.outcome for v in verdicts(before, now)] == ["failed", "held", "held"]


# -- latency ----------------------------------------------------------------------------------------------------------

QUIET = (0.001, -0.001, 0.0005, 0.0, -0.0005)


def shifted(by: float, noise: float = 0.001):
    return [by + noise * step for step in (-1.0, 0.5, 0.0, -0.5, 1.0)]


@pytest.mark.parametrize(
    ("by", "outcome"), [(0.0, "held"), (0.2, "regression"), (-0.2, "improvement"), (0.02, "unresolved")]
)
def test_ratios(book, by: float, outcome: str) -> None:
    found = one(book().latency(shifted(0.1), QUIET), book().latency(shifted(0.1 + by), QUIET))
    assert found.outcome == outcome
    assert found.effect == pytest.approx(np.exp(by), rel=1e-3)
    assert found.interval[0] < found.effect < found.interval[1]
    assert (found.unit, found.figure) == ("ratio", "b=1")


def test_the_floor_of_either_side_is_what_cannot_be_told(book) -> None:
    noisy = (0.3, -0.3, 0.2, -0.2, 0.0)
    for floors in ((noisy, QUIET), (QUIET, noisy)):
        found = one(book().latency(shifted(0.1), floors[0]), book().latency(shifted(0.2), floors[1]))
        assert found.outcome == "unresolved"
        assert "cannot resolve 2.0%" in found.text


def test_one_worker_tells_nothing(book) -> None:
    found = one(book().latency([0.1], [0.0]), book().latency([0.5], [0.0]))
    assert (found.outcome, found.interval, found.fails) == ("unresolved", None, False)
    assert one(book().latency([0.1]), book().latency([0.5]), on_unresolved=["latency=fail"]).fails


def test_batch_sizes_come_and_go(book) -> None:
    before, now = book().latency(shifted(0.1), batch=1), book().latency(shifted(0.1), batch=8)
    assert {v.figure: v.outcome for v in verdicts(before, now)} == {"b=1": "vanished", "b=8": "new"}


@pytest.mark.parametrize(
    ("field", "machine", "context"),
    [
        ("device", {"cpu": "another CPU"}, {}),
        ("cores", {"cores": 4}, {}),
        ("torch", {"torch": "2.15.0"}, {}),
        ("threads", {}, {"threads": 1}),
        ("dtype", {}, {"dtype": "bfloat16"}),
        ("channels_last", {}, {"channels_last": False}),
        ("kernels", {}, {"kernels": "torch"}),
    ],
)
def test_times_of_another_machine_are_refused(book, field, machine, context) -> None:
    before = book().latency(shifted(0.1), QUIET, kernels="native")
    other = book(machine=replace(before.run.machine, **machine))
    now = other.latency(shifted(0.1), QUIET, **{"kernels": "native", **context})
    found = one(before, now)
    assert (found.outcome, found.fails) == ("refused", False)
    assert f"--allow-different {field}" in found.text
    allowed = one(before, now, allowed=[field])
    assert (allowed.outcome, allowed.allowed) == ("held", (field,))


def test_what_changes_by_itself_is_no_condition(book) -> None:
    before = book().latency(shifted(0.1), QUIET)
    other = Machine("other", "Linux, kernel 9", "a CPU", 2, 3, 4 << 30, torch="2.14.0", python="3.13")
    assert one(before, book(machine=other).latency(shifted(0.1), QUIET)).outcome == "held"


def test_many_comparisons_widen_the_intervals_of_all(book) -> None:
    few, many = (
        next(v for v in verdicts(self_of(book, count), self_of(book, count)) if v.variant == "net/v0").interval
        for count in (1, 20)
    )
    assert many[0] < few[0] < few[1] < many[1]


def self_of(book, count: int):
    found = book()
    for number in range(count):
        found.latency(shifted(0.1, 0.01), QUIET, variant=f"net/v{number}")
    return found


def test_the_correction_is_told(book) -> None:
    before = self_of(book, 20)
    _, notes = judge(before.facts(), before.facts(), rules(CheckTable(), metrics=ALL))
    assert "20 noisy comparisons hold together with 99%, 99.950% each (Bonferroni)" in notes
    assert any("--against GITREF" in note for note in notes)


# -- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "outcome"), [(1.0, "held"), (1.04, "held"), (1.06, "regression"), (0.9, "improvement")]
)
def test_memory_of_one_process(book, times: float, outcome: str) -> None:
    found = one(book().memory(1e8), book().memory(times * 1e8))
    assert (found.outcome, found.figure, found.unit, found.interval) == (outcome, "host", "bytes", None)
    assert found.effect == pytest.approx(times)


@pytest.mark.parametrize(
    ("more", "outcome"), [(0.4, "held"), (0.6, "regression"), (-0.4, "held"), (-0.6, "improvement")]
)
def test_half_a_mebibyte_of_host_memory_is_within_chance(book, more: float, outcome: str) -> None:
    small = 2.2 * 2**20
    found = one(book().memory(small), book().memory(small + more * 2**20))
    assert found.outcome == outcome
    assert "within chance" in found.text


def test_memory_of_several(book) -> None:
    quiet, loud = (1e8, 1.001e8, 0.999e8), (0.7e8, 1e8, 1.3e8)
    assert one(book().memory(1e8, quiet), book().memory(1.2e8, [1.2 * x for x in quiet])).outcome == "regression"
    assert one(book().memory(1e8, loud), book().memory(1.2e8, loud)).outcome == "unresolved"


# -- top-1 ------------------------------------------------------------------------------------------------------------


def right(lost: int = 0, images: int = 1000):
    return [number >= lost and number % 10 > 2 for number in range(images)]


def test_given_weights_go_by_the_images(book) -> None:
    before = book().answers(right(), given=True)
    assert one(before, book().answers(right(), given=True)).outcome == "held"
    found = one(before, book().answers(right(200), given=True))
    assert found.outcome == "regression"
    assert found.effect == pytest.approx(-140 / 1000)
    assert "1,000 images, 140 differ" in found.text


def test_given_weights_of_two_seeds_are_two_sets_of_weights(book) -> None:
    """Two files hold two trainings; asked about them by name, their seeds do not matter."""
    found = one(book().answers(right(), 0, given=True), book().answers(right(200), 1, given=True))
    assert found.outcome == "regression"


def test_trained_networks_need_five_seeds(book) -> None:
    def trained(seeds: int, lost: int):
        found = book()
        for seed in range(seeds):
            found.answers(right(lost + 10 * (seed % 2) if lost else 0), seed)
        return found

    few = one(trained(4, 0), trained(4, 200))
    assert few.outcome == "unresolved"
    assert "4 and 4 seeds: a claim about trained networks needs 5" in few.text
    assert one(trained(5, 0), trained(5, 200)).outcome == "regression"
    assert one(trained(1, 0), trained(1, 0)).outcome == "held"
    by_image = verdicts(trained(2, 0), trained(2, 200), checkpoints=True)
    assert [(v.figure, v.outcome) for v in by_image] == [("seed 0", "regression"), ("seed 1", "regression")]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("data", {"data_digest": "d2"}),
        ("preprocessing", {"preprocessing": {"mean": [0.4]}}),
        ("precision", {"train": {"precision": "bf16", "epochs": 3}}),
        ("train.epochs", {"train": {"precision": "fp32", "epochs": 4}}),
    ],
)
def test_answers_to_other_questions_are_refused(book, field: str, change) -> None:
    from tests.books import LEARNT

    found = one(book().answers(right()), book().answers(right(), settings={**LEARNT, **change}))
    assert found.outcome == "refused"
    assert field in found.text


def test_threads_are_no_condition_of_answers(book) -> None:
    from tests.books import LEARNT

    other = {**LEARNT, "train": {**LEARNT["train"], "threads": 8}}
    assert one(book().answers(right()), book().answers(right(), settings=other)).outcome == "held"


# -- rules ------------------------------------------------------------------------------------------------------------


def test_options_win_over_the_table_and_the_last_row_over_the_others() -> None:
    table = CheckTable(
        metrics=("costs", "latency"),
        on_unresolved="fail",
        thresholds=(
            ThresholdTable(metric="latency", limit=0.1, on_unresolved="warn"),
            ThresholdTable(metric="latency", variants="net/slow*", limit=0.5),
        ),
    )
    plain = rules(table)
    assert plain.metrics == ("costs", "latency")
    assert [plain.rule("latency", name, LEVEL).bound for name in ("net/fast", "net/slow m=8")] == [0.1, 0.5]
    assert [plain.rule(metric, "net/fast", LEVEL).on_unresolved for metric in ("costs", "latency")] == ["fail", "warn"]
    asked = rules(table, metrics=["top1"], limits=["latency=0.3", "latency:*slow*=0.4"], on_unresolved=["top1=warn"])
    assert asked.metrics == ("top1",)
    assert [asked.rule("latency", name, LEVEL).bound for name in ("net/fast", "net/slow m=8")] == [0.3, 0.4]
    assert [asked.rule(metric, "net/a", LEVEL).on_unresolved for metric in ("costs", "top1")] == ["fail", "warn"]
    assert rules(table, on_unresolved=["fail"]).rule("latency", "net/fast", LEVEL).on_unresolved == "fail"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metrics": ["cost"]}, "unknown metric 'cost': did you mean 'costs'"),
        ({"limits": ["latency"]}, "expected METRIC=SHARE"),
        ({"limits": ["latency=-1"]}, "expected METRIC=SHARE"),
        ({"limits": ["latency=nan"]}, "expected METRIC=SHARE"),
        ({"limits": ["latncy=0.1"]}, "did you mean 'latency'"),
        ({"on_unresolved": ["ignore"]}, "expected warn or fail"),
        ({"on_unresolved": ["speed=fail"]}, "unknown metric 'speed'"),
    ],
)
def test_wrong_rules(options, said: str) -> None:
    with pytest.raises(InputError, match=said):
        rules(CheckTable(), **options).of_task(CLASSIFY)
