"""Checkpoints: training states that resume exactly, and weights for use elsewhere.

``checkpoints/step-00001250/`` holds the tensors (``model.*``, ``ema.*``, ``optim.*``) in safetensors files, of every
process those that it holds, ``train.json`` (counters, what the run was started with, and what its weights are) and
``MANIFEST.json``. ``weights/{last,best,best_ema}.safetensors`` hold a model alone, under the published names.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from safetensors import SafetensorError
from torch import Tensor

from swin_train.config import Config, to_dict
from swin_train.distributed import Runtime
from swin_train.distributed.parallelize import whole_on_main
from swin_train.engine.commit import Commit
from swin_train.engine.finite import check_finite
from swin_train.engine.identity import RunFacts, compare_runs
from swin_train.engine.migrations import SCHEMA
from swin_train.engine.retention import Retention
from swin_train.engine.run_folder import RunFolder
from swin_train.engine.saver import Saver
from swin_train.engine.source import find_source
from swin_train.engine.state import TrainState
from swin_train.engine.step_folders import is_whole, read_train_json, step_folder, step_folders, step_of
from swin_train.errors import StorageError, UserError
from swin_train.weights.stored_tensors import StoredTensors
from swin_train.weights.write import write_weights

logger = logging.getLogger(__name__)

_LAST_SAVE_S = 60.0  # that a run which fails waits for a state that is being written


class Checkpointer:
    """Reads the state to continue from, and saves new ones; all processes do so together.

    A disk that refuses is said and tried again at the next time, ``SAVE_MAX_FAILURES`` times.

    Raises:
        UserError: checkpoints exist, but none is whole, or ``TRAIN.AUTO_RESUME`` is off and a run is there.
    """

    def __init__(self, cfg: Config, folder: RunFolder, runtime: Runtime) -> None:
        self._cfg, self._folder, self._runtime = cfg, folder, runtime
        self._retention = Retention(folder.checkpoints, cfg.SAVE_KEEP, cfg.SAVE_FOREVER)
        self._saver = Saver(runtime.saver, after=self._retention.remove_old)
        self._saved_at = time.monotonic()
        self._weight_failures = 0
        self._on_disk: tuple[int, int] | None = (
            None  # updates and the last evaluation of the newest state there
        )
        self.source = find_source(cfg, folder.checkpoints, runtime)

    @property
    def recorded(self) -> RunFacts | None:
        """What the run that is resumed was started with; None for a new run."""
        return read_train_json(self.source)["run"] if self.source else None

    def check_identity(self, facts: RunFacts, images_in_any_order: Callable[[], str]) -> None:
        """Refuse to continue a run as another one; say which other settings changed since.

        Args:
            facts: of the run as it would go on.
            images_in_any_order: gives the fingerprint that checkpoints of schema 1 hold.

        Raises:
            UserError: naming every difference with both values.
        """
        if self.source is None:
            return
        content = read_train_json(self.source)
        if "images_in_any_order" in content["run"]:
            facts = facts | {"images_in_any_order": images_in_any_order()}
        differences, changes = compare_runs(self._cfg, facts, content["config"], content["run"])
        if differences:
            raise UserError(
                f"{self.source}: the run cannot go on as it began: {'; '.join(differences)}; restore them, "
                f"or start a new run under another TAG"
            )
        if changes and self._runtime.is_main:
            logger.warning("settings changed since %s was saved: %s", self.source.name, "; ".join(changes))

    def resume(self, state: TrainState) -> None:
        """Put ``state`` where the saved one was; without one it stays as it is."""
        if self.source is None:
            return
        self._read(self.source, state)
        self._on_disk = state.step, state.evaluated
        if self.source.parent != self._folder.checkpoints:
            state.best.clear()  # those weights are in the other run's folder
            state.best_step = 0
            self._on_disk = None
        logger.info(
            "resumed from %s: %d of %d updates made, epoch %d",
            self.source,
            state.step,
            state.plan.total_steps,
            state.epoch,
        )

    def newest_before(self, step: int) -> int | None:
        """Return the newest whole saved state of less than ``step`` updates, by its number of updates."""
        self._settle()

        def find() -> int | None:
            older = [path for path in step_folders(self._folder.checkpoints) if step_of(path) < step]
            return next((step_of(path) for path in reversed(older) if is_whole(path)), None)

        found: int | None = self._runtime.from_main(find)
        return found

    def go_back(self, state: TrainState, step: int) -> None:
        """Put ``state`` where the saved one of ``step`` updates was, which ``newest_before`` returned."""
        self._read(step_folder(self._folder.checkpoints, step), state)
        self._on_disk = None  # what the run remembers of having gone back is not in it

    @property
    def is_due(self) -> bool:
        """Whether ``SAVE_MINUTES`` have passed, by the clock of the main process."""
        minutes = self._cfg.SAVE_MINUTES
        return self._runtime.is_main and minutes > 0 and time.monotonic() - self._saved_at > 60 * minutes

    def save(
        self, state: TrainState, facts: RunFacts, header: Mapping[str, str], *, must: bool = False
    ) -> None:
        """Write the training state, and ``header``, what its weights are; then delete what need not be kept.

        With ``SAVE_ASYNC`` training goes on as soon as it is copied.

        Args:
            state: to be saved; one that is on disk already, with its evaluation, is left there.
            facts: what the run was started with.
            header: what travels with its weights, JSON by name.
            must: wait until it is written, whatever failed before; failing is an error at once.

        Raises:
            NumericsError: in every process, when a number in it is not finite.
            StorageError: in every process, when it could not be written. Older checkpoints are untouched.
        """
        start = time.perf_counter()
        self._settle(is_counted=not must)  # what must be saved is tried however often it failed
        self._saved_at = time.monotonic()
        if self._on_disk == (state.step, state.evaluated):  # the same in all processes
            return
        folder = step_folder(self._folder.checkpoints, state.step)
        tensors = state.tensors()
        check_finite(tensors, state.step, self._runtime.files)
        is_waiting = must or not self._cfg.SAVE_ASYNC
        self._retention.note(state)
        self._saver.start(
            Commit(
                folder=folder,
                tensors=_on_host(tensors, copy=not is_waiting),
                content=self._content(state, facts, header),
                step=state.step,
                owner=self._folder.owner,
                check_owner=self._folder.check_owner,
            )
        )
        self._on_disk = state.step, state.evaluated
        if is_waiting:
            self._settle(is_last=must)
        logger.info("training waited %.3f s for %s", time.perf_counter() - start, folder.name)

    def save_weights(self, name: str, state: TrainState, kind: str, header: Mapping[str, str]) -> bool:
        """Write ``weights/NAME.safetensors`` from the ``raw`` or ``ema`` model; return whether it could be written.

        Raises:
            StorageError: in every process, when it could not be written too often.
        """
        path = self._folder.weights / f"{name}.safetensors"
        tensors = whole_on_main(state.weights()[kind].state_dict(), self._runtime)

        def write() -> None:
            try:
                self._folder.check_owner()
                write_weights(path, tensors, header)
            except OSError as error:  # as of a file system that does not answer for a while
                raise StorageError(f"{path}: cannot be written ({error.strerror})") from error

        try:
            self._runtime.from_main(write)
        except StorageError as error:
            self._weight_failures += 1
            self._judge(error, self._weight_failures)
            logger.warning("%s", error)
            return False
        self._weight_failures = 0
        return True

    def close(self) -> None:
        """Wait for what is being written.

        Raises:
            StorageError: it could not be.
        """
        self._settle(is_last=True)

    def _settle(self, *, is_counted: bool = True, is_last: bool = False) -> None:
        """Wait for the state that is being written, if any, and see how it went.

        Args:
            is_counted: too many failures in a row are an error.
            is_last: so is one.
        """
        failure = self._saver.wait()
        if failure is None:
            return
        self._on_disk = None
        if is_counted:
            self._judge(failure, self._cfg.SAVE_MAX_FAILURES if is_last else self._saver.failures)

    def _judge(self, failure: StorageError, count: int) -> None:
        if count >= self._cfg.SAVE_MAX_FAILURES:
            raise failure

    def _read(self, folder: Path, state: TrainState) -> None:
        try:
            state.restore(StoredTensors(folder), read_train_json(folder)["state"])
        except UserError as error:
            raise UserError(f"{folder}: {error}") from None
        except (
            SafetensorError,
            OSError,
        ) as error:  # its manifest is that of what was written, which is no state
            raise UserError(f"{folder}: cannot be read ({error}); give another checkpoint") from error

    def _content(self, state: TrainState, facts: RunFacts, header: Mapping[str, str]) -> str:
        """Return train.json as it is now: training goes on while it is written."""
        content = {
            "schema": SCHEMA,
            "state": state.numbers(),
            "run": facts,
            "header": {name: json.loads(value) for name, value in header.items()},
            "config": to_dict(self._cfg),
        }
        return json.dumps(content, indent=1)

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self._saver.wait(_LAST_SAVE_S)
        except Exception:  # what ends the run is said already
            logger.debug("the checkpoint that was being written", exc_info=True)


def _on_host(tensors: Mapping[str, Tensor], *, copy: bool) -> dict[str, Tensor]:
    """Return the tensors on the CPU, those that are spread over processes as they are spread.

    Args:
        tensors: on any device.
        copy: of those that are there already, so that training can go on.
    """
    return {name: tensor.detach().to("cpu", copy=copy) for name, tensor in tensors.items()}
