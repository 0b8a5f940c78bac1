"""`drbench env`: the machine and the code, as a run would record them."""

from __future__ import annotations

import json
from dataclasses import asdict

from drbench.cli import options as o


def env(as_json: o.Json = False) -> None:
    """This machine and this code."""
    from drbench.measure.machine import code, machine

    facts = asdict(machine()) | asdict(code())
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        print(f"{name:16} {value}")
