from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swin_train.data.decode import decode
from swin_train.data.formats.cifar import Cifar10, Cifar100
from swin_train.errors import UserError

Write = Callable[[dict[str, str | bytes]], Path]
PLANES = np.random.default_rng(0).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
NAMES_10 = "airplane\nbird\ncat\nd\ne\nf\ng\nh\ni\nj\n\n"


def records(labels: list[int], coarse: bool = False) -> bytes:
    first = b"\7" if coarse else b""
    return b"".join(first + bytes([label]) + PLANES[i].tobytes() for i, label in enumerate(labels))


def cifar10(write: Write, folder: str = "cifar-10-batches-bin/") -> Path:
    files = {f"{folder}data_batch_{number}.bin": records([number]) for number in (1, 2, 4, 5)}
    files |= {f"{folder}data_batch_3.bin": records([3, 0]), f"{folder}test_batch.bin": records([9])}
    return write({**files, f"{folder}batches.meta.txt": NAMES_10})


@pytest.mark.parametrize("folder", ["", "cifar-10-batches-bin/"])
def test_the_batches_follow_each_other(write: Write, folder: str) -> None:
    root = str(cifar10(write, folder))

    train, val = Cifar10(root, "train"), Cifar10(root, "val")

    assert train.labels.tolist() == [1, 2, 3, 0, 4, 5]
    assert train.labels.dtype == np.int64
    assert (train.num_images, train.num_classes) == (6, 10)
    assert train.classes == tuple(NAMES_10.split())
    assert [train.name(3), val.name(0)] == ["train/airplane/00003.ppm", "val/j/00000.ppm"]
    assert val.labels.tolist() == [9]


def test_an_image_is_a_picture_with_its_pixels(write: Write) -> None:
    source = Cifar10(str(cifar10(write)), "train")

    for index, record in enumerate([0, 0, 0, 1, 0, 0]):
        data = source.read(index)
        pixels = np.asarray(decode(data, 3, "x"))
        assert np.array_equal(pixels, PLANES[record].transpose(1, 2, 0))
        assert len(data) == source.sizes[index]
        assert source.span(index) is None


def test_cifar_100_has_fine_labels(write: Write) -> None:
    names = "".join(f"name{number}\n" for number in range(100))
    folder = "cifar-100-binary/"
    files = {
        f"{folder}train.bin": records([99, 0], coarse=True),
        f"{folder}test.bin": records([50], coarse=True),
    }
    root = str(write({**files, f"{folder}fine_label_names.txt": names}))

    source = Cifar100(root, "train")

    assert source.labels.tolist() == [99, 0]
    assert source.num_classes == 100
    assert source.name(0) == "train/name99/00000.ppm"
    assert np.array_equal(np.asarray(decode(source.read(1), 3, "x")), PLANES[1].transpose(1, 2, 0))
    assert Cifar100(root, "val").labels.tolist() == [50]


def test_pickles_are_refused(write: Write) -> None:
    root = write({"cifar-10-batches-py/data_batch_1": b""})

    with pytest.raises(
        UserError,
        match=r"has cifar-10-batches-py/, which are Python pickles .* get the binary version of CIFAR-10\.",
    ):
        Cifar10(str(root), "train")


def test_a_folder_without_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"holds no CIFAR-100\. Expected: DATA_PATH/cifar-100-binary/ with train\.bin"
    ):
        Cifar100(str(tmp_path), "train")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "test_batch.bin",
            records([9])[:-1],
            r"has 3072 bytes, which is no multiple of 3073, the length of a record",
        ),
        ("test_batch.bin", b"", r"has 0 bytes, which is no multiple of 3073"),
        (
            "test_batch.bin",
            records([9, 10]),
            r"record 2 has the label 10; CIFAR-10 has 0 to 9\. The file is damaged",
        ),
        ("batches.meta.txt", "a\nb\na\n", r"holds 2 different names; expected 10\."),
    ],
)
def test_damaged_files_are_refused(write: Write, name: str, content: str | bytes, problem: str) -> None:
    root = cifar10(write)
    write({f"cifar-10-batches-bin/{name}": content})

    with pytest.raises(UserError, match=rf"{name}: {problem}"):
        Cifar10(str(root), "val")


def test_a_missing_batch_is_refused(write: Write) -> None:
    root = cifar10(write)
    (root / "cifar-10-batches-bin/data_batch_2.bin").unlink()

    with pytest.raises(UserError, match=r"data_batch_2\.bin: cannot be read \(No such file or directory\)"):
        Cifar10(str(root), "train")
