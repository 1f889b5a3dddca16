"""Worker processes and signals, the end of their parent, and the end of the process that started them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MakeFolder = Callable[..., Path]
Start = Callable[..., subprocess.Popen[str]]

_SETUP = """
import multiprocessing, os, random, signal, sys, time
import torch
from swin_train.data.formats import ImageFolder
from swin_train.data.images import EvalImages
from swin_train.data.pipelines.exact import ExactEval, Normalize
from swin_train.data.recipe.evaluation import EvalRecipe
from swin_train.data.sampler import EvalSampler
from swin_train.data.workers import WorkerOptions, Workers
heard = set()

def say(*words):
    print(*words, flush=True)

def work():
    time.sleep(0.02)

class Reader(ImageFolder):
    def read(self, index):
        work()
        return super().read(index)

def start(size=12, **options):
    source = Reader(sys.argv[1], "train")
    images = EvalImages(source, ExactEval(EvalRecipe((size, size), True, 3), Normalize((0.5,) * 3, (0.5,) * 3)), 3)
    options = WorkerOptions(2, 2, pin_memory=False, **{"timeout_s": 20, **options})
    return Workers(images, EvalSampler(source.num_images, 1, 0, 4), options)

def children():
    return [child.pid for child in multiprocessing.active_children()]

"""
_HEAR = """
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, frame: heard.add(number))
"""
_READ_ALL = """
for number, loaded in enumerate(start()):
    say("batch", number, loaded.request.indices.tolist())
say("heard", *sorted(heard))
"""
_SLOW_START = """
seed = random.seed
def slow_seed(number):  # is called in a worker after torch has set its handlers, which end it at SIGTERM
    say("starting")
    time.sleep(0.5)
    seed(number)
random.seed = slow_seed
"""
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def start_script(make_folder: MakeFolder) -> Iterator[Start]:
    """Starts a script in a group of its own, on a folder of 24 images; whatever is left of it is killed."""
    root = make_folder({"a": 24})
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *before: str) -> subprocess.Popen[str]:
        command = [*before, sys.executable, "-c", script, str(root)]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=Path(__file__).parents[3],
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def line_of(process: subprocess.Popen[str], beginning: str) -> str:
    """The rest of the next line that begins so."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(beginning):
            return line.removeprefix(beginning).strip()
    assert process.stderr is not None
    raise AssertionError(f"no line begins with {beginning}: {process.stderr.read()}")


def rest_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What else a process says until its end; ``communicate`` would lose lines that were read ahead of ``line_of``."""
    assert process.stdout is not None
    assert process.stderr is not None
    output, errors = process.stdout.read(), process.stderr.read()
    process.wait(60)
    return output, errors


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_gone_within(pids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(is_alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("before", ["", _SLOW_START], ids=["at work", "while they start"])
def test_signals_to_the_whole_group_leave_the_workers_at_work(start_script: Start, before: str) -> None:
    process = start_script(_SETUP + _HEAR + before + _READ_ALL)
    line_of(process, "starting" if before else "batch 0")

    for number in _SIGNALS:
        os.killpg(process.pid, number)

    output, errors = rest_of(process)
    assert process.returncode == 0, errors
    batches = [line for line in output.splitlines() if line.startswith("batch")]
    expected = [f"batch {number} {list(range(4 * number, 4 * number + 4))}" for number in range(6)]
    assert batches == expected[0 if before else 1 :]
    assert output.splitlines()[-1] == f"heard {' '.join(str(int(number)) for number in sorted(_SIGNALS))}"


def test_a_worker_ignores_what_would_end_a_process_that_does_not_listen(start_script: Start) -> None:
    process = start_script(
        _SETUP + _READ_ALL.replace("start()):", "start()):\n    say('workers', *children())")
    )
    for worker in line_of(process, "workers").split():
        for number in _SIGNALS:
            os.kill(int(worker), number)

    output, errors = rest_of(process)

    assert process.returncode == 0, errors
    assert "batch 5" in output


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel for it")
@pytest.mark.parametrize("stopped", [False, True])
def test_workers_are_gone_two_seconds_after_their_parent_was_killed(
    start_script: Start, stopped: bool
) -> None:
    script = _SETUP + "batches = iter(start())\nnext(batches)\nsay('workers', *children())\ntime.sleep(60)"
    process = start_script(script)
    workers = [int(pid) for pid in line_of(process, "workers").split()]
    assert len(workers) == 2
    assert all(map(is_alive, workers))
    if stopped:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)

    process.kill()

    assert is_gone_within(workers, 2)


@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_process_ends_with_its_parent_with_and_without_the_kernels_help(
    start_script: Start, by_kernel: bool
) -> None:
    if by_kernel and sys.platform != "linux":
        pytest.skip("asks the Linux kernel for it")
    process = start_script(f"""
import os, time
from swin_train.data.worker_process import end_with
parent = os.getpid()
if os.fork() == 0:
    end_with(parent, by_kernel={by_kernel})
    print("child", os.getpid(), flush=True)
time.sleep(60)
""")
    child = int(line_of(process, "child"))
    time.sleep(0.6)
    assert is_alive(child)

    process.kill()

    assert is_gone_within([child], 2)


@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_process_whose_parent_was_gone_before_ends_at_once(start_script: Start, by_kernel: bool) -> None:
    if by_kernel and sys.platform != "linux":
        pytest.skip("asks the Linux kernel for it")
    process = start_script(
        f"from swin_train.data.worker_process import end_with\nend_with(-1, by_kernel={by_kernel})\nprint('alive')"
    )

    assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == 1


@pytest.mark.parametrize("state", ["idle", "stopped", "busy"])
def test_a_process_that_ends_in_mid_pass_does_not_wait_for_its_workers(
    start_script: Start, state: str
) -> None:
    process = start_script(
        _SETUP
        + f"""
if {state == "busy"}:
    def work():
        if torch.utils.data.get_worker_info().id == 1:
            time.sleep(60)
batches = iter(start())
next(batches)
workers = children()
if {state == "stopped"}:
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
say("workers", *workers)
sys.exit(7)
"""
    )
    workers = [int(pid) for pid in line_of(process, "workers").split()]

    process.communicate(timeout=10)

    assert process.returncode == 7
    assert is_gone_within(workers, 0)


def test_a_worker_that_hangs_ends_the_process_with_an_error_in_time(start_script: Start) -> None:
    process = start_script(
        _SETUP
        + """
from swin_train.errors import DataError
def work():
    if torch.utils.data.get_worker_info().id == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
begun = time.monotonic()
try:
    for loaded in start(timeout_s=2):
        pass
except DataError as error:
    say("after", time.monotonic() - begun)
    say("error", error)
    sys.exit(error.exit_status)
"""
    )
    assert float(line_of(process, "after")) < 10
    message = line_of(process, "error")

    process.communicate(timeout=10)

    assert process.returncode == 1
    assert message.startswith(
        "Data loading: no batch came for 2 s, which is DATA.TIMEOUT_S; waiting for worker 1 (pid "
    )
    assert ") at train/a/4.png. Is the disk" in message or ") at train/a/12.png. Is the disk" in message


def _with_small_shm(left: int) -> list[str]:
    """The beginning of a command that runs under a /dev/shm of 16 MB of which only ``left`` bytes are free."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("this user may not mount a file system in a name space of their own (unshare -m)")
    fill = f"head -c {16 * 2**20 - left} /dev/zero > /dev/shm/full"
    script = f'mount -t tmpfs -o size=16m tmpfs /dev/shm && {fill} && exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, "sh"]


@pytest.mark.parametrize("has_slots", [True, False])
def test_batches_take_nothing_from_dev_shm(start_script: Start, has_slots: bool) -> None:
    batch_bytes = 4 * 3 * 512 * 512 * 4 if has_slots else 0
    process = start_script(
        _SETUP
        + f"""
def taken():
    space = os.statvfs("/dev/shm")
    return (space.f_blocks - space.f_bfree) * space.f_bsize
before = taken()
most = 0
for loaded in start(size=512, batch_bytes={batch_bytes}):  # of 12 MB each
    assert loaded.images.nbytes == 4 * 3 * 512 * 512 * 4
    most = max(most, taken() - before)
    say("batch")
say("taken", most)
""",
        *_with_small_shm(2**18),
    )

    output, errors = rest_of(process)

    assert process.returncode == 0, errors
    assert output.count("batch") == 6
    assert int(output.split()[-1]) <= 2**17  # multiprocessing's semaphores, a page each


def test_workers_that_cannot_be_started_are_one_clear_error(start_script: Start) -> None:
    process = start_script(
        _SETUP + "from swin_train.errors import DataError\n"
        "try:\n    list(start())\nexcept DataError as error:\n    say('error', error)",
        *_with_small_shm(0),
    )

    assert line_of(process, "error") == (
        "Data loading: 2 worker processes cannot be started ([Errno 28] No space left on device). Free what is full "
        "(memory, /dev/shm, or a limit of ulimit -a), or lower DATA.NUM_WORKERS; 0 loads in the main process."
    )
