"""The run whose checkpoints are kept in ``golden/checkpoints/``: ten updates of a tiny model on computed images.

``schema-1`` is of the first version of swin_train, ``schema-2`` of the first that writes it, both made as this file
says; ``losses.json`` holds the losses of all updates of the run. To keep a checkpoint of a new schema::

    PYTHONPATH=.:tests python tests/kept_run.py tests/golden/checkpoints
"""

import contextlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from run_records import records

from swin_train import load_config, train
from swin_train.data.draws import mix64_array
from swin_train.engine.migrations import SCHEMA

STEPS = {1: 5, 2: 6}  # by schema, which checkpoint is kept: at the end of an epoch, and in the middle of one
TOTAL_STEPS = 10
MADE_WITH = "2.14"  # of torch, whose initial weights are not the same in every version
_KEYS = {
    "DATA.IMG_SIZE": 16,
    "DATA.BATCH_SIZE": 8,
    "DATA.NUM_WORKERS": 0,
    "DATA.PIPELINE": "exact",
    "MODEL.NAME": "tiny",
    "MODEL.TYPE": "swin",
    "MODEL.SWIN.PATCH_SIZE": 2,
    "MODEL.SWIN.EMBED_DIM": 8,
    "MODEL.SWIN.DEPTHS": [2, 1],
    "MODEL.SWIN.NUM_HEADS": [1, 2],
    "MODEL.SWIN.WINDOW_SIZE": 4,
    "MODEL.DROP_PATH_RATE": 0.2,
    "MODEL.DROP_RATE": 0.1,
    "TRAIN.EPOCHS": 2,
    "TRAIN.WARMUP_EPOCHS": 1,
    "TRAIN.BASE_LR": 0.05,
    "TRAIN.EMA_DECAY": 0.9,
    "TRAIN.OPTIMIZER.NAME": "adamw",
    "DEVICE": "cpu",
    "PRINT_FREQ": 1,
    "SAVE_STEPS": 3,
    "SAVE_KEEP": 9,
    "TAG": "golden",
    # relative, so that no path of the machine is in the files
    "DATA.DATA_PATH": "data",
    "OUTPUT": "output",
}


def write_images(data: Path) -> None:
    """Write four classes of 10 training and 5 validation images of 16 px, in a format that is not compressed."""
    for split, first, count in (("train", 0, 10), ("val", 50, 5)):
        for label in range(4):
            folder = data / split / f"class_{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = _noise(100 * label + first + number) // 4 + 64 * label
                (folder / f"{number}.ppm").write_bytes(
                    b"P6\n16 16\n255\n" + pixels.astype(np.uint8).tobytes()
                )


def _noise(number: int) -> np.ndarray:
    """The 768 bytes of an image."""
    counters = np.arange(768, dtype=np.uint64) + np.uint64(1000 * number)
    return mix64_array(counters) >> np.uint64(56)


def train_in(folder: Path) -> Path:
    """Start or go on with the run in ``folder``, which holds ``data``, and return the run's own folder."""
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in _KEYS.items()}
    with contextlib.chdir(folder):
        run = train(load_config(None, [part for pair in text.items() for part in pair])).folder
        return run.resolve()


def losses_of(run: Path) -> dict[int, float]:
    """Return the loss of each update of a run that recorded it."""
    return {record["step"]: record["loss"] for record in records(run, "train")}


def _keep(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        write_images(Path(scratch) / "data")
        run = train_in(Path(scratch))
        name = f"step-{STEPS[SCHEMA]:08d}"
        shutil.copytree(run / "checkpoints" / name, folder / f"schema-{SCHEMA}" / name)
        (folder / f"schema-{SCHEMA}/losses.json").write_text(json.dumps(losses_of(run), indent=1) + "\n")


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
