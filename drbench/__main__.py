"""The command `drbench`, and `python -m drbench`."""

import gc
import sys

from drbench import interrupts

ALLOCATIONS = 200_000
"""Objects made between two searches for garbage. Python's 700 cost a report over many results a fifth of its time, and
a command makes hardly any garbage that needs a search."""


def main() -> int:
    """Run one command; its exit code."""
    gc.set_threshold(ALLOCATIONS)
    return interrupts.orderly(_command)  # before all that takes time to import


def _command() -> int:
    from drbench.cli import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
