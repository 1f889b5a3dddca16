"""Runs of swin_train by several processes, forked from one that has imported everything: each is there in a second.

A rank under torchrun takes seconds to import torch before anything of ours happens. Here one process, the server of
``rank_server.py``, imports it once, and each rank is a fork of it with the environment that torchrun would have given.
"""

import contextlib
import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REPO = Path(__file__).resolve().parents[1]
_SERVER = Path(__file__).with_name("rank_server.py")
_LAUNCHERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class RankResult:
    """How one rank ended: its exit status or, below 0, the signal that ended it; what it said; after how long."""

    rank: int
    status: int
    stdout: str
    stderr: str
    seconds: float


class Job:
    """The ranks of one launch, each the leader of its own session as under torchrun."""

    def __init__(self, ranks: "Ranks", number: int, pids: Sequence[int], folder: Path) -> None:
        self._ranks, self._number, self._folder = ranks, number, folder
        self._pids = tuple(pids)
        self._ended: dict[int, tuple[int, float]] = {}

    def pids(self) -> tuple[int, ...]:
        """Return the process of each rank."""
        return self._pids

    def signal(self, rank: int, number: int) -> None:
        """Send a signal to one rank, alone."""
        os.kill(self._pids[rank], number)  # not reaped before the end of the job, so nobody else's

    def signal_group(self, rank: int, number: int) -> None:
        """Send a signal to one rank and to what it started, such as data workers."""
        os.killpg(self._pids[rank], number)

    def running(self) -> list[int]:
        """Return the ranks that have not ended."""
        self._ranks._listen(0)
        return [rank for rank in range(len(self._pids)) if rank not in self._ended]

    def status(self, rank: int) -> int | None:
        """Return how a rank ended, as in its ``RankResult``; None while it runs."""
        self._ranks._listen(0)
        return self._ended[rank][0] if rank in self._ended else None

    def output(self, rank: int, stream: str = "stderr") -> str:
        """Return what a rank has said so far on ``stdout`` or ``stderr``."""
        return (self._folder / f"{rank}.{stream}").read_text(errors="replace")

    def until(self, condition: Callable[[], Any], timeout: float = 60, *, poll_s: float = 0.002) -> None:
        """Wait until ``condition`` holds while all ranks run; fail if one ends, or the time does."""
        deadline = time.monotonic() + timeout
        while not condition():
            if len(self.running()) < len(self._pids):
                raise AssertionError(f"a rank ended before it was so; {self._said()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not so after {timeout} s; {self._said()}")
            time.sleep(poll_s)

    def until_ended(self, rank: int, timeout: float = 60) -> None:
        """Wait until one rank has ended; fail if it does not."""
        deadline = time.monotonic() + timeout
        while rank in self.running():
            if time.monotonic() > deadline:
                raise AssertionError(f"rank {rank} still ran after {timeout} s; {self._said()}")
            time.sleep(0.002)

    def wait(self, timeout: float = 60) -> list[RankResult]:
        """Return how each rank ended, when all have; whatever they left running is killed.

        Raises:
            TimeoutError: some still ran after ``timeout`` seconds. All are killed.
        """
        deadline = time.monotonic() + timeout
        while late := self.running():
            left = deadline - time.monotonic()
            if left <= 0:
                said = self._said()
                self.kill()
                raise TimeoutError(f"rank(s) {late} still ran after {timeout} s; {said}")
            self._ranks._listen(left)
        self._ranks._close(self)
        return [
            RankResult(rank, status, self.output(rank, "stdout"), self.output(rank), seconds)
            for rank, (status, seconds) in sorted(self._ended.items())
        ]

    def kill(self) -> None:
        """End every rank and what it started, at once."""
        self._ranks._close(self)

    def _said(self) -> str:
        return "\n".join(f"rank {rank} said:\n{self.output(rank)[-3000:]}" for rank in range(len(self._pids)))


class Ranks:
    """The server, as a test sees it. It starts on the first use; ``close`` ends it and all ranks.

    Args:
        folder: for what the ranks say, and their preludes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs: dict[int, Job] = {}
        self._count = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def run(
        self, world_size: int, argv: Sequence[str], *, timeout: float = 60, **options: Any
    ) -> list[RankResult]:
        """Run ranks to their end; see ``start`` and ``Job.wait``."""
        return self.start(world_size, argv, **options).wait(timeout)

    def start(
        self,
        world_size: int,
        argv: Sequence[str],
        *,
        prelude: str = "",
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        port: int | None = None,
    ) -> Job:
        """Start ``main.py ARGV`` on each rank.

        Args:
            world_size: 1 starts it as without torchrun.
            argv: of main.py.
            prelude: Python that each rank runs first; it may import ``faults``.
            env: variables beside those of this process and of the launcher.
            cwd: the folder to run in, by default the repository.
            port: of the rendezvous, by default a free one.
        """
        self._begin()
        self._count += 1
        folder = self._folder / f"job-{self._count}"
        folder.mkdir(parents=True)
        (folder / "prelude.py").write_text(prelude)
        for rank in range(world_size):
            (folder / f"{rank}.stdout").touch()
            (folder / f"{rank}.stderr").touch()
        clean = clean_environment() | (env or {})
        self._send(
            {
                "start": self._count,
                "argv": list(argv),
                "folder": str(folder),
                "cwd": str(cwd or _REPO),
                "environments": [
                    clean | launcher_environment(rank, world_size, port)
                    for port in [port or free_port()]
                    for rank in range(world_size)
                ],
            }
        )
        answer = self._receive(60)
        while "pids" not in answer:  # the end of another job's rank
            self._note(answer)
            answer = self._receive(60)
        job = self._jobs[self._count] = Job(self, self._count, answer["pids"], folder)
        return job

    def kill(self) -> None:
        """End every rank of every job."""
        for job in list(self._jobs.values()):
            job.kill()

    def close(self) -> None:
        """End all ranks and the server."""
        if self._server is not None:
            self._channel.close()  # the server ends with it
            self._server.wait(20)
            self._server = None

    def _begin(self) -> None:
        if self._server is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, str(_SERVER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for pytest
                cwd=_REPO,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    def _send(self, message: dict[str, Any]) -> None:
        self._channel.sendall(json.dumps(message).encode() + b"\n")

    def _receive(self, timeout: float) -> dict[str, Any]:
        """Return the next message of the server, an empty one if there is none in time."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._pending:
            if not select.select([self._channel], [], [], max(0, deadline - time.monotonic()))[0]:
                return {}
            data = self._channel.recv(1 << 16)
            if not data:
                raise RuntimeError("the server of the ranks has ended")
            self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        return json.loads(line)

    def _listen(self, timeout: float) -> None:
        message = self._receive(timeout)
        while message:
            self._note(message)
            message = self._receive(0)

    def _note(self, message: dict[str, Any]) -> None:
        if not message:
            raise RuntimeError("the server of the ranks does not answer")
        if job := self._jobs.get(message.get("ended", -1)):
            job._ended[message["rank"]] = (message["status"], message["seconds"])

    def _close(self, job: Job) -> None:
        """Have the server kill what is left of a job, and wait until it is gone."""
        if self._jobs.pop(job._number, None) is None:
            return
        self._send({"close": job._number})
        while (message := self._receive(20)).get("closed") != job._number:
            self._note(message)


def check_statuses(results: Sequence[RankResult], *expected: int) -> None:
    """Assert that the ranks, in order, ended with these statuses; show what the main one said if they did not."""
    assert [result.status for result in results] == list(expected), results[0].stderr[-3000:]


def clean_environment() -> dict[str, str]:
    """Return this process's environment without traces of an outer launcher, and with one thread a process."""
    clean = {name: value for name, value in os.environ.items() if name not in _LAUNCHERS}
    return clean | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def launcher_environment(rank: int, world_size: int, port: int) -> dict[str, str]:
    """Return what torchrun sets for one of the ranks of one machine."""
    if world_size == 1:
        return {}
    values = (rank, rank, world_size, world_size, "127.0.0.1", port)
    return dict(zip(_LAUNCHERS, map(str, values), strict=True))


def free_port() -> int:
    """Return a port that nobody listens on, below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
