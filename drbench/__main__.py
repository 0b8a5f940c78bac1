"""The command `drbench`, and `python -m drbench`."""

import sys

from drbench import interrupts


def main() -> int:
    """Run one command; its exit code."""
    return interrupts.orderly(_command)  # before all that takes time to import


def _command() -> int:
    from drbench.cli import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
