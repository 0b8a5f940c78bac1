"""Reading a damaged database: print the intact records, name the damaged ones, and fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from drbench.cli.output import say
from drbench.errors import FAILED, DrbenchError, NothingError

if TYPE_CHECKING:
    from drbench_db import Store


@contextmanager
def reading(db: str | None) -> Iterator[Store]:
    """Open a store for reading. Damaged records are left out and named on stderr; the exit code is then 4."""
    from drbench_db import Store
    from drbench_db.validate import DamagedError

    with Store.open(db) as store:
        try:
            yield store
        except DamagedError:
            raise
        except NothingError:
            if not store.damages:
                raise
        except DrbenchError:
            warn(store)
            raise
        if store.damages:
            warn(store)
            raise typer.Exit(FAILED)


def warn(store: Store) -> None:
    """Name the damaged records on stderr."""
    for line in store.damages.lines():
        say(f"drbench: warning: {line}", err=True)
