"""Faults under the real torchrun: restarts, signals, lost machines. Few, since each pays for seconds of imports."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from agents import Agents, on_one_machine, on_two_machines, two_machines
from ranks import free_port
from state_digest import newest_state, state_digest

RECIPE = {  # 20 updates
    "SAVE_STEPS": 3,
    "SAVE_ASYNC": False,  # so that what was saved before a fault is known
    "TRAIN__EPOCHS": 4,
    "TRAIN__EMA_DECAY": 0.9,
    "DIST__TIMEOUT_S": 5.0,
}
SLOW = "import faults; faults.slow(0.2)\n"


@pytest.fixture
def agents(tmp_path):
    agents = Agents(tmp_path / "agents")
    yield agents
    agents.kill()


@pytest.fixture
def machines():
    """Two machines with a cable between them; skips the test where none can be made."""
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(two_machines())
        except PermissionError as error:
            pytest.skip(str(error))
        yield made


@pytest.fixture
def undisturbed(several_opts, ranks, tmp_path):
    """The folder of a run that nothing happened to, on two ranks."""
    results = ranks.run(2, several_opts(**RECIPE, TAG="undisturbed"))
    assert [result.status for result in results] == [0, 0], results[0].stderr
    return tmp_path / "output/tiny/undisturbed"


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in lines if record["kind"] == "train"]


def exit_report(run: Path) -> dict[str, object]:
    return json.loads((run / "exit.json").read_text())


def launches(run: Path) -> list[int]:
    """Return the step that each launch of a run began at."""
    return [launch["step"] for launch in json.loads((run / "run.json").read_text())["launches"]]


def test_torchrun_restarts_after_a_killed_rank_and_ends_bit_identical(
    several_opts, agents, undisturbed, tmp_path
):
    prelude = f"import faults; faults.at(8, faults.kill(), rank=1, once={str(tmp_path / 'was')!r})"

    agent = agents.start(
        several_opts(**RECIPE, TAG="killed"), options=on_one_machine(2, restarts=2), prelude=prelude
    )

    assert agent.wait(90) == 0, agent.stderr()
    run = tmp_path / "output/tiny/killed"
    assert launches(run) == [0, 6]  # one restart was enough
    assert state_digest(newest_state(run)) == state_digest(newest_state(undisturbed))


def test_torchrun_restarts_after_a_hang_and_ends_bit_identical(several_opts, agents, undisturbed, tmp_path):
    """The rank that hangs lets SIGTERM end it: torchrun waits for 30 s for one that does not."""
    prelude = f"""
import faults, signal, time
def hang(state):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(600)
faults.at(8, hang, rank=1, once={str(tmp_path / "was")!r})
"""

    agent = agents.start(
        several_opts(**RECIPE, TAG="hung"), options=on_one_machine(2, restarts=2), prelude=prelude
    )

    assert agent.wait(90) == 0, agent.stderr()
    assert "rank 1 does not answer" in agent.stderr()
    run = tmp_path / "output/tiny/hung"
    assert launches(run) == [0, 6]
    assert state_digest(newest_state(run)) == state_digest(newest_state(undisturbed))


def test_sigterm_to_torchrun_saves_and_the_next_launch_ends_bit_identical(
    several_opts, agents, ranks, undisturbed, tmp_path
):
    """In place of test_sigterm_to_torchrun_leaves_nothing_running: torchrun itself returns 1 all the same."""
    run = tmp_path / "output/tiny/ended"
    agent = agents.start(several_opts(**RECIPE, TAG="ended"), options=on_one_machine(2), prelude=SLOW)
    agent.until((run / "checkpoints/step-00000003").is_dir)

    agent.process.send_signal(signal.SIGTERM)

    assert agent.wait(30) == 1
    assert not agent.left()
    report = exit_report(run)
    assert report["status"] == 143
    assert newest_state(run).name == f"step-{report['step']:08d}"
    results = ranks.run(2, several_opts(**RECIPE, TAG="ended"))
    assert [result.status for result in results] == [0, 0]
    assert launches(run) == [0, report["step"]]
    assert state_digest(newest_state(run)) == state_digest(newest_state(undisturbed))


def test_sigusr1_to_one_rank_under_torchrun_stops_all_and_saves(several_opts, agents, tmp_path):
    run = tmp_path / "output/tiny/warned"
    agent = agents.start(several_opts(**RECIPE, TAG="warned"), options=on_one_machine(2), prelude=SLOW)
    agent.until((run / "checkpoints/step-00000003").is_dir)

    os.kill(agent.ranks()[1], signal.SIGUSR1)

    assert agent.wait(30) == 1
    assert not agent.left()
    report = exit_report(run)
    assert report["status"] == 143
    assert newest_state(run).name == f"step-{report['step']:08d}"


def test_sigusr1_to_torchrun_that_was_told_to_pass_it_on(several_opts, agents, tmp_path):
    """Without --signals-to-handle it kills torchrun and leaves the ranks: finding 10."""
    run = tmp_path / "output/tiny/warned"
    options = [*on_one_machine(2), "--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"]
    agent = agents.start(several_opts(**RECIPE, TAG="warned"), options=options, prelude=SLOW)
    agent.until((run / "checkpoints/step-00000003").is_dir)

    agent.process.send_signal(signal.SIGUSR1)

    assert agent.wait(30) == 1
    assert not agent.left()
    assert exit_report(run)["status"] == 143


def test_a_killed_torchrun_leaves_no_rank_and_nothing_is_committed_after_it(several_opts, agents, tmp_path):
    run = tmp_path / "output/tiny/orphaned"
    agent = agents.start(
        several_opts(**RECIPE, TAG="orphaned"),
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


def test_a_lost_agent_with_its_rank_leaves_the_run_to_the_other(several_opts, agents, undisturbed, tmp_path):
    port = free_port()
    options = [on_two_machines("127.0.0.1", port, is_host=host, local="127.0.0.1") for host in (True, False)]
    run = tmp_path / "output/tiny/lost"
    first, second = (
        agents.start(several_opts(**RECIPE, TAG="lost"), options=one, prelude=SLOW) for one in options
    )
    first.until((run / "checkpoints/step-00000006").is_dir)

    second.kill()

    assert first.wait(90) == 0, first.stderr()
    check_that_one_machine_ended_what_two_began(run, undisturbed)


def test_a_cut_network_leaves_the_run_to_one_side(several_opts, machines, agents, undisturbed, tmp_path):
    host, other = machines
    port = free_port()
    run = tmp_path / "output/tiny/cut"
    first, _ = (
        agents.start(
            several_opts(**RECIPE, TAG="cut"),
            options=on_two_machines(host.address, port, is_host=machine is host, local=machine.address),
            prelude=SLOW,
            env={"GLOO_SOCKET_IFNAME": machine.interface},
            inside=machine.inside,
        )
        for machine in (host, other)
    )
    first.until((run / "checkpoints/step-00000006").is_dir)

    other.link("down")

    assert first.wait(90) == 0, first.stderr()
    check_that_one_machine_ended_what_two_began(run, undisturbed)


def check_that_one_machine_ended_what_two_began(run: Path, undisturbed: Path) -> None:
    log = (run / "log.txt").read_text()
    assert "2 process(es) x 1 accumulation step(s)" in log
    assert "1 process(es) x 2 accumulation step(s)" in log
    assert len(launches(run)) == 2
    # The same images in the same updates; sums of gradients in another order, in float32.
    assert losses(run) == pytest.approx(losses(undisturbed), rel=1e-6)
    assert newest_state(run).name == newest_state(undisturbed).name == "step-00000020"
