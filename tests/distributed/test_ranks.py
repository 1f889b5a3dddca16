"""The kit that the tests of faults are made of: what it starts, stops and breaks is what it says."""

import os
import signal
import time

import pytest
from faults import flip_bit
from ranks import Ranks
from state_digest import newest_state, state_digest

from swin_train.weights.manifest import DamagedFolder


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ranks_end_as_they_did(several_opts, ranks):
    prelude = """
import os, signal, sys
print("on stdout", sys.argv[0][-7:], os.environ["RANK"], os.environ["GIVEN"])
print("on stderr", file=sys.stderr)
if os.environ["RANK"] == "0":
    sys.exit(7)
os.kill(os.getpid(), signal.SIGKILL)
"""

    first, second = ranks.run(2, several_opts(), prelude=prelude, env={"GIVEN": "yes"})

    assert (first.status, second.status) == (7, -signal.SIGKILL)
    assert first.stdout == "on stdout main.py 0 yes\n"
    assert first.stderr == second.stderr == "on stderr\n"
    assert 0 < first.seconds < 30


def test_an_error_of_no_kind_is_a_traceback_and_status_1(several_opts, ranks):
    (result,) = ranks.run(
        1, several_opts(), prelude="import faults; faults.at(3, faults.raise_(KeyError('odd')))"
    )

    assert result.status == 1
    assert "Traceback" in result.stderr
    assert "KeyError: 'odd'" in result.stderr


def test_ranks_that_hang_are_killed_with_what_they_started(several_opts, ranks):
    prelude = (
        "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    )
    job = ranks.start(2, several_opts(), prelude=prelude)
    job.until(lambda: job.output(0, "stdout") and job.output(1, "stdout"))
    started = [int(job.output(rank, "stdout")) for rank in (0, 1)]

    with pytest.raises(TimeoutError, match=r"rank\(s\) \[0, 1\] still ran after 0.1 s"):
        job.wait(timeout=0.1)

    deadline = time.monotonic() + 10  # init has to reap them
    while any(map(is_there, (*started, *job.pids()))):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_outlives_the_server(several_opts, tmp_path):
    own = Ranks(tmp_path / "ranks")
    job = own.start(2, several_opts(), prelude="import time; time.sleep(600)")
    assert all(map(is_there, job.pids()))

    own.close()

    assert not any(map(is_there, job.pids()))


def test_a_signal_reaches_one_rank(several_opts, ranks):
    job = ranks.start(2, several_opts(), prelude="import time; time.sleep(600)")

    job.signal(1, signal.SIGUSR1)
    job.until_ended(1)

    assert job.running() == [0]
    job.signal(0, signal.SIGUSR2)
    assert [result.status for result in job.wait()] == [-signal.SIGUSR2, -signal.SIGUSR1]


def test_a_stopped_rank_lets_the_other_fail_in_time(several_opts, ranks):
    prelude = "import faults, signal; faults.at(4, faults.kill(signal.SIGSTOP), rank=1)"
    job = ranks.start(2, several_opts(DIST__TIMEOUT_S=2.0), prelude=prelude)

    job.until_ended(0, timeout=30)

    assert job.status(0) == 1
    assert "step 3/10" in job.output(0)
    assert "lost another process after update 3: rank 1 does not answer" in job.output(0)
    assert job.running() == [1]


def test_a_fault_comes_at_its_step_and_rank_and_once(several_opts, ranks, tmp_path):
    prelude = f"import faults; faults.at(4, faults.kill(), rank=1, once={str(tmp_path / 'was')!r})"
    opts = several_opts(SAVE_STEPS=3, SAVE_ASYNC=False)

    lost, killed = ranks.run(2, opts, prelude=prelude)
    again = ranks.run(2, opts, prelude=prelude)

    assert killed.status == -signal.SIGKILL
    assert lost.status == 1
    assert "step 3/10" in lost.stderr
    assert "step 4/10" not in lost.stderr
    assert [result.status for result in again] == [0, 0]
    assert "resumed from" in again[0].stderr


def test_a_fault_in_evaluation(several_opts, ranks):
    prelude = "import faults; faults.in_evaluation(faults.kill(), batch=3, rank=0)"

    (result,) = ranks.run(1, several_opts(DATA__BATCH_SIZE=16, TRAIN__GLOBAL_BATCH=16), prelude=prelude)

    assert result.status == -signal.SIGKILL  # two batches of 16 hold the 20 images: the second evaluation
    assert result.stderr.count("val epoch") == 1


def test_a_fault_at_any_touch_of_a_save(several_opts, ranks, tmp_path):
    """A sweep over all of them ends, so each was met; and each leaves its mark."""
    opts = several_opts(TRAIN__EPOCHS=1, TRAIN__WARMUP_EPOCHS=0, SAVE_MAX_FAILURES=1)
    touches = 0
    for call in (1, 5, 9, 10**6):
        prelude = f"import faults; faults.in_saving(faults.raise_(OSError(28, 'full')), call={call})"
        (result,) = ranks.run(1, [*opts, "TAG", str(call)], prelude=prelude)
        touches += "full" in result.stderr
        assert (result.status == 0) == (call == 10**6)

    assert touches == 3


def test_a_nan_of_one_rank_reaches_the_other(several_opts, ranks):
    prelude = "import faults; faults.at(3, faults.nan_gradient, rank=1)"

    results = ranks.run(2, several_opts(), prelude=prelude)

    assert [result.status for result in results] == [0, 0]
    assert "grad_norm nan" in results[0].stderr.partition("step 2/10")[2]
    assert "grad_norm nan" not in results[0].stderr.partition("step 3/10")[0]


def test_drift_parts_the_ranks(several_opts, ranks):
    prelude = """
import faults, os, atexit, torch
faults.at(3, faults.drift, rank=1)
faults.at(4, lambda state: print([float(p.detach().double().sum()) for p in state.model.parameters()][0]))
"""
    first, second = ranks.run(2, several_opts(), prelude=prelude)

    assert first.stdout != second.stdout


def test_the_digest_is_of_the_tensors_and_sees_one_bit(several_opts, ranks, tmp_path):
    for tag in ("a", "b"):
        assert ranks.run(1, several_opts(TAG=tag))[0].status == 0
    assert ranks.run(1, several_opts(TAG="c", SEED=2))[0].status == 0
    a, b, c = (newest_state(tmp_path / "output/tiny" / tag) for tag in "abc")
    assert state_digest(a) == state_digest(b)
    assert state_digest(a) != state_digest(c)

    flip_bit(next(b.glob("*.safetensors")))

    with pytest.raises(DamagedFolder):
        state_digest(b)
