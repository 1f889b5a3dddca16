"""Write the files that fuzzing starts from: make_seeds.py FOLDER. Each begins with 16 bytes of settings."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from swin_train.data.native.tiling import NotTileable, tile

_SHAPES = ((1, 1), (7, 9), (17, 16), (40, 56), (96, 33))
_KINDS: dict[str, dict[str, Any]] = {
    "444": {"subsampling": 0},
    "422": {"subsampling": 1},
    "420": {"subsampling": 2},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 2},
    "optimised": {"optimize": True, "quality": 96},
}


def main(folder: Path) -> None:
    """Write the seeds: each shape in each kind, grey and CMYK, plain and tiled."""
    folder.mkdir(parents=True, exist_ok=True)
    for height, width in _SHAPES:
        for mode, options in [
            ("L", _KINDS["444"]),
            ("CMYK", {}),
            *(("RGB", kind) for kind in _KINDS.values()),
        ]:
            data = _encode(_picture(height, width).convert(mode), options)
            name = f"{width}x{height}_{mode}_{'_'.join(map(str, options.values()))}"
            (folder / name).write_bytes(_SETTINGS + data)
            try:
                (folder / f"{name}_tiled").write_bytes(_SETTINGS + tile(data))
            except NotTileable:
                continue


_SETTINGS = bytes([0, 3, 0, 2, 0, 200, 0, 100, 1, 0, 1, 0, 0, 15, 15, 8])


def _picture(height: int, width: int) -> Image.Image:
    """Smooth colours with some noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([x * 5, y * 5, (x + y) * 3], axis=-1) % 256
    return Image.fromarray((smooth + rng.integers(0, 20, smooth.shape)).clip(0, 255).astype(np.uint8))


def _encode(image: Image.Image, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
