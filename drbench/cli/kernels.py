"""`drbench kernels`: build the native CPU kernels in advance, or print which kernels this machine uses."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from drbench.cli import options as o
from drbench.cli.output import say, write
from drbench.errors import FailedError
from drbench.text import to_json

app = typer.Typer(no_args_is_help=True, help="Build the native CPU kernels, or print which kernels this machine uses.")


@app.callback()
def _kernels() -> None:
    pass


@app.command("build")
def build(
    force: Annotated[bool, typer.Option("--force", help="Build again even if they are built.")] = False,
) -> None:
    """Build the native CPU kernels with the C++ compiler of this machine, and print the path of the library."""
    from drbench_kernels.native import BuildError
    from drbench_kernels.native import build as build_library

    try:
        say(build_library(lambda text: say(text, err=True), force=force))
    except BuildError as error:
        raise FailedError(str(error)) from error


@app.command("status")
def status(as_json: o.Json = False) -> None:
    """Print which kernels region convolutions use on this machine, and why, if not the native ones."""
    found = _status()
    if as_json:
        write(to_json(found))
        return
    if why := found.pop("why_not"):
        found["kernels"] += f": {why}"
    for dtype, path in found.pop("paths").items():
        found[f"cpu {dtype}"] = path
    for name, value in found.items():
        say(f"{name:12} {value or 'none'}")


def _status() -> dict[str, Any]:
    """All that is printed; "" where there is nothing. `paths`: dtype -> kernels of a region convolution on the CPU."""
    from importlib.metadata import version
    from importlib.util import find_spec

    import torch
    from drbench_kernels import native, paths
    from drbench_kernels.native.build import compiler, family, library, root

    try:
        cache, built = str(root()), native.loaded() or library()
    except native.BuildError as error:
        cache, built = str(error), None
    mine = compiler()
    return {
        "processor": family(),
        "kernels": native.kernels() if native.ready() else "none",
        "why_not": native.why_not(),
        "compiler": mine.path if mine else "",
        "library": str(built or ""),
        "cache": cache,
        "triton": version("triton") if find_spec("triton") else "",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "paths": {str(t).removeprefix("torch."): paths.region_path("cpu", t) for t in (torch.float32, torch.bfloat16)},
    }
