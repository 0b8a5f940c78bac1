"""What is shown while a run goes on: bars on a terminal, one line for each variant and epoch elsewhere.

Progress goes to stderr; the cost table, which is a result, to stdout as soon as it is known.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO, cast

from drbench.cli.output import say
from drbench.figures import CLASSIFY, FIGURES, of_settings
from drbench.identity import settings
from drbench.records import Epoch, Event, Experiment, Record
from drbench.stages import STAGES, line
from drbench.streams import for_bars
from drbench.text import CELL, printable

if TYPE_CHECKING:
    from rich.progress import TaskID

    from drbench.published import Published


class Progress:
    """Takes Events; a context manager."""

    def __init__(self) -> None:
        self.bars: Any = None
        self.suite: TaskID | None = None
        self.epoch: TaskID | None = None
        self.stage = ""
        self.place = ""
        self.number = 0
        self.headline = CLASSIFY.main

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self.bars = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(bar_width=30),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TextColumn("left"),
                progress.TimeRemainingColumn(),
                console=Console(file=cast(TextIO, for_bars(sys.stderr))),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event.kind:
            case "stage":
                self._stage(event)
            case "variant":
                self._line(line(event.payload))
            case "epoch":
                self._epoch(event)
            case "step":
                self._step(event)
            case "note":
                self._line(event.text)
            case "table":
                self._table(event.payload)

    def _line(self, text: str) -> None:
        if self.bars is not None:
            self.bars.console.print(printable(text), highlight=False, markup=False, emoji=False, soft_wrap=True)
        else:
            say(text, err=True)

    def _stage(self, event: Event) -> None:
        self.stage, self.number = event.text, event.done
        if isinstance(event.payload, Experiment):
            one = event.payload
            self.headline = of_settings({**settings(one), FIGURES: one.figures}).main
            name = f"{one.variants[0].architecture} {', '.join(one.labels)}"
            self.place = name if one.seed is None else f"{name} seed {one.seed}"
            if self.bars is None and event.text in STAGES and STAGES[event.text].announced:
                self._line(f"{event.text} {event.done + 1}/{event.total} {self.place}")
        if self.bars is not None:
            if self.suite is None:
                self.suite = self.bars.add_task("")
            if event.done == 0:
                self.bars.reset(self.suite, total=event.total)
            self.bars.update(
                self.suite,
                total=event.total,
                completed=event.done,
                description=printable(f"{event.text} {self.place}", CELL),
            )
            self._end_epoch()

    def _step(self, event: Event) -> None:
        if self.bars is None:
            return
        if self.epoch is None:
            self.epoch = self.bars.add_task("")
        self.bars.update(
            self.epoch, description=f"  {printable(event.text, CELL)}", completed=event.done, total=event.total
        )

    def _epoch(self, event: Event) -> None:
        epoch = event.payload
        if isinstance(epoch, Epoch):
            of, score = self.headline, epoch.val_score
            val = "" if score is None else f", val {of.called} {of.text(score, 1 if of.is_fraction else None)}"
            self._line(
                f"  {self.place} {event.text}: loss {epoch.train_loss:.3f}{val}, "
                f"{epoch.images_per_second:.0f} images/s, {epoch.seconds:.0f} s"
            )
        if self.bars is not None and self.suite is not None:
            self.bars.update(self.suite, completed=self.number + event.done / max(event.total, 1))
            self._end_epoch()

    def _end_epoch(self) -> None:
        if self.epoch is not None:
            self.bars.remove_task(self.epoch)
            self.epoch = None

    def _table(self, payload: tuple[tuple[Record, ...], tuple[Published, ...]]) -> None:
        from drbench.cli.tables import cost_table, show

        records, references = payload
        if records:
            show(
                cost_table(records, references),
                self.bars.console if self.bars is not None and sys.stdout.isatty() else None,
            )
