"""The kinds of hostile input: each makes one case from a seeded generator, in a directory of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

from safetensors.torch import load_file, save_file

from benchmarks.kill_times import handles_signals
from drbench.errors import INTERRUPTED
from drbench.suite.read import read_text, shipped
from drbench.suite.toml import dumps
from tests import hostile_db, hostile_images
from tests.fuzz import values
from tests.fuzz.material import OWN, Material
from tests.fuzz.runner import CHECKED, Case, Result

Make = Callable[[Random, Path, Material], Case]
SECRET = "S3cr3t"


def suites(rng: Random, place: Path, material: Material) -> Case:
    """A suite with wrong values, wrong keys or damaged text."""
    import tomllib

    document = tomllib.loads(read_text(rng.choice(shipped())) if rng.random() < 0.5 else material.suite.read_text())
    document = values.mutated(rng, document, rng.randrange(1, 4))
    try:
        content = dumps(document).encode("utf-8", "surrogatepass")
    except (TypeError, AttributeError, RecursionError, ValueError):  # what TOML cannot say
        content = values.as_json(document).encode("utf-8", "surrogatepass")
    if rng.random() < 0.2:
        content = values.flipped(rng, content)
    (place / "s.toml").write_bytes(content)
    (place / "own_fuzzed.py").write_text(OWN)
    verb = rng.choice((("suites", "validate"), ("suites", "validate"), ("suites", "show")))
    return Case(verb[1], place, (*verb, "s.toml"))


_OPTIONS = (
    *("--regions", "--operator", "--set", "--where", "--where-set", "--model-set", "--input"),
    *("--num-classes", "--stem-stride"),
)
_READING = ("--run", "--suite", "--sort", "--columns", "--format", "--db", "--only")


def arguments(rng: Random, place: Path, material: Material) -> Case:
    """A command line with words that mean nothing, or too much."""
    shutil.copy(material.database, place / "drbench.db")
    word = values.text(rng)
    match rng.randrange(7):
        case 0 | 1:
            given = ["models", "show", "mobilenet_v1_0.25", rng.choice(_OPTIONS), word]
        case 2:
            given = ["report", rng.choice(_READING), word]
        case 3:
            given = [*rng.choice((["show"], ["compare"], ["runs", "rm"], ["models", "show"], ["suites", "show"])), word]
        case 4:
            option = rng.choice(
                ("--baseline", "--limit", "--metrics", "--on-unresolved", "--allow-different", "--only")
            )
            given = ["check", "--run", "latest", "--baseline", str(material.baseline), option, word]
        case 5:
            given = ["run", "suite", "smoke", "--dry-run", rng.choice(_RUN), word]
        case _:
            given = [word, values.text(rng)]
    # a value that happens to be right makes a real command of it, which is right too
    return Case(" ".join(given[:2])[:20], place, given, codes=CHECKED, judge=_keeps(place / "drbench.db", given))


_RUN = (
    *("--seeds", "--epochs", "--batch-size", "--lr", "--threads", "--timeout", "--memory-limit", "--shard", "--preset"),
    *("--precision", "--device", "--val-fraction", "--stages", "--match", "--data", "--only", "--exclude", "--model"),
)


def refs(rng: Random, place: Path, material: Material) -> Case:
    """A git reference that is none."""
    if not (place / ".git").exists():
        git = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c"]
        for words in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "-m", "x"]):
            subprocess.run([*git, *words], cwd=place, check=True, capture_output=True)
    given = ["check", "smoke", "--metrics", "latency", "--against", values.text(rng) or "x"]
    return Case("check --against", place, given, codes=CHECKED)


def urls(rng: Random, place: Path, material: Material) -> Case:
    """A database URL, whole or malformed, with a password that must not be seen."""
    scheme = rng.choice(("postgresql", "postgresql+psycopg", "mysql", "postgres", "", "p\x1b", "http"))
    mark = rng.choice(("://", ":/", ":", "//", ":///", "/"))
    user = rng.choice(("u", "", "u%40x", "ü", "a.b", "u\n", "u "))
    secret = rng.choice(
        (SECRET, f"@{SECRET}", f"{SECRET}@", f"a@{SECRET}", f"{SECRET}:x", f"{SECRET}/x", f"{SECRET}%zz")
    )
    host = rng.choice(("h", "h:5432", "h:port", "[::1", "", "127.0.0.1:1"))
    tail = rng.choice(("/x", "", "/x?a=b", f"/x?password={SECRET}", f"/x?sslpassword={SECRET}&b=c", "/\0x"))
    url = f"{scheme}{mark}{user}:{secret}@{host}{tail}".replace("\0", "")
    if url.startswith("/") and not url.startswith("//"):
        url = f"x{url}"  # else it is a path, and shown as one
    verb = rng.choice((["report"], ["runs", "list"], ["import", "x.json"], ["export", "-o", "y.db"], ["db", "upgrade"]))
    if rng.random() < 0.3:
        return Case("DRBENCH_DB", place, verb, secrets=(SECRET,), environment={"DRBENCH_DB": url})
    given = [*verb, "--db", url] if rng.random() < 0.6 else [*verb, f"--db={url}"]
    return Case("--db", place, given, secrets=(SECRET,))


def databases(rng: Random, place: Path, material: Material) -> Case:
    """A database with damaged rows or bits, read by every verb: it stays as it is, and nothing else is lost."""
    damaged = place / "damaged.db"
    shutil.copy(rng.choice((material.database, material.older)), damaged)
    what = ""
    for name, change in hostile_db.mutations(rng):
        with suppress(sqlite3.Error):  # what SQLite itself does not store in this table
            change(damaged)
            what = name
            break
    given = list(rng.choice(_VERBS))
    if given[0] == "import":
        shutil.copy(material.database, place / "drbench.db")
        return Case(f"import, {what}", place, [*given, "damaged.db"], judge=_keeps(place / "drbench.db", given))
    data = "json" in given
    judge = _keeps(damaged, given)
    return Case(
        f"{' '.join(given[:2])}, {what}", place, [*given, "--db", "damaged.db"], codes=CHECKED, judge=judge, data=data
    )


_VERBS = (
    *(("report", "--format", name) for name in ("terminal", "md", "csv", "json")),
    ("report", "--latest"),
    ("show", "latest"),
    ("show", "latest", "--layers"),
    ("show", "latest", "--suite"),
    ("runs", "list"),
    ("compare", "latest"),
    ("check", "--run", "latest", "--format", "json"),
    ("check", "--run", "latest", "--format", "md"),
    ("check", "--run", "latest", "--format", "junit"),
    ("baseline", "save"),
    ("export", "-o", "exported.db"),
    ("import",),
    ("import",),
)


def records(rng: Random, place: Path, material: Material) -> Case:
    """Another run's text fields, valid but hostile, through every format."""
    path = place / "texts.db"
    shutil.copy(material.database, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, column in (("record", "label"), ("record", "error"), ("run", "command"), ("machine", "hostname")):
            connection.execute(f"UPDATE {table} SET {column} = ?", (rng.choice(values.TEXTS),))
    given = list(rng.choice(_VERBS[:-4]))
    if given[0] == "check" and rng.random() < 0.3:
        given[-1] = "github"
    judge = _keeps(path, given)
    annotations = "github" in given
    return Case(
        " ".join(given[:2]), place, [*given, "--db", "texts.db"], codes=CHECKED, judge=judge, data="json" in given,
        annotations=annotations,
    )  # fmt: skip


def baselines(rng: Random, place: Path, material: Material) -> Case:
    """A baseline file, or the JSON of the operator benchmark, with damaged fields or bits."""
    shutil.copy(material.database, place / "drbench.db")
    content = material.baseline.read_bytes()
    if rng.random() < 0.7:
        content = values.as_json(values.mutated(rng, json.loads(content), rng.randrange(1, 4))).encode(
            "utf-8", "replace"
        )
    else:
        content = values.flipped(rng, content)
    (place / "b.json").write_bytes(content)
    given = rng.choice(
        (
            ["check", "--run", "latest", "--baseline", "b.json"],
            ["check", "--run", "latest", "--baseline", "b.json", "--format", "json"],
            ["baseline", "show", "--baseline", "b.json"],
            ["baseline", "list", "--baseline", "b.json"],
            ["import", "b.json"],
        )
    )
    return Case(
        " ".join(given[:2]),
        place,
        given,
        codes=CHECKED,
        judge=_keeps(place / "drbench.db", given),
        data="json" in given,
    )


def headers(rng: Random, place: Path, material: Material) -> Case:
    """A model file with a damaged header, damaged tensors or damaged bytes; loaded by the library or the command."""
    path = place / "m.safetensors"
    if rng.random() < 0.25:
        path.write_bytes(values.flipped(rng, material.weights.read_bytes()))
    else:
        header = material.header()
        if rng.random() < 0.8:
            header["variant"] = values.mutated(rng, header["variant"], rng.randrange(1, 3))
        else:
            header = values.mutated(rng, header, rng.randrange(1, 3))
        state = load_file(material.weights)
        if rng.random() < 0.1:
            state.pop(rng.choice(sorted(state)))
        save_file(state, path, metadata={"drbench": values.as_json(header).encode("utf-8", "replace").decode()})

    def load() -> None:
        import warnings

        import drbench

        warnings.simplefilter("ignore")
        drbench.load_model(path)

    if rng.random() < 0.05:
        given = ["run", "model", "mobilenet_v1_0.25", "--eval-only", "--weights", path.name]
        return Case("--eval-only", place, given)
    return Case("load_model", place, call=load)


def images(rng: Random, place: Path, material: Material) -> Case:
    """An image folder with one hostile file in it, or a damaged one: every image decodes, or the file is named."""
    good = place / "good"
    fates = hostile_images.images(rng, good)
    chosen = rng.choice(sorted(fates))
    for part in ("train", "val"):
        for name in ("a", "b"):
            (place / "data" / part / name).mkdir(parents=True)
            shutil.copy(good / "rgb.png", place / "data" / part / name / "0.png")
            shutil.copy(good / "rgb.jpg", place / "data" / part / name / "1.jpg")
    target = place / "data" / rng.choice(("train", "val")) / "a" / f"z{chosen.name}"
    damaged = fates[chosen] == hostile_images.GOOD and rng.random() < 0.6
    if damaged:
        hostile_images.flipped(rng, chosen, target, rng.randrange(1, 60))
    else:
        shutil.move(chosen, target)
    # a folder within a class is no image, whatever its name
    refused = fates[chosen] == hostile_images.REFUSED and not damaged and chosen.name != "folder.png"

    def read() -> None:
        from drbench.data import open_data
        from drbench.records import DataSettings

        found = open_data(DataSettings("imagefolder", root=str(place / "data"), val_fraction=0.0), input_size=32)
        for part in (found.train, found.test):
            for number in range(len(part)):
                part[number]

    def judge(result: Result) -> list[str]:
        wrong = []
        if refused and result.code != 2:
            wrong.append(f"{target.name} was not refused")
        if result.code and target.name not in result.err:
            wrong.append(f"{target.name} is not named")
        return wrong

    return Case(f"{'damaged ' * damaged}{chosen.name}", place, call=read, codes=frozenset({0, 2}), judge=judge)


def signals(rng: Random, place: Path, material: Material) -> Case:
    """One or two signals to a command at a random moment after its start. (Whole runs: benchmarks/kill_times.py.)"""
    shutil.copy(material.database, place / "drbench.db")
    shutil.copy(material.database, place / "other.db")
    shutil.copy(material.suite, place / "fuzzed.toml")
    (place / "own_fuzzed.py").write_text(OWN)
    given = list(
        rng.choice((*_VERBS[:-2], ("import", "other.db"), ("run", "suite", "fuzzed.toml", "--stages", "cost")))
    )
    numbers = [rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)) for _ in range(rng.randrange(1, 3))]
    waits = [rng.uniform(0.0, 2.0), rng.uniform(0.0, 0.3)]

    def interrupted() -> int:
        process = subprocess.Popen([sys.executable, "-m", "drbench", *given])
        while not handles_signals(process):
            time.sleep(0.001)
        for number, wait in zip(numbers, waits, strict=False):
            time.sleep(wait)
            process.send_signal(number)
        return process.wait()

    return Case(
        f"{'+'.join(number.name for number in numbers)} {' '.join(given[:2])}",
        place,
        call=interrupted,
        codes=CHECKED | {INTERRUPTED},
        judge=_keeps(place / "drbench.db", given),
        data="json" in given,
    )


def _keeps(path: Path, given: list[str]) -> Callable[[Result], list[str]]:
    """What was recorded is still there: the file as it was, or (where the verb may write) every record of it."""
    before = _digest(path)
    writes = given[0] == "import" or given[:2] == ["runs", "rm"] or given[0] in ("run", "db")
    records = _records(path) if writes else frozenset()

    def judge(result: Result) -> list[str]:
        if given[:2] == ["runs", "rm"]:
            return []  # what was asked for
        if writes:
            lost = records - _records(path)
            return [f"{len(lost)} records were lost"] if lost else []
        return [] if _digest(path) == before else [f"{path.name} was changed by a verb that reads"]

    return judge


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _records(path: Path) -> frozenset[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return frozenset(connection.execute("SELECT uid, status, work_key, label FROM record"))


KINDS: Mapping[str, tuple[Make, int]] = {
    "suites": (suites, 5),
    "arguments": (arguments, 4),
    "refs": (refs, 1),
    "urls": (urls, 3),
    "databases": (databases, 8),
    "records": (records, 2),
    "baselines": (baselines, 3),
    "headers": (headers, 4),
    "images": (images, 3),
    "signals": (signals, 2),
}
"""Each kind with its share of the cases."""
