"""How a launch ends: whatever ends it is written down, and a process that only lost another one names it."""

import faulthandler
import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import IO

from swin_train.distributed import Runtime
from swin_train.distributed.launcher import ending_with_launcher
from swin_train.distributed.signals import StopSignals
from swin_train.engine.run_folder import EXIT_NAME, RunFolder
from swin_train.errors import LockLost, PeerLost, UserError, as_user_error
from swin_train.exit_report import end_process, report_exit

logger = logging.getLogger(__name__)

_REARM_EVERY_S = 1.0
_LATER_S = 10.0  # than the others, who give up after DIST.TIMEOUT_S and say whom they wait for


class Ending:
    """Watches a launch in its folder, and reports its end.

    Each process writes what went wrong in it to ``ranks/rank-N.txt``: the traceback of an unexpected error, and the
    stacks of all its threads when an update of its own takes longer than ``DIST.TIMEOUT_S``. It ends then: the others
    have given it up, and one that hangs in a system call would not even hear a signal.

    Attributes:
        step: updates made, for the report; kept up to date by whoever trains.
    """

    def __init__(self, folder: RunFolder, runtime: Runtime, signals: StopSignals, timeout_s: float) -> None:
        self.step: int | None = None
        self._signals = signals
        self._folder, self._owner = folder.path, folder.owner
        self._runtime, self._timeout_s = runtime, timeout_s
        self._path = folder.path / "ranks" / f"rank-{runtime.rank}.txt"
        self._file: IO[str] | None = None
        self._armed_at = 0.0

    def alive(self, step: int) -> None:
        """Note that an update has been made; the next one may take ``DIST.TIMEOUT_S``, and a little more."""
        self.step = step
        now = time.monotonic()
        if self._runtime.world_size > 1 and now - self._armed_at > _REARM_EVERY_S:
            self._armed_at = now
            patience_s = self._patience_s + _REARM_EVERY_S
            faulthandler.dump_traceback_later(patience_s, file=self._open(), exit=True)

    def pause(self) -> None:
        """Expect no update for a while, as during an evaluation or while files are written."""
        if self._armed_at:
            faulthandler.cancel_dump_traceback_later()
            self._armed_at = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Expect updates within this context only: to give up, and to say whom it waited for, takes its own time."""
        try:
            yield
        finally:
            self.pause()

    @contextmanager
    def reported(self) -> Iterator["Ending"]:
        """Write down what ends the launch within this context.

        Raises:
            PeerLost: instead of what a collective says when another process is gone, naming that process.
        """
        try:
            with (
                ending_with_launcher(self._runtime.launcher, self._end_at_once),
                self._ending_without_others(),
            ):
                yield self
        except BaseException as error:
            self._signals.defer()  # torchrun sends SIGTERM as soon as it misses a process, and would cut this short
            explained = as_user_error(error)
            ending = self._named(explained) if isinstance(explained, PeerLost) else error
            self._report(ending, is_explained=explained is not None)
            if ending is error:
                raise
            raise ending from error
        else:
            if self._runtime.is_main:
                self._write(None)
        finally:
            if self._file is not None:
                with suppress(OSError):  # it may be in the hands of a later launch already
                    self._file.close()
                    if not self._path.stat().st_size:
                        self._path.unlink()

    @property
    def _patience_s(self) -> float:
        """Seconds after which this process acts, where no collective has given up before, which says it best."""
        return min(1.1 * self._timeout_s, self._timeout_s + _LATER_S)

    def _ending_without_others(self) -> AbstractContextManager[None]:
        heartbeat = self._runtime.heartbeat
        if heartbeat is None:
            return nullcontext()
        return heartbeat.ending_without(
            self._patience_s, lambda culprits: self._end_at_once(self._lost(culprits))
        )

    def _named(self, lost: PeerLost) -> PeerLost:
        roll_call = self._runtime.roll_call
        culprits = roll_call.culprits() if roll_call is not None else []
        return self._lost(culprits) if culprits else lost

    def _lost(self, culprits: list[str]) -> PeerLost:
        where = f"{self._path.parent} holds what each wrote down, and " if self._is_any_written() else ""
        return PeerLost(
            f"lost another process after update {self.step or 0}: {'; '.join(culprits).rstrip('.')}; {where}the same "
            f"command goes on from the last checkpoint"
        )

    def _is_any_written(self) -> bool:
        for path in self._path.parent.glob("*.txt"):
            with suppress(OSError):  # another process takes its own away, where it wrote nothing
                if path.stat().st_size:
                    return True
        return False

    def _report(self, error: BaseException, *, is_explained: bool) -> None:
        rank, roll_call = self._runtime.rank, self._runtime.roll_call
        if not is_explained and not isinstance(error, KeyboardInterrupt | SystemExit):
            with suppress(OSError):
                traceback.print_exception(error, file=self._open())
        if roll_call is not None and not isinstance(error, PeerLost):
            roll_call.answer(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        if not isinstance(error, UserError):  # those are printed
            logger.error(
                "rank %d ends after update %s: %s", rank, self.step or 0, str(error) or type(error).__name__
            )
        self._write(error)

    def _write(self, error: BaseException | None) -> None:
        report_exit(self._folder / EXIT_NAME, error, step=self.step, owner=self._owner)

    def _end_at_once(self, error: LockLost | PeerLost) -> None:
        """End this process, in whatever it is; called from the threads that watch the launcher and the others."""
        self._write(error)
        end_process(error)

    def _open(self) -> IO[str]:
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        return self._file
