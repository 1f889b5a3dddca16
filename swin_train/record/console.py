"""The run on the console: a live bar on a terminal, plain lines elsewhere."""

import logging
import sys
from pathlib import Path
from types import TracebackType

from rich.console import Console as RichConsole
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

_PLAIN = "[%(asctime)s] %(levelname)s %(message)s"


class Console:
    """Sends the package's log to the console and to ``log.txt``; shows progress.

    Only the main process speaks; the others show their warnings and errors.
    """

    def __init__(self, log_file: Path | None, is_main: bool) -> None:
        self._logger = logging.getLogger("swin_train")
        self._handlers: list[logging.Handler] = []
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._previous = (self._logger.level, self._logger.propagate, self._logger.handlers)
        is_live = is_main and sys.stderr.isatty()
        if is_live:
            rich_console = RichConsole(stderr=True)
            self._add(
                RichHandler(console=rich_console, show_path=False, rich_tracebacks=False), "%(message)s"
            )
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                console=rich_console,
                transient=True,
            )
        else:
            self._add(logging.StreamHandler(sys.stderr), _PLAIN)
        if log_file is not None:
            self._add(logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace"), _PLAIN)
        self._logger.setLevel(logging.INFO if is_main else logging.WARNING)
        self._logger.propagate = False
        self._logger.handlers = self._handlers

    def _add(self, handler: logging.Handler, line_format: str) -> None:
        handler.setFormatter(logging.Formatter(line_format, datefmt="%Y-%m-%d %H:%M:%S"))
        self._handlers.append(handler)

    def progress(self, step: int, total_steps: int, epoch: str, numbers: str) -> None:
        """Show how far the run is; on a terminal in place, elsewhere as one line."""
        if self._bar is None:
            self._logger.info("train epoch %s step %d/%d %s", epoch, step, total_steps, numbers)
            return
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("", total=total_steps, numbers="")
        self._bar.update(self._task, completed=step, description=f"epoch {epoch}", numbers=numbers)

    def __enter__(self) -> "Console":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        for handler in self._handlers:
            handler.flush()
            if isinstance(handler, logging.FileHandler):
                handler.close()
        level, self._logger.propagate, self._logger.handlers = self._previous
        self._logger.setLevel(level)
