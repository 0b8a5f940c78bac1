"""`python -m drbench_kernels.bench`: exit code 0, or 2 (wrong input), 4 (a way failed), 130 (interrupted)."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the options say."""
    from drbench_kernels.bench.document import BenchError

    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except BenchError as error:
        _tell(f"drbench_kernels.bench: error: {' '.join(str(error).split())}")
        return 2
    except OSError as error:
        if error.filename is not None:
            raise
        _tell(f"drbench_kernels.bench: error: stdout could not be written: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would try it once more when it ends
        return 4
    except KeyboardInterrupt:
        _tell("interrupted: continue with --resume")
        return 130


def _run(argv: Sequence[str]) -> int:
    from drbench_kernels.bench import options
    from drbench_kernels.bench.runner import settings_as_before

    given = options.parser().parse_args(list(argv))
    if given.list:
        return _list()
    with settings_as_before():
        return _measure(given, argv)


def _measure(given: Namespace, argv: Sequence[str]) -> int:
    import torch

    from drbench_kernels.bench import document, facts, options, summary
    from drbench_kernels.bench.runner import Bench

    machine = facts.machine(torch.device("cuda" if torch.cuda.is_available() and given.device != "cpu" else "cpu"))
    settings = options.checked(given, int(machine["memory_bytes"]))
    held = _document(given, settings.as_json(), machine)
    bench = Bench(settings)
    session = bench.session(shlex.join(["python", "-m", "drbench_kernels.bench", *argv]), machine)
    held["sessions"].append(session)
    done = {document.key(row): row for row in held["results"]}
    begun, shapes = time.perf_counter(), list(bench.cases())
    for number, (shape, cases) in enumerate(shapes, 1):
        rows = []
        for case in cases:
            row = done.get((shape.name, case.batch, case.pass_name))
            if row is None:
                row = {**bench.measure(case), "session": len(held["sessions"]) - 1}
                held["results"].append(row)
                session["finished"], session["rates"] = row["finished"], bench.rates_found()
                if given.json is not None:
                    document.write(given.json, held)
            rows.append(row)
        elapsed = time.perf_counter() - begun
        _tell(f"[{number}/{len(shapes)}] {shape.name}: {summary.shape_line(rows)} ({elapsed:.0f} s)")
    for line in summary.means(held["results"]):
        print(line)
    sys.stdout.flush()
    failed = [row for row in held["results"] if any("failed" in way for way in row["ways"].values())]
    return 4 if failed else 0


def _tell(text: str) -> None:
    """One printable line on stderr; no measurement is lost because nobody can read it."""
    line = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text[:2000])
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _document(given: Any, settings: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """An empty one, or the one to go on with; the file can be written."""
    from drbench_kernels.bench import document

    path = given.json
    if path is None:
        return document.new(settings)
    if given.resume and path.exists():
        return document.resumed(path, settings, machine)
    if path.exists() and not given.force:
        raise document.BenchError(f"{path} exists: --resume continues it, --force replaces it")
    made = document.new(settings)
    document.write(path, made)
    return made


def _list() -> int:
    from drbench_kernels.bench import shapes
    from drbench_kernels.bench.ways import WAYS

    for name in ("pointwise", "3x3"):
        for shape in shapes.SETS[name]:
            print(f"{name:10} {shape.name:20} {', '.join(shape.networks)}")
    print("ways:", ", ".join(WAYS))
    return 0


def _interrupt(number: int, frame: object) -> None:
    """The first Ctrl-C, SIGTERM or SIGHUP ends it in order, a second one at once."""
    for handled in SIGNALS:
        signal.signal(handled, lambda *_: os._exit(130))
    raise KeyboardInterrupt


if __name__ == "__main__":
    SIGNALS = [
        getattr(signal, name)
        for name in ("SIGINT", "SIGTERM", "SIGHUP")
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN
    ]
    for each in SIGNALS:
        signal.signal(each, _interrupt)
    sys.exit(main())
