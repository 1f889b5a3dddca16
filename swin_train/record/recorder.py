"""One call, every sink: what the main process writes down about a run."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from swin_train.record.console import Console
from swin_train.record.json_lines import JsonLines

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)


class Recorder:
    """Writes metrics to ``metrics.jsonl`` and TensorBoard, and shows them on the console.

    Args:
        folder: the run's folder, or None where nothing is written to disk (other ranks, evaluation).
        is_main: whether this process speaks.
    """

    def __init__(self, folder: Path | None, is_main: bool) -> None:
        self._folder = folder if is_main else None
        self._console = Console(self._folder / "log.txt" if self._folder else None, is_main)
        self._lines = JsonLines(self._folder / "metrics.jsonl") if self._folder else None
        self._board: SummaryWriter | None = None
        self._is_main = is_main
        self._is_drawing = False
        self._is_losing = False

    def start(self, step: int, evaluated: int) -> None:
        """Open the curves at ``step``; what an interrupted run wrote after it is taken back.

        Args:
            step: updates made.
            evaluated: the update after which the last evaluation was made.
        """
        if self._folder is None or self._lines is None:
            return
        self._lines.rewind(step, evaluated)
        if self._board is not None:
            self._board.close()
        self._open_board(purge_step=step + 1)
        self._is_drawing = True

    def train(self, numbers: Mapping[str, Any], *, total_steps: int, epochs: int, eta_s: float) -> None:
        """Record one interval of training.

        Args:
            numbers: ``step``, ``epoch``, ``loss``, ``lr``, ``grad_norm``, ``images_per_s``,
                ``data_wait`` (share of the time, 0 to 1), ``memory_mb``; in fp16 ``loss_scale``; ``compile_s`` where
                time went into compiling, which the speed leaves out.
            total_steps: updates of the whole run.
            epochs: epochs of the whole run.
            eta_s: seconds until the end of the run.
        """
        if not self._is_main:
            return
        self._write("train", numbers)
        speed, left = f"{numbers['images_per_s']:.0f}", _duration(eta_s)
        full = (
            f"loss {numbers['loss']:.4f} lr {numbers['lr']:.3g} grad_norm {numbers['grad_norm']:.3f} "
            f"images/s {speed} data_wait {100 * numbers['data_wait']:.0f}% mem {numbers['memory_mb']:.0f}MB left {left}"
        )
        if "compile_s" in numbers:
            full += f" compiling took {numbers['compile_s']:.1f} s more"
        if "loss_scale" in numbers:
            full += f" loss_scale {numbers['loss_scale']:g}"
        self._console.progress(
            numbers["step"],
            total_steps,
            f"{numbers['epoch']}/{epochs}",
            full=full,
            short=f"loss {numbers['loss']:.3f} lr {numbers['lr']:.1e} {speed} img/s {left} left",
        )

    def evaluation(self, numbers: Mapping[str, Any]) -> None:
        """Record an evaluation: ``step``, ``epoch`` and accuracies in percent."""
        self._write("val", numbers)

    def _write(self, kind: str, numbers: Mapping[str, Any]) -> None:
        if self._lines is None:
            return
        try:
            self._lines.write({"kind": kind, "time": round(time.time(), 3), **numbers})
            self._draw(kind, numbers)
        except OSError as error:  # as of a full disk: no reason to end a run
            if not self._is_losing:
                logger.warning("%s: records are lost (%s); see to free space", self._folder, error.strerror)
            self._is_losing = True
        else:
            self._is_losing = False

    def _draw(self, kind: str, numbers: Mapping[str, Any]) -> None:
        """Add to the curves; TensorBoard's writer, once it has failed, fails for ever, so that it is made anew."""
        if not self._is_drawing:
            return
        try:
            if self._board is None:
                self._open_board()
            assert self._board is not None
            for name, value in numbers.items():
                if name not in ("step", "epoch") and isinstance(value, int | float):
                    self._board.add_scalar(f"{kind}/{name}", value, numbers["step"])
        except OSError:
            if self._board is not None:
                with suppress(OSError):
                    self._board.close()
            self._board = None
            raise

    def _open_board(self, **options: Any) -> None:
        from torch.utils.tensorboard import SummaryWriter  # brings all of torch, which takes seconds

        assert self._folder is not None
        self._board = SummaryWriter(str(self._folder / "tensorboard"), **options)

    def __enter__(self) -> "Recorder":
        self._console.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for records in (self._lines, self._board):
            try:
                if records is not None:
                    records.close()
            except OSError as failure:
                logger.warning("%s: records are lost (%s)", self._folder, failure.strerror)
        self._console.__exit__(kind, error, trace)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h" if days else f"{hours}:{minutes:02}:{seconds:02}"
