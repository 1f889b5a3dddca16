import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from swin_train.errors import StorageError
from swin_train.weights import write
from swin_train.weights.read import read_weights
from swin_train.weights.write import write_text, write_torch, write_weights


def test_shared_and_strided_tensors_come_back_equal(tmp_path: Path) -> None:
    shared = torch.arange(6.0).view(2, 3)
    state = {"a": shared, "b": shared, "row": shared[1], "turned": shared.T}

    write_weights(tmp_path / "w.safetensors", state, {})

    torch.testing.assert_close(read_weights(tmp_path / "w.safetensors").state, state, rtol=0, atol=0)


@pytest.mark.parametrize("wrapper", ["model", None])
def test_a_torch_file_comes_back_equal_and_needs_no_code(tmp_path: Path, wrapper: str | None) -> None:
    state = {"a": torch.arange(6.0).view(2, 3), "turned": torch.arange(6.0).view(2, 3).T}

    write_torch(tmp_path / "w.pth", state, wrapper)

    content = torch.load(tmp_path / "w.pth", weights_only=True)
    torch.testing.assert_close(content, {wrapper: state} if wrapper else state, rtol=0, atol=0)


def test_a_torch_file_holds_no_more_than_its_tensors(tmp_path: Path) -> None:
    large = torch.zeros(3, 100_000)

    write_torch(tmp_path / "w.pth", {"row": large[0], "column": large[:, 0]})

    assert 400_000 < (tmp_path / "w.pth").stat().st_size < 410_000


def test_a_torch_file_does_not_depend_on_who_writes_it(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        write_torch(tmp_path / name, {"a": torch.ones(2)})

    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


SIZE = 200_000


def write_some_weights(path: Path, value: int) -> None:
    write_weights(path, {"a": torch.full((SIZE,), value)}, {})


def write_some_torch(path: Path, value: int) -> None:
    write_torch(path, {"a": torch.full((SIZE,), value)})


def write_some_text(path: Path, value: int) -> None:
    write_text(path, str(value) * SIZE)


WRITERS = [write_some_weights, write_some_torch, write_some_text]


@pytest.mark.parametrize("write_some", WRITERS)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_some: Callable
) -> None:
    path = tmp_path / "w"
    write_some(path, 0)
    old = path.read_bytes()

    def fail(path: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(write, "flush_to_disk", fail)
    with pytest.raises(StorageError, match=r"w: cannot be written \(disk full\)"):
        write_some(path, 1)

    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Refuse to write beyond so many bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 500, 100_000])  # torch raises OSError or RuntimeError
@pytest.mark.parametrize("write_some", WRITERS)
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, write_some: Callable, size: int) -> None:
    with (
        files_end_at(size),
        pytest.raises(StorageError, match=r"w: cannot be written \(.*File too large.*\); see to free space"),
    ):
        write_some(tmp_path / "w", 1)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write_some", WRITERS)
def test_a_missing_folder_is_an_error(tmp_path: Path, write_some: Callable) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_some(tmp_path / "none" / "w", 0)
