"""Facts are what the records say, no more and no less."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from drbench.check.facts import pack
from drbench.records import LayerCost


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64, 1001])
def test_bits_are_packed_as_numpy_packs_them(count: int) -> None:
    bits = np.random.default_rng(count).random(count) < 0.5
    assert pack(bits.tolist()) == np.packbits(bits).tobytes()


@pytest.mark.parametrize("count", [1, 7, 8, 13, 100])
def test_answers_come_back(book, count: int) -> None:
    right = (np.random.default_rng(count).random(count) < 0.7).tolist()
    (seed,) = book().answers(right).facts()["net/conv"].scores["top1"].seeds
    assert list(seed.answers) == right
    assert len(base64.b64decode(seed.correct)) == -(-count // 8)
    assert seed.value == pytest.approx(np.mean(right), abs=1e-6)


def test_variants_go_by_architecture_and_label(book) -> None:
    found = book().costs().costs("net/drconv m=8").memory(5e6).facts()
    assert {name: facts.known() for name, facts in found.items()} == {
        "net/conv": ("costs", "memory"),
        "net/drconv m=8": ("costs",),
    }


def test_two_networks_of_one_name_are_told_apart_by_their_hashes(book) -> None:
    one = book().costs()
    other = one.records[0]
    one.records.append(type(other)(**{**vars(other), "variant_hash": "0123456789abcdef", "key": "another"}))
    assert set(one.facts()) == {"net/conv (hash of )", "net/conv (01234567)"}


def test_the_plain_network_has_no_ratio(book) -> None:
    found = book().record("latency", "net/conv").latency([0.1, 0.2]).facts()
    assert found["net/conv"].latency is None
    assert found["net/drconv m=8"].latency.ratios[0].workers == (0.1, 0.2)


def test_what_failed_is_no_fact(book) -> None:
    found = book().costs().record("train", seed=1, status="failed", error="crashed: SIGSEGV").answers([True], 0).facts()
    assert found["net/conv"].failed == {"top1": "seed 1: crashed: SIGSEGV"}
    assert found["net/conv"].of("top1") is None
    assert found["net/conv"].costs is not None


def test_what_was_mended_is_done(book) -> None:
    found = book().record("cost", status="failed", error="oom").costs().facts()
    assert found["net/conv"].failed == {}
    assert found["net/conv"].costs is not None


def test_executed_counts_where_no_convention_is_declared(book) -> None:
    layers = (LayerCost("a", "Mine", (1,), None, 700, 5), LayerCost("b", "Conv2d", (1,), 30, 60, 2))
    first, second = book().costs(layers=layers).facts()["net/conv"].costs.layers
    assert (first.madds, first.executed, first.work) == (None, 700, 700)
    assert (second.madds, second.executed, second.work) == (30, None, 30)


def test_other_stages_are_none_of_it(book) -> None:
    assert book().record("noise").record("ops").facts() == {}


def test_warnings_of_what_was_measured_are_kept_and_never_written(book) -> None:
    found = book().record("memory", notes=("the machine was busy",)).facts()["net/conv"]
    assert found.notes == ("the machine was busy",)
    assert "busy" not in found.model_dump_json()
