"""What the tests of the launch scripts share: torchrun, srun and scontrol, played by small programs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
LAUNCH = REPO / "scripts/launch.sh"
REQUEUE = REPO / "scripts/slurm/requeue.sh"

# Played as told by the environment: writes FAKE_TOLD, and at the end FAKE_TOLD_AT_END, as the exit file, waits for a
# signal or at most FAKE_SECONDS, FAKE_MORE for others, and ends with FAKE_CODE.
TORCHRUN = """
import json, os, pathlib, signal, sys, time

here, got = pathlib.Path(os.environ["FAKE"]), []
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
    signal.signal(number, lambda number, frame: got.append(signal.Signals(number).name))

def tell(name):
    if name in os.environ:
        pathlib.Path(os.environ["SWIN_TRAIN_EXIT_FILE"]).write_text(os.environ[name])

(here / "call.json").write_text(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ)}))
tell("FAKE_TOLD")
(here / "ready").touch()
end = time.monotonic() + float(os.environ.get("FAKE_SECONDS", "0"))
while not got and time.monotonic() < end:
    time.sleep(0.01)
if got:
    (here / "signals-begin").touch()
    time.sleep(float(os.environ.get("FAKE_MORE", "0.6")))
tell("FAKE_TOLD_AT_END")
(here / "signals").write_text(" ".join(got))
sys.exit(int(os.environ.get("FAKE_CODE", "0")))
"""
# Runs the step on this machine, as srun does on each node; it is the scripts that get the played torch, not main.py.
SRUN = """#!/usr/bin/env bash
echo "$*" >"$FAKE/srun"
while [[ $1 == --* ]]; do shift; done
export PYTHONPATH=$FAKE/modules
exec "$@"
"""
SCONTROL = """#!/usr/bin/env bash
case "$*" in
    "show hostnames "*) printf 'node1.invalid\\nnode2.invalid\\n' ;;
    "show job "*) echo "JobId=7 JobName=x JobState=${FAKE_STATE:-RUNNING} Reason=None" ;;
    *) echo "$*" >>"$FAKE/scontrol" ;;
esac
"""


def _heed_signals() -> None:
    """Heed what is ignored where the tests run in a shell's background or under nohup: bash cannot trap it then."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Stage:
    """A folder with the played programs, and what they saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        module = folder / "modules/torch/distributed"
        module.mkdir(parents=True)
        (folder / "modules/torch/__init__.py").touch()
        (module / "__init__.py").touch()
        (module / "run.py").write_text(TORCHRUN)
        (folder / "bin").mkdir()
        for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.run = folder / "run"

    def environment(self, **changes: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SWIN_TR"))
        }
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {**kept, "PATH": path, "FAKE": str(self.folder), "PYTHON": sys.executable, **changes}

    def launching(self, *options: str, **changes: str) -> subprocess.Popen[str]:
        """Start launch.sh; its torchrun is the played one."""
        environment = self.environment(PYTHONPATH=str(self.folder / "modules"), **changes)
        command = [LAUNCH, *options, "--", "--cfg", "a b"]
        return subprocess.Popen(
            command,
            env=environment,
            text=True,
            stderr=subprocess.PIPE,
            preexec_fn=_heed_signals,  # noqa: PLW1509
        )

    def launch(self, *options: str, **changes: str) -> tuple[int, str]:
        """Run launch.sh to its end, and return its status and its last message."""
        with self.launching(*options, **changes) as process:
            errors = process.communicate(timeout=60)[1]
        return process.returncode, errors.splitlines()[-1]

    def wait_until_running(self) -> None:
        """Wait until torchrun runs."""
        self._wait_for("ready")

    def wait_until_signalled(self) -> None:
        """Wait until torchrun got its first signal."""
        self._wait_for("signals-begin")

    def _wait_for(self, name: str) -> None:
        deadline = time.monotonic() + 60
        while not (self.folder / name).exists():
            assert time.monotonic() < deadline, name
            time.sleep(0.01)

    def signals(self) -> str:
        """Return the signals that torchrun got; it writes them when it ends."""
        return (self.folder / "signals").read_text()

    def requeue(self, status: int, job: str = "7", **changes: str) -> tuple[bool, str]:
        """Run requeue.sh, and return whether SLURM was asked to start the job again, and the message."""
        asked = self.folder / "scontrol"
        asked.unlink(missing_ok=True)
        result = subprocess.run(
            [REQUEUE, str(status), self.run],
            env=self.environment(SLURM_JOB_ID=job, **changes),
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        if asked.exists():
            assert asked.read_text() == f"requeue {job}\n"
        return asked.exists(), result.stderr

    def commit(self, step: int) -> None:
        folder = self.run / f"checkpoints/step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "MANIFEST.json").write_text("{}")

    @staticmethod
    def told(status: int, reason: str = "why", weight: int = 2) -> str:
        """Return what a rank that ends a run writes."""
        report = {"status": status, "reason": reason, "rank": 0, "host": "h", "step": None, "weight": weight}
        return json.dumps(report)

    @staticmethod
    def value(words: list[str], option: str) -> str:
        """Return the word behind an option."""
        return words[words.index(option) + 1]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A new stage."""
    return Stage(tmp_path)
