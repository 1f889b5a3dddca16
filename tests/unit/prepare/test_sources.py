"""Where data is looked for, and where it may not be written."""

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from swin_train.errors import UserError
from swin_train.prepare import sources
from swin_train.prepare.sources import check_apart, open_source, open_splits


@pytest.mark.parametrize("place", ["train", "data"])
def test_parquet_is_recognised_and_kept_in_the_cache(place: str, folder: Path, tmp_path: Path) -> None:
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in (folder / "train").rglob("*.*")]
    (tmp_path / "table" / place).mkdir(parents=True)
    table = pyarrow.table({"image": images, "label": [i % 3 for i in range(len(images))]})
    parquet.write_table(table, tmp_path / "table" / place / "train-00000-of-00001.parquet")

    source = open_source(tmp_path / "table", "train", cache_dir=str(tmp_path / "cache"))

    assert source.num_images == 21
    assert source.read(0) == images[0]["bytes"]
    assert any((tmp_path / "cache").iterdir())
    assert list(open_splits(tmp_path / "table", None, None, str(tmp_path / "cache"))) == ["train"]


def test_a_url_is_handed_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(sources, "open_split", lambda *words, **more: asked.append((words, more)))

    open_source("s3://bucket/a//b", "train", "shards", cache_dir="/cache", cache_gb=5.0)

    assert asked == [(("shards", "s3://bucket/a//b", "train"), {"cache_dir": "/cache", "cache_gb": 5.0})]


def test_a_url_needs_its_layout() -> None:
    with pytest.raises(UserError) as error:
        open_splits("https://key:secret@host/data", None, None)

    assert str(error.value) == (
        "https://host/data: is a URL, whose layout cannot be looked up; add --dataset shards or --dataset parquet, and "
        "--cache-dir"
    )


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("", "out", "SOURCE is empty (an unset variable?); give a path, . for the current folder"),
        ("data", "", "OUT is empty (an unset variable?); give a path, . for the current folder"),
        ("data", "s3://b/x", "OUT s3://b/x: is a URL, and files are written to folders only; give a folder"),
        ("data", "data", "OUT data: is SOURCE data or lies in it, and would be read as a part of it; give a"),
        ("data", "data/x/..", "OUT data/x/..: is SOURCE data or lies in it, and would be read"),
        ("data", "data/train/new", "OUT data/train/new: is SOURCE data or lies in it, and would be read"),
        ("data", "link/new", "OUT link/new: is SOURCE data or lies in it, and would be read"),
        ("data/train/sub", "data", "SOURCE data/train/sub: lies in data/train, which would be written; give"),
        (
            "data/train",
            "data",
            "SOURCE data/train: lies in data/train, which would be written; give another OUT",
        ),
    ],
)
def test_what_is_read_and_what_is_written_lie_apart(
    source: str, out: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/train/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data")

    with pytest.raises(UserError) as error:
        check_apart(source, out, "train")

    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("source", "out"), [("a.tar", "."), ("data", "data2"), ("s3://b/x", "s3:"), ("data/val", "data")]
)
def test_neighbours_are_apart(source: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    check_apart(source, out, "train")
