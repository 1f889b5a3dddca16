"""Write scikit-learn's 1,797 scanned handwritten digits as an image folder: OUT/train/CLASS, OUT/val/CLASS.

    python scripts/make_digits.py OUT

The split is stratified, 80 % to 20 %, and always the same. The scans have 8 x 8 pixels of 17 greys; the files
have 32 x 32 pixels of 256. Running it again skips what is complete.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIZE = 32  # pixels: serves training at 16 and fine-tuning at 32
SEED = 0
DARKEST = 16  # the scans' largest value


def write_split(folder: Path, scans: np.ndarray, labels: np.ndarray) -> None:
    """Write all images of a split; the folder appears when it is complete."""
    if folder.exists():
        found = len(list(folder.glob("*/*.png")))
        if found != len(scans):
            sys.exit(
                f"{folder}: it holds {found} images instead of {len(scans)}; remove it or choose another OUT."
            )
        print(f"{folder}: {len(scans)} images are there already")
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as unfinished:
        for number, (scan, label) in enumerate(zip(scans, labels, strict=True)):
            path = Path(unfinished) / folder.name / str(label) / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = Image.fromarray(np.round(scan * (255 / DARKEST)).astype(np.uint8))
            grey.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(path)
        (Path(unfinished) / folder.name).rename(folder)
    print(f"{folder}: wrote {len(scans)} images")


def main(out: Path) -> None:
    """Write both splits below ``out``."""
    digits = load_digits()
    split = train_test_split(
        digits.images, digits.target, test_size=0.2, stratify=digits.target, random_state=SEED
    )
    train_scans, val_scans, train_labels, val_labels = split
    write_split(out / "train", train_scans, train_labels)
    write_split(out / "val", val_scans, val_labels)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_digits.py OUT")
    main(Path(sys.argv[1]))
