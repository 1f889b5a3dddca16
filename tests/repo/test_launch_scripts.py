"""scripts/launch.sh: what torchrun is given, and how a run ends. Torchrun is played, but in one test."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
LAUNCH = REPO / "scripts/launch.sh"
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
ONE_NODE = ("--nproc", "2")
TWO_NODES = ("--nodes", "2", "--head", "node1.invalid")


def shown(*options: str, **environment: str) -> list[str]:
    """Return the words of the command that launch.sh would run."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    result = subprocess.run(
        [LAUNCH, "--dry-run", *options, "--", "--cfg", "a b"],
        env={**clean, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return shlex.split(result.stdout)


def test_torchrun_gets_what_it_needs_and_users_do_not_know(stage):
    assert stage.launch(*ONE_NODE) == (0, "launch.sh: the run ended with status 0")

    call = json.loads((stage.folder / "call.json").read_text())
    assert call["argv"][-3:] == [str(REPO / "main.py"), "--cfg", "a b"]
    assert "--standalone" in call["argv"]
    options = {"--nproc-per-node": "2", "--max-restarts": "3", "--monitor-interval": "1"}
    options |= {"--signals-to-handle": SIGNALS, "--local-addr": "127.0.0.1"}
    assert {name: stage.value(call["argv"], name) for name in options} == options
    assert call["env"]["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"
    assert call["env"]["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "120"
    assert not Path(call["env"]["SWIN_TRAIN_EXIT_FILE"]).parent.exists()  # it was a temporary one


def test_torch_knows_every_option():
    from torch.distributed.run import get_args_parser

    words = shown(*TWO_NODES, "--address", "a", "--id", "i", "--max-restarts", "7", "--shutdown-timeout", "9")
    assert words[:2] == ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT=9"]
    assert words[2:4] == [sys.executable, str(REPO / "scripts/torchrun.py")]
    parsed = get_args_parser().parse_args(words[4:])
    assert (parsed.training_script, parsed.training_script_args) == (str(REPO / "main.py"), ["--cfg", "a b"])
    assert (parsed.nnodes, parsed.nproc_per_node, parsed.max_restarts) == ("2", "gpu", 7)
    assert (parsed.rdzv_backend, parsed.rdzv_endpoint, parsed.rdzv_id) == ("c10d", "node1.invalid:29400", "i")
    assert (parsed.local_addr, parsed.monitor_interval, parsed.standalone) == ("a", 1.0, False)
    assert parsed.rdzv_conf == "is_host=0,join_timeout=600,last_call_timeout=30,keep_alive_interval=5"
    assert parsed.signals_to_handle == SIGNALS

    standalone = get_args_parser().parse_args(shown("--nproc", "2")[4:])
    assert standalone.standalone


@pytest.mark.parametrize(
    ("head", "role"),
    [
        ("127.0.0.2:29400", "is_host=1,"),
        ("192.0.2.1", "is_host=0,"),  # an address of no machine
        ("node1.invalid", "is_host=0,"),
        ("[2001:db8::1]:29400", "is_host=0,"),
        ("localhost:29400", ""),  # there may be several launchers: torch takes the first one
        ("[::1]", ""),
    ],
)
def test_the_head_is_the_node_that_has_its_address(stage, head, role):
    words = shown("--nodes", "2", "--head", head)

    waits = "join_timeout=600,last_call_timeout=30,keep_alive_interval=5"
    assert stage.value(words, "--rdzv-conf") == role + waits
    assert stage.value(words, "--rdzv-endpoint") == (head if ":29400" in head else f"{head}:29400")


def test_jobs_are_told_apart_by_slurms_id(stage):
    assert stage.value(shown(*TWO_NODES), "--rdzv-id") == "swin_train"
    assert stage.value(shown(*TWO_NODES, SLURM_JOB_ID="77"), "--rdzv-id") == "77"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--nprc 2 -- x", "unknown option --nprc; main.py's arguments stand behind --"),
        ("--cfg x", "unknown option --cfg; main.py's arguments stand behind --"),
        ("--nproc", "--nproc: its value is missing"),
        ("--nproc -- x", "--nproc: its value is missing"),
        ("--nproc 0 -- x", "--nproc: 0 is not a number of processes, or gpu"),
        ("--nodes 2: -- x", "--nodes: 2: is not a number of nodes, or MIN:MAX"),
        ("--nodes 3:2 --head a -- x", "--nodes: 3:2 has more nodes at least than at most"),
        ("--nodes 2 -- x", "--nodes 2: --head HOST:PORT is missing, where the nodes meet"),
        ("--nodes 2 --head a:b -- x", "--head: a:b is not HOST or HOST:PORT"),
        ("--head a -- x", "--head, --address and --id are for several nodes; say how many by --nodes"),
        ("--max-restarts -1 -- x", "--max-restarts: its value is missing"),
        ("--max-restarts x -- x", "--max-restarts: x is not a number"),
        ("--shutdown-timeout 1s -- x", "--shutdown-timeout: 1s is not a number of seconds"),
        ("--nproc 2 --", "nothing to run; give main.py's arguments behind --"),
        ("", "nothing to run; give main.py's arguments behind --"),
        ("-- main.py --cfg x", "main.py behind --: only main.py's arguments belong there"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(options, message):
    result = subprocess.run([LAUNCH, *options.split()], capture_output=True, text=True)

    assert result.returncode == 2
    assert result.stderr == f"launch.sh: {message}; see scripts/launch.sh --help\n"


def test_a_python_without_torch_is_status_2():
    result = subprocess.run(
        [LAUNCH, "--", "x"], env={**os.environ, "PYTHON": "/nowhere/python"}, capture_output=True, text=True
    )

    assert result.returncode == 2
    assert result.stderr.startswith(
        "launch.sh: /nowhere/python has no torch; activate its environment, or name"
    )


def test_help_shows_examples_that_work():
    result = subprocess.run([LAUNCH, "--help"], capture_output=True, text=True)

    assert result.returncode == 0
    examples = result.stdout.split("examples:")[1].replace("\\\n", " ").splitlines()
    lines = [line.split("launch.sh ")[1] for line in examples if "launch.sh " in line]
    assert len(lines) == 3
    for line in lines:
        subprocess.run([LAUNCH, "--dry-run", *shlex.split(line)], check=True)


# How it ends


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4, 5, 28, 130, 143])
def test_the_status_is_the_runs(stage, status):
    code, message = stage.launch(FAKE_TOLD=stage.told(status, 'a "quoted" word'), FAKE_CODE="1")

    assert code == status
    assert message == f'launch.sh: the run ended with status {status}: a "quoted" word'


@pytest.mark.parametrize("code", [0, 1, 7])
def test_where_no_process_told_it_is_torchruns(stage, code):
    status, message = stage.launch(FAKE_CODE=str(code), FAKE_TOLD="{half a mess")

    assert status == code
    assert ("no process told why" in message) == (code != 0)


def test_a_run_that_came_back_after_a_restart_is_done(stage):
    """What its first start told is still there."""
    assert stage.launch(FAKE_TOLD=stage.told(1), FAKE_CODE="0")[0] == 0


def test_a_reason_of_several_lines_is_told_in_the_last_one(stage):
    told = stage.told(2, '1 problem in the configuration:\n  - --opts: unknown key "X"')

    message = stage.launch(FAKE_TOLD=told, FAKE_CODE="1")[1]

    assert message == (
        'launch.sh: the run ended with status 2: 1 problem in the configuration: - --opts: unknown key "X"'
    )


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="needs a machine without a GPU")
def test_a_machine_without_a_gpu_wants_a_number_of_processes(main_environment):
    result = subprocess.run(
        [LAUNCH, "--", "--cfg", "x"],
        env=main_environment({"PYTHON": sys.executable}),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert result.returncode == 2
    assert "launch.sh: --nproc: this machine has no GPU; give --nproc N\n" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_an_earlier_launch_told_does_not_count(stage, tmp_path):
    (tmp_path / "exit.json").write_text(stage.told(4))

    given = str(tmp_path / "exit.json")
    assert stage.launch(SWIN_TRAIN_EXIT_FILE=given, FAKE_CODE="7", FAKE_SECONDS="1")[0] == 7
    assert stage.signals() == ""


@pytest.mark.parametrize(
    ("name", "passed"),
    [("SIGTERM", "SIGTERM"), ("SIGUSR1", "SIGUSR1"), ("SIGINT", "SIGINT"), ("SIGHUP", "SIGTERM")],
)
def test_a_signal_is_passed_on_once_and_waited_for(stage, name, passed):
    told = stage.told(143)
    with stage.launching(FAKE_TOLD_AT_END=told, FAKE_CODE="1", FAKE_SECONDS="60") as process:
        stage.wait_until_running()
        process.send_signal(signal.Signals[name])
        stage.wait_until_signalled()
        while not (stage.folder / "signals").exists():  # SLURM and people send more than one
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        errors = process.communicate(timeout=60)[1]

    assert process.returncode == 143
    assert stage.signals() == passed
    assert "launch.sh: SIGTERM again; the processes are still ending\n" in errors
    assert errors.endswith("launch.sh: the run ended with status 143: why\n")


def test_a_second_interrupt_is_passed_on_too(stage):
    with stage.launching(FAKE_SECONDS="60", FAKE_MORE="2", FAKE_CODE="1") as process:
        stage.wait_until_running()
        process.send_signal(signal.SIGINT)
        stage.wait_until_signalled()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert stage.signals() == "SIGINT SIGINT"


@pytest.mark.parametrize("status", [2, 3, 4, 5, 28, 130, 143])
def test_what_a_restart_would_not_help_is_not_started_again(stage, status):
    """torchrun would: it is ended as soon as a process has told."""
    begin = time.monotonic()
    assert stage.launch(FAKE_TOLD=stage.told(status), FAKE_SECONDS="60", FAKE_CODE="1")[0] == status

    assert stage.signals() == "SIGTERM"
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("options", [ONE_NODE, TWO_NODES])
def test_the_first_reason_not_to_start_again_stays(stage, tmp_path, options):
    """Processes that are ended because of it may tell that they were ended."""
    told = {"FAKE_TOLD": stage.told(5), "FAKE_TOLD_AT_END": stage.told(143)}
    given = str(tmp_path / "exit.json")
    assert (
        stage.launch(*options, **told, FAKE_SECONDS="60", FAKE_CODE="1", SWIN_TRAIN_EXIT_FILE=given)[0] == 5
    )


@pytest.mark.parametrize(
    ("options", "status"), [(ONE_NODE, 1), (("--nodes", "1:2", "--head", "node1.invalid"), 143)]
)
def test_lost_processes_and_nodes_that_leave_are_torchruns_to_restart(stage, options, status):
    assert stage.launch(*options, FAKE_TOLD=stage.told(status), FAKE_SECONDS="1.5")[0] == 0
    assert stage.signals() == ""


def test_processes_that_torchrun_stopped_because_it_missed_one_are_its_to_restart(stage):
    """They got SIGTERM before the first update, and cannot know from whom."""
    told = stage.told(143, weight=1)
    assert stage.launch(FAKE_TOLD=told, FAKE_SECONDS="1.5")[0] == 0
    assert stage.signals() == ""

    status, message = stage.launch(FAKE_TOLD=told + " ", FAKE_CODE="1")
    assert status == 1
    assert "status 1: torchrun stopped the processes before the first update; it says above which" in message


def test_processes_that_were_stopped_before_the_first_update_as_asked(stage):
    told = stage.told(143, weight=1)
    with stage.launching(FAKE_TOLD_AT_END=told, FAKE_CODE="1", FAKE_SECONDS="60") as process:
        stage.wait_until_running()
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=60)[1]

    assert (process.returncode, errors.splitlines()[-1]) == (
        143,
        "launch.sh: the run ended with status 143: why",
    )


def test_several_nodes_wait_for_the_one_that_tells(stage, tmp_path):
    """Where they see the same file, a launcher without the telling process ends with the run's status too."""
    given = tmp_path / "exit.json"
    teller = threading.Timer(1.5, given.write_text, [stage.told(5)])
    teller.start()
    assert stage.launch(*TWO_NODES, SWIN_TRAIN_EXIT_FILE=str(given), FAKE_CODE="1")[0] == 5
    teller.join()


def test_two_real_processes_train(tiny_opts, main_environment, tmp_path):
    opts = tiny_opts(DATA__BATCH_SIZE=4, AUG__MIX_GROUP=2, TRAIN__EPOCHS=1, TRAIN__WARMUP_EPOCHS=0)
    result = subprocess.run(
        [LAUNCH, *ONE_NODE, "--", "--cfg", "swin_tiny_patch4_window7_224", "--opts", *opts],
        env=main_environment({"PYTHON": sys.executable}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert result.returncode == 0, result.stderr[-4000:]
    assert result.stderr.endswith("launch.sh: the run ended with status 0\n")
    assert "2 process(es)" in (tmp_path / "output/tiny/default/log.txt").read_text()
