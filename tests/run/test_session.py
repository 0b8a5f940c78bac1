"""A run's life cycle, whoever runs it: begun, held, kept record by record, ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from drbench_db import Store

from drbench.errors import InputError
from drbench.identity import variant_hash
from drbench.records import Record
from drbench.run.lock import is_left
from drbench.run.session import is_noise, new_run, new_run_id, noise_name, session
from tests.books import LAYERS, MACHINE, RUN, VARIANT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "drbench.db", write=True) as opened:
        yield opened


def record(key: str) -> Record:
    """The costs of a network, done."""
    times = ("2026-11-01T12:00:00Z", "2026-11-01T12:00:01Z")
    return Record(key, VARIANT, variant_hash(VARIANT), "conv", "cost", "done", *times, layers=LAYERS)


def test_a_run_is_done_when_all_of_its_work_is(store: Store, tmp_path: Path) -> None:
    with session(store, RUN, tmp_path) as current:
        assert store.run(RUN.id).status == "running"
        assert current.files == tmp_path / RUN.id
        current.keep(record("a"), record("b"))
    assert (current.outcome.status, current.outcome.done, current.outcome.failed) == ("done", 2, 0)
    assert store.run(RUN.id).status == "done"
    assert is_left(current.files)  # nobody holds it any more


def test_a_failed_record_makes_a_failed_run(store: Store, tmp_path: Path) -> None:
    with session(store, RUN, tmp_path) as current:
        current.keep(record("a"))
        current.keep(replace(record("b"), status="failed", error="crashed"))
    assert (current.outcome.status, current.outcome.done, current.outcome.failed) == ("failed", 1, 1)
    assert store.run(RUN.id).status == "failed"


def test_an_interrupt_ends_the_block_and_keeps_what_is_stored(store: Store, tmp_path: Path) -> None:
    with session(store, RUN, tmp_path) as current:
        current.keep(record("a"))
        raise KeyboardInterrupt
    assert current.outcome.status == "interrupted"
    assert store.run(RUN.id).status == "interrupted"
    assert len(store.records(RUN.id)) == 1


def test_an_error_is_raised_and_the_run_has_failed(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), session(store, RUN, tmp_path):
        raise ZeroDivisionError
    assert store.run(RUN.id).status == "failed"


def test_a_run_goes_on_and_counts_only_its_own_work(store: Store, tmp_path: Path) -> None:
    with session(store, RUN, tmp_path):
        raise KeyboardInterrupt
    with session(store, RUN, tmp_path, again=True) as current:
        current.counts.skipped = 3
        current.keep(record("a"))
    outcome = current.outcome
    assert (outcome.status, outcome.done, outcome.skipped) == ("done", 1, 3)


def test_two_processes_cannot_have_the_same_run(store: Store, tmp_path: Path) -> None:
    with session(store, RUN, tmp_path) as first:
        with pytest.raises(InputError, match="another process"), session(store, RUN, tmp_path, again=True):
            pass
        first.keep(record("a"))
    assert store.run(RUN.id).status == "done"  # the second did not end it


def test_records_of_one_call_are_kept_together_or_not_at_all(store: Store, tmp_path: Path) -> None:
    with session(store, RUN, tmp_path) as current:
        current.keep(record("a"))
        with pytest.raises(Exception, match="done already"):
            current.keep(record("b"), record("a"))
        assert (current.counts.done, len(store.records(RUN.id))) == (1, 1)


def test_ids_tell_noise_runs_from_those_of_suites() -> None:
    noise = new_run(noise_name("my suite"), "my suite", "", "", MACHINE)
    assert is_noise(noise)
    assert not is_noise(replace(noise, id=new_run_id("my suite")))
    assert not is_noise(replace(noise, id=new_run_id("noise")))
