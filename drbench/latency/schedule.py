"""A latency experiment -> Records. In each worker a variant, its plain network and a copy of that take turns.

The workers of all variants are interleaved (the first of each, then the second of each, ...), so that a slow drift of
the machine affects all variants alike. Each interval is over workers. This module loads no torch.
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
    """Time all variants of the experiment; yield their Records, without those whose key is in `skip`, at the end.

    `go_on` is called with the number of workers that each pair has had, and returns whether to run one more; without
    it, `settings.workers` is the number. If a variant fails in a worker, its plain network is run in a worker alone. If
    that fails too, the failure is attributed to the plain network, and its variants have no reference.
    """
    settings = experiment.latency or LatencySettings()
    labels = experiment.labels or identity.labels(experiment.variants)
    jobs = [Job(experiment, variant, label) for variant, label in zip(experiment.variants, labels, strict=True)]
    jobs = [job for job in jobs if job.key not in skip]
    pairs = _pairs([job.variant for job in jobs], experiment, settings)

    def run(pair: _Pair) -> Ended:
        pair_settings = replace(settings, batch_sizes=pair.sizes)
        return executor.run(FUNCTION, pair.plain, pair.variant, pair_settings, limits=limits, on_event=on_event)

    number = 0
    while go_on(number) if go_on else number < settings.workers:
        for index, pair in enumerate(list(pairs)):
            if pair.failure is None:
                on_event(Event("step", "timed", number * len(pairs) + index, settings.workers * len(pairs)))
                _run_block(pair, pairs, run)
        number += 1
    for job in jobs:
        yield _record(job, [pair for pair in pairs if job.variant in (pair.plain, pair.variant)], workdir)


@dataclass
class _Pair:
    """A plain network and a variant of it (either may be missing), with the results of their workers.

    failure: how the worker that failed ended; no more workers are run for this pair.
    failed_variant: the network to which `failure` is attributed.
    """

    plain: Variant | None
    variant: Variant | None
    sizes: tuple[int, ...]
    blocks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failure: Ended | None = None
    failed_variant: Variant | None = None

    def halve(self) -> bool:
        """Halve the largest batch size. Return False if it is 1 already."""
        largest = max(self.sizes)
        if largest == 1:
            return False
        self.notes.append(f"batch {largest} ran out of memory: timed at {largest // 2}")
        self.sizes = tuple(dict.fromkeys(size if size < largest else largest // 2 for size in self.sizes))
        return True


def _pairs(todo: Sequence[Variant], experiment: Experiment, settings: LatencySettings) -> list[_Pair]:
    """Each variant with its plain network, even if the latter is done; a plain network without variants is alone."""
    bases = {_network(v, experiment): v for v in experiment.variants if is_plain(v)}
    sizes = settings.batch_sizes
    pairs = [_Pair(bases.get(_network(v, experiment)), v, sizes) for v in todo if not is_plain(v)]
    paired = [pair.plain for pair in pairs]
    return pairs + [_Pair(plain, None, sizes) for plain in todo if is_plain(plain) and plain not in paired]


def _network(variant: Variant, experiment: Experiment) -> tuple[Any, ...]:
    """What a variant shares with its plain network: an experiment may have an architecture at several widths."""
    origin = next((v for v in experiment.variants if identity.variant_hash(v) == variant.matched_to), variant)
    width = None if origin.match is not None else origin.width  # matched, but its target is left out: width was found
    return origin.architecture, width, identity.canonical(origin.architecture_args), origin.stem_stride


def _run_block(pair: _Pair, pairs: list[_Pair], run: Callable[[_Pair], Ended]) -> None:
    """Run one more worker for a pair. If it fails, decide which of the two networks has failed."""
    ended = run(pair)
    while ended.status == "oom" and not pair.blocks and pair.halve():
        ended = run(pair)
    if isinstance(ended.error, OSError):  # such as a full disk: not a failure of a network
        raise ended.error
    if ended.status == "done":
        pair.blocks.append(ended.value)
        return
    pair.failure, pair.failed_variant = ended, pair.variant or pair.plain
    if pair.variant is None or pair.plain is None:
        return
    alone = next((other for other in pairs if other.plain == pair.plain and other.variant is None), None)
    if alone is None:  # the plain network still needs a record, whichever of the two has failed
        alone = _Pair(pair.plain, None, pair.sizes)
        pairs.append(alone)
    if alone.failure is None:
        _run_block(alone, pairs, run)
    if alone.failure is not None:
        pair.failure, pair.failed_variant = alone.failure, pair.plain


def _record(job: Job, pairs: Sequence[_Pair], workdir: Path) -> Record:
    """The Record of a variant from its pair; of a plain network, from the pairs of all its variants together."""
    own_pairs = [pair for pair in pairs if pair.variant == job.variant] or pairs
    seat = turns.VARIANT if own_pairs[0].variant == job.variant else turns.PLAIN
    blocks = [block for pair in own_pairs for block in pair.blocks]
    failed = next((pair for pair in own_pairs if pair.failure is not None), None)
    if failed is not None and failed.failure is not None:
        is_own = failed.failed_variant == job.variant
        if seat == turns.VARIANT or is_own:
            prefix = "" if is_own else "there is no ratio, because the plain network failed: "
            ended = failed.failure
            return job.failed(ended.status, f"{prefix}{ended.reason}", ended.traceback, workdir)
    notes = dict.fromkeys(note for pair in own_pairs for note in pair.notes)
    load = busy.worst(block["load"] for block in blocks)
    notes |= dict.fromkeys(busy.notes(load, blocks[0]["context"]["threads"]))
    measurements: list[Measurement] = []
    for size in dict.fromkeys(size for pair in own_pairs for size in pair.sizes):
        timed = [block for block in blocks if size in block["samples"]]
        context = {**timed[0]["context"], **timed[0]["about"][seat], "batch_size": size}
        measurements += _measurements([block["samples"][size] for block in timed], seat, context)
    return job.record(Result(measurements=tuple(measurements), notes=tuple(notes)))


def _measurements(
    blocks: Sequence[Mapping[str, Samples]], seat: str, context: Mapping[str, Any]
) -> Iterator[Measurement]:
    """The latency at one batch size and, with a plain network, the ratio to it and the floor."""
    calls = [together(block[seat]) for block in blocks]
    times = tuple(seconds for block_calls in calls for seconds in block_calls)
    counts = [len(block_calls) for block_calls in calls]
    yield Measurement("latency", median(times), "s", "lower", "", times, {**context, "workers": counts})
    if turns.PLAIN not in blocks[0]:
        return
    if seat == turns.VARIANT:
        yield _ratio("latency_ratio", "lower", blocks, seat, context)
    yield _ratio("latency_floor", "none", blocks, turns.COPY, context)


def _ratio(
    name: str, direction: str, blocks: Sequence[Mapping[str, Samples]], seat: str, context: Mapping[str, Any]
) -> Measurement:
    """The ratio of a seat to the plain network, with its interval over blocks. Samples: the ratio of each round."""
    rounds = [ratios(block[seat], block[turns.PLAIN]) for block in blocks]
    log_ratios = [log_ratio(block[seat], block[turns.PLAIN]) for block in blocks]
    context = {**context, "workers": [len(block_rounds) for block_rounds in rounds], "worker_log_ratios": log_ratios}
    interval = ratio_interval(log_ratios, LEVEL)
    if interval.count > 1:  # an interval needs more than one process
        context |= {"interval": [interval.low, interval.high], "level": LEVEL}
    samples = tuple(value for block_rounds in rounds for value in block_rounds)
    return Measurement(name, interval.estimate, "ratio", direction, "", samples, context)
