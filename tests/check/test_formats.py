"""A check as text: each format by the rules of its own readers, not by what was written here before."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import resources
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator
from rich.cells import cell_len

from drbench.check.formats import FORMATS
from drbench.check.verdicts import OUTCOMES, Checked, Verdict
from drbench.figures import CLASSIFY
from drbench.text import printable

NET = "shufflenet_v2_x0_5"
WORSE = Verdict(
    "costs",
    "madds",
    f"{NET}/drconv m=8",
    "regression",
    "1,152 more, in stages.1.conv: 24 -> 25 channels",
    unit="multiply-adds",
    before=41_234_567,
    now=41_235_719,
    effect=41_235_719 / 41_234_567,
    limit=0.0,
    layer="stages.1.conv",
)
SLOWER = Verdict(
    "latency",
    "b=8",
    f"{NET}/drconv m=8",
    "unresolved",
    "resolves 6% in 5 min here; 3% needs about 20 min",
    unit="ratio",
    before=1.20,
    now=1.26,
    effect=1.05,
    interval=(0.98, 1.12),
    limit=0.02,
    fails=False,
)
LESS_RIGHT = Verdict(
    *("top1", "", f"{NET}/conv", "regression", "", "fraction", 0.715, 0.695, -0.02, (-0.027, -0.013), 0.0),
    declared=CLASSIFY.main,
)
TIME = Verdict(
    "latency", "b=1", f"{NET}/conv", "held", "", "s", before=0.002, now=0.0021, effect=1.05, interval=(1.0, 1.1)
)
MEMORY = Verdict("memory", "host", f"{NET}/conv", "improvement", "", "bytes", 2**30, 2**29, 0.5)
SAME = Verdict("costs", "params", f"{NET}/conv", "held", "", "parameters", 1_000_000, 1_000_000, 1.0)
CRASH = Verdict("costs", "", "own:net/conv", "failed", "crashed: signal 11")
NASTY = Verdict(
    "costs", "madds", "a|b<i>&\x1b[31m\x00`*_%,:\r\nx/é\ud800", "vanished", ']]> :: "\x07" 100%\n::error::no'
)
NEW = Verdict("costs", "madds", "net/new", "new", "not in the baseline", "multiply-adds", now=5)
OTHER = Verdict("top1", "", "net/other", "refused", "data_digest: aa, now bb", declared=CLASSIFY.main)
OPEN_ENDED = replace(SLOWER, effect=float("nan"), interval=(0.0, float("inf")))
EVERY = (SAME, WORSE, SLOWER, LESS_RIGHT, TIME, MEMORY, CRASH, NASTY, NEW, OTHER)


def checked(*verdicts: Verdict, **more: Any) -> Checked:
    return Checked("smoke", "20260101-1200-smoke-ab12", "baseline.json", verdicts, **more)


def rendered(name: str, check: Checked, width: int = 120, color: bool = False) -> str:
    return FORMATS[name](check, width, color)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("check", [checked(), checked(*EVERY), checked(OPEN_ENDED)], ids=["empty", "every", "open"])
def test_every_format_takes_every_check_and_ends_its_last_line(name: str, check: Checked) -> None:
    text = rendered(name, check)
    assert text.endswith("\n")
    assert text == rendered(name, check)


def test_all_outcomes_are_among_the_examples() -> None:
    assert {verdict.outcome for verdict in EVERY} == set(OUTCOMES)


# terminal


def test_terminal_has_the_worst_first_and_the_exit_code_last() -> None:
    lines = rendered("terminal", checked(SAME, SLOWER, WORSE, CRASH)).splitlines()
    places = [
        next(n for n, line in enumerate(lines) if word in line) for word in ("failed", "regression", "unresolved")
    ]
    assert places == sorted(places)
    assert lines[-1] == "something failed to run: 1 failed, 1 regression, 1 unresolved, 1 held (exit code 4)"
    assert any("stages.1.conv" in line for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_terminal_keeps_to_its_width(width: int) -> None:
    text = rendered("terminal", checked(*(v for v in EVERY if v is not NASTY), notes=("word " * 60,)), width)
    assert max(map(cell_len, text.splitlines())) <= width


def test_terminal_names_a_layer_that_the_text_does_not() -> None:
    assert "stages.1.conv" in rendered("terminal", checked(replace(WORSE, text="more")))


def test_a_layer_that_is_only_a_number_is_called_a_layer() -> None:
    text = rendered("terminal", checked(replace(WORSE, layer="2", text="2 (Conv2d) 3,072 -> 3,584")))
    assert "layer 2 (Conv2d) 3,072 -> 3,584" in text


def test_terminal_counts_what_is_exact_and_held_and_shows_what_was_measured() -> None:
    text = rendered("terminal", checked(SAME, TIME))
    assert "params" not in text
    assert "parameters" not in text
    assert "1 exact figure held" in text
    assert "+5.0% [+0.0 +10.0]" in text
    assert "2.10 ms" in text


def test_terminal_has_colours_only_where_asked() -> None:
    assert "\x1b[" in rendered("terminal", checked(WORSE), color=True)
    assert "\x1b[" not in rendered("terminal", checked(WORSE))


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (WORSE, "multiply-adds"),
        (SAME, "parameters"),
        (SLOWER, "latency ratio b=8"),
        (TIME, "latency b=1"),
        (MEMORY, "peak memory host"),
        (replace(LESS_RIGHT, figure="seed 3"), "top-1 seed 3"),
        (CRASH, "costs"),
    ],
    ids=lambda value: value.metric if isinstance(value, Verdict) else value,
)
def test_figures_go_by_their_full_names(verdict: Verdict, words: str) -> None:
    lines = rendered("terminal", checked(replace(verdict, outcome="regression"))).splitlines()
    assert any(re.match(rf"  {words}\s{{2,}}", line) for line in lines)


def test_a_change_of_one_in_millions_is_no_zero() -> None:
    text = rendered("terminal", checked(WORSE))
    assert "+1,152 (+0.0028%)" in text


def test_top1_changes_in_points() -> None:
    assert "-2.00 pt [-2.70 -1.30]" in rendered("terminal", checked(LESS_RIGHT))


# markdown


def test_markdown_folds_what_held_and_nothing_else() -> None:
    text = rendered("md", checked(*EVERY))
    open_, held = text.split("<details>")
    assert text.startswith("## drbench: something failed to run")
    assert held.count("\n| ") == 2 + 3  # header, rule, and the two that held and the one that is better
    assert open_.count("\n| ") == 2 + len(EVERY) - 3
    assert held.rstrip().endswith("</details>")


def test_markdown_rows_survive_names_that_look_like_markup() -> None:
    row = next(line for line in rendered("md", checked(NASTY)).splitlines() if "vanished" in line and line[0] == "|")
    cells = re.split(r"(?<!\\)\|", row)
    assert len(cells) == 9  # seven columns
    assert "<" not in row
    assert re.sub(r"&(?:lt|gt|amp);", "", row).count("&") == 0


def test_markdown_fits_a_comment() -> None:
    many = [replace(v, variant=f"{NET}/drconv m={n}") for n in range(2000) for v in (WORSE, SAME)]
    text = rendered("md", checked(*many))
    assert len(text) < 65_536
    assert text.count("and 1900 more") == 2


# JSON


SCHEMA = json.loads(resources.files("drbench.check").joinpath("schema.json").read_text(encoding="utf-8"))


def read_json(text: str) -> Any:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "check",
    [
        checked(),
        checked(
            *(v for v in EVERY if v is not NASTY), notes=("a", "b"), about={"level": 0.95, "machine": {"cores": 2}}
        ),
        checked(OPEN_ENDED, replace(WORSE, allowed=("torch",)), about={"worst": float("nan")}),
    ],
    ids=["empty", "every", "open"],
)
def test_json_is_as_its_schema_says(check: Checked) -> None:
    document = read_json(rendered("json", check))
    Draft202012Validator(SCHEMA).validate(document)
    assert document["exit_code"] == check.exit_code
    assert len(document["verdicts"]) == len(check.verdicts)


def test_json_has_every_field_raw() -> None:
    one = read_json(rendered("json", checked(SLOWER)))["verdicts"][0]
    wanted = {**asdict(SLOWER), "interval": [0.98, 1.12], "allowed": []}
    del wanted["declared"]  # what the unit and the name of the metric do not say is for texts
    assert one == wanted


def test_json_of_what_is_not_finite_is_null() -> None:
    one = read_json(rendered("json", checked(OPEN_ENDED)))["verdicts"][0]
    assert (one["effect"], one["interval"]) == (None, [0.0, None])


@pytest.mark.parametrize("wrong", [{"exit_code": 2}, {"extra": 1}, {"verdicts": [{}]}, {"version": 2}])
def test_schema_refuses_what_is_not_so(wrong: Mapping[str, Any]) -> None:
    document = {**read_json(rendered("json", checked(WORSE))), **wrong}
    assert not Draft202012Validator(SCHEMA).is_valid(document)


# Bencher


BENCHER = {  # the published schema of the format: https://bencher.dev/docs/reference/bencher-metric-format
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["value"],
            "additionalProperties": False,
            "properties": {key: {"type": "number"} for key in ("value", "lower_value", "upper_value")},
        },
    },
}


def bencher(*verdicts: Verdict) -> dict[str, dict[str, dict[str, float]]]:
    found = read_json(rendered("bmf", checked(*verdicts)))
    Draft202012Validator(BENCHER).validate(found)
    return found


def test_bencher_has_every_figure_that_is_there_now_once() -> None:
    found = bencher(*(v for v in EVERY if v is not NASTY))
    assert sum(map(len, found.values())) == sum(v.now is not None for v in EVERY)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", measure) for row in found.values() for measure in row)


def test_bencher_has_latency_in_nanoseconds_with_the_ends_of_its_interval() -> None:
    assert bencher(TIME) == {
        f"{NET}/conv b=1": {"latency": pytest.approx({"value": 2.1e6, "lower_value": 2.0e6, "upper_value": 2.2e6})}
    }


def test_bencher_has_the_others_in_their_own_units() -> None:
    found = bencher(WORSE, SLOWER, LESS_RIGHT, MEMORY, SAME)
    assert found[f"{NET}/drconv m=8"] == {"multiply-adds": {"value": 41_235_719}}
    ratio = {"value": 1.26, "lower_value": 1.2 * 0.98, "upper_value": 1.2 * 1.12}
    assert found[f"{NET}/drconv m=8 b=8"]["latency-ratio"] == pytest.approx(ratio)
    top1 = {"value": 0.695, "lower_value": 0.688, "upper_value": 0.702}
    assert found[f"{NET}/conv"]["top-1"] == pytest.approx(top1)
    assert found[f"{NET}/conv"]["parameters"] == {"value": 1_000_000}
    assert found[f"{NET}/conv host"] == {"peak-memory": {"value": 2**29}}


def test_bencher_leaves_out_an_open_end() -> None:
    found = bencher(OPEN_ENDED)[f"{NET}/drconv m=8 b=8"]["latency-ratio"]
    assert set(found) == {"value", "lower_value"}


def test_bencher_names_are_no_longer_than_it_takes() -> None:
    (name,) = bencher(replace(WORSE, variant="x" * 5000))
    assert len(name) == 1024


# JUnit


def junit(check: Checked) -> ElementTree.Element:
    return ElementTree.fromstring(rendered("junit", check))


@pytest.mark.parametrize("verdicts", [EVERY, (), (NEW,), (WORSE, SLOWER)], ids=["every", "none", "new", "two"])
def test_junit_counts_what_it_holds(verdicts: tuple[Verdict, ...]) -> None:
    root = junit(checked(*verdicts))
    for element in (root, *root.findall("testsuite")):
        cases = list(element.iter("testcase"))
        tags = Counter(child.tag for case in cases for child in case)
        held = (tags["failure"], tags["error"], tags["skipped"])
        assert tuple(int(element.get(name, "")) for name in ("failures", "errors", "skipped")) == held
        assert int(element.get("tests", "")) == len(cases)


@pytest.mark.parametrize(
    ("verdict", "tag"),
    [
        (WORSE, "failure"),
        (CRASH, "error"),
        (NASTY, "failure"),
        (SLOWER, "skipped"),
        (replace(SLOWER, fails=True), "failure"),
        (NEW, "skipped"),
        (OTHER, "skipped"),
        (SAME, "system-out"),
        (MEMORY, "system-out"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.outcome,
)
def test_junit_says_each_outcome_in_its_own_way(verdict: Verdict, tag: str) -> None:
    (suite, *_) = junit(checked(verdict, replace(SAME, metric="rest")))
    (case,) = suite
    assert [child.tag for child in case] == [tag]
    assert suite.get("name") == verdict.metric


def test_junit_fails_where_the_exit_code_does() -> None:
    """Readers of the format know no exit codes: a check that fails must have a failure or an error in it."""
    for verdicts in [(v,) for v in EVERY] + [(), (NEW, OTHER), (replace(SLOWER, fails=True),)]:
        root = junit(checked(*verdicts))
        bad = int(root.get("failures", "")) + int(root.get("errors", ""))
        assert (bad > 0) == (checked(*verdicts).exit_code != 0), verdicts


def test_junit_survives_characters_that_xml_has_not() -> None:
    root = junit(checked(NASTY, notes=("\x00",)))
    case = root.find("testsuite/testcase")
    assert case is not None
    assert "a|b<i>&\\x1b[31m\\x00" in case.get("name", "")
    assert "\\x07" in case[0].get("message", "")


# GitHub

COMMAND = re.compile(r"::(?P<kind>error|warning|notice) title=(?P<title>[^:,]*)::(?P<message>.*)")


def commands(check: Checked) -> list[tuple[str, str, str]]:
    """What the runner reads: one command a line, %XX unescaped; the last line is text."""
    *lines, last = rendered("github", check).removesuffix("\n").split("\n")
    assert not last.startswith("::")
    found = [COMMAND.fullmatch(line) for line in lines]
    assert all(found)
    return [(m["kind"], unquote(m["title"]), unquote(m["message"])) for m in found if m]


def test_annotations_say_how_bad_it_is() -> None:
    kinds = Counter(kind for kind, _, _ in commands(checked(*(v for v in EVERY if v is not NASTY))))
    assert kinds == {"error": 3, "warning": 2, "notice": 2}  # crash, worse, top-1; unresolved, refused; new, improved


def test_annotations_cannot_be_broken_by_names() -> None:
    ((kind, title, message),) = commands(checked(NASTY))
    assert (kind, title) == ("error", "drbench: vanished of multiply-adds")
    assert message == f"{printable(NASTY.variant)}: {printable(NASTY.text)}"


def test_annotations_are_no_more_than_github_shows() -> None:
    found = commands(checked(*(replace(WORSE, variant=f"net/{n}") for n in range(30))))
    assert len(found) == 10
    assert "21 more" in found[-1][2]


def test_annotations_of_a_check_that_holds_are_a_line_of_text() -> None:
    assert commands(checked(SAME)) == []
