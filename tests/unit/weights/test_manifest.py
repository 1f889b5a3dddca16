"""A folder whose files are not those of its manifest is found damaged."""

import json

import pytest

from swin_train.weights.manifest import DamagedFolder, verify_folder, write_manifest


@pytest.fixture
def listed(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"6789")
    write_manifest(tmp_path, {"step": 1})
    return tmp_path


def test_a_folder_that_is_as_it_was_gives_its_manifest(listed):
    manifest = verify_folder(listed)

    assert manifest["step"] == 1
    assert set(manifest["files"]) == {"a", "b"}


def test_a_flipped_bit_is_found(listed):
    (listed / "a").write_bytes(b"12344")

    with pytest.raises(DamagedFolder, match="SHA-256"):
        verify_folder(listed)


def test_a_short_file_is_found(listed):
    (listed / "a").write_bytes(b"1")

    with pytest.raises(DamagedFolder, match="1 bytes instead of 5"):
        verify_folder(listed)


def test_a_missing_file_is_found(listed):
    (listed / "b").unlink()

    with pytest.raises(DamagedFolder, match="b is missing"):
        verify_folder(listed)


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"step": 1})])
def test_a_broken_manifest_is_found(listed, content):
    (listed / "MANIFEST.json").write_text(content)

    with pytest.raises(DamagedFolder, match=r"MANIFEST\.json cannot be read"):
        verify_folder(listed)


@pytest.mark.parametrize("fact", [None, [], {}, {"bytes": 5}, {"sha256": ""}])
def test_a_broken_entry_is_found(listed, fact):
    (listed / "MANIFEST.json").write_text(json.dumps({"files": {"a": fact}}))

    with pytest.raises(DamagedFolder, match=r"MANIFEST\.json cannot be read"):
        verify_folder(listed)


@pytest.mark.parametrize("files", [{}, {"../a": {"bytes": 5, "sha256": ""}}])
def test_a_manifest_of_no_files_or_of_others_is_found(listed, files):
    (listed / "MANIFEST.json").write_text(json.dumps({"files": files}))

    with pytest.raises(DamagedFolder, match=r"MANIFEST\.json does not list the files of its folder"):
        verify_folder(listed)
