"""Parquet and Arrow files as Hugging Face writes image data sets.

DATA_PATH/train/*.parquet, or with the split in their names, in DATA_PATH or DATA_PATH/data:
train-00000-of-00294.parquet, validation-00000-of-00014.parquet; the same for *.arrow. DATA_PATH may be a URL.
Columns: ``image`` (struct of bytes and path, or binary) and ``label`` (integer).

An Arrow file is read as it is, at the offsets of its images. Parquet compresses many images together (an image at
random would cost about 1 ms, more than its decoding), so each file is written once as an Arrow file into the cache.
"""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.sharded import Contents, ShardedImages, ShardFormat
from swin_train.errors import UserError

_IMAGE, _LABEL = "image", "label"
_FILE_FORMAT = b"ARROW1"  # how files begin that are no streams
_END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream
_ROWS = 100  # of a batch: what is in memory at once
_NAMED = 20  # columns in a message


class HuggingFaceImages(ShardedImages):
    """The images of one split, in the order of the files' names and of the rows in each.

    Args:
        root: folder or URL that holds the files.
        split: "train" or "val".
        cache_dir: folder of this machine for what is unpacked from Parquet or comes from object storage.
        cache_gb: what that may take; 0 for as much as the disk has.

    Raises:
        UserError: pyarrow is not installed, there are no files, one is missing, damaged, cannot be fetched or has
            not these columns, or a row has no image or no label.
    """

    def __init__(self, root: str, split: str, cache_dir: str = "", cache_gb: float = 0.0) -> None:
        _pyarrow()
        super().__init__(root, split, _HUGGING_FACE, cache_dir, cache_gb)


def scan_arrow(path: str, where: str) -> Contents:
    """List the images of an Arrow file (stream or file format, not compressed), by row.

    Args:
        path: of the local file.
        where: what messages call it.

    Raises:
        UserError: the file is damaged or compressed, or a row has no image or no label.
    """
    arrow = _pyarrow()
    contents = Contents([], [], [], [])
    try:
        with arrow.memory_map(path) as mapped:
            whole = mapped.read_buffer()
            mapped.seek(0)
            schema, batches = _batches(mapped)
            _check_columns(schema, where)
            for batch in batches:
                first = len(contents.labels)
                batch.validate()  # that lengths fit, before anything is read by them
                offsets, sizes = _places(batch, whole, first, where)
                contents.names.extend(b"%d" % row for row in range(first, first + batch.num_rows))
                contents.labels.extend(_labels(batch, first, where))
                contents.offsets.extend(offsets.tolist())
                contents.sizes.extend(sizes.tolist())
    except (arrow.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no text
        raise UserError(f"{where}: is no Arrow file, or damaged ({error}); copy it again.") from None
    return contents._replace(classes=class_names_in(schema))


def class_names_in(schema: Any) -> tuple[str, ...] | None:
    """Names of the classes that Hugging Face keeps with a schema, by label; None where it does not."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[_LABEL]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def unpack_parquet(source: Any, sink: BinaryIO, where: str) -> None:
    """Write the images and labels of a Parquet file as an Arrow file that is not compressed."""
    arrow = _pyarrow()
    from pyarrow.parquet import ParquetFile

    with ParquetFile(source) as file:
        _check_columns(file.schema_arrow, where)
        columns = [_IMAGE, _LABEL]
        schema = arrow.schema([file.schema_arrow.field(name) for name in columns], file.schema_arrow.metadata)
        with arrow.ipc.new_file(sink, schema) as writer:
            for batch in file.iter_batches(_ROWS, columns=columns):
                writer.write_batch(batch.select(columns))


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise UserError(
            "Parquet and Arrow files are read by pyarrow, which is not installed: pip install pyarrow."
        ) from None
    return pyarrow


def _batches(mapped: Any) -> tuple[Any, Iterator[Any]]:
    """Schema and batches of an Arrow file in either of its two formats."""
    arrow = _pyarrow()
    if mapped.read(len(_FILE_FORMAT)) == _FILE_FORMAT:
        file = arrow.ipc.open_file(mapped)
        return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
    mapped.seek(max(mapped.size() - len(_END), 0))
    if mapped.read() != _END:  # which pyarrow does not ask for
        raise OSError("it is truncated before its end mark")
    mapped.seek(0)
    stream = arrow.ipc.open_stream(mapped)
    return stream.schema, iter(stream)


def _check_columns(schema: Any, where: str) -> None:
    types = _pyarrow().types
    found = {field.name: field.type for field in schema}
    image, label = found.get(_IMAGE), found.get(_LABEL)
    if image is not None and types.is_struct(image) and image.get_field_index("bytes") >= 0:
        image = image.field("bytes").type
    if image is None or label is None or not _is_binary(image) or not types.is_integer(label):
        columns = ", ".join(f"{name} ({kind})" for name, kind in list(found.items())[:_NAMED]) or "none"
        raise UserError(
            f"{where}: the columns are {columns}; expected {_IMAGE} (struct of bytes and path, or binary) and "
            f"{_LABEL} (an integer)."
        )


def _is_binary(kind: Any) -> bool:
    types = _pyarrow().types
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _places(batch: Any, whole: Any, first: int, where: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the images of a batch, whose first row is ``first``, lie in the file mapped as ``whole``."""
    column = batch.column(_IMAGE)
    values = column if _is_binary(column.type) else column.field("bytes")
    there = np.asarray(column.is_valid()) & np.asarray(values.is_valid())
    if not there.all():
        raise UserError(
            f"{where}: row {first + int(there.argmin())} has no image bytes; files that only name their images must "
            "be written again with the bytes in them."
        )
    _, ends, data = values.buffers()
    width = np.int64 if _pyarrow().types.is_large_binary(values.type) else np.int32
    edges = np.frombuffer(ends, width)[values.offset :][: len(values) + 1].astype(np.int64)
    sizes = np.diff(edges)
    offsets = edges[:-1] + (data.address - whole.address if data else 0)
    if (sizes < 0).any() or (offsets < 0).any() or (offsets + sizes > whole.size).any():
        raise UserError(
            f"{where}: images do not lie in the file as they are; write it without compression, or copy it again "
            "where it is damaged."
        )
    return offsets, sizes


def _labels(batch: Any, first: int, where: str) -> list[int]:
    labels: list[int | None] = batch.column(_LABEL).to_pylist()
    for row, label in enumerate(labels, first):
        if label is None or not 0 <= label < 1 << 31:
            raise UserError(f"{where}: row {row} has the label {label}; expected a number from 0.")
    return [int(label or 0) for label in labels]


_HUGGING_FACE = ShardFormat(
    kind="parquet",
    extensions=(".parquet", ".arrow"),
    layout="Expected: DATA_PATH/train/*.parquet and DATA_PATH/validation/*.parquet, or DATA_PATH/data/"
    "train-00000-of-00010.parquet and so on; or the same with .arrow",
    scan=scan_arrow,
    unpack={".parquet": unpack_parquet},
)
