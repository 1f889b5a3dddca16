"""``main.py prepare-data`` and ``main.py verify-data``: what they say, and how they end."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from swin_train.cli.main import main
from swin_train.cli.prepare_data import as_text
from swin_train.prepare.targets import TARGETS


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of 3 pictures to train on and 1 to evaluate on."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1)):
        for name in "ab":
            (tmp_path / f"data/{split}/{name}").mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / f"data/{split}/{name}/{name}{i}.jpg")
    return tmp_path / "data"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command; return its exit status, what it printed, and its errors."""

    def start(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(list(map(str, words)))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return start


def test_the_layouts_of_the_flag_are_those_that_there_are() -> None:
    from swin_train.cli.prepare_data import _LAYOUTS

    assert sorted(_LAYOUTS) == sorted(TARGETS)


def test_prepared_data_is_verified_with_its_checksums(
    data: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    out = tmp_path / "out"
    for split, images in (("train", 6), ("val", 2)):
        status, text, _ = run("prepare-data", data, out, "--to", "zip", "--split", split)
        assert status == 0
        assert text.startswith(f"{out}: {split} as zip: {images} images (0.0 MiB) in 2 classes; ")

    status, text, _ = run(
        "verify-data", "--data-path", out, "--checksums", "--json", tmp_path / "report.json"
    )

    assert status == 0
    assert text.splitlines()[0].split() == ["train", "val"]
    assert text.splitlines()[1].split() == ["images", "6", "2"]
    assert text.endswith("checksums: every file is what prepare-data wrote\n\nclean\n")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["clean"] is True
    assert report["splits"]["train"]["images"] == 6
    assert report["damaged_files"] == {}


@pytest.mark.parametrize("to", ["folder", "zip"])
def test_a_flipped_bit_is_found_by_the_checksums(
    to: str, data: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    run("prepare-data", data, tmp_path / "out", "--to", to)
    victim = next((tmp_path / "out").rglob("a1.jpg" if to == "folder" else "train.zip"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)

    status, text, _ = run("verify-data", "--data-path", tmp_path / "out", "--checksums")

    name = victim.relative_to(tmp_path / "out")
    assert status == 5
    assert f"damaged files: 1\n  {name} has another SHA-256 than when it was written\n" in text
    assert text.endswith("not clean: see what is broken above\n")


def test_a_broken_image_is_named_by_both(
    data: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    (data / "train/b/b1.jpg").write_bytes(b"no image")

    status, prepared, _ = run("prepare-data", data, tmp_path / "out", "--to", "folder")
    broken, verified, _ = run("verify-data", "--data-path", data)

    assert status == 0
    assert (
        "1 images cannot be decoded and were copied as they are (--skip-bad leaves such out):\n" in prepared
    )
    assert "  train/b/b1.jpg: cannot be decoded (not an image of a supported format: " in prepared
    assert broken == 5
    assert "broken in train: 1\n  train/b/b1.jpg: cannot be decoded (not an image" in verified


def test_shrinking_says_that_the_recipe_changes(
    data: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    status, text, _ = run("prepare-data", data, tmp_path / "out", "--to", "folder", "--max-side", 32)

    assert status == 0
    assert (
        "This changes the recipe: 6 pictures were shrunk to 32 pixels and encoded again with quality 90. Accuracies "
        "are not those of the originals."
    ) in text


def test_the_official_archives(data: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    with tarfile.open(tmp_path / "ILSVRC2012_img_train.tar", "w") as outer:
        for name in "ab":
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as inner:
                for path in sorted((data / "train" / name).iterdir()):
                    inner.add(path, path.name)
            member = tarfile.TarInfo(f"{name}.tar")
            member.size = buffer.tell()
            outer.addfile(member, io.BytesIO(buffer.getvalue()))
    with tarfile.open(tmp_path / "ILSVRC2012_img_val.tar", "w") as outer:
        for path in (data / "val").rglob("*.jpg"):
            outer.add(path, path.name)
    (tmp_path / "labels.txt").write_text("a0.jpg a\nb0.jpg b\n")

    train = run("prepare-data", tmp_path / "ILSVRC2012_img_train.tar", tmp_path / "out", "--to", "folder")
    val = run(
        *("prepare-data", tmp_path / "ILSVRC2012_img_val.tar", tmp_path / "out", "--to", "folder"),
        *("--split", "val", "--labels", tmp_path / "labels.txt"),
    )

    assert (train[0], val[0]) == (0, 0)
    for split in ("train", "val"):
        files = {path.relative_to(data): path.read_bytes() for path in (data / split).rglob("*.jpg")}
        assert files == {
            path.relative_to(tmp_path / "out"): path.read_bytes()
            for path in (tmp_path / "out" / split).rglob("*.jpg")
        }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["S", "O"], "main.py prepare-data: the following arguments are required: --to; see "),
        (["S", "O", "--to", "zipp"], "argument --to: invalid choice: 'zipp'"),
        (
            ["S", "O", "--to", "zip", "--quality", "80"],
            "--quality is that of pictures which --max-side shrinks;",
        ),
        (
            ["S", "O", "--to", "zip", "--max-side", "9", "--quality", "0"],
            "--quality must be 1 to 100; got 0; see",
        ),
        (["S", "O", "--to", "zip", "--max-side", "0"], "--max-side must be 1 to 65500; got 0; see"),
        (["S", "O", "--to", "zip", "--workers", "0"], "--workers must be 1 to 1024; got 0; see"),
        (["S", "O", "--to", "zip", "--shard-mb", "0"], "--shard-mb must be 0.001 to 1048576; got 0; see"),
        (["S", "O", "--to", "zip", "--shard-mb", "nan"], "--shard-mb must be 0.001 to 1048576; got nan; see"),
        (["S", "O", "--to", "zip", "--skipbad"], "unknown flag --skipbad, did you mean --skip-bad?"),
        (["", "O", "--to", "zip"], "SOURCE is empty (an unset variable?); give a path, . for the current"),
        (
            ["S", "", "--to", "zip"],
            "OUT is empty (an unset variable?); give a path, . for the current folder",
        ),
        ([".", "O", "--to", "zip"], "OUT O: is SOURCE . or lies in it, and would be read as a part of it; "),
        (["s3://b", "O", "--to", "zip"], "s3://b: is a URL, whose layout cannot be looked up; add --dataset"),
        (
            ["s3://b//c", "O", "--to", "zip", "--dataset", "shards", "--cache-gb", "-1"],
            "--cache-gb must be 0 to 1000000000; got -1; see",
        ),
        (["none", "O", "--to", "zip"], "none: does not exist; expected a folder with train/CLASS/*, "),
        (
            ["/dev", "O", "--to", "zip", "--labels", "x"],
            "--labels: tells the classes of a tar archive's images, and",
        ),
    ],
)
def test_mistakes_are_one_message(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable
) -> None:
    monkeypatch.chdir(tmp_path)

    status, out, err = run("prepare-data", *words)

    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --data-path; see main.py verify-data --help"),
        (
            ["--data-path", ""],
            "--data-path is empty (an unset variable?); give a path, . for the current folder",
        ),
        (
            ["--data-path", ".", "--json", "none/r"],
            "none/r: cannot be written (No such file or directory); give",
        ),
        (["--data-path", "s3://b/c"], "s3://b/c: is a URL, whose layout cannot be looked up; add --dataset"),
        (["--data-path", "s3://b", "--checksums"], "--checksums: s3://b is a URL; manifest.json is compared"),
        (["--data-path", ".", "--cache-gb", "nan"], "--cache-gb must be 0 or more; got nan; see"),
        (["--data-path", "none"], "none: does not exist; expected a folder"),
        (["--data-path", ".", "--workers", "0"], "--workers must be 1 or more; got 0; see"),
        (["--data-path", ".", "--checksums"], "--checksums: . has no manifest.json; prepare-data writes it."),
    ],
)
def test_mistakes_of_verify_data(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable
) -> None:
    monkeypatch.chdir(tmp_path)

    status, out, err = run("verify-data", *words)

    assert (status, out) == (2, "")
    assert message in err


def test_checksums_of_one_split_leave_the_other_alone(
    data: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    for split in ("train", "val"):
        run("prepare-data", data, tmp_path / "out", "--to", "folder", "--split", split)
    (tmp_path / "out/train/a/more.jpg").write_bytes((data / "train/a/a0.jpg").read_bytes())
    words = ("verify-data", "--data-path", tmp_path / "out", "--checksums", "--split")

    status, text, _ = run(*words, "val")
    other, damaged, _ = run(*words, "train")

    assert status == 0
    assert text.endswith("checksums: every file is what prepare-data wrote\n\nclean\n")
    assert other == 5
    assert "  train/a/more.jpg is not in manifest.json\n" in damaged
    assert "  train holds 7 images in 2 classes, of which manifest.json counts 6 in 2\n" in damaged


def test_checksums_of_a_split_that_the_manifest_has_not(
    data: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    run("prepare-data", data, tmp_path / "out", "--to", "folder")

    status, _, err = run("verify-data", "--data-path", tmp_path / "out", "--checksums", "--split", "val")

    assert status == 2
    assert f"--checksums: {tmp_path}/out/manifest.json has no val; it has train. Leave the flag out" in err


def test_a_report_that_cannot_be_kept_is_refused_before_the_work(
    data: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swin_train.prepare.verify.verify", None)

    status, out, err = run("verify-data", "--data-path", data, "--json", tmp_path)

    assert (status, out) == (2, "")
    assert f"{tmp_path}: cannot be written (Is a directory); give another --json FILE" in err


def test_the_table_is_printed_though_the_report_cannot_be_written(
    data: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    status, text, err = run("verify-data", "--data-path", data, "--json", "/dev/full")

    assert status == 28
    assert text.endswith("\nclean\n")
    assert "/dev/full: cannot be written (No space left on device); give another --json FILE" in err


def test_parquet_is_verified_with_a_cache(
    data: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in (data / "train").rglob("*.jpg")]
    (tmp_path / "table/train").mkdir(parents=True)
    table = pyarrow.table({"image": images, "label": [0, 0, 0, 1, 1, 1]})
    parquet.write_table(table, tmp_path / "table/train/0.parquet")
    cache = ("--cache-dir", tmp_path / "cache", "--cache-gb", "1")

    verified = run("verify-data", "--data-path", tmp_path / "table", *cache)
    prepared = run("prepare-data", tmp_path / "table", tmp_path / "out", "--to", "zip", *cache)

    assert verified[:2] == (0, verified[1])
    assert verified[1].splitlines()[1].split() == ["images", "6"]
    assert prepared[0] == 0


def test_a_foreign_manifest_is_refused(data: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    (data / "manifest.json").write_text('{"files": 1}')

    status, _, err = run("verify-data", "--data-path", data, "--checksums")

    assert status == 2
    assert (
        f"{data}/manifest.json: is damaged, or no manifest of prepare-data (KeyError('splits')); move it away"
        in err
    )


def test_many_bad_images_are_counted_and_some_of_them_named() -> None:
    settings = {"to": "packed", "max_side": None, "skip_bad": True}
    entry = {
        "settings": settings,
        "images": 5,
        "bytes": 5 << 20,
        "changed": 0,
        "tiled": 3,
        "images_per_class": {"a": 5},
        "bad": {f"train/a/{i}.jpg": "is bad" for i in range(12)},
        "files": {},
    }

    assert as_text(Path("/out"), "train", entry).splitlines() == [
        "/out: train as packed: 5 images (5.0 MiB) in 1 classes; counts and checksums in manifest.json",
        "3 are losslessly tiled JPEGs; 2 cannot be tiled and stay as they are",
        "12 images cannot be decoded and were left out:",
        *(f"  train/a/{i}.jpg: is bad" for i in range(10)),
        "  and 2 more, listed in /out/manifest.json",
    ]
