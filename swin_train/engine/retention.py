"""Which training states stay on disk."""

import logging
from pathlib import Path

from swin_train.engine.commit import remove_folder
from swin_train.engine.state import TrainState
from swin_train.engine.step_folders import step_folders, step_of

logger = logging.getLogger(__name__)


class Retention:
    """Deletes what is neither among the newest, nor the best, nor from before a spike, nor for ever.

    Args:
        checkpoints: the folder that holds the states.
        newest: number of the newest ones that stay.
        epochs: those of every so many epochs stay for ever; 0 is none.
    """

    def __init__(self, checkpoints: Path, newest: int, epochs: int) -> None:
        self._checkpoints, self._newest, self._epochs = checkpoints, newest, epochs
        self._kept: frozenset[int] = frozenset()
        self._period = 0

    def note(self, state: TrainState) -> None:
        """Keep what ``state``, which is about to be written, needs beside itself."""
        self._kept = frozenset({state.best_step, *state.spikes.kept})
        self._period = self._epochs * state.plan.steps_per_epoch

    def remove_old(self) -> None:
        """Delete what need not be kept, as of the state that was noted last."""
        for old in step_folders(self._checkpoints)[: -self._newest]:
            step = step_of(old)
            if step in self._kept or (self._period and step % self._period == 0):
                continue
            try:
                remove_folder(old)
            except OSError as error:  # no reason to stop
                logger.warning("%s: cannot be deleted (%s)", old, error.strerror)
