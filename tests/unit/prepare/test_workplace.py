"""The journal of finished units survives what a crash leaves of it."""

from pathlib import Path

import pytest

from swin_train.errors import UserError
from swin_train.prepare.workplace import Workplace


def test_a_line_that_was_cut_short_counts_for_nothing(tmp_path: Path) -> None:
    with Workplace(tmp_path, "train") as place:
        place.remember({"unit": 0})
        place.remember({"unit": 1})
    journal = tmp_path / ".prepare/train.journal"
    journal.write_bytes(journal.read_bytes()[:-3])

    with Workplace(tmp_path, "train") as place:
        records = place.keep(place.finished())
        place.remember({"unit": 1, "again": True})

        assert records == [{"unit": 0}]
        assert place.finished() == [{"unit": 0}, {"unit": 1, "again": True}]


def test_a_complete_split_leaves_nothing_but_the_lock(tmp_path: Path) -> None:
    with Workplace(tmp_path, "train") as place:
        place.begin({"to": "zip"})
        place.remember({"unit": 0})
        place.part.touch()
        (place.temporary / "half").touch()
        place.close()

    assert [path.name for path in (tmp_path / ".prepare").iterdir()] == ["lock"]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(
        UserError, match=r"file/out: cannot be written \(Not a directory\); give another folder as OUT"
    ):
        Workplace(tmp_path / "file/out", "train")
