"""Faults under the real torchrun: restarts, signals, lost machines. Few, since each pays for seconds of imports."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from agents import Agents, on_one_machine, on_two_machines, two_machines
from ranks import check_statuses, clean_environment, free_port
from run_records import exit_report, losses
from state_digest import newest_state, state_digest

RECIPE = {  # 20 updates
    "SAVE_STEPS": 3,
    "SAVE_ASYNC": False,  # so that what was saved before a fault is known
    "TRAIN__EPOCHS": 4,
    "TRAIN__EMA_DECAY": 0.9,
    "DIST__TIMEOUT_S": 4.0,
}
SLOW = "import faults; faults.slow(0.2)\n"
TESTS = Path(__file__).resolve().parents[1]
LAUNCH = TESTS.parent / "scripts/launch.sh"


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


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def undisturbed(several_opts, ranks, kept):
    """The folder of a run that nothing happened to, on two ranks; made once."""
    run = kept / "tiny/undisturbed"
    if not run.exists():
        results = ranks.run(2, several_opts(**RECIPE, OUTPUT=str(kept), TAG="undisturbed"))
        check_statuses(results, 0, 0)
    return run


def holder(run: Path) -> int:
    """Return the process that holds a run's folder, or was the last to."""
    return json.loads((run / "run.lock").read_text())["process"]


def launches(run: Path) -> list[int]:
    """Return the step that each launch of a run began at."""
    return [launch["step"] for launch in json.loads((run / "run.json").read_text())["launches"]]


def test_torchrun_restarts_after_a_killed_rank_and_after_a_hang_and_ends_bit_identical(
    several_opts, agents, undisturbed, tmp_path
):
    """A rank that hangs does not hear torchrun's SIGTERM, which waits for 30 s then; it ends by itself before."""
    prelude = f"""
import faults
faults.at(8, faults.kill(), rank=1, once={str(tmp_path / "killed")!r})
faults.at(12, faults.sleep(600), rank=1, once={str(tmp_path / "hung")!r})
"""
    agent = agents.start(
        several_opts(**RECIPE, TAG="restarted"), options=on_one_machine(2, restarts=2), prelude=prelude
    )

    assert agent.wait(90) == 0, agent.stderr()
    run = tmp_path / "output/tiny/restarted"
    assert launches(run) == [0, 6, 10]  # one restart was enough for each
    assert "lost another process after update 11: rank 1 does not answer" in agent.stderr()
    assert "faults.py" in (run / "ranks/rank-1.txt").read_text()  # where it hung
    assert state_digest(newest_state(run)) == state_digest(newest_state(undisturbed))


WITH_USR1 = ["--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"]


@pytest.mark.parametrize(
    ("to_rank", "name", "more"),
    [
        (None, "SIGTERM", []),
        (1, "SIGUSR1", []),
        (None, "SIGUSR1", WITH_USR1),  # without them it would kill torchrun and leave the ranks: finding 10
    ],
)
def test_a_signal_to_torchrun_or_a_rank_saves_and_the_next_launch_ends_bit_identical(
    several_opts, agents, ranks, undisturbed, tmp_path, to_rank, name, more
):
    """Torchrun itself returns 1 all the same."""
    run = tmp_path / "output/tiny/ended"
    agent = agents.start(
        several_opts(**RECIPE, TAG="ended"), options=[*on_one_machine(2), *more], prelude=SLOW
    )
    agent.until((run / "checkpoints/step-00000003").is_dir)

    os.kill(agent.process.pid if to_rank is None else agent.ranks()[to_rank], signal.Signals[name])

    assert agent.wait(30) == 1
    assert not agent.left()
    report = exit_report(run)
    assert report["status"] == 143
    assert newest_state(run).name == f"step-{report['step']:08d}"
    results = ranks.run(2, several_opts(**RECIPE, TAG="ended"))
    check_statuses(results, 0, 0)
    assert launches(run) == [0, report["step"]]
    assert state_digest(newest_state(run)) == state_digest(newest_state(undisturbed))


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
    report = exit_report(run)
    assert report["status"] == 3
    assert (
        report["reason"]
        == f"launch: torchrun's agent (process {agent.process.pid}) is gone; start the run again"
    )


def test_a_lost_machine_with_the_main_process_leaves_the_run_to_the_other(
    several_opts, agents, undisturbed, tmp_path
):
    port = free_port()
    run = tmp_path / "output/tiny/lost"
    first, second = (  # torchrun counts the ranks in the order of the addresses
        agents.start(
            several_opts(**RECIPE, TAG="lost"),
            options=on_two_machines("127.0.0.2", port, is_host=local == "127.0.0.2", local=local),
            prelude=SLOW,
        )
        for local in ("127.0.0.2", "127.0.0.1")
    )
    first.until((run / "checkpoints/step-00000006").is_dir)
    assert holder(run) in second.ranks()

    second.kill()

    assert first.wait(90) == 0, first.stderr()
    check_that_one_machine_ended_what_two_began(run, undisturbed)


@pytest.mark.parametrize("moment", [pytest.param("in an update", marks=pytest.mark.long), "in a save"])
def test_a_cut_network_leaves_the_run_to_one_side_and_the_other_ends_by_itself(
    several_opts, machines, agents, undisturbed, tmp_path, moment
):
    """The side that is cut off has the main process; the other has the meeting point, which torchrun cannot replace."""
    cut_off, host = machines
    port = free_port()
    run = tmp_path / "output/tiny/cut"
    saving, saved = tmp_path / "saving", run / "checkpoints/step-00000006"
    in_save = (
        f"faults.before_call('swin_train.engine.saver.commit', faults.sleep(2), call=3, once={str(saving)!r})"
    )
    first, second = (
        agents.start(
            several_opts(**RECIPE, TAG="cut"),
            options=on_two_machines(host.address, port, is_host=machine is host, local=machine.address),
            prelude=SLOW + (in_save if moment == "in a save" else ""),
            env={"GLOO_SOCKET_IFNAME": machine.interface},
            inside=machine.inside,
        )
        for machine in (host, cut_off)
    )
    first.until(saving.exists if moment == "in a save" else saved.is_dir)
    assert holder(run) in second.ranks()

    cut_off.link("down")
    time.sleep(1)  # what was being committed is, and nothing can be after it
    committed = int(newest_state(run).name.removeprefix("step-"))

    first.until(
        lambda: not second.left(), timeout=20
    )  # torchrun itself waits for its own connection for longer
    assert first.wait(90) == 0, first.stderr()
    assert "rank 1 does not answer: it is dead, hangs, or its network is cut" in second.stderr()
    assert launches(run) == [0, committed]
    check_that_one_machine_ended_what_two_began(run, undisturbed)


def check_that_one_machine_ended_what_two_began(run: Path, undisturbed: Path) -> None:
    log = (run / "log.txt").read_text()
    assert "2 process(es) x 1 accumulation step(s)" in log
    assert "1 process(es) x 2 accumulation step(s)" in log
    assert len(launches(run)) == 2
    # The same images in the same updates; sums of gradients in another order, in float32.
    assert losses(run) == pytest.approx(losses(undisturbed), rel=1e-6)
    assert newest_state(run).name == newest_state(undisturbed).name == "step-00000020"
    assert exit_report(run)["status"] == 0


@contextlib.contextmanager
def launched(arguments: Sequence[str], folder: Path, prelude: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start two ranks by scripts/launch.sh; each runs ``prelude`` first, as Python does with a ``sitecustomize``."""
    command = [str(LAUNCH), "--nproc", "2", "--", *arguments]
    env = clean_environment() | {"PYTHON": sys.executable}
    if prelude:
        (folder / "site").mkdir()
        (folder / "site/sitecustomize.py").write_text(f"import os\nif 'RANK' in os.environ:\n    {prelude}\n")
        env["PYTHONPATH"] = os.pathsep.join(map(str, (folder / "site", TESTS, TESTS.parent)))
    with subprocess.Popen(command, env=env, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()  # it passes it on


def test_sigterm_to_launch_sh_ends_with_143(several_opts, tmp_path):
    run = tmp_path / "output/tiny/ended"
    opts = several_opts(**RECIPE | {"TRAIN__EPOCHS": 10_000}, TAG="ended")
    with launched(opts, tmp_path) as process:
        while not (run / "checkpoints/step-00000003").is_dir():
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        said = process.communicate(timeout=60)[1]

    assert process.returncode == 143, said
    assert exit_report(run)["status"] == 143
    assert "launch.sh: the run ended with status 143: stopped by a signal" in said


def test_a_process_that_dies_before_the_first_update_is_torchruns_to_restart(several_opts, tmp_path):
    """torchrun sends SIGTERM to the other one, which nobody asked to stop."""
    killed = str(tmp_path / "killed")
    fault = f"'swin_train.engine.train.make_plan', faults.kill(), rank=1, once={killed!r}"
    brief = several_opts(**RECIPE | {"TRAIN__EPOCHS": 1, "TRAIN__WARMUP_EPOCHS": 0}, TAG="brief")
    with launched(brief, tmp_path, f"import faults; faults.before_call({fault})") as process:
        said = process.communicate(timeout=90)[1]

    assert Path(killed).exists()
    assert process.returncode == 0, said
    assert launches(tmp_path / "output/tiny/brief") == [0]
    assert exit_report(tmp_path / "output/tiny/brief")["status"] == 0


def test_numbers_that_went_bad_end_launch_sh_with_4_and_are_not_tried_again(several_opts, tmp_path):
    bad = {
        "TRAIN__BASE_LR": 1e30,
        "TRAIN__WARMUP_EPOCHS": 0,
        "TRAIN__CLIP_GRAD": 0,
        "TRAIN__MAX_BAD_STEPS": 0,
    }
    with launched(several_opts(**RECIPE | bad, TAG="bad"), tmp_path) as process:
        said = process.communicate(timeout=60)[1]

    assert process.returncode == 4, said
    assert "launch.sh: status 4: not started again" in said
    assert len(launches(tmp_path / "output/tiny/bad")) == 1
