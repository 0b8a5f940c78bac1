"""Code that a file names: allowed by the caller, by name, or not imported."""

from __future__ import annotations

import os
import stat
from dataclasses import replace

import pytest

from drbench import trust
from drbench.errors import InputError
from drbench.records import Code, Machine, Run

MACHINE = Machine("host", "linux", "cpu", 2, 2, 2**30)
RUN = Run("20261126-0500-own-ab12", "own", "name = 'own'", "drbench run suite own", "now", MACHINE, Code("0.1.0"))


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "drbench" / "key"


@pytest.mark.parametrize("trusted", [(), ("own:other",), ("own:TINY",), ("own",), ("own:*",)])
def test_what_is_not_allowed_by_just_its_name_is_refused(trusted):
    with pytest.raises(InputError) as raised:
        trust.require(["drconv", "own:tiny", "b:c"], trusted, "model file 'm'", "--trust NAME")
    assert str(raised.value) == (
        "model file 'm' names code to import: 'b:c', 'own:tiny'. Nothing was imported. If you know this code and its "
        "author, allow it: --trust b:c --trust own:tiny"
    )


def test_names_of_a_registry_need_no_trust():
    trust.require(["drconv", "mobilenet_v2_1.00"], (), "a file", "--trust NAME")
    trust.require(["own:tiny", "drconv"], ("own:tiny",), "a file", "--trust NAME")


@pytest.mark.parametrize("trusted", ["own:tiny", [7], [None], None, 5, (name for name in ("own:tiny",))])
def test_trust_is_a_tuple_of_names(trusted):
    with pytest.raises(InputError, match="expected a tuple of names"):
        trust.require(["own:tiny"], trusted, "a file", "--trust NAME")


def test_a_run_is_ones_own_where_it_was_begun_and_as_it_was(state, tmp_path):
    trust.sign(RUN, tmp_path)
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert len(state.read_bytes()) == 32
    assert trust.is_own(RUN, tmp_path)
    assert not trust.is_own(replace(RUN, suite_text="name = 'other'"), tmp_path)
    assert not trust.is_own(replace(RUN, id="20261126-0500-own-ab13"), tmp_path)
    assert not trust.is_own(RUN, tmp_path / "elsewhere")
    state.write_bytes(b"x" * 32)  # as on another machine
    assert not trust.is_own(RUN, tmp_path)
    state.unlink()
    assert not trust.is_own(RUN, tmp_path)


def test_the_key_stays_the_same(state, tmp_path):
    trust.sign(RUN, tmp_path)
    key = state.read_bytes()
    trust.sign(replace(RUN, id="another"), tmp_path)
    assert state.read_bytes() == key
    assert os.listdir(state.parent) == ["key"]


def test_without_a_place_for_the_key_no_run_is_ones_own(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    trust.sign(RUN, tmp_path)
    assert not trust.is_own(RUN, tmp_path)
