"""The order of turns: networks take turns of a few calls each, so that ratios between them are paired round by round.

In a round each network has one turn. The order changes from round to round (AB, BA, BA, AB, ...), so that each network
is equally often in each position, and a machine that slows down for a while slows down all of them. Within a turn, a
short call is repeated; only the first call meets caches that hold other networks' data, and it is discarded. This
module loads no torch; the networks may be functions in this process or processes of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import log
from statistics import median

PLAIN, COPY, VARIANT = "plain", "copy", "variant"
"""The seats of a block: the plain network, a copy of it, and the variant that is compared with it."""

TURN = 0.01
"""Duration of a turn in seconds: short compared with the drift of a machine, long compared with a process switch."""
KEPT = 0.02
"""If a call takes longer than this (seconds), the first call of a turn is kept: the caches then hardly matter."""

WARM_SECONDS = 1.0
"""Warm-up of a network ends after this time, even if there were fewer calls than requested."""

Turn = Callable[[str, int], Sequence[float]]
"""Calls a network, by name, a number of times; returns the seconds of each call."""
Samples = tuple[tuple[float, ...], ...]
"""Seconds of each kept call, by turn."""


def take(names: Sequence[str], turn: Turn, *, warm: int, go_on: Callable[[int, float], bool]) -> dict[str, Samples]:
    """Let the networks take turns while `go_on(rounds, seconds)` is true: the rounds kept so far and their call time.

    Before that, each is called once and then up to `warm` times; the number of calls per turn follows from their times.
    """
    seconds = max(_warmed(name, turn, warm) for name in names)
    skipped = 0 if seconds > KEPT else 1
    count = skipped + max(1, round(TURN / max(seconds, 1e-6)))
    samples: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    number, timed = 0, 0.0
    while number == 0 or go_on(number, timed):
        for name in order(names, number):
            kept = tuple(turn(name, count)[skipped:])
            samples[name].append(kept)
            timed += sum(kept)
        number += 1
    return {name: tuple(kept) for name, kept in samples.items()}


def _warmed(name: str, turn: Turn, warm: int) -> float:
    """Warm a network up; the seconds of its fastest call. The very first is ignored: it allocates and may compile."""
    turn(name, 1)
    calls: list[float] = []
    while not calls or (len(calls) < warm and sum(calls) < WARM_SECONDS):
        calls += turn(name, 1)
    return min(calls)


def order(names: Sequence[str], round_number: int) -> list[str]:
    """The order of turns in a round: every second round is reversed; after each two rounds another name is first."""
    start = (round_number // 2) % len(names)
    turned = [*names[start:], *names[:start]]
    return turned[::-1] if round_number % 2 else turned


def ratios(samples: Samples, reference: Samples) -> tuple[float, ...]:
    """The ratio in each round: the median call of a turn divided by that of the reference's turn in the same round."""
    return tuple(median(turn) / median(base) for turn, base in zip(samples, reference, strict=True))


def log_ratio(samples: Samples, reference: Samples) -> float:
    """The result of one process: the median over its rounds of the log ratio. Statistics are over these values."""
    return median(map(log, ratios(samples, reference)))


def together(samples: Samples) -> tuple[float, ...]:
    """All calls of all turns, in their order."""
    return tuple(itertools.chain.from_iterable(samples))
