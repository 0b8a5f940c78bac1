"""Text that does harm where it is printed as it came, and what must be true of everything that drbench prints."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drbench_db import Store

from drbench.records import Code, LayerCost, Machine, Measurement, Record, Run, Variant
from tests.books import SUITE

LONG = "x" * 100_000
TEXTS = (
    "\x1b]0;own\x07\x1b[2J",
    "a\x00b\x7f\x9b31mc",
    "x\n::error::injected",
    "::add-mask::x",
    "word " * 30 + "::error::wrapped",
    "##[error]x ##vso[task.complete]y",
    "a\rb\tc",
    "\u202egnp.exe\u2066\u200b\ufeff\u2028\u2029",
    "=cmd|' /C calc'!A0",
    "![x](http://h.example/y) [z](javascript:a) <img src=x onerror=y>",
    "a|b`c`*d*_e_ @someone www.h.example",
    "[/bold] [red]x :bug:",
    "]]></failure>&amp;",
    "100%\n%0A::warning::",
    LONG,
)
"""Every one of these can be stored in a database; `SURROGATE` cannot."""
SURROGATE = "caf\udce9 \ud800"

_COLORS = re.compile(r"\x1b\[[0-9;:]*m")
_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_COMMAND = re.compile(r"\s*::|.*##(\[|vso\[)")
LONGEST = 10_000
"""Characters in a line of what people read."""


def harm(text: str, *, commands: bool = False, data: bool = False) -> list[str]:
    """What is wrong with an output: raw control characters, commands to a CI's runner, endless lines. Empty if nothing.

    `commands`: annotations of drbench's own are meant (--format github). `data`: JSON, whose lines may be long.
    """
    found = []
    plain = _COLORS.sub("", text)
    characters = {one for one in set(plain) - {"\n", "\t"} if unicodedata.category(one) in _HARMFUL}
    if characters:
        found.append(f"raw characters {sorted(characters)!r}")
    for line in plain.split("\n"):
        if _COMMAND.match(line) and not (commands and re.match("::(error|warning|notice) title=drbench", line)):
            found.append(f"a workflow command: {line[:80]!r}")
        if len(line) > LONGEST and not data:
            found.append(f"a line of {len(line)} characters: {line[:80]!r}")
    return found


def fill(path: Path) -> tuple[str, str]:
    """A database whose every text is one of TEXTS, in two runs that can be compared; their ids."""
    runs = tuple(f"20261101-1200-two-ab1{number}" for number in (1, 2))
    with Store.open(path, write=True) as store:
        for number, run_id in enumerate(runs):
            text = TEXTS[number]
            machine = Machine(*("\x1b[2J\n::error::host",) * 3, 2, 4, 8 << 30, torch="2\n::error::torch")
            code = Code("0.1.0", "\x1b]0;repository\x07", "c0ffee")
            store.begin_run(Run(run_id, "two", SUITE, f"drbench run {text}", "2026-11-01T12:00:00Z", machine, code))
            for record in _records(1 + number):
                store.add(run_id, record)
            store.end_run(run_id, "done")
    return runs


def _records(times: int) -> Iterator[Record]:
    for number, text in enumerate(TEXTS):
        for operator, label in (("conv", text), ("drconv", f"{text} m=8")):
            variant = Variant(text, operator, input_shape=(3, 8, 8), num_classes=10)
            layer = LayerCost(text, text, (4, 8, 8), times * 6912, 6912, 108, {text: 5})
            about: dict[str, Any] = {
                "variant": variant,
                "variant_hash": f"hash{number}{operator}",
                "label": label,
                "started": "2026-11-01T12:00:00Z",
                "finished": "2026-11-01T12:00:01Z",
                "notes": (text,),
            }
            figures = [Measurement(name, times * 6912.0, "multiply-adds", "lower") for name in ("madds", "executed")]
            figures.append(Measurement("params", 108.0, "parameters", "lower"))
            yield Record(
                f"cost{number}{operator}",
                stage="cost",
                status="done",
                measurements=tuple(figures),
                layers=(layer,),
                settings={"counting": 1},
                **about,
            )
            yield Record(
                f"train{number}{operator}",
                stage="train",
                status="failed",
                seed=0,
                error=text,
                files={"traceback": text},
                settings={"data": {"name": text}, "train": {"preset": text, "epochs": 3}, "ended": text},
                **about,
            )
