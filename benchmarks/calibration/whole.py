"""Whole checks through the real command, in a git repository whose commits differ by blocks of layers.

    python benchmarks/calibration/whole.py results/.../whole.jsonl --minutes 4

The commit has a network of 20 equal blocks, the working tree 20, 21, 22 or 24 of them, in turn. One line a check.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).with_name("repository")
EXTRA = {"same": 0, "5": 1, "10": 2, "20": 4}
COMMAND = ("check", "calibration.toml", "--against", "HEAD", "--metrics", "latency", "--format", "json")


def git(place: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", *arguments], cwd=place, check=True)


def check(place: Path, condition: str) -> dict[str, object]:
    """One check with the working tree in that condition."""
    source = (REPOSITORY / "stack.py").read_text(encoding="utf-8")
    changed = source.replace("BLOCKS = 20", f"BLOCKS = {20 + EXTRA[condition]}")
    (place / "stack.py").write_text(changed, encoding="utf-8")
    start = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "drbench", *COMMAND], cwd=place, capture_output=True, text=True, check=False
    )
    seconds = time.time() - start
    found = {"condition": condition, "started": round(start), "seconds": round(seconds, 1), "code": done.returncode}
    try:
        (verdict,) = json.loads(done.stdout)["verdicts"]
    except (ValueError, KeyError):
        return {**found, "error": done.stderr.strip()}
    return {**found, **{key: verdict[key] for key in ("outcome", "effect", "interval", "text")}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Whole checks through the real command, appended to a file.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--minutes", type=float, default=4)
    given = parser.parse_args()
    end = time.time() + 60 * given.minutes
    number = len(given.file.read_text().splitlines()) if given.file.exists() else 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(shutil.copytree(REPOSITORY, Path(folder) / "repository"))
        git(place, "init", "--quiet")
        git(place, "add", ".")
        git(place, "commit", "--quiet", "--message", "20 blocks")
        while time.time() < end:
            found = check(place, list(EXTRA)[number % len(EXTRA)])
            with given.file.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(found, flush=True)
            number += 1


if __name__ == "__main__":
    main()
