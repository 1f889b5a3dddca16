"""A place in which a bomb does no harm."""

import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swin_train.errors import UserError

MAX_GROWTH = 100 << 20  # bytes
ROOM = 1 << 30  # bytes of addresses: memory that is asked for and not used costs nothing
MAX_SECONDS = 30  # of the processor
MAX_WAIT_S = 100  # by the clock: one that waits for ever is ended too


@pytest.fixture
def confined() -> Callable[[Callable[[], object]], str]:
    """Calls a function in a forked process and gives the message with which it refuses.

    That process may take 100 MB more memory than it had, 1 GB of addresses and 30 s of a processor.
    """

    def refusal_of(work: Callable[[], object]) -> str:
        receiver, sender = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(receiver)
                os.write(sender, json.dumps(_attempt(work)).encode())
            finally:
                os._exit(0)
        os.close(sender)
        with os.fdopen(receiver, "rb") as answer:
            text = answer.read()
        os.waitpid(child, 0)
        assert text, "it ended in something else than a refusal, or at a limit of memory or time"
        message, growth = json.loads(text)
        assert growth < MAX_GROWTH, message
        return message

    return refusal_of


def _attempt(work: Callable[[], object]) -> tuple[str, int]:
    """What is refused in words, and by how many bytes this process grew at its peak."""
    addresses = _memory("VmSize") + ROOM
    signal.alarm(MAX_WAIT_S)
    torch.set_num_threads(1)  # OpenMP's threads are not in a fork: it would wait for them
    resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    before = _memory("VmRSS")
    try:
        work()
        message = "it was accepted"
    except UserError as error:
        message = str(error)
    return message[:5000], _memory("VmHWM") - before


def _memory(what: str) -> int:
    """Memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(what)).split()[1])
