"""A folder is committed whole or not at all."""

import pytest

from swin_train.engine.commit import commit_folder, remove_folder
from swin_train.weights.manifest import verify_folder


def write_two(folder):
    (folder / "a").write_bytes(b"12345")
    (folder / "b").write_bytes(b"6789")


@pytest.fixture
def committed(tmp_path):
    folder = tmp_path / "step-1"
    commit_folder(folder, write_two, {"step": 1})
    return folder


def test_a_committed_folder_verifies(committed):
    manifest = verify_folder(committed)

    assert manifest["step"] == 1
    assert set(manifest["files"]) == {"a", "b"}


def test_a_failing_write_leaves_nothing(tmp_path):
    def fail(folder):
        write_two(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        commit_folder(tmp_path / "step-1", fail, {})

    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_half_written_is_replaced(tmp_path):
    (tmp_path / ".tmp-step-1").mkdir()
    (tmp_path / ".tmp-step-1" / "stale").touch()

    commit_folder(tmp_path / "step-1", write_two, {})

    assert "stale" not in verify_folder(tmp_path / "step-1")["files"]


def test_a_removed_folder_is_gone(committed):
    remove_folder(committed)

    assert list(committed.parent.iterdir()) == []
