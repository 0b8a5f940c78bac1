"""Progress on a terminal: its own cursor movements, and nothing that a label says."""

from __future__ import annotations

import io
import sys

import pytest

from drbench import streams
from drbench.cli.progress import Progress
from drbench.figures import Figure, TaskFigures
from drbench.records import Epoch, Event, Experiment, Record, Variant
from drbench.stages import line
from drbench.text import CURSOR
from tests.hostile import SURROGATE, TEXTS, harm


class Terminal(io.StringIO):
    """A terminal of 80 columns that keeps what it was sent."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def record(text: str) -> Record:
    return Record("key", Variant(text), "hash", text, "cost", "failed", "2026", "2026", error=text)


@pytest.mark.parametrize("text", [*TEXTS, SURROGATE], ids=range(len(TEXTS) + 1))
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_no_text_of_an_event_acts_on_the_terminal(monkeypatch, text: str, terminal: bool) -> None:
    out = Terminal() if terminal else io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(sys, "stdout", out)
    experiment = Experiment("train", (Variant(text),), labels=(text,))
    with streams.guarded(), Progress() as shown:
        shown(Event("stage", "train", 0, 2, experiment))
        shown(Event("step", text, 1, 3))
        shown(Event("note", text))
        shown(Event("epoch", text, 1, 2, Epoch(1, 0.5, None, None, 0.1, 10.0, 1.0)))
        shown(Event("variant", "", 1, 2, record(text)))
        shown(Event("table", "", 0, 0, ((record(text),), ())))
        print(text, file=sys.stderr)
        print(text)
    said = out.getvalue()
    assert said
    if terminal:
        assert "\x1b[2K" in said
        said = CURSOR.sub("\n", said)  # lines begin where the cursor was moved to
    assert harm(said, data=True) == []


def test_lines_of_a_training_name_the_headline_figure(book, capsys) -> None:
    with Progress() as shown:
        shown(Event("stage", "train", 0, 1, Experiment("train", (Variant("net"),), labels=("conv",))))
        shown(Event("epoch", "epoch 1/1", 1, 1, Epoch(1, 0.5, None, 0.671, 0.1, 10.0, 1.0)))
    assert "net conv epoch 1/1: loss 0.500, val top-1 67.1%, 10 images/s, 1 s" in capsys.readouterr().err
    of_task = TaskFigures("faces:verify", "angle", (Figure("angle", "degrees", "lower", 1, title="angle error"),))
    (trained,) = book().scored(of_task, {"angle": 12.34}).records
    assert line(trained) == "train net conv seed 0: angle error 12.3 degrees on test"
    (classified,) = book().answers([True, False, True]).records
    assert line(classified) == "train net conv seed 0: top-1 66.67% on test"
