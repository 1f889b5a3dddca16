"""What a run is let in with is not in what it leaves behind: credentials, environment; and no paths in weights."""

import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from swin_train.cli.main import main

CFG = ["--cfg", "swin_tiny_patch4_window7_224"]
SECRETS = ("AKIAEXAMPLE", "wJalr/XUtn", "sIgNaTuRe", "eNvIrOnMeNt")
BUCKET = "memory://AKIAEXAMPLE:wJalr/XUtn@bucket/digits"


@pytest.fixture
def bucket(digits: Path, tmp_path: Path) -> Iterator[str]:
    """The digits as shards in object storage, at an address that holds credentials."""
    for split in ("train", "val"):
        arguments = [str(digits), str(tmp_path / "shards"), "--to", "shards", "--split", split]
        assert main(["prepare-data", *arguments]) == 0
    memory, folder = fsspec.core.url_to_fs(BUCKET)
    for shard in (tmp_path / "shards").glob("[!.]*.t*"):  # .tar and classes.txt
        memory.pipe(f"{folder}/{shard.name}", shard.read_bytes())
    yield BUCKET
    memory.store.clear()


def test_nothing_that_a_run_writes_or_says_holds_a_secret(
    bucket: str, site, tiny_opts, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "eNvIrOnMeNt")
    short = {"TRAIN__EPOCHS": 1, "TRAIN__WARMUP_EPOCHS": 0}
    assert main([*CFG, "--tag", "first", "--opts", *tiny_opts(**short)]) == 0
    first = tmp_path / "output/tiny/first/weights/best.safetensors"
    url = site.give("/best.safetensors?X-Amz-Signature=sIgNaTuRe", first.read_bytes())
    other = f"{bucket}/other"  # which the flag is put before, with a word
    data = {"DATA__DATASET": "shards", "DATA__DATA_PATH": other, "DATA__CACHE_DIR": str(tmp_path / "kept")}
    opts = tiny_opts(**short, **data, MODEL__PRETRAINED=url)
    flags = [*CFG, "--tag", "x", "--data-path", bucket, "--opts", *opts]
    monkeypatch.setattr(sys, "argv", ["main.py", *flags])

    assert main(flags) == 0
    assert main(flags) == 0  # and goes on, or says that it is done
    assert main(["config", "show", *flags]) == 0
    assert main([*flags, "NO_SUCH_KEY", bucket]) == 2
    assert main(["--eval", *CFG, "--resume", f"{url}x", "--opts", *opts]) == 2  # there is no such file
    assert main(["eval", *CFG, "--resume", url, "--opts", *tiny_opts(**data)]) == 2

    said = "".join(capsys.readouterr())
    assert "memory://bucket/digits" in said
    assert "/best.safetensors" in said
    written = {path: path.read_bytes() for path in (tmp_path / "output").rglob("*") if path.is_file()}
    assert {"run.json", "config.yaml", "log.txt", "train.json", "MANIFEST.json"} <= {
        path.name for path in written
    }
    assert any("tfevents" in path.name for path in written)
    assert b"memory://bucket/digits" in written[tmp_path / "output/tiny/x/run.json"]
    for secret in SECRETS:
        assert secret not in said
        assert [path for path, content in written.items() if secret.encode() in content] == []


def test_weights_hold_no_paths(tiny_opts, tmp_path: Path) -> None:
    assert main([*CFG, "--opts", *tiny_opts(TRAIN__EPOCHS=1, TRAIN__WARMUP_EPOCHS=0)]) == 0
    weights = tmp_path / "output/tiny/default/weights"
    for to, out in {"timm": "timm.safetensors", "official": "official.pth", "huggingface": "folder"}.items():
        assert main(["convert", str(weights / "best.safetensors"), str(weights / out), "--to", to]) == 0

    files = [path for path in weights.rglob("*") if path.is_file()]
    assert len(files) >= 6
    for path in files:
        content = path.read_bytes()
        assert not [word for word in (tmp_path, Path.home(), Path.cwd()) if str(word).encode() in content], (
            path
        )
