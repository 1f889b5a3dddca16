"""The run on the console: a live bar on a terminal, plain lines elsewhere."""

import logging
import sys
from pathlib import Path
from types import TracebackType

from rich.console import Console as RichConsole
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from swin_train.redact import redacted

_PLAIN = "[%(asctime)s] %(levelname)s %(message)s"
_WIDE = 150  # columns from which a terminal holds all the numbers


class Console:
    """Sends the package's log to the console and to ``log.txt``; shows progress.

    Only the main process speaks; the others show their warnings and errors.
    """

    def __init__(self, log_file: Path | None, is_main: bool) -> None:
        self._logger = logging.getLogger("swin_train")
        self._previous = (self._logger.level, self._logger.propagate, self._logger.handlers)
        self._terminal = (
            RichConsole(stderr=True, highlight=False) if is_main and sys.stderr.isatty() else None
        )
        self._file: logging.Handler | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        screen: logging.Handler = logging.StreamHandler(sys.stderr)
        if self._terminal is not None:
            screen = RichHandler(console=self._terminal, show_path=False, highlighter=NullHighlighter())
        screen.setFormatter(_formatter("%(message)s" if self._terminal else _PLAIN))
        handlers = [screen]
        if log_file is not None:
            self._file = _LogFile(log_file, encoding="utf-8", errors="backslashreplace")
            self._file.setFormatter(_formatter(_PLAIN))
            handlers.append(self._file)
        self._logger.setLevel(logging.INFO if is_main else logging.WARNING)
        self._logger.propagate = False
        self._logger.handlers = handlers

    def progress(self, step: int, total_steps: int, epoch: str, *, full: str, short: str) -> None:
        """Show how far the run is: a line in the log, and on a terminal a bar instead of it.

        Args:
            step: updates made.
            total_steps: updates of the whole run.
            epoch: for example "3/300".
            full: the numbers of the log.
            short: those that fit beside the bar in 80 columns.
        """
        line = f"train epoch {epoch} step {step}/{total_steps} {full}"
        if self._terminal is None:
            self._logger.info(line)
            return
        if self._file is not None:
            self._file.handle(self._logger.makeRecord(self._logger.name, logging.INFO, "", 0, line, (), None))
        if self._bar is None or self._task is None:
            self._bar = Progress(
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(bar_width=12),
                TextColumn("{task.completed}/{task.total}", table_column=Column(no_wrap=True)),
                TextColumn("{task.fields[numbers]}", table_column=Column(no_wrap=True, ratio=1)),
                console=self._terminal,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=total_steps, numbers="")
        numbers = full if self._terminal.width >= _WIDE else short
        self._bar.update(self._task, completed=step, description=epoch, numbers=numbers)

    def __enter__(self) -> "Console":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        for handler in self._logger.handlers:
            handler.flush()
        if self._file is not None:
            self._file.close()
        level, self._logger.propagate, self._logger.handlers = self._previous
        self._logger.setLevel(level)


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging calls it so)
        """Keep credentials in URLs out of the log, whoever writes to it."""
        return redacted(super().formatMessage(record))


class _LogFile(logging.FileHandler):
    """``log.txt``, which loses lines on a full disk, and says nothing of it: what else cannot be written is said."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _formatter(line_format: str) -> logging.Formatter:
    return _Formatter(line_format, datefmt="%Y-%m-%d %H:%M:%S")
