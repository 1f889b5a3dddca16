"""The real torchrun: one agent or several, on this machine or in network namespaces that stand for machines."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ranks import clean_environment

SLOW = "import faults; faults.slow(0.2)\n"  # the prelude of ranks that shall be met at work
_TESTS = Path(__file__).parent
_SUBNET = (
    "198.18.77"  # of the range that is set aside for tests of networks (RFC 2544), and only inside namespaces
)


@dataclass
class Agent:
    """A torchrun that was started, and its ranks."""

    process: subprocess.Popen[bytes]
    folder: Path
    _seen: set[int] = field(default_factory=set)

    def ranks(self) -> list[int]:
        """Return the processes of its ranks now, the oldest first."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except OSError:  # it has ended
            return []
        found = [int(child) for child in children if _is_rank(int(child))]
        self._seen |= set(found)
        return sorted(found)

    def stderr(self) -> str:
        """Return what it and its ranks have said so far."""
        return (self.folder / "stderr").read_text(errors="replace")

    def until(self, condition: Callable[[], Any], timeout: float = 60) -> None:
        """Wait until ``condition`` holds while the agent runs; fail if it ends, or the time does."""
        deadline = time.monotonic() + timeout
        while not condition():
            self.ranks()
            assert self.process.poll() is None, f"torchrun ended before it was so: {self.stderr()[-3000:]}"
            assert time.monotonic() < deadline, f"not so after {timeout} s: {self.stderr()[-3000:]}"
            time.sleep(0.01)

    def wait(self, timeout: float = 60) -> int:
        """Return its exit status when it has ended."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            self.ranks()
            if time.monotonic() > deadline:
                raise TimeoutError(f"torchrun still ran after {timeout} s: {self.stderr()[-3000:]}")
            time.sleep(0.02)
        return self.process.returncode

    def left(self) -> list[int]:
        """Return the ranks that it has started and that run."""
        self.ranks()
        return [pid for pid in sorted(self._seen) if _is_rank(pid)]

    def kill(self) -> None:
        """End the agent and its ranks at once, as a machine ends that loses its power."""
        ranks = self.left()
        self.process.kill()
        for pid in {*ranks, *self.left()}:  # each leads a session of its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.process.wait()


class Agents:
    """Starts agents; ``kill`` ends all of them.

    Args:
        folder: for what they say.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._agents: list[Agent] = []

    def start(
        self,
        argv: Sequence[str],
        *,
        options: Sequence[str],
        prelude: str = "",
        env: Mapping[str, str] | None = None,
        inside: Sequence[str] = (),
    ) -> Agent:
        """Start torchrun with ``options``, and by it ``main.py ARGV`` after ``prelude``.

        Args:
            argv: of main.py.
            options: of torchrun.
            prelude: Python that each rank runs first; it may import ``faults``.
            env: variables beside those of this process.
            inside: the words that start a command in another place, such as a ``Machine``'s.
        """
        folder = self._folder / f"agent-{len(self._agents)}"
        folder.mkdir(parents=True)
        (folder / "prelude.py").write_text(prelude)
        command = [*inside, sys.executable, "-m", "torch.distributed.run", *options]
        command += [str(_TESTS / "main_with_prelude.py"), str(folder / "prelude.py"), *argv]
        with (folder / "stderr").open("wb") as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=clean_environment() | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"} | dict(env or {}),
                start_new_session=True,
            )
        self._agents.append(Agent(process, folder))
        return self._agents[-1]

    def kill(self) -> None:
        """End all agents and their ranks."""
        for agent in self._agents:
            agent.kill()


@dataclass(frozen=True)
class Machine:
    """A network namespace: what is started with ``inside`` in front of it sees one interface and no other machine."""

    holder: int
    address: str
    interface: str

    @property
    def inside(self) -> list[str]:
        """The words that start a command here."""
        return ["nsenter", "--net", "--target", str(self.holder), "--"]

    def link(self, state: str) -> None:
        """Pull the cable, ``down``, or put it back, ``up``."""
        subprocess.run([*self.inside, "ip", "link", "set", self.interface, state], check=True)


@contextlib.contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Give two namespaces with a cable between them.

    Each is held by a ``cat`` that ends when this process closes its input or dies, and the kernel removes the
    namespaces and the cable with it: they have no names, and there is nothing to clean up.

    Raises:
        PermissionError: this machine does not let us make them; says why.
    """
    for tool in ("ip", "nsenter", "unshare"):
        if shutil.which(tool) is None:
            raise PermissionError(f"network namespaces need the command {tool}")
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(_namespace()) for _ in range(2)]
        a, b = (Machine(holder, f"{_SUBNET}.{i + 1}", f"cable{i}") for i, holder in enumerate(holders))
        steps = [
            [
                *a.inside,
                "ip",
                "link",
                "add",
                a.interface,
                "type",
                "veth",
                "peer",
                b.interface,
                "netns",
                str(b.holder),
            ]
        ]
        for machine in (a, b):
            ip = [*machine.inside, "ip"]
            steps.append([*ip, "address", "add", f"{machine.address}/24", "dev", machine.interface])
            steps += [[*ip, "link", "set", name, "up"] for name in ("lo", machine.interface)]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode:
                raise PermissionError(f"{' '.join(step)}: {done.stderr.strip()}")
        yield a, b


@contextlib.contextmanager
def _namespace() -> Iterator[int]:
    """Give the process that holds a new network namespace."""
    command = ["unshare", "--net", "sh", "-c", "echo here; exec cat"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != b"here\n":
            raise PermissionError(f"{' '.join(command)}: {holder.stderr.read().decode().strip()}")
        try:
            yield holder.pid
        finally:
            holder.stdin.close()


def on_one_machine(processes: int, *, restarts: int = 0) -> list[str]:
    """Return torchrun's options for a run on this machine alone."""
    return [
        *("--standalone", "--nproc-per-node", str(processes)),
        *("--max-restarts", str(restarts), "--monitor-interval", "0.1"),
    ]


def on_two_machines(address: str, port: int, *, is_host: bool, local: str) -> list[str]:
    """Return torchrun's options for one rank on each of two machines, of which either may be lost.

    Args:
        address: of the machine that the others meet at, which is not lost.
        port: there.
        is_host: whether this is that machine.
        local: this machine's address.
    """
    conf = f"is_host={int(is_host)},join_timeout=60,last_call_timeout=3,keep_alive_interval=1,read_timeout=5"
    return [
        *("--nnodes", "1:2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "test"),
        *("--rdzv-endpoint", f"{address}:{port}", "--rdzv-conf", conf, "--local-addr", local),
        *("--max-restarts", "3", "--monitor-interval", "0.1"),
    ]


def _is_rank(pid: int) -> bool:
    """Whether a process is there, is no zombie, and has become a rank."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return state != "Z" and b"main_with_prelude.py" in command
