"""The folder of a run: held by one launch at a time, which counts its holders, and tried before anything is trained."""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_train.config import Config, load_config, output_dir
from swin_train.distributed import Runtime
from swin_train.engine.run_folder import RunFolder
from swin_train.errors import LockLost, UserError

RUNTIME = Runtime(torch.device("cpu"))


@pytest.fixture
def cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    return load_config(
        None, ["OUTPUT", str(tmp_path / "output"), "MODEL.NAME", "tiny", "DIST.TIMEOUT_S", "30"]
    )


def holder_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run.lock").read_text())
    return content


@pytest.fixture
def other(cfg: Config) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts another process that holds the folder until something is written to it."""
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.lockf(f, fcntl.LOCK_EX); f.truncate(0); "
        "f.write(sys.argv[2]); f.flush(); print(flush=True); sys.stdin.read(1)"
    )
    started: list[subprocess.Popen[str]] = []

    def hold(holder: str) -> subprocess.Popen[str]:
        path = output_dir(cfg) / "run.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        arguments = [sys.executable, "-c", code, str(path), holder]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_a_launch_writes_itself_down(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")

    with RunFolder(cfg, RUNTIME) as folder:
        assert (folder.path, folder.owner) == (output_dir(cfg), 1)
        assert folder.weights.is_dir()
        assert holder_of(folder.path) == {
            "owner": 1,
            "process": os.getpid(),
            "host": platform.node(),
            "job": "job",
        }
        folder.check_owner()


def test_holders_are_counted(cfg: Config) -> None:
    for owner in (1, 2, 3):
        with RunFolder(cfg, RUNTIME) as folder:
            assert folder.owner == owner
            assert holder_of(folder.path)["owner"] == owner


@pytest.mark.parametrize("text", ["", "12345\n", "process 12 on host", "[1]", "{", '"x"', "null"])
def test_what_an_older_version_wrote_into_the_lock_counts_as_nothing(cfg: Config, text: str) -> None:
    output_dir(cfg).mkdir(parents=True)
    (output_dir(cfg) / "run.lock").write_text(text)

    with RunFolder(cfg, RUNTIME) as folder:
        assert folder.owner == 1
        assert holder_of(folder.path)["process"] == os.getpid()


def test_a_holder_that_another_launch_has_followed_writes_no_more(cfg: Config) -> None:
    with RunFolder(cfg, RUNTIME) as folder:
        (folder.path / "run.lock").write_text(json.dumps({"owner": 2, "process": 77, "host": "there"}))

        with pytest.raises(LockLost) as error:
            folder.check_owner()

    assert error.value.exit_status == 3
    assert str(error.value) == (
        f"OUTPUT: {folder.path} was taken over by another launch (process 77 on there) while this one was cut off; "
        f"nothing of this one is written any more"
    )


@pytest.mark.parametrize(
    ("holder", "who"),
    [
        ('{"owner": 4, "process": 77, "host": "there", "job": ""}', "process 77 on there"),
        ('{"owner": 4, "process": 77, "host": "there", "job": "another"}', "process 77 on there"),
        ("text of an older version", "process unknown on an unknown machine"),
    ],
)
@pytest.mark.parametrize("job", ["", "job"])
def test_a_folder_in_use_is_refused_at_once(
    cfg: Config, other: Callable, monkeypatch: pytest.MonkeyPatch, holder: str, who: str, job: str
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", job)
    other(holder)
    start = time.monotonic()

    with pytest.raises(UserError) as error:
        RunFolder(cfg, RUNTIME)

    assert str(error.value) == (
        f"OUTPUT: {output_dir(cfg)} is in use by another run ({who}); wait for it, or choose another TAG"
    )
    assert time.monotonic() - start < 5
    assert (output_dir(cfg) / "run.lock").read_text() == holder


def test_for_a_process_of_the_same_job_it_waits(
    cfg: Config, other: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    process = other('{"owner": 4, "process": 77, "host": "there", "job": "job"}')
    let_go = threading.Timer(0.7, process.kill)
    let_go.start()

    with RunFolder(cfg, RUNTIME) as folder:
        assert not let_go.is_alive()
        assert folder.owner == 5
        assert holder_of(folder.path)["process"] == os.getpid()


def test_it_does_not_wait_longer_than_others_would(
    cfg: Config, other: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    other('{"owner": 4, "process": 77, "host": "there", "job": "job"}')
    impatient = load_config(None, [*_as_options(cfg), "DIST.TIMEOUT_S", "1"])

    with pytest.raises(UserError, match=r"is in use by another run \(process 77 on there\)"):
        RunFolder(impatient, RUNTIME)


def _as_options(cfg: Config) -> list[str]:
    return ["OUTPUT", cfg.OUTPUT, "MODEL.NAME", cfg.MODEL.NAME]


def test_the_report_of_the_launch_before_is_taken_away(cfg: Config) -> None:
    output_dir(cfg).mkdir(parents=True)
    (output_dir(cfg) / "exit.json").touch()

    with RunFolder(cfg, RUNTIME) as folder:
        assert not (folder.path / "exit.json").exists()


def test_a_file_in_place_of_the_folder_is_said(cfg: Config) -> None:
    output_dir(cfg).parent.mkdir(parents=True)
    output_dir(cfg).touch()

    with pytest.raises(UserError) as error:
        RunFolder(cfg, RUNTIME)

    assert str(error.value) == (
        f"OUTPUT: {output_dir(cfg)} cannot be written (File exists); name another folder with --output"
    )


def test_a_disk_that_takes_nothing_is_found_at_the_start(
    cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(UserError, match=r"cannot be written \(Input/output error\); name another folder"):
        RunFolder(cfg, RUNTIME)

    assert not list(output_dir(cfg).glob(".probe-*"))
