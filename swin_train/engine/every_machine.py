"""Whether every machine of a run sees the files of the main process."""

import platform
import time
from collections.abc import Callable

from swin_train.distributed import Runtime

_LOOK_EVERY_S = 0.5
_SEEN_WITHIN_S = 10.0  # a network file system may show a new file a little later


def machines_without(is_there: Callable[[], bool], runtime: Runtime) -> list[str]:
    """Have one process of each other machine look, again and again for some seconds.

    Args:
        is_there: whether a process sees what is looked for.
        runtime: of this process; all call this together and get the same answer.

    Returns:
        The names of the machines that do not see it, in order.
    """
    if runtime.world_size == runtime.local_world_size:
        return []
    is_missing = runtime.local_rank == 0 and not runtime.is_main and not _is_seen(is_there)
    told = runtime.files.gather(platform.node() if is_missing else "")
    return sorted({machine for machine in told if machine})


def _is_seen(is_there: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while not is_there():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True
