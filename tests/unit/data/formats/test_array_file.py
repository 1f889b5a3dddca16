"""Files of arrays: what is written is read, whatever is damaged is noticed."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from swin_train.data.formats.array_file import DamagedFile, read_arrays, write_arrays

ARRAYS = {
    "labels": np.arange(5, dtype=np.int64),
    "names": np.frombuffer(b"abc", np.uint8),
    "nothing": np.empty(0, np.float64),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_arrays(tmp_path / "file", {"classes": ["caf\u00e9", "b"], "version": 3}, ARRAYS)
    return tmp_path / "file"


def test_facts_and_arrays_come_back(path: Path) -> None:
    facts, arrays = read_arrays(path)

    assert facts == {"classes": ["caf\u00e9", "b"], "version": 3}
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert not arrays["labels"].flags.writeable


def test_any_changed_or_missing_byte_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(DamagedFile):
            read_arrays(path)
        path.write_bytes(content[:at])
        with pytest.raises(DamagedFile):
            read_arrays(path)


def test_a_right_checksum_does_not_make_a_header_trusted(path: Path) -> None:
    with pytest.raises(DamagedFile, match="header"):
        _read_with_header(path, b'{"facts": {}, "arrays": {"labels": ["<i8", 1000000, 5]}}')
    with pytest.raises(DamagedFile, match="header"):
        _read_with_header(path, b'{"facts": {}, "arrays": {"labels": ["O", 0, 5]}}')
    with pytest.raises(DamagedFile, match="header"):
        _read_with_header(path, b"[]")


def _read_with_header(path: Path, header: bytes) -> None:
    body = header + bytes(256)
    path.write_bytes(struct.pack("<8sQI", b"SWINARR\n", len(header), zlib.crc32(body)) + body)
    read_arrays(path)


def test_a_write_that_fails_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    before = path.read_bytes()

    with pytest.raises(OSError, match="no space"):
        write_arrays(path, {}, {})

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
