"""A committed folder is whole, or it is found damaged."""

import json

import pytest

from swin_train.engine.commit import commit_folder, remove_folder
from swin_train.weights.manifest import DamagedFolder, verify_folder


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


def test_a_flipped_bit_is_found(committed):
    (committed / "a").write_bytes(b"12344")

    with pytest.raises(DamagedFolder, match="SHA-256"):
        verify_folder(committed)


def test_a_short_file_is_found(committed):
    (committed / "a").write_bytes(b"1")

    with pytest.raises(DamagedFolder, match="1 bytes instead of 5"):
        verify_folder(committed)


def test_a_missing_file_is_found(committed):
    (committed / "b").unlink()

    with pytest.raises(DamagedFolder, match="b is missing"):
        verify_folder(committed)


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"step": 1})])
def test_a_broken_manifest_is_found(committed, content):
    (committed / "MANIFEST.json").write_text(content)

    with pytest.raises(DamagedFolder, match=r"MANIFEST\.json cannot be read"):
        verify_folder(committed)


def test_a_removed_folder_is_gone(committed):
    remove_folder(committed)

    assert list(committed.parent.iterdir()) == []
