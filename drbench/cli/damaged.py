"""How a verb that only reads deals with a damaged database: it shows the rest, says what it left out, and fails."""

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
    """A store to be read. Damaged records that were left out are named on stderr, and the exit code is 4."""
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
    """Name on stderr what was left out."""
    for line in store.damages.lines():
        say(f"drbench: warning: {line}", err=True)
