"""What flows through drbench: frozen records without behaviour.

`suite` makes Experiments, `experiment` turns each into a Result, `job` makes the Records, `store` keeps them, `report`
and `check` read them. Records are never changed. This module and what it imports need nothing but the standard library,
so that commands which only read results never load torch.

The fields of DataSettings, TrainSettings and LatencySettings are the only declaration of a setting. The type of a field
holds its choices (Literal), the field's metadata its limits: `gt`, `ge`, `lt`, `le` for numbers (for each item of a
tuple), `min_length`, `max_length` and `pattern` for text and tuples. The tables of suites (`drbench.suite.tables`) and
the checks of a training (`drbench.training.presets`) are derived from them.

A field that is added to a record needs a default. It enters hashes and work keys only where it differs from its default
(`drbench.identity`), so that what users have recorded keeps its name.

Units: seconds, bytes, multiply-adds per sample, fractions (top-1 of 0.671, not 67.1). Times: ISO-8601, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from drbench import bounds

PLAIN = "conv"
"""The operator name of the unconverted network."""

STAGES = ("cost", "memory", "latency", "train")
"""In the order in which a suite goes through them."""

NOISE = "noise"
"""The stage of `drbench noise`: the plain network against its own copy, which no suite has."""

OPS = "ops"
"""The stage of the operator benchmark, which no suite has: its variants are layers, not networks."""


@dataclass(frozen=True)
class Variant:
    """All that defines one network; two equal variants are the same network up to its seed.

    `architecture`, `operator` are registry names or "package.module:callable". `where` is a recipe name, or glob
    patterns over module names. `match` marks a plain network widened to the cost of another variant:
    `matched_to` is that variant's hash, `width` the multiplier that was found (None: as the architecture's name says).
    `sources` maps every "package.module:callable" named here to the SHA-256 of its source file. `task` is what the
    network is for: a name in `drbench.tasks.TASKS`, or "package.module:callable".
    """

    architecture: str
    operator: str = PLAIN
    operator_args: Mapping[str, Any] = field(default_factory=dict)
    where: tuple[str, ...] = ("last-pointwise",)
    where_args: Mapping[str, Any] = field(default_factory=dict)
    init: str = "fresh"
    input_shape: tuple[int, int, int] = (3, 224, 224)
    num_classes: int = 1000
    stem_stride: int | None = None
    architecture_args: Mapping[str, Any] = field(default_factory=dict)
    match: str | None = None
    matched_to: str | None = None
    width: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    task: str = "classify"


Augmentation = Literal["none", "standard"]
"""Of the training images."""


@dataclass(frozen=True)
class DataSettings:
    """Which images, and how they are split. `val_fraction` of train is held out for every choice."""

    name: str = field(
        default="shapes", metadata={"min_length": 1, "max_length": bounds.NAME, "pattern": bounds.NAME_PATTERN}
    )
    root: str | None = None
    download: bool = False
    val_fraction: float = field(default=0.1, metadata={"ge": 0, "lt": 1})
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainSettings:
    """A training recipe. The presets are instances of it; suites and options override single fields.

    preset: the preset that the values were taken from; "custom": none.
    recalibrate_batch_norm: after the last epoch, measure the statistics of batch normalisation again, on the training
        images.
    criterion, scale, margin: of task `verify` (drbench.tasks.margins); None is the criterion's own value.
    """

    preset: str = "custom"
    epochs: int = field(default=4, metadata={"gt": 0, "le": bounds.EPOCHS})
    batch_size: int = field(default=128, metadata={"gt": 0, "le": bounds.BATCH_SIZE})
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = field(default=0.1, metadata={"gt": 0, "le": bounds.RATE})
    momentum: float = field(default=0.9, metadata={"ge": 0, "lt": 1})
    weight_decay: float = field(default=5e-4, metadata={"ge": 0, "le": bounds.RATE})
    nesterov: bool = True
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_epochs: float = field(default=1.0, metadata={"ge": 0, "le": bounds.EPOCHS})
    label_smoothing: float = field(default=0.0, metadata={"ge": 0, "lt": 1})
    ema_decay: float | None = field(default=None, metadata={"gt": 0, "lt": 1})
    grad_clip: float | None = field(default=None, metadata={"gt": 0, "le": bounds.NORM})
    augment: Augmentation = "standard"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    threads: int | None = field(default=None, metadata={"gt": 0, "le": bounds.THREADS})
    loader_workers: int = field(default=0, metadata={"ge": 0, "le": bounds.WORKERS})
    recalibrate_batch_norm: bool = False
    criterion: Literal["default", "cosface", "arcface"] = "default"
    scale: float | None = field(default=None, metadata={"gt": 0, "le": bounds.RATE})
    margin: float | None = field(default=None, metadata={"ge": 0, "lt": 3})


@dataclass(frozen=True)
class LatencySettings:
    """How inference time is taken: in `workers` fresh processes one after the other, each of which lets the reference,
    a copy of it and the variant take turns, so that every ratio is paired and comes with its own noise floor.

    Of one worker and batch size: discarded calls (`warmup_runs`), minimum turns (`min_runs`) and seconds at least
    (`min_seconds`) of each network, and seconds at most for all (`max_seconds`).
    """

    batch_sizes: tuple[int, ...] = field(
        default=(1,), metadata={"gt": 0, "le": bounds.BATCH_SIZE, "min_length": 1, "max_length": bounds.BATCH_SIZES}
    )
    workers: int = field(default=5, metadata={"gt": 0, "le": bounds.WORKERS})
    warmup_runs: int = field(default=5, metadata={"ge": 0, "le": bounds.RUNS})
    min_runs: int = field(default=12, metadata={"gt": 0, "le": bounds.RUNS})
    min_seconds: float = field(default=0.2, metadata={"ge": 0, "le": bounds.SECONDS})
    max_seconds: float = field(default=20.0, metadata={"gt": 0, "le": bounds.SECONDS})
    threads: int | None = field(default=None, metadata={"gt": 0, "le": bounds.THREADS})
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"
    channels_last: bool = True


@dataclass(frozen=True)
class Experiment:
    """One unit of work: a stage of one variant (cost, train), or of one architecture's variants in turn (latency).

    A latency experiment pairs each ratio to the plain network of the same architecture, width and arguments.
    `eval_weights`: evaluate this file instead of training. `labels`: the names of `variants` in reports. `figures`:
    the declaration of the task's figures (`drbench.figures.as_table`), of a task that drbench does not have.
    """

    stage: str
    variants: tuple[Variant, ...]
    seed: int | None = None
    data: DataSettings | None = None
    train: TrainSettings | None = None
    latency: LatencySettings | None = None
    eval_weights: str | None = None
    labels: tuple[str, ...] = ()
    figures: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Measurement:
    """One figure with what it needs to be believed.

    `part` splits a figure ("region_conv", "guide", "routing", "mixing"; "" is the whole; of the operator benchmark it
    is the pass). `context` holds what it depends on (batch_size, threads, dtype, device, path). `samples` are the raw
    values behind `value`, in order.
    """

    name: str
    value: float
    unit: str
    direction: str = "none"
    part: str = ""
    samples: tuple[float, ...] = ()
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerCost:
    """One row of a network's cost table. `parts` maps part -> multiply-adds by the convention; None: not declared."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    madds: int | None
    executed: int
    params: int
    parts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcomes:
    """What a task kept of each unit of the test set, in data set order. `drbench.outcomes` packs and reads it.

    unit: what a value belongs to, and what a paired test resamples: "image", "pair" or "probe".
    codec: how `data` is read, a name in `drbench.outcomes.CODECS`.
    count: number of units.
    """

    unit: str
    codec: str
    count: int
    data: bytes


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training curve. `val_score`: the task's headline figure on the validation part."""

    number: int
    train_loss: float
    val_loss: float | None
    val_score: float | None
    learning_rate: float
    images_per_second: float
    seconds: float


@dataclass(frozen=True)
class Record:
    """The result of one variant in one stage. `key` identifies the work (variant, stage, seed, settings).

    `outcomes`: what the task kept of the test set. `machine`: where the work was done; None: on the machine of the run.
    `status` is "done", "failed" (with the reason in `error`) or "interrupted".
    """

    key: str
    variant: Variant
    variant_hash: str
    label: str
    stage: str
    status: str
    started: str
    finished: str
    seed: int | None = None
    error: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    layers: tuple[LayerCost, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    outcomes: Outcomes | None = None
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    machine: Machine | None = None


@dataclass(frozen=True)
class Machine:
    """Where a run took place."""

    hostname: str
    os: str
    cpu: str
    cores: int
    threads: int
    memory_bytes: int
    gpu: str = ""
    gpu_memory_bytes: int = 0
    driver: str = ""
    python: str = ""
    torch: str = ""
    cpu_capability: str = ""


@dataclass(frozen=True)
class Code:
    """Which code ran: drbench's own version, and apart from it the repository the user stood in."""

    drbench: str
    repository: str = ""
    commit: str = ""
    dirty: bool = False


@dataclass(frozen=True)
class Run:
    """One invocation of `drbench run`. `suite_text` is the suite as validated and overridden, in TOML."""

    id: str
    suite: str
    suite_text: str
    command: str
    started: str
    machine: Machine
    code: Code
    finished: str = ""
    status: str = "running"


@dataclass(frozen=True)
class Event:
    """Progress, for display. `kind`: "suite", "stage", "variant", "epoch", "step", "note" or "table".

    `done` of `total` within the kind; `text` says what; `payload` carries a finished Record or Epoch, if any.
    """

    kind: str
    text: str = ""
    done: int = 0
    total: int = 0
    payload: Any = None
