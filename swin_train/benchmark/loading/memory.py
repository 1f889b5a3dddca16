"""Memory of a contender over epochs, in a process of its own, so that nobody else's is counted."""

import gc
import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from swin_train.benchmark.loading.bench import Bench, Load
from swin_train.benchmark.loading.contenders import CONTENDERS
from swin_train.benchmark.usage import memory_mb

_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Memory:
    """What loading added to a process with its workers, in MB.

    Attributes:
        peak_mb: the most that was seen; looked at ten times a second and after every epoch.
        after_epoch_mb: after each epoch.
    """

    peak_mb: float
    after_epoch_mb: tuple[float, ...]

    @property
    def growth_mb(self) -> float:
        """From the end of the first epoch to the end of the last."""
        return self.after_epoch_mb[-1] - self.after_epoch_mb[0]


def watch(open_bench: Callable[[], Bench], name: str, threads: int, num_epochs: int) -> Memory | None:
    """Let contender ``name`` load ``num_epochs`` times; None where its process fails, which says why on stderr."""
    # A forked process would share pages with this one, so that the same page counts as more or less of its memory.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_watch, args=(open_bench, name, threads, num_epochs, sender))
    process.start()
    sender.close()
    try:
        peak, *epochs = receiver.recv()
    except EOFError:
        return None
    finally:
        process.join()
    return Memory(peak, tuple(epochs))


def _watch(
    open_bench: Callable[[], Bench], name: str, threads: int, num_epochs: int, sender: Connection
) -> None:
    bench = open_bench()
    before, seen, done = memory_mb(), [0.0], threading.Event()
    load = CONTENDERS[name].make(bench, Load(threads))

    def look() -> None:
        while not done.wait(_INTERVAL_S):
            seen.append(memory_mb() - before)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    epochs = []
    for epoch in range(num_epochs):
        load(epoch)
        gc.collect()
        epochs.append(memory_mb() - before)
    done.set()
    thread.join()
    sender.send([max(*seen, *epochs), *epochs])
