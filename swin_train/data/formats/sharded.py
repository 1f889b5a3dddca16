"""Images in shards, files that hold many: what the formats of shards have in common."""

import functools
import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.archive_file import check_unchanged
from swin_train.data.formats.index import Index, Seen, kept, make_index, see
from swin_train.data.formats.label_list import check_without_gaps
from swin_train.data.formats.names import check_data_path, listing, shown
from swin_train.data.formats.remote import Copy, StoredFile, fetch, is_url, shown_path
from swin_train.data.formats.shard_cache import ShardCache
from swin_train.data.formats.shard_layout import CLASSES, class_names, find_shards
from swin_train.data.formats.source import FileSpan, ImageSource
from swin_train.errors import UserError

logger = logging.getLogger(__name__)

_AT_ONCE = 8  # shards that are fetched at the same time to be indexed
_PROGRESS = 10.0  # seconds between two lines of the log


class Contents(NamedTuple):
    """What a shard holds.

    Attributes:
        names, labels, offsets, sizes: of each image; offsets and sizes are bytes in the shard's local file.
        classes: names of the classes, by label, where the shard has them.
        ignored: names of files in the shard that belong to no image.
    """

    names: list[bytes]
    labels: list[int]
    offsets: list[int]
    sizes: list[int]
    classes: tuple[str, ...] | None = None
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShardFormat:
    """How shards of a kind are found and read.

    Attributes:
        kind: its name.
        extensions: of the files that are shards.
        layout: where they are expected, for messages.
        scan: what the local file of a shard holds; takes its path and what messages call it.
        unpack: by extension, what writes the local file of a shard that is not read as it is.
        refused: by extension, what to do about files that are no shards but could be made so.
    """

    kind: str
    extensions: tuple[str, ...]
    layout: str
    scan: Callable[[str, str], Contents]
    unpack: Mapping[str, Copy] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class ShardedImages(ImageSource):
    """The images of one split, in shards on this machine or in object storage.

    Shards that are not on this machine, or are not read as they are, are kept in a cache folder: each is fetched
    when one of its images is first asked for, once for all processes of the machine.

    Args:
        root: folder or URL that holds the shards.
        split: "train" or "val".
        form: of the shards.
        cache_dir: folder for what is kept.
        cache_gb: what that may take; 0 for as much as the disk has.

    Attributes:
        classes: names of the classes, by label.
        labels: [num_images].
        sizes: [num_images], in bytes.
        shards: [num_images], number of the shard that an image is in; images of a shard stand together.
        is_near: whether all shards are on this machine, or can be at the same time.

    Raises:
        UserError: there are no shards, one is missing, damaged or not as its format has it, or cannot be fetched.
        StorageError: the cache folder cannot be written.
    """

    def __init__(self, root: str, split: str, form: ShardFormat, cache_dir: str, cache_gb: float) -> None:
        if not is_url(root):
            check_data_path(root, form.layout)
        self._split = split
        self._form = form
        self._files = find_shards(root, split, form.extensions, form.refused, form.layout)
        self._seen = [None if is_url(file.path) else see(file.path) for file in self._files]
        kept_here = [file.size for file in self._files if self._is_kept(file)]
        self._cache = ShardCache(cache_dir, int(cache_gb * 1e9)) if kept_here else None
        if self._cache:
            self._cache.check_room(kept_here)
        self._index = self._indexed(root, class_names(root))

        self.classes = self._index.classes
        self.labels: NDArray[np.int64] = self._index.labels
        self.sizes: NDArray[np.int64] = self._index.sizes
        self.shards: NDArray[np.int32] = self._index.columns["shard"]
        self.is_near = not cache_gb or sum(kept_here) <= cache_gb * 1e9

    def read(self, index: int) -> bytes:
        """Encoded image ``index``.

        Raises:
            OSError: it cannot be read, or its shard was changed since it was listed.
            UserError: its shard cannot be fetched.
        """
        path, offset, length = self._place(index)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            data = os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)
        if len(data) != length:
            raise OSError(f"its shard ends {length - len(data)} bytes before it should; it was changed")
        return data

    def span(self, index: int) -> FileSpan | None:
        """Where image ``index`` lies; its shard is fetched if need be, and stays while 63 others are asked for.

        None in a shard of this machine that was changed since it was listed.

        Raises:
            UserError: its shard cannot be fetched.
        """
        try:
            path, offset, length = self._place(index)
        except OSError:  # which read() raises again
            return None
        return FileSpan(os.fsencode(path), offset, length)

    def name(self, index: int) -> str:
        """SPLIT/SHARD/IMAGE of image ``index``, printable whatever bytes it has."""
        return f"{self._split}/{shown(self._index.name(index))}"

    def _place(self, index: int) -> tuple[str, int, int]:
        """Path of the local file of the shard of an image, and where in it the image begins and how long it is."""
        shard = int(self.shards[index])
        if seen := self._seen[shard]:
            check_unchanged(seen)
        path = self._local(self._files[shard])
        return path, int(self._index.columns["offset"][index]), int(self.sizes[index])

    def _is_kept(self, file: StoredFile) -> bool:
        return is_url(file.path) or self._unpack(file) is not None

    def _unpack(self, file: StoredFile) -> Copy | None:
        return next((copy for end, copy in self._form.unpack.items() if file.name.endswith(end)), None)

    def _local(self, file: StoredFile) -> str:
        """Path of the local file of a shard, which is there."""
        if not self._cache or not self._is_kept(file):
            return file.path
        return str(
            self._cache.path(_key(file), file.size, lambda sink: fetch(file, sink, self._unpack(file)))
        )

    def _indexed(self, root: str, classes: tuple[str, ...] | None) -> Index:
        def build() -> tuple[Index, list[Seen]]:
            seen = [see(file.path) for file in self._files]
            return self._build(root, classes), seen

        # Object storage has no times that could be compared later: what it lists names the index.
        digest = _digest(classes, *((file.path, file.size, file.version) for file in self._files))
        path = f"/{shown_path(root)}" if is_url(root) else root
        return kept(f"{self._form.kind}-{self._split}-{digest}", path, build)

    def _build(self, root: str, classes: tuple[str, ...] | None) -> Index:
        contents = self._scan_all()
        counts = [len(held.names) for held in contents]
        labels = np.array([label for held in contents for label in held.labels], dtype=np.int64)
        if not len(labels):
            raise UserError(
                f"{shown_path(root)}: the shards of {self._split} hold no images. {self._form.layout}."
            )
        classes = classes or self._classes_in(contents)
        if classes is None:
            where = f"{shown_path(root)}, {self._split} (without {CLASSES})"
            classes = tuple(str(label) for label in range(check_without_gaps(where, labels.tolist())))
        self._check_labels(contents, len(classes))
        return make_index(
            classes,
            labels,
            [size for held in contents for size in held.sizes],
            [self._image(number, name) for number, held in enumerate(contents) for name in held.names],
            {
                "shard": np.repeat(np.arange(len(contents), dtype=np.int32), counts),
                "offset": np.array([offset for held in contents for offset in held.offsets], dtype=np.int64),
            },
            _notes(shown_path(root), contents),
        )

    def _image(self, shard: int, name: bytes) -> bytes:
        return os.fsencode(self._files[shard].name) + b"/" + name

    def _scan_all(self) -> list[Contents]:
        said = time.monotonic()
        contents = []
        pool, one_at_a_time = ThreadPoolExecutor(_AT_ONCE), Lock()
        try:
            for held in pool.map(lambda file: self._scan(file, one_at_a_time), self._files):
                contents.append(held)
                if time.monotonic() - said > _PROGRESS:
                    said = time.monotonic()
                    logger.info("indexed %d of %d shards of %s", len(contents), len(self._files), self._split)
        finally:
            pool.shutdown(cancel_futures=True)
        return contents

    def _scan(self, file: StoredFile, one_at_a_time: Lock) -> Contents:
        path = self._local(file)  # these are waited for together
        try:
            with one_at_a_time:  # while scanning is work for one core, which threads would only fight for
                return self._form.scan(path, shown_path(file.path))
        except OSError as error:
            raise UserError(
                f"{shown_path(file.path)}: cannot be read ({error.strerror or error}); see to disk and permissions."
            ) from None

    def _classes_in(self, contents: list[Contents]) -> tuple[str, ...] | None:
        """The class names that the shards have, which must agree."""
        first = contents[0].classes
        for file, held in zip(self._files, contents, strict=True):
            if held.classes != first:
                raise UserError(
                    f"{shown_path(file.path)}: has other class names than {self._files[0].name}; labels would mean "
                    f"different classes. Write both from one data set, or name the classes in {CLASSES}."
                )
        return first

    def _check_labels(self, contents: list[Contents], num_classes: int) -> None:
        for number, held in enumerate(contents):
            for name, label in zip(held.names, held.labels, strict=True):
                if label >= num_classes:
                    raise UserError(
                        f"{shown_path(self._files[number].path)}: {shown(name)} has the label {label}; there are "
                        f"{num_classes} classes, so labels go from 0 to {num_classes - 1}."
                    )


def _notes(where: str, contents: list[Contents]) -> list[str]:
    ignored = [name for held in contents for name in held.ignored]
    if not ignored:
        return []
    return [f"{where}: ignored {len(ignored)} files in shards that belong to no image: {listing(ignored)}"]


@functools.cache
def _key(file: StoredFile) -> str:
    """What a shard is called in the cache: another name for other content."""
    return f"{file.name[-100:]}-{_digest(file.path, file.size, file.version)}"


def _digest(*facts: object) -> str:
    return hashlib.sha256(os.fsencode(repr(facts))).hexdigest()[:16]
