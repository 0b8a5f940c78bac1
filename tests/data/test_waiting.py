import pytest

from drbench.data import waiting
from drbench.data.waiting import Waiting


def test_nothing_is_said_at_once_and_then_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = 100.0, []
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now)
    told = Waiting(said.append)
    for now in (100.1, 101.9, 102.0, 103.9, 104.1):
        told.tell(f"{now - 100:.1f}")
    assert said == ["2.0", "4.1"]
    assert told.seconds == pytest.approx(4.1)
