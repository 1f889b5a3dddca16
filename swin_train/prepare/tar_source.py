"""The official archives of ILSVRC 2012 as a source: nothing is unpacked, members are read where they lie."""

import logging
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from swin_train.data.formats.archive_file import ArchiveFile
from swin_train.data.formats.names import EXTENSIONS, is_image, listing
from swin_train.data.formats.source import FileSpan, ImageSource
from swin_train.errors import UserError

logger = logging.getLogger(__name__)

_BLOCK = 512
_ZEROS = bytes(_BLOCK)


@dataclass(frozen=True)
class _Member:
    name: str  # its last part
    offset: int
    size: int


class TarSource(ImageSource):
    """Images in a tar archive.

    Args:
        path: a tar archive that holds one archive CLASS.tar for each class, as ILSVRC2012_img_train.tar; or, with
            ``class_of``, one that holds the images, as ILSVRC2012_img_val.tar.
        split: the first part of the images' names.
        class_of: the class of each image, by the stem of its name; or None.

    Attributes:
        classes: in sorted order.
        labels, sizes: [num_images].
        ignored: members that are no files, or no images, and so are left out.

    Raises:
        UserError: it is no such archive, is cut short, or holds an image without a class, a class
            without an image, or an image twice.
    """

    def __init__(self, path: Path, split: str, class_of: Mapping[str, str] | None = None) -> None:
        self._path = path
        self.ignored: list[str] = []
        self._named: set[str] = set()  # classes, with images or without
        found = self._by_label_file(class_of) if class_of is not None else self._by_archive()
        if not found:
            raise UserError(f"{path}: holds no images ({' '.join(EXTENSIONS)})")
        if self.ignored:
            logger.warning(
                "%s: ignored %d members that are no files or no images: %s",
                path, len(self.ignored), listing(self.ignored),
            )  # fmt: skip
        self._check_classes({name for name, _ in found})
        found.sort(key=lambda pair: (pair[0], pair[1].name))
        self.classes = tuple(sorted({name for name, _ in found}))
        label_of = {name: label for label, name in enumerate(self.classes)}
        self.labels: NDArray[np.int64] = np.array([label_of[name] for name, _ in found], dtype=np.int64)
        self.sizes: NDArray[np.int64] = np.array([member.size for _, member in found], dtype=np.int64)
        self._offsets = np.array([member.offset for _, member in found], dtype=np.int64)
        self._names = [f"{split}/{name}/{member.name}" for name, member in found]
        self._check_names()
        self._file = ArchiveFile(str(path))

    def read(self, index: int) -> bytes:
        """Content of image ``index``; OSError when it cannot be read."""
        return self._file.read(int(self._offsets[index]), int(self.sizes[index]))

    def name(self, index: int) -> str:
        """SPLIT/CLASS/FILE, as a folder would have it."""
        return self._names[index]

    def span(self, index: int) -> FileSpan:
        """Where the image lies."""
        return FileSpan(os.fsencode(self._path), int(self._offsets[index]), int(self.sizes[index]))

    def _by_archive(self) -> list[tuple[str, _Member]]:
        found = []
        with _open(self._path) as file, _read_tar(file, self._path, "") as tar:
            for member in self._files(tar, self._path):
                name = PurePosixPath(member.name)
                if name.suffix.lower() != ".tar":
                    self.ignored.append(member.name)
                    continue
                self._named.add(name.stem)
                inner = tar.extractfile(member)
                assert inner is not None
                with _read_tar(inner, self._path, member.name) as images:
                    found += [
                        (name.stem, _Member(image.name, member.offset_data + image.offset, image.size))
                        for image in self._images(images, self._path / member.name)
                    ]
        if not found and self.ignored:
            raise UserError(
                f"{self._path}: holds no archives of classes (CLASS.tar) but {self.ignored[0]!r} and the like; "
                "give the class of each image with --labels"
            )
        return found

    def _by_label_file(self, class_of: Mapping[str, str]) -> list[tuple[str, _Member]]:
        with _open(self._path) as file, _read_tar(file, self._path, "") as tar:
            images = list(self._images(tar, self._path))
        unknown = [image.name for image in images if PurePosixPath(image.name).stem not in class_of]
        if unknown:
            raise UserError(
                f"{self._path}: the labels name no class for {len(unknown)} images, such as {unknown[0]}; "
                "give the labels of this archive with --labels"
            )
        self._named.update(class_of.values())
        return [(class_of[PurePosixPath(image.name).stem], image) for image in images]

    def _images(self, tar: tarfile.TarFile, where: Path) -> Iterator[_Member]:
        for member in self._files(tar, where):
            name = PurePosixPath(member.name).name
            if is_image(name):
                yield _Member(name, member.offset_data, member.size)
            else:
                self.ignored.append(member.name)

    def _files(self, tar: tarfile.TarFile, where: Path) -> Iterator[tarfile.TarInfo]:
        """Members that are plain files; folders are nothing, links, devices and sparse files are ignored."""
        try:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # a million of them would fill the memory
                if member.isreg() and not member.issparse():
                    yield member
                elif not member.isdir():
                    self.ignored.append(member.name)
            self._check_end(tar, where)
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"{where}: is cut short or damaged ({error}); copy it again") from None

    @staticmethod
    def _check_end(tar: tarfile.TarFile, where: Path) -> None:
        """Refuse an archive without its end mark: tarfile takes one that was cut between members for whole."""
        file = tar.fileobj
        assert file is not None
        file.seek(tar.offset)
        if file.read(_BLOCK) != _ZEROS:
            raise UserError(
                f"{where}: is cut short: it has no end mark behind its last member; copy it again"
            )

    def _check_classes(self, found: set[str]) -> None:
        if empty := sorted(self._named - found):
            raise UserError(
                f"{self._path}: {len(empty)} classes have no images: {listing(empty)}; without them labels would mean "
                "other classes. Copy the archive again"
            )

    def _check_names(self) -> None:
        if len(set(self._names)) != len(self._names):
            seen: set[str] = set()
            twice = next(name for name in self._names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise UserError(f"{self._path}: holds {twice} twice; copy or make the archive again")


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give another SOURCE") from None


def _read_tar(file: IO[bytes], path: Path, member: str) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=file, mode="r:")
    except tarfile.TarError as error:
        where = path / member if member else path
        raise UserError(
            f"{where}: is no tar archive, or a compressed one ({error}); images are compressed already: unpack it"
        ) from None
