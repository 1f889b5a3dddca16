"""The program that started this process: torchrun's agent, which may die before it."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from swin_train.errors import LockLost

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5


def is_under_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in environment


def warn_of_shared_store(environment: Mapping[str, str]) -> None:
    """Say so where torchrun may restart processes, which then meet the addresses of the dead ones.

    Source: torch 2.11 to 2.15; issue pytorch#135712 and others.
    """
    restarts = environment.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if restarts != "0" and environment.get("TORCH_DISABLE_SHARE_RDZV_TCP_STORE") != "1":
        logger.warning(
            "torchrun may restart this run (--max-restarts %s), which often fails unless "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE is 1; set it, or start with scripts/launch.sh",
            restarts,
        )


@contextmanager
def ending_with_launcher(agent: int, end: Callable[[LockLost], None]) -> Iterator[None]:
    """Call ``end`` from a thread of its own when torchrun's agent is gone; without torchrun, never.

    Nobody would restart or stop such a process, and another launch may be at its run already.

    Args:
        agent: the process that started this one, as it was at its beginning.
        end: ends the process.
    """
    if not is_under_torchrun(os.environ):
        yield
        return
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_LOOK_EVERY_S):
            if os.getppid() != agent:
                end(LockLost(f"launch: torchrun's agent (process {agent}) is gone; start the run again"))
                return

    threading.Thread(target=watch, name="launcher watch", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
