"""The server of ``ranks.py``: has one thread and no process group, and forks a rank whenever it is asked to."""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

_MAIN = Path(__file__).resolve().parents[1] / "main.py"
_PR_SET_PDEATHSIG = 1


def serve(channel: socket.socket) -> bool:
    """Fork ranks as asked, until the channel closes. Return whether this process is one of them."""
    jobs: dict[int, list[int]] = {}
    running: dict[int, tuple[int, int, int, float]] = {}  # pidfd: job, rank, pid, start
    pending = b""
    while True:
        readable, _, _ = select.select([channel, *running], [], [])
        for pidfd in readable:
            if pidfd in running:
                job, rank, pid, start = running.pop(pidfd)
                # Left as a zombie until its job is closed: nobody else gets its number meanwhile.
                end = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
                os.close(pidfd)
                status = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
                told = {"ended": job, "rank": rank, "status": status, "seconds": time.monotonic() - start}
                channel.sendall(json.dumps(told).encode() + b"\n")
        if channel not in readable:
            continue
        data = channel.recv(1 << 16)
        pending += data
        *lines, pending = pending.split(b"\n")
        for message in [json.loads(line) for line in lines]:
            if "close" in message:
                _end(jobs.pop(message["close"]), running)
                channel.sendall(json.dumps({"closed": message["close"]}).encode() + b"\n")
                continue
            pids = jobs[message["start"]] = []
            for rank, environment in enumerate(message["environments"]):
                start = time.monotonic()
                pid = os.fork()
                if pid == 0:
                    channel.close()
                    for pidfd in running:
                        os.close(pidfd)
                    _become(rank, environment, message)
                    return True
                pids.append(pid)
                running[os.pidfd_open(pid)] = (message["start"], rank, pid, start)
            channel.sendall(json.dumps({"pids": pids}).encode() + b"\n")
        if not data:
            for pids in jobs.values():
                _end(pids, running)
            return False


def _end(pids: list[int], running: dict[int, tuple[int, int, int, float]]) -> None:
    for pid in pids:
        for kill in (os.kill, os.killpg):  # the group may have been left, or not be there yet
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)
    for pidfd in [pidfd for pidfd, (_, _, pid, _) in running.items() if pid in pids]:
        del running[pidfd]
        os.close(pidfd)


def _become(rank: int, environment: dict[str, str], message: dict[str, Any]) -> None:
    """Make this fork the rank, as torchrun starts it."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nothing outlives the tests
    for stream, number in (("stdout", 1), ("stderr", 2)):
        file = os.open(f"{message['folder']}/{rank}.{stream}", os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(message["cwd"])
    # The first call after a fork renews torch's pool of threads; by two threads at once, as of a loader, it fails.
    sys.modules["torch"].set_num_threads(1)
    sys.argv = [str(_MAIN), *message["argv"]]
    run_prelude(f"{message['folder']}/prelude.py")


def run_prelude(prelude: str) -> None:
    """Run the Python file that brings the faults of a test."""
    exec(compile(Path(prelude).read_text(), prelude, "exec"), {"__name__": "prelude"})


def _import_everything() -> None:
    """Import what a training run does, also what it imports late, and start nothing."""
    for late in ("swin_train.cli.main", "swin_train.engine.train", "torch.utils.tensorboard"):
        importlib.import_module(late)
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all of it


def _run_main() -> NoReturn:
    """Run main.py and end as the interpreter does, but take nothing apart: in a fork that takes seconds."""
    status: object = 0
    try:
        runpy.run_path(str(_MAIN), run_name="__main__")
    except SystemExit as done:
        status = done.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    sys.path.insert(0, str(_MAIN.parent))
    _import_everything()
    if serve(socket.socket(fileno=int(sys.argv[1]))):
        _run_main()
