"""A machine that is lost, and a network that is cut, under the real torchrun on two machines."""

import contextlib
import json
import time
from pathlib import Path

import pytest
from agents import SLOW, on_two_machines, two_machines
from ranks import free_port
from run_records import exit_report, launches, losses
from state_digest import newest_state


@pytest.fixture
def machines():
    """Two machines with a cable between them; skips the test where none can be made."""
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(two_machines())
        except PermissionError as error:
            pytest.skip(str(error))
        yield made


def holder(run: Path) -> int:
    """Return the process that holds a run's folder, or was the last to."""
    return json.loads((run / "run.lock").read_text())["process"]


def test_a_lost_machine_with_the_main_process_leaves_the_run_to_the_other(
    opts, agents, undisturbed_run, tmp_path
):
    port = free_port()
    run = tmp_path / "output/tiny/lost"
    first, second = (  # torchrun counts the ranks in the order of the addresses
        agents.start(
            opts(TAG="lost", DIST__TIMEOUT_S=4.0),
            options=on_two_machines("127.0.0.2", port, is_host=local == "127.0.0.2", local=local),
            prelude=SLOW,
        )
        for local in ("127.0.0.2", "127.0.0.1")
    )
    first.until((run / "checkpoints/step-00000006").is_dir)
    assert holder(run) in second.ranks()

    second.kill()

    assert first.wait(90) == 0, first.stderr()
    check_that_one_machine_ended_what_two_began(run, undisturbed_run)


@pytest.mark.parametrize("moment", [pytest.param("in an update", marks=pytest.mark.long), "in a save"])
def test_a_cut_network_leaves_the_run_to_one_side_and_the_other_ends_by_itself(
    opts, machines, agents, undisturbed_run, tmp_path, moment
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
            opts(TAG="cut", DIST__TIMEOUT_S=4.0),
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
    check_that_one_machine_ended_what_two_began(run, undisturbed_run)


def check_that_one_machine_ended_what_two_began(run: Path, undisturbed: Path) -> None:
    log = (run / "log.txt").read_text()
    assert "2 process(es) x 1 accumulation step(s)" in log
    assert "1 process(es) x 2 accumulation step(s)" in log
    assert len(launches(run)) == 2
    # The same images in the same updates; sums of gradients in another order, in float32.
    assert losses(run) == pytest.approx(losses(undisturbed), rel=1e-6)
    assert newest_state(run).name == newest_state(undisturbed).name == "step-00000015"
    assert exit_report(run)["status"] == 0
