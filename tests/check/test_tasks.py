"""Another task than classification, made up: what it declares is all that the gate knows of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from drbench.check import baseline as files
from drbench.check.baseline import Baseline
from drbench.check.formats import FORMATS
from drbench.check.judge import judge
from drbench.check.metrics import COMMON, of_task, usual
from drbench.check.rules import rules
from drbench.check.verdicts import Checked
from drbench.errors import InputError
from drbench.figures import COMMON as COMMON_NAMES
from drbench.figures import Figure, TaskFigures
from drbench.statistics.significance import by_images
from drbench.suite.tables import CheckTable

ANGLE = Figure("angle", "degrees", "lower", 1, "mean angle between mates", "angle error", tolerance=0.5)
VERIFY = TaskFigures("faces:verify", "accuracy", (Figure("accuracy", digits=1, per_unit=True), ANGLE), "pair")
ANGLES = replace(VERIFY, task="faces:angles", headline="angle")
LOW, HIGH = (10.0, 10.5, 9.5, 10.25, 9.75), (12.5, 13.0, 12.25, 12.75, 12.0)


def trained(one, angles, declared: TaskFigures = VERIFY, accuracies=(0.9, 0.8, 0.85, 0.95, 0.75)):
    for seed, (angle, accuracy) in enumerate(zip(angles, accuracies, strict=True)):
        one.scored(declared, {"angle": angle, "accuracy": accuracy}, seed)
    return one


def verdicts(before, now, metrics, declared: TaskFigures = VERIFY, **options):
    asked = rules(CheckTable(), metrics=metrics, **options).of_task(declared)
    return judge(before.facts(metrics), now.facts(metrics), asked)[0]


def one(*arguments, **options):
    (found,) = verdicts(*arguments, **options)
    return found


def test_common_metrics_are_known_by_the_names_that_no_figure_may_take() -> None:
    assert tuple(COMMON) == COMMON_NAMES
    assert tuple(of_task(ANGLES)) == (*COMMON_NAMES, "angle", "accuracy")
    assert usual(ANGLES) == (*COMMON_NAMES, "angle")


@pytest.mark.parametrize(("before", "now", "outcome"), [(LOW, HIGH, "regression"), (HIGH, LOW, "improvement")])
def test_where_lower_is_better_a_rise_is_a_regression(book, before, now, outcome: str) -> None:
    found = one(trained(book(), before), trained(book("cd34"), now), ["angle"])
    assert (found.outcome, found.unit, found.declared) == (outcome, "degrees", ANGLE)
    expected = stats.ttest_rel(now, before).confidence_interval(0.99)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert found.effect == pytest.approx(np.mean(now) - np.mean(before))


def test_a_limit_is_a_difference_in_the_unit(book) -> None:
    sides = trained(book(), LOW), trained(book("cd34"), HIGH)
    assert one(*sides, ["angle"], limits=["angle=4"]).outcome == "held"
    assert one(*sides, ["angle"], limits=["angle=2.5"]).outcome == "unresolved"


def test_the_tolerance_is_the_declared_one(book) -> None:
    """Differences of -0.2 to 0.2: their 99% interval reaches beyond 0.02 and not beyond 0.5 degrees."""
    noisy = [angle + change for angle, change in zip(LOW, (0.2, -0.2, 0.1, -0.1, 0.05), strict=True)]
    strict = replace(VERIFY, figures=(VERIFY.main, replace(ANGLE, tolerance=0.02)))
    for declared, outcome in ((VERIFY, "held"), (strict, "unresolved")):
        sides = trained(book(), LOW, declared), trained(book("cd34"), noisy, declared)
        assert one(*sides, ["angle"], declared).outcome == outcome


def test_the_headline_is_judged_where_nothing_else_is_asked_for(book) -> None:
    facts = trained(book(), LOW, ANGLES).facts()["net/conv"]
    assert facts.known() == ("angle",)
    assert [seed.value for seed in facts.scores["angle"].seeds] == list(LOW)
    assert facts.scores["angle"].seeds[0].correct == ""


def test_given_weights_go_by_the_units(book) -> None:
    before, now = [True] * 90 + [False] * 10, [True] * 60 + [False] * 40

    def evaluated(name: str, right):
        values = {"accuracy": sum(right) / len(right), "angle": 3.0}
        return book(name).scored(VERIFY, values, right=right, given=True)

    found = one(evaluated("ab12", before), evaluated("cd34", now), ["accuracy"])
    assert found.outcome == "regression"
    assert found.interval == by_images(before, now).interval
    assert "100 pairs, 30 differ" in found.text


@pytest.mark.parametrize(("now", "outcome"), [(3.0, "held"), (3.5, "unresolved")])
def test_given_weights_have_no_interval_of_what_is_no_share(book, now: float, outcome: str) -> None:
    before = book().scored(VERIFY, {"accuracy": 0.9, "angle": 3.0}, given=True)
    after = book("cd34").scored(VERIFY, {"accuracy": 0.9, "angle": now}, given=True)
    assert one(before, after, ["angle"]).outcome == outcome


def test_the_same_figures_need_no_five_seeds(book) -> None:
    sides = [book(name).scored(VERIFY, {"accuracy": 0.9, "angle": 3.0}) for name in ("ab12", "cd34")]
    assert one(*sides, ["angle"]).outcome == "held"


def test_a_metric_that_the_task_lacks_is_named(book) -> None:
    with pytest.raises(InputError, match=r"unknown metric 'top1'\. Known: accuracy, angle, costs, latency, memory"):
        rules(CheckTable(), metrics=["top1"]).of_task(VERIFY)
    with pytest.raises(InputError, match="did you mean 'angle'"):
        rules(CheckTable(), limits=["angel=1"]).of_task(VERIFY)


def saved(book, metrics=("costs", "accuracy", "angle")) -> Baseline:
    one = trained(book().costs(), LOW)
    return files.saved(Baseline(), one.run, one.facts(metrics), metrics)


def test_a_baseline_keeps_figures_by_their_own_names(book, tmp_path: Path) -> None:
    files.write(saved(book), tmp_path / "b.json")
    assert files.read(tmp_path / "b.json") == saved(book)
    text = (tmp_path / "b.json").read_text(encoding="utf-8")
    variant = json.loads(text)["suites"]["two"]["net/conv"]
    assert list(variant) == ["hash", "costs", "accuracy", "angle"]
    assert variant["angle"]["task"] == "faces:verify"
    assert variant["angle"]["figures"]["figures"][0]["direction"] == "lower"
    assert variant["angle"]["seeds"][0] == {"seed": 0, "angle": 10.0, "pairs": 0, "correct": ""}
    assert max(map(len, text.splitlines())) < 300


def test_a_baseline_is_read_where_the_task_cannot_be_imported(book, tmp_path: Path) -> None:
    files.write(saved(book), tmp_path / "b.json")
    before = files.read(tmp_path / "b.json").variants("two")
    asked = rules(CheckTable(), metrics=["angle"]).of_task(VERIFY)
    (found,), _ = judge(before, trained(book("cd34"), HIGH).facts(["angle"]), asked)
    assert (found.outcome, found.before) == ("regression", pytest.approx(10.0))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"direction": "lower"', '"direction": "up"', "angle"),
        ('"angle": 10.0', '"angle": "10"', "angle.seeds.0.angle"),
        ('"accuracy": 0.9', '"accuracy": 9', "a fraction, from 0 to 1"),
        ('"task": "faces:verify"', '"task": 3', "task"),
        (' "accuracy": {', ' "acuracy": {', "acuracy.seeds.0.acuracy: Field required"),
    ],
)
def test_a_declaration_edited_by_hand_is_checked(book, tmp_path: Path, old: str, new: str, said: str) -> None:
    text = files.dumps(saved(book))
    assert old in text
    (tmp_path / "b.json").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=said):
        files.read(tmp_path / "b.json")


@pytest.fixture
def worse(book) -> Checked:
    """A check in which the angle is worse and the accuracy better."""
    higher = (0.99, 0.9, 0.94, 0.99, 0.86)
    found = verdicts(trained(book(), LOW), trained(book("cd34"), HIGH, accuracies=higher), ["accuracy", "angle"])
    return Checked("two", "cd34", "ab12", found)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_takes_the_figures(worse: Checked, format: str) -> None:
    text = FORMATS[format](worse, 120, False)
    assert "top" not in text
    assert "angle" in text


def test_texts_have_the_unit_and_the_digits(worse: Checked) -> None:
    for format in ("terminal", "md"):
        text = FORMATS[format](worse, 200, False)
        assert "10.0 degrees" in text
        assert "+2.5 degrees" in text
        assert "93.6%" in text
        assert "+8.6 pt" in text
    assert "detects rises of at least" in FORMATS["md"](worse, 120, False)


def test_data_have_the_raw_figures(worse: Checked) -> None:
    rows = {row["metric"]: row for row in json.loads(FORMATS["json"](worse, 120, False))["verdicts"]}
    assert (rows["angle"]["unit"], rows["angle"]["before"], rows["angle"]["now"]) == ("degrees", 10.0, 12.5)
    assert rows["accuracy"]["effect"] == pytest.approx(0.936 - 0.85)
    bencher = json.loads(FORMATS["bmf"](worse, 120, False))["net/conv"]
    low, high = rows["angle"]["interval"]
    assert bencher["angle-error"] == {"value": 12.5, "lower_value": 10.0 + low, "upper_value": 10.0 + high}
    suites = ElementTree.fromstring(FORMATS["junit"](worse, 120, False)).iter("testsuite")
    assert {suite.get("name"): suite.get("failures") for suite in suites} == {"angle": "1", "accuracy": "0"}
