"""Who runs when: networks take turns of a few calls each, so that every ratio between them is paired, turn by turn.

One round gives each a turn. The order is turned from round to round (AB, BA, BA, AB, ...), so that each comes equally
often in each place, and a machine that slows down for a while slows all of them down. Within a turn a short call is
repeated: what the others left in the caches then meets the first call alone, which is thrown away. Knows no torch; the
networks may be calls in this process or processes of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import log
from statistics import median

PLAIN, COPY, VARIANT = "plain", "copy", "variant"
"""Whom a process of a suite's latency times: the plain network, the same once more, and what is compared with it."""

TURN = 0.01
"""Seconds that a turn lasts: short beside a machine's drift, long beside the switch from process to process."""
KEPT = 0.02
"""The first call of a turn is kept where a call takes longer than this: the caches are then the least of it."""

WARM_SECONDS = 1.0
"""After so long a network is warm, however few its calls were."""

Turn = Callable[[str, int], Sequence[float]]
"""Calls one of them so many times, by name; gives the seconds of each call."""
Samples = tuple[tuple[float, ...], ...]
"""Seconds of each kept call, turn by turn."""


def take(names: Sequence[str], turn: Turn, *, warm: int, go_on: Callable[[int, float], bool]) -> dict[str, Samples]:
    """Let them take turns as long as `go_on` says, which gets the rounds kept so far and the seconds of their calls.

    Before that each is called once and then `warm` times; how many calls make a turn is learnt from these.
    """
    seconds = max(_warmed(name, turn, warm) for name in names)
    skipped = 0 if seconds > KEPT else 1
    count = skipped + max(1, round(TURN / max(seconds, 1e-6)))
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    number, timed = 0, 0.0
    while number == 0 or go_on(number, timed):
        for name in order(names, number):
            kept = tuple(turn(name, count)[skipped:])
            found[name].append(kept)
            timed += sum(kept)
        number += 1
    return {name: tuple(kept) for name, kept in found.items()}


def _warmed(name: str, turn: Turn, warm: int) -> float:
    """Seconds of the fastest of the first few calls; the very first allocates, and may compile."""
    turn(name, 1)
    calls: list[float] = []
    while not calls or (len(calls) < warm and sum(calls) < WARM_SECONDS):
        calls += turn(name, 1)
    return min(calls)


def order(names: Sequence[str], round_number: int) -> list[str]:
    """Who runs when in this round: every second round backwards, and after each such pair the next one begins."""
    start = (round_number // 2) % len(names)
    turned = [*names[start:], *names[:start]]
    return turned[::-1] if round_number % 2 else turned


def ratios(samples: Samples, reference: Samples) -> tuple[float, ...]:
    """Round by round, the median call of one turn over that of the reference's turn in the same round."""
    return tuple(median(ours) / median(theirs) for ours, theirs in zip(samples, reference, strict=True))


def log_ratio(samples: Samples, reference: Samples) -> float:
    """What one process says: the median over its rounds of the logarithm of the ratio. The unit of all statistics."""
    return median(map(log, ratios(samples, reference)))


def together(samples: Samples) -> tuple[float, ...]:
    """All calls in the order in which they were made."""
    return tuple(itertools.chain.from_iterable(samples))
