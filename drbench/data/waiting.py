"""Messages about work on data that takes longer than a user waits without a word."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 2.0
"""Before the first message, and between two."""


def silent(text: str) -> None:
    """Discard a message."""


class Waiting:
    """Passes on a message every SECONDS, and none before work has taken as long as that."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.started = self.last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def tell(self, text: str) -> None:
        """Say `text` if it is time to."""
        if time.monotonic() - self.last >= SECONDS:
            self.last = time.monotonic()
            self.say(text)
