"""How far a long piece of work is: a bar on a terminal, lines of the log elsewhere."""

import logging
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

_SECONDS = 10.0  # between two lines


class ProgressLine:
    """Counts images.

    Args:
        what: is done, for example "train".
        total: number of images.
        done: of them before this launch.
    """

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self._what, self._total, self._before = what, total, done
        self._done = done
        self._begun = self._shown = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(what, total=total, completed=done)

    def advance(self, count: int) -> None:
        """Add ``count`` images."""
        self._done += count
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        elif now - self._shown >= _SECONDS:
            self._shown = now
            rate = (self._done - self._before) / (now - self._begun)
            left = (self._total - self._done) / rate if rate else 0
            logger.info(
                "%s: %d/%d images, %.0f images/s, %d s left", self._what, self._done, self._total, rate, left
            )

    def __enter__(self) -> "ProgressLine":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
