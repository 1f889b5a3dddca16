"""A split that prepare-data has not finished is not read as a whole one."""

from pathlib import Path

import pytest

from swin_train.data.formats import FORMATS, open_split
from swin_train.data.formats.unfinished import refuse_unfinished
from swin_train.errors import UserError


@pytest.fixture
def begun(tmp_path: Path) -> str:
    """A folder in which prepare-data was interrupted while it wrote ``train``."""
    (tmp_path / ".prepare").mkdir()
    (tmp_path / ".prepare/train.json").write_text("{}")
    return str(tmp_path)


@pytest.mark.parametrize(("dataset", "zip_mode"), [*((name, False) for name in FORMATS), ("imagenet", True)])
def test_every_format_refuses_it_and_names_the_command(dataset: str, zip_mode: bool, begun: str) -> None:
    with pytest.raises(UserError) as error:
        open_split(dataset, begun, "train", zip_mode=zip_mode)

    assert str(error.value) == (
        f"{begun}: holds only a part of train: prepare-data was interrupted there. Give the same command again to "
        f"finish it: python main.py prepare-data SOURCE {begun} --split train, with its other flags"
    )


def test_other_splits_and_urls_are_left_alone(begun: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_unfinished(begun, "val")
    Path(begun, "s3:/bucket/.prepare").mkdir(parents=True)
    Path(begun, "s3:/bucket/.prepare/train.json").touch()
    monkeypatch.chdir(begun)

    refuse_unfinished("s3://bucket", "train")
