from pathlib import Path

import pytest
import torch

from swin_train.errors import StorageError
from swin_train.weights import write
from swin_train.weights.read import read_weights
from swin_train.weights.write import write_weights


def test_shared_and_strided_tensors_come_back_equal(tmp_path: Path) -> None:
    shared = torch.arange(6.0).view(2, 3)
    state = {"a": shared, "b": shared, "row": shared[1], "turned": shared.T}

    write_weights(tmp_path / "w.safetensors", state, {})

    torch.testing.assert_close(read_weights(tmp_path / "w.safetensors").state, state, rtol=0, atol=0)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, {"a": torch.zeros(1)}, {})
    old = path.read_bytes()

    def fail(path: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(write, "flush_to_disk", fail)
    with pytest.raises(StorageError, match=r"w.safetensors: cannot be written \(disk full\)"):
        write_weights(path, {"a": torch.ones(1)}, {})

    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_weights(tmp_path / "none" / "w.safetensors", {"a": torch.zeros(1)}, {})
