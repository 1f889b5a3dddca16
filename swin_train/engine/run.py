"""What the loop of a run works with, and how it obeys when it is asked to stop."""

import time
from dataclasses import dataclass
from typing import NoReturn

from swin_train.config import Config
from swin_train.data.loader import TrainFeed
from swin_train.distributed import Runtime, Spread
from swin_train.distributed.signals import StopSignals, stopped
from swin_train.engine.bad_images import BadImageList
from swin_train.engine.checkpoint import Checkpointer
from swin_train.engine.ending import Ending
from swin_train.engine.identity import RunFacts
from swin_train.engine.precision import Precision
from swin_train.engine.run_folder import RunFolder
from swin_train.engine.state import TrainState
from swin_train.optim.schedules import Schedule
from swin_train.record import Recorder
from swin_train.tasks import Classification


class Pace:
    """How long the run will take, from how long this launch has taken so far."""

    def __init__(self, first_step: int) -> None:
        self._start = time.perf_counter()
        self._first_step = first_step

    def seconds_left(self, step: int, total_steps: int) -> float:
        """Return the time left, evaluations included, in seconds."""
        per_step = (time.perf_counter() - self._start) / (step - self._first_step)
        return per_step * (total_steps - step)


@dataclass
class Run:
    """The parts that the loop works with."""

    cfg: Config
    task: Classification
    state: TrainState
    schedule: Schedule
    train_feed: TrainFeed
    precision: Precision
    runtime: Runtime
    spread: Spread
    recorder: Recorder
    checkpoints: Checkpointer
    facts: RunFacts
    header: dict[str, str]  # what travels with its weights
    pace: Pace
    bad_images: BadImageList
    folder: RunFolder
    signals: StopSignals
    ending: Ending

    @property
    def is_step_saved(self) -> bool:
        """Whether ``SAVE_STEPS`` asks for the state after this update."""
        every = self.cfg.SAVE_STEPS
        return every > 0 and self.state.step % every == 0

    def save(self, *, must: bool = False) -> None:
        """Save the training state; ``must`` as of ``Checkpointer.save``."""
        self.ending.pause()
        self.checkpoints.save(self.state, self.facts, self.header, must=must)

    def agree(self, is_due: bool = False) -> tuple[int, bool]:
        """Return the urgency with which any process was asked to stop, and whether any has something due."""
        urgency, due = self.runtime.steps.largest([self.signals.urgency, int(is_due)])
        return urgency, bool(due)

    def stop_if_asked(self) -> None:
        """Save and end the run if any process was asked to; all processes call this together."""
        if urgency := self.agree()[0]:
            self.obey(urgency)

    def obey(self, urgency: int) -> NoReturn:
        """Save the training state, and end the run.

        Raises:
            Stopped: always.
        """
        step, total = self.state.step, self.state.plan.total_steps
        self.save(must=True)
        what = f"after update {step} of {total}, which is saved; the same command goes on from there"
        raise stopped(urgency, what, is_agreed=True)
