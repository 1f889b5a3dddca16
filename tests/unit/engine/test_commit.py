"""A training state is committed whole or not at all, wherever the process ends."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import swin_train.engine.commit
from swin_train.distributed.channel import Channel
from swin_train.engine.commit import Commit, commit, free_name, remove_folder, sweep
from swin_train.errors import LockLost, StorageError
from swin_train.weights.manifest import verify_folder
from swin_train.weights.stored_tensors import StoredTensors

TENSORS = {"model.a": torch.arange(6.0).view(2, 3), "optim.a.step": torch.tensor(3.0)}


def make(folder: Path, check_owner: Callable[[], None] = bool, content: str = "{}") -> Commit:
    return Commit(folder, TENSORS, content, step=1, owner=7, check_owner=check_owner)


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    folder = tmp_path / "step-00000001"
    commit(make(folder), Channel())
    return folder


def test_a_committed_state_verifies_and_holds_its_tensors(committed: Path) -> None:
    manifest = verify_folder(committed)

    assert (manifest["schema"], manifest["step"], manifest["owner"]) == (2, 1, 7)
    assert "train.json" in manifest["files"]
    stored = StoredTensors(committed)
    assert set(stored.meta) == set(TENSORS)
    assert all(torch.equal(value, TENSORS[name]) for name, value in stored.read(list(TENSORS)).items())


def test_large_states_are_written_in_files_of_bounded_size(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("swin_train.weights.stored_tensors._FILE_BYTES", 100)
    tensors = {f"model.{i}": torch.full((10,), float(i)) for i in range(7)}  # 40 bytes each: two in a file

    commit(Commit(tmp_path / "step-00000001", tensors, "{}", 1, 7, bool), Channel())

    assert len(list((tmp_path / "step-00000001").glob("*.safetensors"))) == 4
    read = StoredTensors(tmp_path / "step-00000001").read(list(tensors))
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_a_failing_write_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(swin_train.engine.commit, "store_tensors", fail)

    with pytest.raises(StorageError, match="No space left on device"):
        commit(make(tmp_path / "step-00000001"), Channel())

    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: Any) -> None:
    real = os.statvfs(tmp_path)
    nearly_full = os.statvfs_result((*real[:4], 0, *real[5:]))  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda _: nearly_full)

    with pytest.raises(StorageError, match=r"^0 MB are free and 0 MB needed; see to free space$"):
        commit(make(tmp_path / "step-00000001"), Channel())

    assert list(tmp_path.iterdir()) == []


def test_who_has_lost_the_folder_commits_nothing(tmp_path: Path) -> None:
    def lost() -> None:
        raise LockLost("taken over")

    with pytest.raises(LockLost, match="taken over"):
        commit(make(tmp_path / "step-00000001", lost), Channel())

    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_half_written_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".tmp-step-00000001-7").mkdir()
    (tmp_path / ".tmp-step-00000001-7" / "stale").touch()

    commit(make(tmp_path / "step-00000001"), Channel())

    assert "stale" not in verify_folder(tmp_path / "step-00000001")["files"]


def test_files_and_folders_reach_the_disk_before_the_name_and_the_name_last(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """What a power cut may keep: a name whose content is not there would be a checkpoint lost."""
    events: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        events.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        real_fsync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        events.append(f"rename {path.name} {target.name}")
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)

    commit(make(tmp_path / "step-00000001"), Channel())

    renamed = events.index("rename .tmp-step-00000001-7 step-00000001")
    before, after = events[:renamed], events[renamed + 1 :]
    shard = "shard-00001-model-00001-of-00001.safetensors"
    assert {f"fsync {name}" for name in (shard, "train.json", "MANIFEST.json")} <= set(before)
    assert before[-1] == "fsync .tmp-step-00000001-7"
    assert after == [f"fsync {tmp_path.name}"]


def die_at(moment: int) -> None:
    """End the process without a word before the n-th file or folder is opened, made, renamed or removed."""
    import sys

    left = moment

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"):
            left -= 1
            if left == 0:
                os._exit(9)

    sys.addaudithook(watch)


def test_a_kill_at_any_moment_of_a_save_leaves_the_older_state_and_no_half_one(tmp_path: Path) -> None:
    """In a process of its own for each moment: the newest folder verifies, and it is the older or the newer one."""
    older, newer = tmp_path / "step-00000001", tmp_path / "step-00000002"
    commit(make(older), Channel())
    moment, finished = 1, False
    while not finished:
        pid = os.fork()
        if pid == 0:
            die_at(moment)
            commit(make(newer), Channel())
            remove_folder(older)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        finished = os.waitstatus_to_exitcode(status) == 0
        assert finished or os.waitstatus_to_exitcode(status) == 9
        found = sorted(tmp_path.glob("step-*"))
        assert found, f"no state is left after a kill at moment {moment}"
        for folder in found:
            verify_folder(folder)
        sweep(tmp_path)
        if newer.exists():
            remove_folder(newer)
        if not older.exists():
            commit(make(older), Channel())
        moment += 1
    assert moment > 10  # there were many moments to be killed at


def test_a_state_gives_way_to_the_same_one_with_its_evaluation(committed: Path) -> None:
    commit(make(committed, content='{"evaluated": 1}'), Channel())

    verify_folder(committed)
    assert (committed / "train.json").read_text() == '{"evaluated": 1}'
    assert [path.name for path in committed.parent.iterdir()] == [committed.name]


def test_a_kill_at_any_moment_of_giving_way_loses_neither(tmp_path: Path) -> None:
    folder, moment, finished = tmp_path / "step-00000001", 1, False
    while not finished:
        if not folder.exists():
            commit(make(folder, content="old"), Channel())
        pid = os.fork()
        if pid == 0:
            die_at(moment)
            commit(make(folder, content="new"), Channel())
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        finished = os.waitstatus_to_exitcode(status) == 0
        sweep(tmp_path)
        verify_folder(folder)
        assert (folder / "train.json").read_text() in ("old", "new")
        remove_folder(folder)
        moment += 1
    assert moment > 10  # there were many moments to be killed at


def test_a_removed_folder_is_gone(committed: Path) -> None:
    remove_folder(committed)

    assert list(committed.parent.iterdir()) == []


def test_a_free_name_is_found(committed: Path) -> None:
    assert free_name(committed).name == "step-00000001-2"
