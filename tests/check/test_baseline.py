"""The file: the same facts give the same bytes, and whoever edits it by hand is told what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drbench.check import baseline as files
from drbench.check.baseline import Baseline
from drbench.errors import InputError


@pytest.fixture
def full(book):
    """All metrics of two variants."""
    one = book().costs().costs("net/drconv m=8").memory(5e6, (5e6, 5.1e6))
    return one.latency([0.1, 0.11, 0.12], [0.0, 0.01, -0.01]).answers([True, False, True]).answers([True] * 3, 1)


def save(one, before: Baseline | None = None, metrics=("costs", "latency", "memory", "top1")) -> Baseline:
    return files.saved(before or Baseline(), one.run, one.facts(), metrics)


def test_it_comes_back(full, tmp_path: Path) -> None:
    files.write(save(full), tmp_path / "b.json")
    assert files.read(tmp_path / "b.json") == save(full)
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def test_saved_twice_is_the_same_bytes(full) -> None:
    text = files.dumps(save(full))
    assert files.dumps(save(full, save(full))) == text
    assert text.endswith("}\n")
    assert json.loads(text)["version"] == 1


def test_the_order_of_saving_leaves_no_trace(book) -> None:
    parts = [book().costs("net/conv"), book().costs("net/drconv m=8")]
    forth, back = save(parts[1], save(parts[0])), save(parts[0], save(parts[1]))
    assert files.dumps(forth) == files.dumps(back)


def test_a_layer_is_a_line(full) -> None:
    lines = files.dumps(save(full)).splitlines()
    assert sum('"layer": "body"' in line and '"madds": 18432' in line for line in lines) == 2
    assert max(map(len, lines)) < 200


def test_another_run_that_says_the_same_changes_nothing(book, full) -> None:
    again = book("cd34").costs().costs("net/drconv m=8")
    assert files.dumps(save(again, save(full))) == files.dumps(save(full))


def test_only_what_is_saved_is_touched(book, full) -> None:
    other = book("cd34").costs(counting=2).memory(9e6)
    found = save(other, save(full), ["costs"])
    variant = found.suites["two"]["net/conv"]
    assert variant.costs.conditions["counting"] == 2
    assert variant.memory == full.facts()["net/conv"].memory
    assert found.suites["two"]["net/drconv m=8"] == full.facts()["net/drconv m=8"]
    assert set(found.runs) == {full.run.id, other.run.id}


def test_suites_are_apart(book) -> None:
    found = save(book("cd34", suite="other").costs(), save(book().costs()))
    assert set(found.suites) == {"two", "other"}
    assert set(found.variants("two")) == {"net/conv"}


def test_what_is_removed_is_gone_with_its_run(book, full) -> None:
    both = save(book("cd34").costs("net/third"), save(full))
    left = files.removed(both, {"two": ["net/third"]})
    assert files.dumps(left) == files.dumps(save(full))
    assert files.removed(left, {"two": ["net/conv", "net/drconv m=8"]}).suites == {}


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        ((), {"net/conv", "net/drconv m=8"}),
        (("net",), {"net/conv", "net/drconv m=8"}),
        (("*/conv",), {"net/conv"}),
        (("net/drconv*", "nothing"), {"net/drconv m=8"}),
        (("conv",), set()),
    ],
)
def test_globs(full, globs, names) -> None:
    assert set(save(full).variants("two", globs)) == names


def answers(seed: str) -> str:
    """A baseline with one seed's figures."""
    top1 = f'{{"run": "r", "conditions": {{}}, "seeds": [{{{seed}}}]}}'
    variants = f'{{"net/conv": {{"hash": "h", "top1": {top1}}}}}'
    return f'{{"format": "drbench-baseline", "version": 1, "suites": {{"two": {variants}}}}}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "is not a drbench baseline"),
        ('{"format": "else"}', "is not a drbench baseline"),
        ('{"format": "drbench-baseline", "version": 2}', "got version 2; expected 1"),
        ('{"format": "drbench-baseline", "version": 1, "suits": {}}', "suits: Extra inputs"),
        ('{"format": "drbench-baseline", "version": 1, "suites": {"s": {"a/b": {}}}}', "suites.s.a/b.hash"),
        ("\udcff", "cannot be read"),
        ("[" * 100_000, "is nested too deep"),
        (f'{{"format": "drbench-baseline", "version": {"9" * 5000}}}', "a number that is too large"),
        (answers('"top1": NaN, "images": 10, "correct": "AAA="'), "top1.seeds.0.top1"),
        (answers('"top1": 0.5, "images": 1000000000, "correct": "AAA="'), "a bit for each of 1000000000 units, got 2"),
        (answers('"top1": 0.5, "images": 10, "correct": "?"'), "should be base64"),
        (answers('"top1": 0.5, "images": 9223372036854775808'), "top1.seeds.0.images"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError) as caught:
        files.read(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_figures_edited_by_hand_are_checked(full, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    for old, new in (
        ('"madds": 18432', '"madds": "18432"'),
        ('"params": 90', '"params": -90'),
        ('"top1": 1.0', '"top1": 100'),
        ('"bytes": 5000000.0', '"bytes": 0'),
    ):
        text = files.dumps(save(full))
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match="Save it again, or correct it"):
            files.read(path)


def test_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="drbench baseline save"):
        files.read(tmp_path / "none.json")
    with pytest.raises(InputError, match="a directory; expected a file"):
        files.read(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        files.write(Baseline(), tmp_path / "no" / "b.json")
