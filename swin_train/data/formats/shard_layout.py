"""Where the shards of a split are, in a folder or in object storage, and whether all of them are there."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from swin_train.data.formats.names import listing
from swin_train.data.formats.remote import StoredFile, files_in, read_file, shown_path
from swin_train.errors import UserError

CLASSES = "classes.txt"
_WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
_NUMBERED = re.compile(r"(.*?)(\d+)(-of-(\d+).*|\D*)")  # before the number, the number, and what follows


def find_shards(
    root: str, split: str, extensions: Sequence[str], refused: Mapping[str, str], layout: str
) -> list[StoredFile]:
    """Shards of a split, by name: all in a folder of the split's name, else those with its name in theirs.

    Args:
        root: folder or URL.
        split: "train" or "val", which is also looked for as "training", "valid" and "validation".
        extensions: of shards.
        refused: by extension, what to do about files that are no shards but could be made so.
        layout: what is expected, for messages.

    Raises:
        UserError: there are none, or one is missing among numbered ones.
    """
    files = _candidates(root, split)
    shards = [file for file in files if file.name.endswith(tuple(extensions))]
    for ending, advice in refused.items():
        for file in files:
            if file.name.endswith(ending):
                raise UserError(f"{shown_path(file.path)}: {advice}")
    if not shards:
        raise UserError(
            f"DATA.DATA_PATH: {shown_path(root)} holds no shards ({' '.join(extensions)}) of {split}. {layout}."
        )
    _check_complete(root, [file.name for file in shards])
    return shards


def _candidates(root: str, split: str) -> list[StoredFile]:
    base = root.rstrip("/")
    for word in _WORDS[split]:
        if files := files_in(f"{base}/{word}"):
            return files
    beside = [*(files_in(root) or []), *(files_in(f"{base}/data") or [])]
    words = set(_WORDS[split])
    return [file for file in beside if words & set(re.split(r"[-_.]", file.name.lower()))]


def _check_complete(root: str, names: Sequence[str]) -> None:
    """Refuse numbered shards with gaps: a copy that broke off would train on fewer images and say nothing."""
    series: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            before, number, after, total = match.groups()
            # What follows -of-N may differ, such as a checksum.
            series[before, f"-of-{total}" if total else after][int(number)] = number
    for (before, after), found in series.items():
        total = int(after[4:]) if after.startswith("-of-") else 0
        expected = range(total) if total else range(min(found), max(found) + 1)
        missing = len(expected) - sum(number in expected for number in found)
        # Where most are missing, the numbers count something else, such as days.
        if missing and (total or missing < len(found)):
            gap = str(next(number for number in expected if number not in found))
            gap = gap.zfill(min(map(len, found.values())))
            raise UserError(
                f"{shown_path(root)}: {missing} of {len(expected)} shards are missing, by the numbers in the names, "
                f"the first being {before}{gap}{after}. Copy them too; shards that you leave out on purpose "
                "must leave no gap."
            )


def class_names(root: str) -> tuple[str, ...] | None:
    """Lines of classes.txt beside the shards or their folders, by label; None where there is no such file.

    Raises:
        UserError: it is not UTF-8, or names a class twice.
    """
    file = next((file for file in files_in(root) or [] if file.name == CLASSES), None)
    if file is None:
        return None
    try:
        names = tuple(line.strip() for line in read_file(file).decode("utf-8").splitlines() if line.strip())
    except UnicodeDecodeError:
        raise UserError(
            f"{shown_path(file.path)}: is not UTF-8 text; write one class name per line."
        ) from None
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise UserError(
            f"{shown_path(file.path)}: names {listing(twice)} twice; each line names another class."
        )
    return names
