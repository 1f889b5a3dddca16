"""The layouts that can be written, by the name that --to gives them."""

from collections.abc import Callable

from swin_train.prepare.plan import Layout, Target
from swin_train.prepare.targets.folder import Folder
from swin_train.prepare.targets.packed import Packed
from swin_train.prepare.targets.shards import Shards
from swin_train.prepare.targets.zip_archive import ZipArchive

TARGETS: dict[str, Callable[[Layout], Target]] = {
    "folder": Folder,
    "zip": ZipArchive,
    "shards": Shards,
    "packed": Packed,
}
