"""scripts/slurm/: what is requeued, when that stops, and the job from SLURM's warning to its requeue."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
REQUEUE = REPO / "scripts/slurm/requeue.sh"
SBATCH = REPO / "scripts/slurm/train.sbatch"


@pytest.mark.parametrize("status", [1, 143, 137])
def test_a_run_that_can_go_on_is_requeued(stage, status):
    asked, message = stage.requeue(status)

    assert asked
    assert message == (
        f"requeue.sh: status {status}, there is no checkpoint: requeued (1 of 3 without a newer one)\n"
    )


@pytest.mark.parametrize("status", [2, 3, 4, 5, 28, 130])
def test_a_run_that_would_end_alike_is_not_requeued(stage, status):
    asked, message = stage.requeue(status)

    assert not asked
    assert message == f"requeue.sh: status {status}: another start would end alike; not requeued\n"


def test_a_run_that_is_done_is_not_requeued(stage):
    assert stage.requeue(0) == (False, "")


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", ""])
def test_a_job_that_was_cancelled_stays_so(stage, state):
    asked, message = stage.requeue(143, FAKE_STATE=state or "?")

    assert not asked
    assert f"the job is {state or 'unknown'}, not RUNNING: not requeued" in message


def test_requeues_without_progress_come_to_an_end(stage):
    stage.commit(5)
    assert [stage.requeue(143)[0] for _ in range(3)] == [True] * 3
    (stage.run / "checkpoints/step-00000009").mkdir()  # not committed: no progress
    for _ in range(2):
        asked, message = stage.requeue(143)
        assert not asked
        assert message == (
            "requeue.sh: status 143, and 3 requeues in a row brought no new checkpoint"
            f" (the newest checkpoint is of step 5): not requeued. See {stage.run}/log.txt; sbatch starts a new count\n"
        )


def test_progress_starts_the_count_again(stage):
    stage.commit(8)
    assert [stage.requeue(1)[0] for _ in range(3)] == [True] * 3
    stage.commit(10)

    asked, message = stage.requeue(1)
    assert asked
    assert "the newest checkpoint is of step 10: requeued (1 of 3 without" in message
    assert [stage.requeue(1)[0] for _ in range(3)] == [True, True, False]


def test_another_job_starts_the_count_again(stage):
    assert [stage.requeue(1)[0] for _ in range(4)] == [True, True, True, False]
    assert stage.requeue(1, job="8")[0]


def test_a_count_that_cannot_be_kept_requeues_nothing(stage):
    stage.run.touch()  # not a folder
    asked, message = stage.requeue(1)

    assert not asked
    assert "requeues cannot be written, which counts requeues: not requeued" in message


@pytest.mark.parametrize("arguments", [[], ["143"], ["x", "run"], ["1", "run", "more"]])
def test_requeue_wants_a_status_and_a_folder(stage, arguments):
    result = subprocess.run(
        [REQUEUE, *arguments], env=stage.environment(SLURM_JOB_ID="7"), capture_output=True, text=True
    )

    assert result.returncode == 2
    assert result.stderr.startswith("requeue.sh: two arguments are needed, STATUS and RUN; got: ")


@pytest.fixture
def submit(stage, tmp_path):
    """Start train.sbatch as SLURM does on the first node of two, and wait until its step runs."""

    def start(**changes):
        environment = stage.environment(
            SLURM_SUBMIT_DIR=str(REPO),
            SLURM_JOB_ID="12345",
            SLURM_JOB_NUM_NODES="2",
            SLURM_JOB_NODELIST="node[1-2]",
            **changes,
        )
        command = [
            "bash",
            SBATCH,
            "--cfg",
            "swin_tiny_patch4_window7_224",
            "--output",
            str(tmp_path),
            "--tag",
            "x",
        ]
        process = subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)
        stage.run = tmp_path / "swin_tiny_patch4_window7_224/x"
        return process

    return start


def test_slurms_warning_ends_in_a_requeue(stage, submit):
    with submit(FAKE_SECONDS="60", FAKE_TOLD_AT_END=stage.told(143), FAKE_CODE="1") as process:
        stage.wait_until_running()
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=60)[1]

    assert process.returncode == 143, errors
    assert stage.signals() == "SIGTERM"
    assert (stage.folder / "scontrol").read_text() == "requeue 12345\n"
    assert (stage.run / "requeues").read_text() == "12345 -1 1\n"
    assert [path.name for path in stage.run.iterdir()] == ["requeues"]  # the exit file is gone
    srun = (stage.folder / "srun").read_text()
    assert srun.startswith(
        "--ntasks-per-node=1 --kill-on-bad-exit=1 scripts/launch.sh --nodes 2 --head node1.invalid:22345 -- "
    )
    call = json.loads((stage.folder / "call.json").read_text())
    assert stage.value(call["argv"], "--rdzv-id") == "12345"
    assert call["argv"][-2:] == ["--tag", "x"]


def test_a_run_that_went_bad_ends_the_job(stage, submit):
    with submit(FAKE_TOLD=stage.told(4), FAKE_CODE="1") as process:
        errors = process.communicate(timeout=60)[1]

    assert process.returncode == 4, errors
    assert "train.sbatch: the run ended with status 4\n" in errors
    assert not (stage.folder / "scontrol").exists()


def test_what_a_process_told_goes_before_the_status_of_srun(stage, submit):
    """A launcher that srun killed because another one had ended makes its status 137."""
    (stage.folder / "bin/srun").write_text(
        '#!/usr/bin/env bash\necho "$FAKE_TOLD" >"$SWIN_TRAIN_EXIT_FILE"\nexit 137\n'
    )
    with submit(FAKE_TOLD=stage.told(28)) as process:
        process.communicate(timeout=60)

    assert process.returncode == 28


def test_a_mistake_in_the_arguments_ends_the_job_before_its_step(stage, submit):
    process = subprocess.run(
        ["bash", SBATCH, "--cfg", "no_such_model"],
        env=stage.environment(SLURM_SUBMIT_DIR=str(REPO), SLURM_JOB_ID="1", SLURM_JOB_NUM_NODES="1"),
        capture_output=True,
        text=True,
    )

    assert process.returncode == 2
    assert "no_such_model" in process.stderr
    assert not (stage.folder / "srun").exists()


def test_the_template_asks_slurm_for_what_it_relies_on():
    lines = [line for line in SBATCH.read_text().splitlines() if line.startswith("#SBATCH")]

    needed = {"--signal=B:TERM@180", "--requeue", "--open-mode=append", "--ntasks-per-node=1"}
    assert needed <= {line.split()[1] for line in lines}


@pytest.mark.parametrize("script", sorted((REPO / "scripts").rglob("*.s[hb]*")), ids=lambda path: path.name)
def test_bash_reads_the_script(script):
    subprocess.run(["bash", "-n", script], check=True)
