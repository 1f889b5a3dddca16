"""How a micro-batch is tried: on a CUDA device here, on a CPU in a process that may be killed."""

import gc
import json
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

import torch

from swin_train.config import Config
from swin_train.engine.fit_trial import run_updates
from swin_train.engine.host_memory import available_memory, peak_memory
from swin_train.engine.plan import RunPlan
from swin_train.errors import UserError

HOST_SHARE = 0.8  # of what is available; the rest is for the data's workers and other programs

_INTERVAL_S = 0.02  # between two looks at the memory of the process that tries


@dataclass(frozen=True)
class Measurement:
    """What came of trying.

    Attributes:
        peak_bytes: the most memory that was held: of a CUDA device, what its allocator had reserved; of a CPU, of
            the whole process. Where it was too much, what was reached before the end.
        images_per_s: of one process; None where it did not fit.
    """

    peak_bytes: int
    images_per_s: float | None


class Meter(Protocol):
    """Tries plans within ``limit_bytes`` of memory."""

    @property
    def limit_bytes(self) -> int:
        """What one process may take."""

    def measure(self, cfg: Config, plan: RunPlan) -> Measurement:
        """Make some updates of ``plan`` in the precision and on the device of ``cfg``.

        Raises:
            UserError: they cannot be made, whatever the memory.
        """


def choose_meter(device: torch.device, memory_gb: float | None, processes: int) -> Meter:
    """The meter of a device.

    Args:
        device: to compute on.
        memory_gb: what one process may take, in 2^30 bytes; None is all that is free of a CUDA device, and of a
            CPU the share ``HOST_SHARE`` of what is available, divided among the processes.
        processes: of the training; on a CPU all are taken to be on this machine.

    Raises:
        UserError: nothing is known of the device's memory.
    """
    given = None if memory_gb is None else int(memory_gb * 2**30)
    if device.type == "cuda":
        return CudaMeter(device, given)
    if device.type == "cpu":
        return HostMeter(given or int(HOST_SHARE * available_memory()) // processes)
    raise UserError(f"main.py fit: DEVICE is {device.type}, whose memory cannot be measured; use cuda or cpu")


class CudaMeter:
    """Tries in this process until CUDA's allocator gives no more.

    Args:
        device: a CUDA device.
        limit_bytes: what the allocator may take; None is what is free, which is the most.
    """

    def __init__(self, device: torch.device, limit_bytes: int | None) -> None:
        free, self._total = torch.cuda.mem_get_info(device)
        self.limit_bytes = min(limit_bytes or free, free)
        self._device = device

    def measure(self, cfg: Config, plan: RunPlan) -> Measurement:
        """Try; see ``Meter``."""
        torch.cuda.set_per_process_memory_fraction(self.limit_bytes / self._total, self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        try:
            images_per_s = run_updates(cfg, plan)
        except torch.OutOfMemoryError:
            images_per_s = None
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, self._device)
        peak = torch.cuda.max_memory_reserved(self._device)
        gc.collect()  # after the except clause, which held the frames of the updates
        torch.cuda.empty_cache()
        return Measurement(peak, images_per_s)


class HostMeter:
    """Tries in a process of its own, and kills it when it holds more than ``limit_bytes``."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes

    def measure(self, cfg: Config, plan: RunPlan) -> Measurement:
        """Try; see ``Meter``. A process that the system kills for its memory did not fit.

        Raises:
            UserError: as ``Meter`` says.
            RuntimeError: the process ended otherwise; it said why on stderr.
        """
        # Forked from a server that has imported torch and computed nothing: threads of this process would be missing.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_try, args=(cfg, plan, sender), daemon=True)
        process.start()
        sender.close()
        peak = 0
        try:
            while not receiver.poll(_INTERVAL_S) and peak <= self.limit_bytes:
                peak = max(peak, peak_memory(process.pid))
            answer = json.loads(receiver.recv_bytes()) if peak <= self.limit_bytes else {}
        except EOFError:
            process.join()
            if process.exitcode != -signal.SIGKILL:
                raise RuntimeError(
                    f"main.py fit: the process that tried {plan.micro_batch} images ended with status "
                    f"{process.exitcode}; what it said is above"
                ) from None
            answer = {}
        finally:
            process.kill()
            process.join()
            receiver.close()
        if "error" in answer:
            raise UserError(answer["error"])
        peak = max(peak, answer.get("peak_bytes", 0))
        return Measurement(peak, answer.get("images_per_s") if peak <= self.limit_bytes else None)


def _try(cfg: Config, plan: RunPlan, sender: Connection) -> None:
    """Make the updates, and send what came of them as JSON; end with the process that waits for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for that one
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    answer: dict[str, object] = {}
    try:
        answer["images_per_s"] = run_updates(cfg, plan)
    except UserError as error:
        answer["error"] = str(error)
    except MemoryError:
        pass
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # the words of torch's allocator for the CPU
            raise
    sender.send_bytes(json.dumps(answer | {"peak_bytes": peak_memory()}).encode())


def _end_with_parent() -> None:
    """Nobody else would watch over this process's memory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
