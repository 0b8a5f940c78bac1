"""Makes what the golden tests are held against. What each file holds is in README.md.

    python -m tests.golden.make --outputs     expected/ from kept.db: only after a change of wording

All else was made once, by commit ac95b46 on 2026-11-26, and is never made again: it stands for what users have.

    python -m tests.golden.make --database    kept.db and ../db/fixtures/schema-0002.sql (some minutes; needs torch)
    python -m tests.golden.make --baseline    baseline.json
    python -m tests.golden.make --models      interrupted/, trained.safetensors, drawn.safetensors, trained.json
    python -m tests.golden.make --figures     figures.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.golden.outputs import (
    BASELINE,
    CASES,
    EXPECTED,
    FIGURES,
    HERE,
    KEPT,
    OWN,
    TWO,
    command,
    figures,
    unpack,
)

SCHEMA = HERE.parent / "db" / "fixtures" / "schema-0002.sql"
COMMIT = "ac95b46"
FIRST = {"hostname": "first", "os": "Debian GNU/Linux 12 (bookworm)", "cpu": "AMD EPYC", "memory_bytes": 16 << 30}
SECOND = {**FIRST, "hostname": "second", "cpu": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cpu_capability": "AVX512"}
CHANGES = {
    "def tiny(num_classes: int = 10, channels: int = 8)": "def tiny(num_classes: int = 10, channels: int = 10)",
    "_network(channels, num_classes)\n\n\nclass Stuck": "_network(channels - 4, num_classes)\n\n\nclass Stuck",
    "range(1)": "range(8)",
}
"""What the second run of the suite `own` has in own.py: tiny costs more, broad less, and Doubled is slower."""


def database() -> None:
    """kept.db and the dump of a database of schema 0002."""
    with _folder() as folder:
        shutil.copy(HERE / "own.py", folder)
        for suite in ("five", "two", "own"):
            _drbench(folder, "run", "suite", HERE / "suites" / f"{suite}.toml", "--db", "first.db", codes=(0, 4))
        _drbench(folder, "noise", HERE / "suites" / "five.toml", "--max-time", 6, "--db", "first.db")
        ops = "--shapes=1x1-4-6@5,1x1-24-58@28", "--batch-sizes=1,3", "--regions=4", "--threads=1"
        _drbench(folder, "run", "ops", *ops, "--max-seconds=0.002", "--rounds=6", "--db", "first.db")
        text = (HERE / "own.py").read_text()
        for old, new in CHANGES.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "own.py").write_text(text)
        suite = (HERE / "suites" / "own.toml").read_text().replace("regions = 2,", "regions = [2, 3],")
        (folder / "own.toml").write_text(suite)
        _drbench(folder, "run", "suite", "own.toml", "--db", "first.db", codes=(4,))
        # The second machine is this one under another name: the same suite, run again, into a database of its own.
        _drbench(folder, "run", "suite", HERE / "suites" / "five.toml", "--db", "second.db")
        for name, facts in ("first", FIRST), ("second", SECOND):
            _anonymous(folder / f"{name}.db", folder, facts)
        _drbench(folder, "import", "first.db", "second.db", "--db", "kept.db")
        _compact(folder / "kept.db")
        KEPT.write_bytes((folder / "kept.db").read_bytes())

        shutil.copy(HERE / "own.py", folder)
        _drbench(folder, "run", "suite", HERE / "suites" / "previous.toml", "--db", "previous.db", codes=(4,))
        _drbench(folder, "run", "ops", ops[0].split(",")[0], *ops[1:], "--max-seconds=0.002", "--db", "previous.db")
        _anonymous(folder / "previous.db", folder, FIRST)
        with closing(sqlite3.connect(folder / "previous.db")) as connection:
            dump = "\n".join(connection.iterdump())
        about = f"-- A database as drbench 0.1.0 (commit {COMMIT}) wrote it under schema 0002: a dump. The suite\n"
        about += "-- tests/golden/suites/previous.toml and an operator benchmark. What later versions must not lose.\n"
        SCHEMA.write_text(about + dump + "\n", encoding="utf-8")


def baseline() -> None:
    """baseline.json: what the runs `own`, before its change, and `two` found."""
    with _folder() as folder, chdir(folder):
        shutil.copy(KEPT, folder / "drbench.db")
        for run in (OWN, TWO):
            _drbench(folder, "baseline", "save", "--run", run, "--metrics", "costs,latency,memory,top1")
        BASELINE.write_bytes((folder / "drbench.baseline.json").read_bytes())


def outputs() -> None:
    """expected/."""
    shutil.rmtree(EXPECTED, ignore_errors=True)
    EXPECTED.mkdir()
    with _folder() as folder, chdir(folder):
        unpack(folder)
        for name, case in CASES.items():
            code, text = command(case)
            assert code == case.code, f"{name}: exit code {code}"
            (EXPECTED / name).write_text(text, encoding="utf-8")


def kept_figures() -> None:
    """figures.json."""
    with _folder() as folder:
        unpack(folder)
        FIGURES.write_text(json.dumps(figures(folder), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def models() -> None:
    """A run that Ctrl-C ended in a training; what it would have come to; model files and the logits they give."""
    import torch

    from drbench.models import create_model, load_model, save_model
    from tests.golden.trained import DRAWN, DRAWN_AS, FOUND, INTERRUPTED, TRAINED, images

    suite, wanted = HERE / "suites" / "interrupted.toml", re.compile(r"own:tiny drconv m=2 .*epoch 2 of 5")
    shutil.rmtree(INTERRUPTED, ignore_errors=True)
    with _folder() as folder:
        shutil.copy(HERE / "own.py", folder)
        command = [sys.executable, "-m", "drbench", "run", "suite", str(suite)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if wanted.search(line):
                    process.send_signal(signal.SIGINT)
                    break
            process.stderr.read()
        assert process.returncode == 130
        _anonymous(folder / "drbench.db", folder, FIRST)
        _compact(folder / "drbench.db")
        (origin,) = folder.glob("drbench-files/*/origin")
        origin.unlink()  # proves to this machine alone who began the run
        INTERRUPTED.mkdir()
        shutil.copy(folder / "drbench.db", INTERRUPTED)
        shutil.copytree(folder / "drbench-files", INTERRUPTED / "drbench-files")

    with _folder() as folder, chdir(folder):
        shutil.copy(HERE / "own.py", folder)
        _drbench(folder, "run", "suite", suite)
        with closing(sqlite3.connect("drbench.db")) as connection:
            connection.row_factory = sqlite3.Row
            wanted = "WHERE stage = 'train' AND label = 'drconv m=2'"
            ((record, key),) = connection.execute(f"SELECT id, work_key FROM record {wanted}")
            epochs = [dict(row) for row in connection.execute("SELECT * FROM epoch WHERE record_id = ?", [record])]
            ((weights,),) = connection.execute(
                "SELECT path FROM file WHERE name = 'weights' AND record_id = ?", [record]
            )
            ((ranks,),) = connection.execute("SELECT true_class_rank FROM prediction WHERE record_id = ?", [record])
        shutil.copy(weights, TRAINED)
        made = create_model(**DRAWN_AS)
        save_model(DRAWN, made, made.variant)
        logits = {}
        for name, model in ("trained", load_model(TRAINED, trust=("own:tiny",))), ("drawn", load_model(DRAWN)):
            with torch.inference_mode():
                logits[name] = model(images(model.variant.input_shape)).tolist()
    found = {"key": key, "ranks": list(ranks), "epochs": epochs, "logits": logits}
    FOUND.write_text(json.dumps(found) + "\n", encoding="utf-8")


def _drbench(folder: Path, *arguments: object, codes: tuple[int, ...] = (0,)) -> None:
    command = [sys.executable, "-m", "drbench", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode in codes, f"{command}: {done.returncode}"


def _anonymous(path: Path, folder: Path, machine: dict[str, Any]) -> None:
    """Nothing of this machine: its facts replaced by those of a made-up one, paths made relative."""
    from drbench_db.rows import hashed

    with closing(sqlite3.connect(path)) as connection, connection:
        connection.row_factory = sqlite3.Row
        for row in connection.execute("SELECT * FROM machine").fetchall():
            facts = {name: value for name, value in dict(row).items() if name not in ("id", "hash")} | machine
            columns = ", ".join(f"{name} = ?" for name in [*facts, "hash"])
            connection.execute(
                f"UPDATE machine SET {columns} WHERE id = ?", [*facts.values(), hashed(facts), row["id"]]
            )
        for row in connection.execute("SELECT id, command FROM run").fetchall():
            command = row["command"].replace(f"{HERE / 'suites'}/", "")
            connection.execute("UPDATE run SET command = ? WHERE id = ?", (command, row["id"]))
        connection.execute("UPDATE file SET path = replace(path, ?, '')", (f"{folder}/",))
    with closing(sqlite3.connect(path)) as connection:
        dump = "\n".join(connection.iterdump())
        for secret in (str(folder), str(HERE), str(Path.home()) + "/", os.uname().nodename):
            assert f"{secret}" not in dump or secret in ("vm",), secret


def _compact(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=delete")
        connection.execute("VACUUM")


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="drbench-golden-") as folder:
        yield Path(folder).resolve()


def main() -> None:
    """As the docstring of the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_mutually_exclusive_group(required=True)
    for name, make in {
        "outputs": outputs,
        "database": database,
        "baseline": baseline,
        "models": models,
        "figures": kept_figures,
    }.items():
        group.add_argument(f"--{name}", action="store_const", dest="make", const=make)
    parser.parse_args().make()


if __name__ == "__main__":
    main()
