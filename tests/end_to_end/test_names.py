"""Names that are no UTF-8, or hold controls of a terminal, go through a whole run, whose files stay valid."""

import json
import os
from pathlib import Path

from PIL import Image

from swin_train.cli.main import main

CLASSES = [b"caf\xe9", b"\xff\xfe", "日本 語".encode(), b"a\x1b[2Jb"]


def test_a_run_on_odd_names_writes_valid_files(tiny_opts, tmp_path: Path, capsys) -> None:
    data = tmp_path / "data"
    for split, count in (("train", 4), ("val", 2)):
        for shade, name in enumerate(CLASSES):
            folder = Path(os.fsdecode(os.fsencode(data / split) + b"/" + name))
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (16, 16), (60 * shade, 50 * number, 0)).save(
                    os.fsencode(folder) + b"/\xe9%d.png" % number
                )
    broken = Path(os.fsdecode(os.fsencode(data / "train") + b"/caf\xe9/\xe90.png"))
    broken.write_bytes(b"no picture".ljust(broken.stat().st_size, b"\0"))
    opts = tiny_opts(DATA__DATA_PATH=str(data), TRAIN__EPOCHS=1, TRAIN__WARMUP_EPOCHS=0)

    assert main(["--cfg", "swin_tiny_patch4_window7_224", "--opts", *opts]) == 0

    run = tmp_path / "output/tiny/default"
    assert rb"train/caf\xe9/\xe90.png" in (run / "log.txt").read_bytes()
    for path in run.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".txt", ".yaml"):
            text = path.read_text(encoding="utf-8")
            assert "\x1b" not in text
            lines = text.splitlines() if path.suffix == ".jsonl" else [text] if path.suffix == ".json" else []
            assert all(json.loads(line) is not None for line in lines), path
    names = json.loads((run / "run.json").read_text())["class_names"]
    assert names == [r"a\x1b[2Jb", r"caf\xe9", "日本 語", r"\xff\xfe"]
    assert "\x1b" not in "".join(capsys.readouterr())
