"""Small files of weights that would fill the memory, or never come to an end, are refused before they do."""

import codecs
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swin_train.weights.read import read_weights

QKV = "layers.0.blocks.0.attn.qkv.weight"
HUGE = (10**5, 10**5)


def save(path: Path, tensor: torch.Tensor, **beside: object) -> None:
    torch.save({"model": {QKV: tensor}, **beside}, path)


def one_value_everywhere(path: Path) -> None:
    save(path, torch.zeros(1).expand(HUGE))


def buffers_of_one_value(path: Path) -> None:
    """What is dropped is not looked at either."""
    view = torch.zeros(1).expand(1, *HUGE, 2)
    state = {QKV: torch.zeros(24, 8), QKV.replace("qkv.weight", "relative_coords_table"): view}
    torch.save({"model": state | {QKV.replace("qkv.weight", "k_bias"): view}}, path)


def sparse(path: Path) -> None:
    save(path, torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.int64), torch.ones(1), HUGE))


def without_memory(path: Path) -> None:
    save(path, torch.empty(HUGE, device="meta"))


def packed(path: Path) -> None:
    """Zeros, deflated to less than a hundredth."""
    pack(path, torch.zeros(1 << 26), zipfile.ZIP_DEFLATED)


def pack(path: Path, tensor: torch.Tensor, method: int) -> None:
    save(path.with_suffix(".plain"), tensor)
    with (
        zipfile.ZipFile(path.with_suffix(".plain")) as plain,
        zipfile.ZipFile(path, "w", method, compresslevel=1) as archive,
    ):
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    path.with_suffix(".plain").unlink()


def one_member_of_many_names(path: Path) -> None:
    """A table of contents in which every storage is the same bytes; torch would hold each apart."""
    pack(path, torch.zeros(1 << 22), zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "a") as archive:
        (values,) = [member for member in archive.filelist if member.filename.endswith("/data/0")]
        for number in range(100):
            other = zipfile.ZipInfo(values.filename[:-1] + f"{number + 1}")
            for fact in ("header_offset", "file_size", "compress_size", "CRC", "date_time"):
                setattr(other, fact, getattr(values, fact))
            archive.filelist.append(other)
        archive._didModify = True  # type: ignore[attr-defined]


class BytesByNumber:
    """Pickles as bytearray(3 * 10^9), which torch takes for data."""

    def __reduce__(self) -> tuple:
        return bytearray, (3 * 10**9,)


def bytes_by_number(path: Path) -> None:
    save(path, torch.zeros(24, 8), extra=BytesByNumber())


def bytes_by_number_in_an_older_file(path: Path) -> None:
    content = {"model": {QKV: torch.zeros(24, 8)}, "extra": BytesByNumber()}
    torch.save(content, path, _use_new_zipfile_serialization=False)


class Called:
    """Pickles as a call."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def tensor_by_number(path: Path) -> None:
    save(path, torch.zeros(24, 8), extra=Called(torch.FloatTensor, 10**9))


def storage_by_number(path: Path) -> None:
    save(path, torch.zeros(24, 8), extra=Called(torch.UntypedStorage, 10**9))


def bytes_that_double(path: Path) -> None:
    doubled: object = b"x"
    for _ in range(40):
        doubled = Called(codecs.encode, doubled, "hex")
    save(path, torch.zeros(24, 8), extra=doubled)


def text_that_grows(path: Path) -> None:
    """Four bytes of each character."""
    save(path, torch.zeros(24, 8), extra=Called(codecs.encode, "x" * 10**6, "utf-32"))


def ways_through_lists(path: Path) -> None:
    """Ten lists of ten references each: a kilobyte, and 10^10 ways through it."""
    config: list = [0]
    for _ in range(10):
        config = [config] * 10
    save(path, torch.zeros(1).expand(HUGE), config=config)


def longer_storage(path: Path, *, is_zip: bool) -> None:
    """A storage of which the pickle says that it is larger than what the file holds of it."""
    torch.save({"model": {QKV: torch.zeros(10)}}, path, _use_new_zipfile_serialization=is_zip)
    claim = b"\x8a\x06" + (10**9).to_bytes(6, "little")

    def lie(pickled: bytes) -> bytes:
        count = pickled.index(b"K\n", pickled.index(b"cpu"))
        shape = pickled.index(b"K\n", count + 2)
        return pickled[:count] + claim + pickled[count + 2 : shape] + claim + pickled[shape + 2 :]

    if not is_zip:
        path.write_bytes(lie(path.read_bytes()))
        return
    with zipfile.ZipFile(path) as plain:
        members = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, lie(data) if name.endswith("data.pkl") else data)


def safetensors(path: Path, header: bytes | dict, length: int | None = None) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + b"\0" * 4)


def header_of(shape: list[int], end: int) -> dict:
    return {QKV: {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}


NO_VALUES = "a weight must be a dense tensor with a value of its own for each element"
DAMAGED = "cannot be read as a checkpoint, it is damaged or of another kind"
BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "one value.pth": (one_value_everywhere, NO_VALUES),
    "buffers.pth": (buffers_of_one_value, f"k_bias is torch.float32, torch.strided, on cpu; {NO_VALUES}"),
    "sparse.pth": (sparse, NO_VALUES),
    "no memory.pth": (without_memory, NO_VALUES),
    "packed.pth": (packed, "refused, because it would unpack"),
    "many names.pth": (one_member_of_many_names, "refused, because it would unpack"),
    "bytes by number.pth": (bytes_by_number, "refused, because it calls __builtin__.bytearray"),
    "older bytes by number.pth": (
        bytes_by_number_in_an_older_file,
        "refused, because it calls __builtin__.bytearray",
    ),
    "tensor by number.pth": (tensor_by_number, "refused, because it calls torch.FloatTensor"),
    "storage by number.pth": (storage_by_number, "refused, because it calls torch.storage.UntypedStorage"),
    "doubled.pth": (bytes_that_double, "refused, because it calls _codecs.encode"),
    "grown.pth": (text_that_grows, "refused, because it calls _codecs.encode"),
    "ways.pth": (ways_through_lists, NO_VALUES),
    "longer.pth": (lambda path: longer_storage(path, is_zip=True), DAMAGED),
    "older longer.pth": (lambda path: longer_storage(path, is_zip=False), DAMAGED),
    "longer.safetensors": (lambda path: safetensors(path, header_of([10**10], 4 * 10**10)), "is truncated"),
    "shape.safetensors": (lambda path: safetensors(path, header_of([10**10], 4)), DAMAGED),
    "overflow.safetensors": (lambda path: safetensors(path, header_of([2**32, 2**32], 4)), DAMAGED),
    "header.safetensors": (lambda path: safetensors(path, b"{}", 1 << 62), DAMAGED),
    "depth.safetensors": (lambda path: safetensors(path, b"[" * 10**6), DAMAGED),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_100_mb(tmp_path: Path, name: str, confined: Callable) -> None:
    make, reason = BOMBS[name]
    make(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 20 << 20

    message = confined(lambda: read_weights(tmp_path / name))

    assert message.startswith(f"{tmp_path / name}: ")
    assert reason in message


@pytest.mark.parametrize("is_zip", [True, False])
def test_bytes_beside_the_weights_are_data(tmp_path: Path, is_zip: bool) -> None:
    """torch.save writes them as strings that latin1 encodes, the same ones by the number of the first."""
    same = bytes(range(256))
    extra = [same, same, b"other", "latin1", "_codecs.encode", "_codecs.encode"]
    content = {"model": {QKV: torch.zeros(24, 8)}, "extra": extra}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)

    assert read_weights(tmp_path / "w.pth").state[QKV].shape == (24, 8)
