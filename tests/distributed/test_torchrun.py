"""Faults under the real torchrun: restarts, signals, its own end. Few, since each pays for seconds of imports."""

import os
import signal
import time

import pytest
from agents import SLOW, on_one_machine
from ranks import check_statuses
from run_records import exit_report, launches
from state_digest import newest_state, state_digest


def test_torchrun_restarts_after_a_killed_rank_and_after_a_hang_and_ends_bit_identical(
    opts, agents, undisturbed, tmp_path
):
    """A rank that hangs does not hear torchrun's SIGTERM, which waits for 30 s then; it ends by itself before."""
    prelude = f"""
import faults
faults.at(8, faults.kill(), rank=1, once={str(tmp_path / "killed")!r})
faults.at(12, faults.sleep(600), rank=1, once={str(tmp_path / "hung")!r})
"""
    agent = agents.start(
        opts(TAG="restarted", DIST__TIMEOUT_S=4.0), options=on_one_machine(2, restarts=2), prelude=prelude
    )

    assert agent.wait(90) == 0, agent.stderr()
    run = tmp_path / "output/tiny/restarted"
    assert launches(run) == [0, 6, 10]  # one restart was enough for each
    assert "lost another process after update 11: rank 1 does not answer" in agent.stderr()
    assert "faults.py" in (run / "ranks/rank-1.txt").read_text()  # where it hung
    assert state_digest(newest_state(run)) == undisturbed


WITH_USR1 = ["--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"]


@pytest.mark.parametrize(
    ("to_rank", "name", "more"),
    [
        (None, "SIGTERM", []),
        pytest.param(1, "SIGUSR1", [], marks=pytest.mark.long),
        (None, "SIGUSR1", WITH_USR1),  # without them it would kill torchrun and leave the ranks: finding 10
    ],
)
def test_a_signal_to_torchrun_or_a_rank_saves_and_the_next_launch_ends_bit_identical(
    opts, agents, ranks, undisturbed, tmp_path, to_rank, name, more
):
    """Torchrun itself returns 1 all the same."""
    run = tmp_path / "output/tiny/ended"
    agent = agents.start(opts(TAG="ended"), options=[*on_one_machine(2), *more], prelude=SLOW)
    agent.until((run / "checkpoints/step-00000003").is_dir)

    os.kill(agent.process.pid if to_rank is None else agent.ranks()[to_rank], signal.Signals[name])

    assert agent.wait(30) == 1
    assert not agent.left()
    report = exit_report(run)
    assert report["status"] == 143
    assert newest_state(run).name == f"step-{report['step']:08d}"
    results = ranks.run(2, opts(TAG="ended"))
    check_statuses(results, 0, 0)
    assert launches(run) == [0, report["step"]]
    assert state_digest(newest_state(run)) == undisturbed


def test_a_killed_torchrun_leaves_no_rank_and_nothing_is_committed_after_it(opts, agents, tmp_path):
    run = tmp_path / "output/tiny/orphaned"
    agent = agents.start(
        opts(TAG="orphaned"),
        options=on_one_machine(2),
        prelude="import faults; faults.slow(0.5)",
    )
    agent.until((run / "checkpoints/step-00000003").is_dir)
    assert len(agent.ranks()) == 2

    os.kill(agent.process.pid, signal.SIGKILL)
    committed = newest_state(run)  # three updates of half a second before the next one

    deadline = time.monotonic() + 2
    while agent.left():
        assert time.monotonic() < deadline, "orphans go on"
        time.sleep(0.02)
    assert newest_state(run) == committed
    report = exit_report(run)
    assert report["status"] == 3
    said = f"launch: torchrun's agent (process {agent.process.pid}) is gone; start the run again"
    assert report["reason"] == said
    assert f"[rank 0] error: {said}" in agent.stderr()
