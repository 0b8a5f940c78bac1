"""How often the accuracy gate is wrong: networks of equal accuracy, and networks that are two points worse.

    python benchmarks/calibration/accuracy.py prepare | record | judge | whole  [--out FOLDER] [--minutes M]

prepare trains two small networks on generated images and makes four of them, with figures chosen on a pool of images of
its own: `before`; `equal`, the other one, brought to the accuracy of `before`; `worse`, `before` less two points;
`worse-other`, the other one less two points. Accuracy is taken away by noise on the weights. record evaluates all four
on fresh images, in disjoint blocks of 10,000, and keeps which images were classified right, a bit each. judge takes
every block for a check (`equal` is the later one in half of them, and the earlier in the others, so that what still
separates the two cancels). whole runs some of the checks through the real command, and says whether they agree.

What is there is not done again; --minutes stops in time, to be gone on from. Networks, databases: in drbench-files.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import betaincinv
from torch import nn

from drbench import models
from drbench.data.shapes import shapes
from drbench.data.splits import Splits
from drbench.records import Variant
from drbench.statistics.significance import by_images
from drbench.suite import toml
from drbench.training.evaluation import evaluate
from drbench.training.loop import fit
from drbench.training.presets import PRESETS

IMAGES = 10_000
"""Of a check."""
DRAWN = {"size": 16, "noise": 0.15}
"""The smallest images that can be drawn, for every check needs new ones."""
DROP = 0.02
NETWORKS = ("before", "equal", "worse", "worse-other")
POOL_IMAGES = 100_000
TRAIN_SEED, TUNING_SEEDS, FIRST_BLOCK = 0, range(1, 7), 1000
"""Seeds of the images; block n has those of FIRST_BLOCK + n."""
VARIANT = Variant("mobilenet_v1_0.25", input_shape=(3, 16, 16), num_classes=10, stem_stride=1)
SETTINGS = replace(PRESETS["quick"], epochs=6, batch_size=128, learning_rate=0.1, device="cpu")
WORK = Path("drbench-files/calibration-accuracy")


def prepare(out: Path) -> None:
    """The four networks, as model files, and what is known of them."""
    if all((WORK / f"{name}.safetensors").exists() for name in NETWORKS):
        return
    WORK.mkdir(parents=True, exist_ok=True)
    splits = shapes(train=20_000, test=1000, **DRAWN, seed=TRAIN_SEED)
    trained = []
    for seed in (0, 1):
        model = models.build(VARIANT, seed=seed)
        fit(model, splits, SETTINGS, seed=seed, workdir=WORK / f"seed{seed}")
        trained.append(model)
    pools = [shapes(train=20, test=POOL_IMAGES, **DRAWN, seed=seed) for seed in TUNING_SEEDS]
    before, other = sorted(trained, key=lambda model: top1(model, pools[:1]))
    first, all_ = top1(before, pools[:1]), top1(before, pools)
    noise = {
        "before": 0.0,
        "equal": refined(other, all_, halved(other, first, pools[:1]), pools),
        "worse": halved(before, first - DROP, pools[:1]),
        "worse-other": halved(other, first - DROP, pools[:1]),
    }
    about = {}
    for name, amount in noise.items():
        model = noisy(other if name in ("equal", "worse-other") else before, amount)
        about[name] = {"noise": amount, "top1": top1(model, pools)}
        models.save_model(
            WORK / f"{name}.safetensors", model, VARIANT, classes=splits.classes, preprocessing=splits.preprocessing
        )
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "tuning_images": POOL_IMAGES * len(pools),
        "networks": about,
        "variant": asdict(VARIANT),
        "train": asdict(SETTINGS),
    }
    (out / "networks.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(about, indent=1))


def top1(model: nn.Module, pools: Sequence[Splits]) -> float:
    ranks = [np.frombuffer(evaluate(model, pool, SETTINGS)[1], np.uint8) for pool in pools]
    return float((np.concatenate(ranks) == 0).mean())


def halved(model: nn.Module, wanted: float, pools: Sequence[Splits]) -> float:
    """How much noise brings `model` down to the top-1 that is wanted."""
    low, high = 0.0, 0.4
    for _ in range(10):
        noise = (low + high) / 2
        found = top1(noisy(model, noise), pools)
        if abs(found - wanted) < 0.0002:
            break
        low, high = (noise, high) if found > wanted else (low, noise)
    return noise


def refined(model: nn.Module, wanted: float, noise: float, pools: Sequence[Splits]) -> float:
    """The same more exactly, on more images: the line through two measurements."""
    lower = 0.95 * noise
    high, low = (top1(noisy(model, amount), pools) for amount in (lower, noise))
    return lower + (noise - lower) * (high - wanted) / (high - low)


def noisy(model: nn.Module, noise: float) -> nn.Module:
    """A copy, normal noise of `noise` standard deviations of each weight tensor added to it: always the same draw."""
    copied = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in copied.parameters():
            if weight.dim() > 1:
                weight.add_(noise * weight.std() * torch.randn(weight.shape, generator=draw))
    return copied


def record(out: Path, blocks: int, minutes: float) -> None:
    """Bits of all networks on block after block, two blocks at a time; into bits.npz when all are there."""
    end = time.monotonic() + 60 * minutes
    (WORK / "blocks").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(record_block, range(blocks), [end] * blocks))
    files = {name: [block_file(name, number) for number in range(blocks)] for name in NETWORKS}
    missing = sum(not file.exists() for those in files.values() for file in those)
    if missing:
        print(f"{missing} of {len(NETWORKS) * blocks} evaluations are missing: record again")
        return
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out / "bits.npz", **{name: np.stack(list(map(np.load, those))) for name, those in files.items()}
    )
    print(f"{blocks} blocks in {out / 'bits.npz'}")


def record_block(number: int, end: float) -> None:
    missing = [name for name in NETWORKS if not block_file(name, number).exists()]
    if not missing or time.monotonic() > end:
        return
    splits = shapes(train=20, test=IMAGES, **DRAWN, seed=FIRST_BLOCK + number)
    for name in missing:
        _, ranks = evaluate(models.load_model(WORK / f"{name}.safetensors"), splits, replace(SETTINGS, threads=1))
        partial = block_file(name, number).with_suffix(".partial.npy")
        np.save(partial, np.packbits(np.frombuffer(ranks, np.uint8) == 0))
        partial.rename(block_file(name, number))


def block_file(name: str, number: int) -> Path:
    return WORK / "blocks" / f"{name}-{number:04d}.npy"


COLUMNS = (
    "before -> now", "checks", "regressions", "share", "95% bound", "cannot tell", "held", "improvements",
    "mean change", "images that differ",
)  # fmt: skip
CONDITIONS = {"equal": "equal accuracy", "worse": "two points worse", "worse-other": "two points worse, other training"}


def judge(out: Path) -> None:
    """Every block as a check; the table of what they said."""
    packed = np.load(out / "bits.npz")
    bits = {name: np.unpackbits(packed[name], axis=1, count=IMAGES).astype(bool) for name in NETWORKS}
    rows = [COLUMNS, (":--", *["--:"] * (len(COLUMNS) - 1))]
    for now, title in CONDITIONS.items():
        found = [by_images(*pair) for pair in pairs(bits, now)]
        count = Counter(change.outcome for change in found)
        wrong = now == "equal"
        bound = clopper_pearson(count["regression"], len(found), upper=wrong)
        row = (
            title,
            len(found),
            count["regression"],
            f"{count['regression'] / len(found):.2%}",
            f"{'at most' if wrong else 'at least'} {bound:.2%}",
            count["unresolved"],
            count["held"],
            count["improvement"],
            f"{100 * np.mean([change.effect for change in found]):+.2f} points",
            f"{np.mean([change.count for change in found]) / IMAGES:.1%}",
        )
        rows.append(tuple(map(str, row)))
    text = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    (out / "table.md").write_text(text)
    print(text)


def pairs(bits: dict[str, Any], now: str) -> Iterator[tuple[list[bool], list[bool]]]:
    """(before, now) of every block; networks of equal accuracy take turns at being the later one."""
    for number, (old, new) in enumerate(zip(bits["before"], bits[now], strict=True)):
        turned = now == "equal" and number % 2
        yield (new.tolist(), old.tolist()) if turned else (old.tolist(), new.tolist())


def clopper_pearson(count: int, of: int, *, upper: bool) -> float:
    """The one-sided 95% bound of a share."""
    if upper:
        return 1.0 if count == of else float(betaincinv(count + 1, of - count, 0.95))
    return 0.0 if count == 0 else float(betaincinv(count, of - count + 1, 0.05))


def whole(out: Path, checks: int) -> None:
    """Blocks through the real command, each in a directory of its own; a line for each check, kept in whole.txt."""
    lines, agree = [], 0
    for number in range(checks):
        place = WORK / "whole" / f"{number:04d}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        bits = {name: np.unpackbits(np.load(block_file(name, number)), count=IMAGES).astype(bool) for name in NETWORKS}
        command(place, "run", "suite", suite(place, "before", number))
        command(place, "baseline", "save")
        for now in ("equal", "worse"):
            command(place, "run", "suite", suite(place, now, number))
            code, text = command(
                place, "check", "--run", "latest", "--metrics", "top1", "--format", "json", codes=(0, 1)
            )
            (verdict,) = json.loads(text)["verdicts"]
            found = by_images(bits["before"].tolist(), bits[now].tolist())
            same = verdict["outcome"] == found.outcome and code == (found.outcome == "regression")
            agree += same
            lines.append(
                f"block {number} {now}: exit code {code}, {verdict['outcome']}, {100 * verdict['effect']:+.2f} points; "
                f"from the bits: {found.outcome}, {100 * found.effect:+.2f} points"
            )
            print(lines[-1], flush=True)
    lines.append(f"{agree} of {2 * checks} agree")
    print(lines[-1])
    (out / "whole.txt").write_text("\n".join(lines) + "\n")


def suite(place: Path, name: str, number: int) -> str:
    """A suite file that evaluates one of the networks on a block."""
    data = {"train": 20, "test": IMAGES, "seed": FIRST_BLOCK + number, **DRAWN}
    table = {
        "name": "accuracy",
        "stages": ["train"],
        "architectures": [VARIANT.architecture],
        "data": {"name": "shapes", "args": data},
        "eval_weights": str((WORK / f"{name}.safetensors").resolve()),
    }
    (place / f"{name}.toml").write_text(toml.dumps(table))
    return f"{name}.toml"


def command(place: Path, *words: str, codes: Sequence[int] = (0,)) -> tuple[int, str]:
    """`drbench` as a user runs it: its exit code, and what it said."""
    done = subprocess.run([sys.executable, "-m", "drbench", *words], cwd=place, capture_output=True, text=True)
    if done.returncode not in codes:
        raise SystemExit(f"drbench {' '.join(words)} in {place} ended with {done.returncode}: {done.stderr}")
    return done.returncode, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("prepare", "record", "judge", "whole"))
    parser.add_argument("--out", type=Path, default=Path("calibration-accuracy"), help="where results go")
    parser.add_argument("--blocks", type=int, default=300, help="checks of 10,000 images (300)")
    parser.add_argument("--minutes", type=float, default=2.5, help="record: no new block after so long (2.5)")
    parser.add_argument("--checks", type=int, default=5, help="whole: so many blocks, two checks each (5)")
    given = parser.parse_args()
    if given.step == "prepare":
        prepare(given.out)
    elif given.step == "record":
        record(given.out, given.blocks, given.minutes)
    elif given.step == "judge":
        judge(given.out)
    else:
        whole(given.out, given.checks)


if __name__ == "__main__":
    main()
