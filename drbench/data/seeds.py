"""Seeds for everything that is drawn, each a pure function of what it is for.

Nothing is drawn from a generator that runs on: the draws of epoch 7, step 12 do not depend on what happened before.
So all variants see the same images in the same order, whatever random numbers their layers consume, and a resumed
training goes on exactly as the uninterrupted one.
"""

from __future__ import annotations

import hashlib

import torch


def derive(purpose: str, *parts: int) -> int:
    """A 63-bit seed that depends on `purpose` and all of `parts`, and on nothing else."""
    text = "/".join([purpose, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int) -> torch.Generator:
    """A CPU generator of its own, so that the global one is neither read nor moved."""
    return torch.Generator().manual_seed(seed)
