from __future__ import annotations

import pytest

from drbench import protocol_versions
from drbench.records import NOISE, OPS, STAGES


@pytest.mark.parametrize("stage", [*STAGES, NOISE, OPS])
def test_every_stage_has_a_protocol_and_a_record_says_its_version(stage: str) -> None:
    said = protocol_versions.of_stage(stage)
    assert len(said) == 1
    assert protocol_versions.recorded(stage, said) == said


def test_a_record_that_does_not_say_was_made_by_version_1() -> None:
    assert protocol_versions.recorded("cost", {}) == {"counting": 1}
    assert protocol_versions.recorded("cost", {"counting": 2, "timing": 9}) == {"counting": 2}
    assert protocol_versions.recorded("of tomorrow", {"counting": 2}) == {}


def test_several_records_have_the_latest_version_of_each() -> None:
    records = [("cost", {"counting": 2}), ("cost", {}), ("latency", {}), ("memory", {"timing": 3})]
    assert protocol_versions.of_records(records) == {"counting": 2, "timing": 3}


def test_older_ones_are_named_with_the_current_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_versions, "CURRENT", {"counting": 2, "timing": 1})
    assert protocol_versions.older({"counting": 1, "timing": 1}) == "counting 1, now 2"
    assert protocol_versions.older({"counting": 2}) == ""
