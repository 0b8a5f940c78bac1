"""A latency experiment -> Records: processes, in each of which a variant, its plain network and a copy take turns.

The workers of all variants are interleaved (the first of each, then the second of each, ...), so that a machine that
changes over the minutes changes for all. The worker is the unit of every interval. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from drbench import identity
from drbench.executor import Ended, Executor, Limits, OnEvent, ignore
from drbench.identity import is_plain
from drbench.job import Job, Result
from drbench.latency import busy, turns
from drbench.latency.turns import Samples, log_ratio, ratios, together
from drbench.records import Event, Experiment, LatencySettings, Measurement, Record, Variant
from drbench.statistics.ratios import ratio_interval

LEVEL = 0.95
FUNCTION = "drbench.latency.block:block"


def measure(
    experiment: Experiment,
    executor: Executor,
    limits: Limits | None = None,
    *,
    workdir: Path,
    skip: Set[str] = frozenset(),
    go_on: Callable[[int], bool] | None = None,
    on_event: OnEvent = ignore,
) -> Iterator[Record]:
    """Time all variants of the experiment; a Record for each whose key is not in `skip`, once all of them are timed.

    `go_on` is asked, with how many workers each has had, whether there is to be one more; else `settings.workers` says.
    A variant that fails in a worker is charged with it only where its plain network runs in a worker alone; else that
    one is, and its variants have nothing to be compared with.
    """
    settings = experiment.latency or LatencySettings()
    labels = experiment.labels or identity.labels(experiment.variants)
    jobs = [Job(experiment, variant, name) for variant, name in zip(experiment.variants, labels, strict=True)]
    jobs = [job for job in jobs if job.key not in skip]
    pairs = _pairs([job.variant for job in jobs], experiment, settings)

    def run(pair: _Pair) -> Ended:
        asked = replace(settings, batch_sizes=pair.sizes)
        return executor.run(FUNCTION, pair.plain, pair.variant, asked, limits=limits, on_event=on_event)

    number = 0
    while go_on(number) if go_on else number < settings.workers:
        for place, pair in enumerate(list(pairs)):
            if pair.ended is None:
                on_event(Event("step", "timed", number * len(pairs) + place, settings.workers * len(pairs)))
                _block(pair, pairs, run)
        number += 1
    for job in jobs:
        yield _record(job, [pair for pair in pairs if job.variant in (pair.plain, pair.variant)], workdir)


@dataclass
class _Pair:
    """A plain network and a variant of it (either may be missing), and what their workers gave; `ended`: the failure
    that stopped them, `blames` whom it is charged to.
    """

    plain: Variant | None
    variant: Variant | None
    sizes: tuple[int, ...]
    blocks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ended: Ended | None = None
    blames: Variant | None = None

    def halve(self) -> bool:
        """Half of the largest batch size, where there is one."""
        largest = max(self.sizes)
        if largest == 1:
            return False
        self.notes.append(f"batch {largest} ran out of memory: timed at {largest // 2}")
        self.sizes = tuple(dict.fromkeys(size if size < largest else largest // 2 for size in self.sizes))
        return True


def _pairs(todo: Sequence[Variant], experiment: Experiment, settings: LatencySettings) -> list[_Pair]:
    """Each variant beside its plain network, also where that is done already; plain networks by themselves if alone."""
    bases = {_network(variant, experiment): variant for variant in experiment.variants if is_plain(variant)}
    sizes = settings.batch_sizes
    found = [_Pair(bases.get(_network(one, experiment)), one, sizes) for one in todo if not is_plain(one)]
    beside = [pair.plain for pair in found]
    return found + [_Pair(one, None, sizes) for one in todo if is_plain(one) and one not in beside]


def _network(variant: Variant, experiment: Experiment) -> tuple[Any, ...]:
    """What a variant shares with its plain network: an architecture may be there at several widths or arguments."""
    origin = next((v for v in experiment.variants if identity.variant_hash(v) == variant.matched_to), variant)
    width = None if origin.match is not None else origin.width  # one whose target is left out: it was found, not given
    return origin.architecture, width, identity.canonical(origin.architecture_args), origin.stem_stride


def _block(pair: _Pair, pairs: list[_Pair], run: Callable[[_Pair], Ended]) -> None:
    """One worker more for a pair; where it fails, who is to blame."""
    ended = run(pair)
    while ended.status == "oom" and not pair.blocks and pair.halve():
        ended = run(pair)
    if isinstance(ended.error, OSError):  # a full disk is no fault of a network
        raise ended.error
    if ended.status == "done":
        pair.blocks.append(ended.value)
        return
    pair.ended, pair.blames = ended, pair.variant or pair.plain
    if pair.variant is None or pair.plain is None:
        return
    alone = next((one for one in pairs if one.plain == pair.plain and one.variant is None), None)
    if alone is None:  # it goes on in the variant's place, whoever it was
        alone = _Pair(pair.plain, None, pair.sizes)
        pairs.append(alone)
    if alone.ended is None:
        _block(alone, pairs, run)
    if alone.ended is not None:
        pair.ended, pair.blames = alone.ended, pair.plain


def _record(job: Job, pairs: Sequence[_Pair], workdir: Path) -> Record:
    """What the pairs of a variant say of it; of a plain network, those of all its variants together."""
    ours = [pair for pair in pairs if pair.variant == job.variant] or pairs
    seat = turns.VARIANT if ours[0].variant == job.variant else turns.PLAIN
    blocks = [block for pair in ours for block in pair.blocks]
    failed = next((pair for pair in ours if pair.ended is not None), None)
    if failed is not None and failed.ended is not None and (seat == turns.VARIANT or failed.blames == job.variant):
        whose = "" if failed.blames == job.variant else "its plain network, without which it has no ratio: "
        ended = failed.ended
        return job.failed(ended.status, f"{whose}{ended.reason}", ended.traceback, workdir)
    notes = dict.fromkeys(note for pair in ours for note in pair.notes)
    load = busy.worst(block["load"] for block in blocks)
    notes |= dict.fromkeys(busy.notes(load, blocks[0]["context"]["threads"]))
    found: list[Measurement] = []
    for size in dict.fromkeys(size for pair in ours for size in pair.sizes):
        timed = [block for block in blocks if size in block["samples"]]
        about = {**timed[0]["context"], **timed[0]["about"][seat], "batch_size": size}
        found += _measurements([block["samples"][size] for block in timed], seat, about)
    return job.record(Result(measurements=tuple(found), notes=tuple(notes)))


def _measurements(
    blocks: Sequence[Mapping[str, Samples]], seat: str, about: Mapping[str, Any]
) -> Iterator[Measurement]:
    """Of one batch size: the times, and where there is a plain network, the ratio to it and the floor beneath."""
    each = [together(block[seat]) for block in blocks]
    times = tuple(seconds for one in each for seconds in one)
    context = {**about, "workers": [len(one) for one in each]}
    yield Measurement("latency", median(times), "s", "lower", "", times, context)
    if turns.PLAIN not in blocks[0]:
        return
    if seat == turns.VARIANT:
        yield _ratio("latency_ratio", "lower", blocks, seat, about)
    yield _ratio("latency_floor", "none", blocks, turns.COPY, about)


def _ratio(
    name: str, direction: str, blocks: Sequence[Mapping[str, Samples]], seat: str, about: Mapping[str, Any]
) -> Measurement:
    pairs = [ratios(block[seat], block[turns.PLAIN]) for block in blocks]
    said = [log_ratio(block[seat], block[turns.PLAIN]) for block in blocks]
    context = {**about, "workers": [len(one) for one in pairs], "worker_log_ratios": said}
    found = ratio_interval(said, LEVEL)
    if found.count > 1:  # one process says nothing about others
        context |= {"interval": [found.low, found.high], "level": LEVEL}
    return Measurement(name, found.estimate, "ratio", direction, "", tuple(r for one in pairs for r in one), context)
