"""`drbench env`: print the machine and the code as a run records them."""

from __future__ import annotations

from dataclasses import asdict

from drbench.cli import options as o
from drbench.cli.output import say, write
from drbench.text import to_json


def env(as_json: o.Json = False) -> None:
    """Print the facts about this machine and this code that a run records."""
    from drbench.measure.machine import code, machine

    facts = asdict(machine()) | asdict(code())
    if as_json:
        write(to_json(facts))
        return
    for name, value in facts.items():
        say(f"{name:16} {value}")
