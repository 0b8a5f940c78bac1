"""`python -m drbench_kernels.bench` as a user starts it: what it writes, that nothing is lost, what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from drbench_kernels.bench.__main__ import main
from drbench_kernels.bench.document import FORMAT, VERSION
from drbench_kernels.bench.timing import quantile

QUICK = ("--threads", "1", "--max-seconds", "0.002", "--rounds", "8")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
WAYS = {
    "conv",
    "nn.Conv2d",
    "bmm",
    "all-and-pick",
    "sort-gemm",
    "region_conv2d",
    "expert_region_conv2d",
    "DRConv2d",
}


def start(*arguments: object, module: tuple[str, ...] = ("-m", "drbench_kernels.bench")) -> subprocess.Popen[str]:
    command = [sys.executable, *module, *map(str, arguments)]
    return subprocess.Popen(command, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, str]:
    """(document, what was printed, progress) of a run over two shapes."""
    path = tmp_path_factory.mktemp("bench") / "results.json"
    shapes = ("--shapes", "1x1-4-6@5,3x3-3-4@6x5s2", "--batch-sizes", "1,3", "--regions", 4)
    process = start("--json", path, *shapes, *QUICK)
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]  # no temporary file is left
    return json.loads(path.read_text()), out, errors


def test_every_case_is_there_with_every_way(done: tuple[dict[str, Any], str, str]) -> None:
    document = done[0]
    assert (document["format"], document["version"]) == (FORMAT, VERSION)
    cases = [(row["shape"]["name"], row["batch"], row["pass"]) for row in document["results"]]
    passes = ("forward", "forward+backward")
    assert cases == [(s, b, p) for s in ("1x1-4-6@5", "3x3-3-4@6x5s2") for b in (1, 3) for p in passes]
    for row in document["results"]:
        assert set(row["ways"]) == WAYS
        assert all("samples" in way for way in row["ways"].values()), row["ways"]
        assert 1 <= row["regions_present"] <= 4


def test_figures_follow_from_the_raw_samples(done: tuple[dict[str, Any], str, str]) -> None:
    for row in done[0]["results"]:
        for name, way in row["ways"].items():
            assert way["seconds"] == median(way["samples"])
            assert 3 <= len(way["samples"]) <= 8
            assert way["calls"] >= 1
            if name in ("conv", "nn.Conv2d"):
                assert "ratio" not in way
                continue
            reference = "nn.Conv2d" if name == "DRConv2d" else "conv"
            pairs = sorted(a / b for a, b in zip(way["samples"], row["ways"][reference]["samples"], strict=False))
            assert way["ratio"] == {
                "to": reference,
                "median": median(pairs),
                "p25": quantile(pairs, 0.25),
                "p75": quantile(pairs, 0.75),
                "rounds": len(pairs),
            }
        limit, ways = row["limit"], row["ways"]
        assert limit["ratio"] == limit["seconds"] / ways["conv"]["seconds"]
        assert limit["share"] == limit["seconds"] / ways["region_conv2d"]["seconds"]


def test_memory_is_at_least_the_output(done: tuple[dict[str, Any], str, str]) -> None:
    for row in done[0]["results"]:
        positions = 25 if row["shape"]["kernel"] == 1 else 3 * 3
        output = 4 * row["batch"] * row["shape"]["outputs"] * positions
        for name, way in row["ways"].items():
            assert way["extra_bytes"] >= output, name


def test_path_is_said_of_ours(done: tuple[dict[str, Any], str, str]) -> None:
    for row in done[0]["results"]:
        for name in ("sort-gemm", "region_conv2d", "expert_region_conv2d", "DRConv2d"):
            assert row["ways"][name]["path"]
        assert row["ways"]["sort-gemm"]["path"] == "by-region"
        assert not row["ways"]["conv"]["path"]


def test_machine_code_and_rates_are_recorded(done: tuple[dict[str, Any], str, str]) -> None:
    (session,) = done[0]["sessions"]
    assert session["command"].startswith("python -m drbench_kernels.bench --json ")
    assert session["started"] <= session["finished"]
    assert session["machine"]["torch"]
    assert session["machine"]["memory_bytes"] > 1 << 28
    assert len(session["code"]["kernels"]) == 16
    assert session["clock"] == "wall clock"
    assert session["native"]
    assert session["rates"]["gemm_multiply_adds_per_second"] > 1e8
    assert len(session["rates"]["copy_bytes_per_second"]) >= 4
    assert done[0]["settings"]["threads"] == 1


def test_progress_is_a_line_for_each_shape_and_means_come_last(done: tuple[dict[str, Any], str, str]) -> None:
    _, out, errors = done
    lines = errors.splitlines()
    assert [line.split(":")[0] for line in lines] == ["[1/2] 1x1-4-6@5", "[2/2] 3x3-3-4@6x5s2"]
    assert all("b1 fwd" in line and "b3 f+b" in line for line in lines)
    ours = next(line for line in out.splitlines() if line.startswith("region_conv2d"))
    assert ours.count("(2)") == 4


def test_interrupted_it_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    names = [f"1x1-{channels}-4@5" for channels in range(1, 15)]
    arguments = ("--json", path, "--shapes", ",".join(names), "--batch-sizes", 1, "--ways", "region*", *QUICK)
    process = start(*arguments)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("[3/"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in errors
    before = json.loads(path.read_text())
    assert 6 <= len(before["results"]) < 28
    assert main([*map(str, arguments)]) == 2  # neither --resume nor --force: nothing is overwritten
    assert json.loads(path.read_text()) == before

    process = start(*arguments, "--resume")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    after = json.loads(path.read_text())
    assert after["results"][: len(before["results"])] == before["results"]
    assert [row["shape"]["name"] for row in after["results"][::2]] == names
    assert len(after["sessions"]) == 2
    assert {row["session"] for row in after["results"]} == {0, 1}


def test_it_needs_torch_alone(tmp_path: Path) -> None:
    script = (
        "import sys, runpy\n"
        "from importlib.abc import MetaPathFinder\n"
        "class Refuse(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] in ('drbench', 'drbench_db', 'torchvision', 'timm', 'psutil', 'pandas',\n"
        "                                  'typer', 'rich', 'pydantic', 'sqlalchemy', 'accelerate', 'ptflops'):\n"
        "            raise ModuleNotFoundError(f'no {name} here')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "sys.argv[0] = 'bench'\n"
        "runpy.run_module('drbench_kernels.bench', run_name='__main__')\n"
    )
    path = tmp_path / "results.json"
    arguments = ("--json", path, "--shapes", "1x1-2-3@4", "--batch-sizes", "1", "--passes", "forward", *QUICK)
    process = start(*arguments, module=("-c", script))
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    (row,) = json.loads(path.read_text())["results"]
    assert row["ways"]["DRConv2d"]["skipped"] == "drbench.operators.drconv:DRConv2d is not there: no drbench here"
    assert row["ways"]["region_conv2d"]["ratio"]["median"] > 0


def test_what_takes_too_much_is_skipped_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    small = ("--shapes", "1x1-64-64@14", "--batch-sizes", "4", "--passes", "forward", *QUICK)
    assert main(["--json", str(path), *small, "--memory-gib", "0.0009", "--ways", "bmm,all-and-pick"]) == 0
    (row,) = json.loads(path.read_text())["results"]
    assert row["ways"]["all-and-pick"]["skipped"].startswith("over memory: needs about 0.0 GiB")
    assert "ratio" in row["ways"]["bmm"]
    assert main(["--json", str(path), "--force", *small, "--call-seconds", "1e-7", "--ways", "bmm"]) == 0
    (row,) = json.loads(path.read_text())["results"]
    assert row["ways"]["bmm"]["skipped"].startswith("over time: a call takes 0.0 s")
    assert "samples" in row["ways"]["conv"]  # never too slow to be compared with


def test_a_way_that_raises_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    arguments = ("--shapes", "1x1-2-3@4", "--batch-sizes", "1", "--passes", "forward", "--layer", "torch.nn:Conv1d")
    assert main(["--json", str(path), *arguments, *QUICK]) == 4
    (row,) = json.loads(path.read_text())["results"]
    assert "failed" in row["ways"]["Conv1d"]
    assert "ratio" in row["ways"]["region_conv2d"]


WRONG = {
    "unknown option": (["--no-such"], "--no-such"),
    "unknown dtype": (["--dtype", "int8"], "int8"),
    "unknown mask": (["--masks", "round"], "round"),
    "unknown pass": (["--passes", "backward"], "forward+backward"),
    "unknown way": (["--ways", "magic"], "fits none of conv, nn.Conv2d"),
    "unknown shape": (["--shapes", "5x5-*"], "--list` shows them"),
    "even kernel": (["--shapes", "2x2-3-4@5"], "2x2-3-4@5"),
    "no batch": (["--batch-sizes", "1,x"], "--batch-sizes"),
    "batch of nothing": (["--batch-sizes", "0"], "--batch-sizes"),
    "batch of digits": (["--batch-sizes", "9" * 5000], "--batch-sizes"),
    "batch beyond use": (["--batch-sizes", f"{10**19}"], "from 1 to 16,777,216"),
    "a digit of another kind": (["--batch-sizes", "²"], "--batch-sizes"),
    "regions beyond use": (["--regions", f"{10**30}"], "at most 4,096"),
    "memory beyond use": (["--memory-gib", "1e300"], "--memory-gib"),
    "time without end": (["--max-seconds", "inf"], "--max-seconds"),
    "no regions": (["--regions", "0"], "--regions"),
    "no threads": (["--threads", "-1"], "--threads"),
    "no time": (["--max-seconds", "nan"], "--max-seconds"),
    "no GPU": (["--device", "tpu"], "--device"),
    "graph on a CPU": (["--device", "cpu", "--graph"], "--graph"),
    "resume of nothing": (["--resume"], "--json FILE"),
    "no layer": (["--layer", "DRConv2d"], "package.module:callable"),
    "a layer that is not there": (["--layer", "nowhere:Layer"], "No module named 'nowhere'"),
    "a layer without a module": (["--layer", ":Layer"], "--layer"),
    "no directory": (["--json", "/no/such/place.json"], "/no/such/place.json"),
}


@pytest.mark.parametrize(("arguments", "says"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith("drbench_kernels.bench: error: ")
    assert errors.count("\n") == 1
    assert says in errors


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not a file of drbench_kernels.bench"),
        ('{"format": "other"}', "not a file of drbench_kernels.bench"),
        (f'{{"format": "{FORMAT}", "version": {VERSION + 1}}}', "version"),
        (
            f'{{"format": "{FORMAT}", "version": {VERSION}, "settings": {{}}, "sessions": [], "results": []}}',
            "settings",
        ),
        (f'{{"format": "{FORMAT}", "version": {VERSION}}}', "settings"),
    ],
)
def test_what_cannot_be_gone_on_with(
    content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    assert main(["--json", str(path), "--resume"]) == 2
    errors = capsys.readouterr().err
    assert says in errors
    assert errors.count("\n") == 1
    assert path.read_text() == content


def test_listing_shapes_and_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert "1x1-24-24@56" in out
    assert "shufflenet_v2_x0_5" in out
    assert "all-and-pick" in out
