"""Signals that ask a run to stop: noted when they come, obeyed where nothing is half done."""

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from swin_train.errors import INTERRUPTED, PREEMPTED, Stopped

logger = logging.getLogger(__name__)

_WATCHED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopSignals:
    """Notes SIGTERM, SIGUSR1 (which schedulers send before a time limit) and SIGINT (Ctrl-C).

    Until ``defer`` is called there is nothing to save, and the first signal ends the run at once. A second Ctrl-C does
    so without saving; a second SIGTERM changes nothing. Outside of the main thread, which alone may handle signals,
    none is noted.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._is_deferred = False
        self._previous: dict[int, Any] = {}
        self._num_said = 0

    @property
    def urgency(self) -> int:
        """0 where no signal came, 1 after SIGTERM or SIGUSR1, 2 after SIGINT."""
        if len(self._received) > self._num_said:
            for number in self._received[max(1, self._num_said) :]:
                logger.warning("%s: the run is stopping already", signal.Signals(number).name)
            self._num_said = len(self._received)
        if not self._received:
            return 0
        return 2 if signal.SIGINT in self._received else 1

    def defer(self) -> None:
        """From now on only note what comes: whoever trains polls ``urgency``, and whoever ends is not disturbed."""
        self._is_deferred = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        before = list(self._received)
        self._received.append(number)
        if number == signal.SIGINT and signal.SIGINT in before:
            raise KeyboardInterrupt
        if not self._is_deferred and not before:
            what = "before the first update; nothing was lost"
            raise stopped(2 if number == signal.SIGINT else 1, what, is_agreed=False)

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _WATCHED}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not Python's


def stopped(urgency: int, what: str, *, is_agreed: bool) -> Stopped:
    """Return the error that ends a run after signals of that urgency.

    Args:
        urgency: as of ``StopSignals``.
        what: became of the run.
        is_agreed: whether all processes stop at the same update.
    """
    if urgency == 2:
        return Stopped(f"stopped by Ctrl-C {what}", INTERRUPTED, is_agreed=is_agreed)
    return Stopped(f"stopped by a signal (SIGTERM or SIGUSR1) {what}", PREEMPTED, is_agreed=is_agreed)
