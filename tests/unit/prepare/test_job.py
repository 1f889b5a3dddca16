"""What prepare writes is what it read, whatever the layout, and nothing else is touched."""

import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from swin_train.data.formats import fingerprint
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.errors import DataError
from swin_train.prepare.images import Recoding
from swin_train.prepare.job import Settings, prepare
from swin_train.prepare.manifest import damaged_files, read_manifest
from swin_train.prepare.sources import open_source

SHARD = 6000  # bytes: several units


@pytest.mark.usefixtures("fake_tiles")
@pytest.mark.parametrize("to", ["folder", "zip", "shards", "packed"])
def test_every_layout_gives_back_the_same_images(
    to: str, folder: Path, tmp_path: Path, images_of: Callable
) -> None:
    out = tmp_path / "out"
    for split in ("train", "val"):
        source = ImageFolder(str(folder), split)
        entry = prepare(source, out, Settings(to, split, SHARD), workers=2)
        assert entry["images"] == source.num_images

        found = open_source(out, split)

        expected = images_of(source)
        if to == "packed":
            tiled = {
                name: data[:2] + data[10:]
                for name, (_, _, data) in images_of(found).items()
                if b"tile" in data
            }
            assert len(tiled) == entry["tiled"] > 0
            assert {name: expected[name][2] for name in tiled} == tiled
            expected |= {name: (*expected[name][:2], images_of(found)[name][2]) for name in tiled}
        assert images_of(found) == expected
        assert to == "shards" or fingerprint(found) == fingerprint(source)
    assert {problem for _, problem in damaged_files(out, read_manifest(out))} == {None}


def test_the_manifest_counts_and_sums(source: ImageFolder, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out", Settings("shards", "train", SHARD), workers=1)

    entry = json.loads((tmp_path / "out/manifest.json").read_text())["splits"]["train"]

    assert entry["images_per_class"] == {"ant": 7, "bee": 6, "cow": 8}
    assert entry["bytes"] == source.sizes.sum()
    assert entry["settings"]["source_fingerprint"] == fingerprint(source)
    names = ["classes.txt", *(path.name for path in (tmp_path / "out").glob("*.tar"))]
    assert sorted(entry["files"]) == sorted(names)
    assert len(entry["files"]) > 2


def test_any_number_of_workers_writes_the_same_bytes(
    source: ImageFolder, tmp_path: Path, content: Callable
) -> None:
    for to in ("folder", "zip", "shards"):
        for workers in (1, 3):
            prepare(source, tmp_path / f"{to}{workers}", Settings(to, "train", SHARD), workers)
        assert content(tmp_path / f"{to}1") == content(tmp_path / f"{to}3")


def test_other_programs_read_the_archives(source: ImageFolder, tmp_path: Path, images_of: Callable) -> None:
    prepare(source, tmp_path, Settings("zip", "train", SHARD), 1)
    prepare(source, tmp_path / "shards", Settings("shards", "train", SHARD), 1)

    with zipfile.ZipFile(tmp_path / "train.zip") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            name: data for name, (_, _, data) in images_of(source).items()
        }
    shards = sorted(map(str, (tmp_path / "shards").glob("*.tar")))
    samples: dict[
        str, dict[str, bytes]
    ] = {}  # as webdataset groups them: by what stands before the first dot
    for shard in shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                samples.setdefault(key, {})[ending.lower()] = tar.extractfile(member).read()  # type: ignore[union-attr]
    found = {
        key: (int(sample["cls"]), sample.get("jpeg", sample.get("png"))) for key, sample in samples.items()
    }
    assert found == {name.rpartition(".")[0]: rest[1:] for name, rest in images_of(source).items()}


def test_shards_mix_the_classes(source: ImageFolder, tmp_path: Path) -> None:
    prepare(source, tmp_path, Settings("shards", "train", 1 << 20), 1)

    with tarfile.open(tmp_path / "train-000000.tar") as tar:
        labels = [tar.extractfile(member).read() for member in tar if member.name.endswith(".cls")]  # type: ignore[union-attr]

    assert len(labels) == 21
    assert labels != sorted(labels)


def test_a_second_call_with_the_same_settings_writes_nothing(
    source: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = prepare(source, tmp_path, Settings("zip", "train"), 1)
    monkeypatch.setattr(source, "read", None)

    assert prepare(source, tmp_path, Settings("zip", "train"), 1) == entry


def test_a_damaged_image_is_copied_and_named_or_left_out(
    folder: Path, tmp_path: Path, images_of: Callable
) -> None:
    broken = folder / "train/bee/bee_1.JPEG"
    broken.write_bytes(broken.read_bytes()[:-100])
    source = ImageFolder(str(folder), "train")

    copied = prepare(source, tmp_path / "copied", Settings("zip", "train"), 1)
    left_out = prepare(source, tmp_path / "left_out", Settings("zip", "train", skip_bad=True), 1)

    assert list(copied["bad"]) == list(left_out["bad"]) == ["train/bee/bee_1.JPEG"]
    assert copied["bad"]["train/bee/bee_1.JPEG"].startswith("cannot be decoded (")
    expected = images_of(source)
    assert images_of(open_source(tmp_path / "copied", "train")) == expected
    del expected["bee/bee_1.JPEG"]
    assert images_of(open_source(tmp_path / "left_out", "train")) == expected
    assert (copied["images"], left_out["images"]) == (21, 20)


def test_an_image_that_cannot_be_read_stops_unless_it_is_to_be_left_out(folder: Path, tmp_path: Path) -> None:
    source = ImageFolder(str(folder), "train")
    (folder / "train/cow/cow_2.JPEG").unlink()

    with pytest.raises(
        DataError, match=r"train/cow/cow_2.JPEG: cannot be read \(.*\); mend it and give the same"
    ):
        prepare(source, tmp_path / "out", Settings("zip", "train", SHARD), 2)
    entry = prepare(source, tmp_path / "left_out", Settings("zip", "train", SHARD, skip_bad=True), 2)

    assert list(entry["bad"]) == ["train/cow/cow_2.JPEG"]
    assert entry["images_per_class"]["cow"] == 7


def test_after_mending_the_source_the_same_command_goes_on(
    folder: Path, tmp_path: Path, content: Callable
) -> None:
    source, lost = ImageFolder(str(folder), "train"), folder / "train/cow/cow_7.JPEG"
    prepare(source, tmp_path / "whole", Settings("folder", "train"), 1)
    lost.rename(tmp_path / "away")
    with pytest.raises(DataError):
        prepare(source, tmp_path / "out", Settings("folder", "train"), 1)
    assert not (tmp_path / "out/train/cow").exists()
    (tmp_path / "away").rename(lost)

    prepare(source, tmp_path / "out", Settings("folder", "train"), 1)

    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_large_pictures_are_shrunk_only_when_asked(
    folder: Path, tmp_path: Path, picture: Callable, images_of: Callable
) -> None:
    from swin_train.data.decode import decode

    (folder / "train/ant/big.png").write_bytes(picture(99, side=80, kind="PNG"))
    source = ImageFolder(str(folder), "train")

    entry = prepare(source, tmp_path / "out", Settings("folder", "train", SHARD, Recoding(44, 90)), 1)

    found = images_of(open_source(tmp_path / "out", "train"))
    data = found.pop("ant/big.jpg")[2]
    assert decode(data, 3, "big").shape == (40, 44, 3)
    assert entry["changed"] == 1
    assert entry["settings"]["max_side"] == 44
    expected = images_of(source)
    del expected["ant/big.png"]
    assert found == expected


def test_images_without_file_names_become_files(source: ImageFolder, tmp_path: Path) -> None:
    names = {i: source.name(i) for i in range(source.num_images)}
    source.name = lambda index: f"train/{index}"  # type: ignore[method-assign]

    prepare(source, tmp_path, Settings("folder", "train"), 1)

    assert {path.name for path in (tmp_path / "train/bee").iterdir()} == {
        f"{i}.{'png' if name.endswith('png') else 'jpg'}" for i, name in names.items() if "bee" in name
    }


def test_through_all_layouts_and_back_gives_the_same_folder(
    source: ImageFolder, folder: Path, tmp_path: Path
) -> None:
    path = folder
    for to in ("shards", "zip", "folder"):
        prepare(open_source(path, "train"), tmp_path / to, Settings(to, "train", SHARD), 1)
        path = tmp_path / to

    files = {file.relative_to(folder): file.read_bytes() for file in (folder / "train").rglob("*.*")}
    assert {file.relative_to(path): file.read_bytes() for file in (path / "train").rglob("*.*")} == files
