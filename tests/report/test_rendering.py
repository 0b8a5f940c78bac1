"""A report as text: readable at any width, the same bytes twice, every format with the same figures."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from drbench_db import Store

from drbench.errors import InputError, NothingError
from drbench.records import Measurement, Variant
from drbench.report import FORMATS, load, render

FIGURES = ("40.00", "45.00", "+12.5%", "+100.0%", "2.20 [2.10 2.30]", "1.50 [1.48 1.52]", "63.83 ±1.47", "61.00 ±0.89")
"""Of the rows in conftest: cost in millions, relative, latency in ms, its ratio, top-1 in per cent."""


def lines_with(text: str, label: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.strip().startswith(label))


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_nothing_is_cut_off_and_nothing_is_too_wide(filled: Callable[..., Store], width: int) -> None:
    text = render(filled(), width=width)
    for figure in FIGURES:
        assert figure in text, figure
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert not any(line != line.rstrip() for line in text.splitlines())
    for label in ("shufflenet_v2_x0_5", "  drconv m=8", "  conv =madds(drconv m=8)"):
        assert any(line.startswith(label + " ") for line in text.splitlines())


@pytest.mark.parametrize("format", FORMATS)
def test_same_input_same_bytes(filled: Callable[..., Store], path: Path, format: str) -> None:
    first = render(filled(), format=format)
    assert render(path, format=format) == first
    assert render(load(path), format=format) == first
    assert first.endswith("\n")


def test_every_column_says_what_it_is(filled: Callable[..., Store]) -> None:
    text = " ".join(render(filled(), width=200).split())
    for words in (
        "multiply-adds of convolutions and linear layers for one image, millions",
        "median latency of one call with b images, milliseconds",
        "in turns in the same processes",
        "2 threads, float32, cpu, 21 samples each",
        "after the last epoch, mean over seeds ± standard deviation",
    ):
        assert words in text


def test_synthetic_data_is_no_evidence(filled: Callable[..., Store], path: Path) -> None:
    filled(data="shapes")
    for format in ("terminal", "md", "json"):
        assert "shapes is synthetic: no evidence for any operator" in render(path, format=format)
    assert {row["synthetic"] for row in table(path) if row["kind"] != "published"} == {"True"}


def test_real_data_carries_no_such_warning(filled: Callable[..., Store]) -> None:
    assert "synthetic" not in render(filled())


def test_few_seeds_make_no_claim(filled: Callable[..., Store]) -> None:
    store = filled(seeds=2)
    text = render(store, width=200, columns=["seeds", "top1_delta", "top1_equal_madds_delta"])
    row = lines_with(text, "drconv m=8")
    assert "2: too few" in row
    assert "(+2.50)" in row
    assert "(+1.00)" in row


def test_five_seeds_have_an_interval(filled: Callable[..., Store]) -> None:
    row = lines_with(render(filled(seeds=5), columns=["seeds", "top1_delta"]), "drconv m=8")
    assert re.search(r"5 +\+2\.80 ±\d\.\d\d$", row)


def test_failures_show_where_they_stand_and_why(store: Store, demo: ModuleType, path: Path) -> None:
    store.add(demo.RUN.id, demo.cost(demo.PLAIN))
    store.add(demo.RUN.id, demo.record(demo.DRCONV, "cost", status="failed", error="ValueError: no | such <thing>"))
    text = render(store, width=200)
    assert "  drconv m=8 (cost failed)" in text
    assert "shufflenet_v2_x0_5 drconv m=8: cost failed: ValueError: no | such <thing>" in text
    assert r"no \| such &lt;thing&gt;" in render(store, format="md")
    (failed,) = (row for row in table(path) if row["status"] == "cost failed")
    assert failed["error"] == "cost failed: ValueError: no | such <thing>"


def test_an_undeclared_cost_is_said_so(store: Store, demo: ModuleType) -> None:
    figures = [Measurement("executed", 5e6, ""), Measurement("params", 1e6, "")]
    store.add(demo.RUN.id, demo.record(demo.DRCONV, "cost", figures))
    text = render(store)
    assert re.search(r"drconv m=8 +not declared +5\.00 +1\.00", text)
    assert "convention not declared" in text


def test_published_figures_are_marked_and_deviations_shown(filled: Callable[..., Store]) -> None:
    text = render(filled(seeds=1), width=200)
    _, _, published = text.partition("published figures, marked as such")
    assert re.search(r"shufflenet_v2_x0_5 conv +41\.00 +40\.00 +-2\.4% !", published)
    assert "megvii-model/ShuffleNet-Series README" in published
    assert "Chen et al., CVPR 2021, abstract" in published


def table(path: Path, **options: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render(path, format="csv", **options))))  # type: ignore[arg-type]


def test_csv_has_the_raw_figures(filled: Callable[..., Store], path: Path) -> None:
    filled()
    row = next(row for row in table(path) if row["label"] == "drconv m=8")
    assert (row["suite"], row["data"], row["preset"], row["input_shape"]) == ("demo", "cifar10", "quick", "3x32x32")
    assert row["madds"] == "45000000"
    assert float(row["latency_b8"]) == pytest.approx(0.003 * 8 * 1.1)
    assert float(row["top1_delta"]) == pytest.approx(0.17 / 6)
    assert row["published_madds"] == ""
    published = [row for row in table(path) if row["kind"] == "published"]
    assert published[0]["source"]
    assert published[0]["suite"] == ""


def test_csv_names_a_training_and_json_holds_it(
    filled: Callable[..., Store], demo: ModuleType, path: Path, store: Store
) -> None:
    filled(seeds=1)
    store.add(demo.RUN.id, demo.training(demo.PLAIN, 1, settings=demo.settings(epochs=9)))
    tables = json.loads(render(store, format="json"))["tables"]
    assert sorted(one["training"]["epochs"] for one in tables) == [4, 9]
    assert len({one["training_hash"] for one in tables}) == 2
    for one in tables:
        text = json.dumps(one["training"], sort_keys=True, separators=(",", ":"))
        assert one["training_hash"] == hashlib.sha256(text.encode()).hexdigest()[:16]
        lines = [line for line in table(path) if line["training_hash"] == one["training_hash"]]
        assert [line["label"] for line in lines] == [row["label"] for row in one["rows"]]
    assert not any("{" in value for line in table(path) for value in line.values())


def test_json_says_what_its_fields_are_and_agrees_with_csv(filled: Callable[..., Store], path: Path) -> None:
    found = json.loads(render(filled(), format="json"))
    assert found["tables"][0]["training"]["epochs"] == 4
    ours = found["tables"][0]["rows"]
    assert found["published"]
    for row, line in zip(ours, table(path), strict=False):
        assert set(row) <= set(found["fields"])
        for name, value in row.items():
            assert line[name] == str(value)
    undocumented = [name for name, meaning in found["fields"].items() if meaning == name]
    assert undocumented == []


def test_markdown_is_a_table(filled: Callable[..., Store]) -> None:
    text = render(filled(), format="md")
    assert "\\[" in text  # or a label could make it a link
    text = text.replace("\\", "")
    lines = text.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("| network"))
    cells = {line.count(" | ") for line in lines[header : header + 5]}
    assert len(cells) == 1
    assert "drconv m=8" in lines[header + 3]
    for figure in FIGURES:
        assert figure in text


def test_columns_are_chosen_and_ordered(filled: Callable[..., Store], path: Path) -> None:
    filled(seeds=1)
    text = render(path, columns=["params", "latency", "regions"], width=200)
    header = next(line for line in text.splitlines() if line.startswith("network"))
    assert header.split() == ["network", "params", "p50", "b=1", "p50", "b=8", "regions"]
    assert "published" not in text
    assert list(table(path, columns=["params", "status"])[0])[-4:] == ["label", "params", "status", "error"]


def test_unknown_names_are_answered_with_the_valid_ones(filled: Callable[..., Store]) -> None:
    store = filled(seeds=1)
    for options, words in (
        ({"columns": ["madd"]}, r"unknown column 'madd': did you mean 'madds'\?"),
        ({"sort": "-paramz"}, r"unknown column 'paramz': did you mean 'params'\?"),
        ({"format": "xlsx"}, r"unknown format 'xlsx'.*Known: csv, json, md, terminal"),
        ({"suite": "dem"}, r"unknown suite 'dem': did you mean 'demo'\?"),
        ({"run": "nope"}, "no run 'nope'"),
    ):
        for results in (store, load(store)):
            with pytest.raises(InputError, match=words) as error:
                render(results, **options)
            assert "\n" not in str(error.value)


@pytest.fixture
def several(store: Store, demo: ModuleType) -> Store:
    """Three architectures with two variants each, and one figure."""
    for name, plain, others in (("a", 30, (5, 7)), ("b", 10, (3, 2)), ("c", 20, (9, None))):
        for operator, madds in (("conv", plain), ("x", others[0]), ("y", others[1])):
            figures = [Measurement("params", 1, "")]
            figures += [] if madds is None else [Measurement("madds", madds * 1e6, "")]
            store.add(demo.RUN.id, demo.record(Variant(name, operator), "cost", figures))
    return store


def _order(store: Store, sort: str | None) -> list[str]:
    lines = csv.DictReader(io.StringIO(render(store, format="csv", sort=sort)))
    return [line["architecture"] + line["operator"][0] for line in lines if line["kind"] != "published"]


def test_sorting_keeps_architectures_together_and_plain_first(several: Store) -> None:
    assert _order(several, None) == ["ac", "ax", "ay", "bc", "bx", "by", "cc", "cx", "cy"]
    assert _order(several, "madds") == ["bc", "by", "bx", "cc", "cx", "cy", "ac", "ax", "ay"]
    assert _order(several, "-madds") == ["ac", "ay", "ax", "cc", "cx", "cy", "bc", "bx", "by"]
    assert _order(several, "operator") == _order(several, None)
    assert _order(several, "-operator") == ["ac", "ay", "ax", "bc", "by", "bx", "cc", "cy", "cx"]


def test_runs_and_suites_are_selected(store: Store, demo: ModuleType) -> None:
    store.add(demo.RUN.id, demo.cost(demo.PLAIN))
    later = replace(demo.RUN, id="later", suite="other", started="2026-01-02T00:00:00Z")
    store.begin_run(later)
    store.add("later", demo.cost(demo.DRCONV))
    for results in (store, load(store)):
        assert "drconv" in render(results, latest=True)
        assert "suite demo" not in render(results, latest=True)
        assert "suite demo" in render(results, run="2026")
        assert "suite other" not in render(results, suite="demo")
        assert "suite demo" in render(results, suite="demo", latest=True)


def test_nothing_to_report(store: Store) -> None:
    with pytest.raises(NothingError):
        render(store)


def test_colour_is_there_only_when_asked_for(filled: Callable[..., Store]) -> None:
    store = filled(seeds=1)
    assert "\x1b" not in render(store)
    coloured = render(store, color=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(store)
