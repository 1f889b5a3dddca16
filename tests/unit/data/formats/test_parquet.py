import builtins
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest

from swin_train.data.formats.parquet import HuggingFaceImages
from swin_train.errors import UserError

IMAGES = [b"image a", b"", b"image cc", b"d" * 1000]
LABELS = [1, 0, 2, 1]


def table(
    images: Sequence[Any] = IMAGES,
    labels: Sequence[Any] = LABELS,
    names: Sequence[str] | None = ("cat", "dog", "emu"),
) -> pa.Table:
    """A table as Hugging Face's datasets writes them."""
    structs = [image if isinstance(image, dict) else {"bytes": image, "path": "x.jpg"} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    made = pa.table(
        {"label": pa.array(labels, pa.int64()), "image": pa.array(structs, kind), "id": [0] * len(labels)}
    )
    if names is None:
        return made
    features = {"label": {"names": list(names), "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write(path: Path, made: pa.Table, rows: int = 3) -> Path:
    """Write a table by the extension of ``path``, ``rows`` together; .stream.arrow is Arrow's stream format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(made, path, row_group_size=rows)
        return path
    new = pa.ipc.new_stream if ".stream" in path.name else pa.ipc.new_file
    with new(path, made.schema) as writer:
        writer.write_table(made, max_chunksize=rows)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "shards")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream.arrow"])
def test_images_labels_and_class_names(tmp_path: Path, cache: str, kind: str) -> None:
    write(tmp_path / "train" / f"1.{kind}", table([b"last"], [0]))
    write(tmp_path / "train" / f"0.{kind}", table())

    source = HuggingFaceImages(str(tmp_path), "train", cache)

    assert [source.read(i) for i in range(source.num_images)] == [*IMAGES, b"last"]
    assert source.labels.tolist() == [*LABELS, 0]
    assert source.classes == ("cat", "dog", "emu")
    assert source.sizes.tolist() == [7, 0, 8, 1000, 4]
    assert [source.name(i) for i in (3, 4)] == [f"train/0.{kind}/3", f"train/1.{kind}/0"]
    path, offset, length, _ = source.span(3)
    assert Path(os.fsdecode(path)).read_bytes()[offset : offset + length] == IMAGES[3]


def test_parquet_is_unpacked_once_and_arrow_is_read_where_it_is(
    tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "p" / "train" / "0.parquet", table())
    arrow = write(tmp_path / "a" / "train" / "0.arrow", table())

    HuggingFaceImages(str(tmp_path / "p"), "train", cache)
    with monkeypatch.context() as without:
        without.setattr(pyarrow.parquet, "ParquetFile", None)
        again = HuggingFaceImages(str(tmp_path / "p"), "train", cache)
    assert [again.read(i) for i in range(4)] == IMAGES

    assert HuggingFaceImages(str(tmp_path / "a"), "train").span(0).path == os.fsencode(arrow)
    with pytest.raises(UserError, match=r"DATA.CACHE_DIR is empty.*unpacked from Parquet"):
        HuggingFaceImages(str(tmp_path / "p"), "train")


def test_a_file_of_other_content_and_the_same_time_is_unpacked_again(tmp_path: Path, cache: str) -> None:
    file = write(tmp_path / "train" / "0.parquet", table([b"old"], [0], ["cat"]))
    os.utime(file, (1, 1))
    HuggingFaceImages(str(tmp_path), "train", cache)
    size = file.stat().st_size

    write(tmp_path / "new.parquet", table([b"new"], [0], ["cat"])).rename(file)
    os.utime(file, (1, 1))

    assert file.stat().st_size == size
    assert HuggingFaceImages(str(tmp_path), "train", cache).read(0) == b"new"


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_object_storage(tmp_path: Path, cache: str, memory: Any, kind: str) -> None:
    file = write(tmp_path / f"0.{kind}", table())
    memory.pipe(f"/hub/data/validation-00000-of-00001.{kind}", file.read_bytes())

    source = HuggingFaceImages("memory://hub", "val", cache)

    assert [source.read(i) for i in range(4)] == IMAGES
    assert source.name(0) == f"val/validation-00000-of-00001.{kind}/0"


@pytest.mark.parametrize("image", [pa.binary(), pa.large_binary()])
def test_plain_columns_and_numbers_for_classes(tmp_path: Path, image: pa.DataType) -> None:
    made = pa.table({"image": pa.array(IMAGES, image), "label": pa.array(LABELS, pa.uint8())})
    write(tmp_path / "train" / "0.arrow", made)

    source = HuggingFaceImages(str(tmp_path), "train")

    assert [source.read(i) for i in range(4)] == IMAGES
    assert source.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (table([b"a", None], [0, 0]), r"row 1 has no image bytes; files that only name their images"),
        (table(labels=[0, 0, 0, None]), r"row 3 has the label None; expected a number from 0"),
        (table(labels=[0, -1, 0, 0]), r"row 1 has the label -1; expected a number from 0"),
        (table(labels=[0, 3, 0, 0]), r": 1 has the label 3; there are 3 classes, so labels go from 0 to 2"),
        (
            pa.table({"img": [b""], "label": [0]}),
            r"the columns are img \(binary\), label \(int64\); expected image",
        ),
        (pa.table({"image": ["x"], "label": [0]}), r"the columns are image \(string\), label"),
        (
            pa.table({"image": [b"x"], "label": ["cat"]}),
            r"label \(string\); expected image .* and label \(an integer\)",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_tables_that_are_refused(tmp_path: Path, cache: str, made: pa.Table, problem: str, kind: str) -> None:
    write(tmp_path / "train" / f"0.{kind}", made)

    with pytest.raises(UserError, match=rf"0.{kind}.*{problem}"):
        HuggingFaceImages(str(tmp_path), "train", cache)


def test_files_with_other_class_names_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train" / "0.arrow", table())
    write(tmp_path / "train" / "1.arrow", table(names=["dog", "cat", "emu"]))

    with pytest.raises(UserError, match=r"1.arrow: has other class names than 0.arrow"):
        HuggingFaceImages(str(tmp_path), "train")


def test_compressed_arrow_is_refused(tmp_path: Path) -> None:
    made = table()
    path = tmp_path / "train" / "0.arrow"
    path.parent.mkdir()
    with pa.ipc.new_file(path, made.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(made)

    with pytest.raises(
        UserError, match=r"0.arrow: images do not lie in the file as they are; write it without"
    ):
        HuggingFaceImages(str(tmp_path), "train")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream.arrow"])
def test_every_truncation_is_refused(tmp_path: Path, cache: str, kind: str) -> None:
    path = write(tmp_path / "train" / f"0.{kind}", table(), rows=1)
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 64), len(whole) - 8):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=rf"0.{kind}: (cannot be read|is no Arrow file, or damaged)"):
            HuggingFaceImages(str(tmp_path), "train", cache)


def test_flipped_bits_are_refused_or_read_as_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "train" / "0.arrow", table(), rows=2)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            source = HuggingFaceImages(str(tmp_path), "train")
        except UserError:
            continue
        for index in range(source.num_images):
            source.read(index)


def test_pyarrow_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match="pip install pyarrow"):
        HuggingFaceImages(str(tmp_path), "train")
