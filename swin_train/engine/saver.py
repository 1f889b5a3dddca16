"""Writing beside the training: one training state at a time, in a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from swin_train.distributed.channel import Channel
from swin_train.engine.commit import Commit, commit
from swin_train.errors import StorageError

logger = logging.getLogger(__name__)


@dataclass
class Saver:
    """Commits training states over a channel that nobody else uses meanwhile.

    Attributes:
        channel: of the processes.
        after: called in the main process behind each commit, such as to delete older ones.
        failures: commits in a row that did not succeed, the same number in all processes.
    """

    channel: Channel
    after: Callable[[], None]
    failures: int = 0
    _thread: threading.Thread | None = None
    _error: list[BaseException] = field(default_factory=list)

    def start(self, state: Commit) -> None:
        """Begin to write; ``wait`` must have been called since the last time."""
        self._thread = threading.Thread(target=self._run, args=(state,), name="saver", daemon=True)
        self._thread.start()

    def wait(self, timeout: float | None = None) -> StorageError | None:
        """Wait for what was begun, and return why it failed, if it did.

        Raises:
            UserError: another reason than storage: a lost process, or the run's folder in other hands.
            TimeoutError: ``timeout`` seconds were not enough.
        """
        if self._thread is None:
            return None
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError("the checkpoint that is being written did not get done")
        self._thread = None
        if not self._error:
            self.failures = 0
            return None
        error = self._error.pop()
        if isinstance(error, StorageError):
            self.failures += 1
            return error
        raise error

    def _run(self, state: Commit) -> None:
        start = time.perf_counter()
        try:
            commit(state, self.channel)
            if self.channel.rank == 0:
                self.after()
        except StorageError as error:
            failure = StorageError(
                f"{state.folder}: cannot be written ({error}); older checkpoints are intact"
            )
            self._error.append(failure)
            if self.channel.rank == 0:
                logger.warning("%s", failure)
        except BaseException as error:  # raised again where the training waits
            self._error.append(error)
        else:
            seconds = time.perf_counter() - start
            logger.info("saved %s: %.4g MB in %.2f s", state.folder, state.num_bytes / 1e6, seconds)
