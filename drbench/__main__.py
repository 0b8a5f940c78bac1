"""`python -m drbench` is `drbench`."""

import sys

from drbench.cli import main

if __name__ == "__main__":
    sys.exit(main())
