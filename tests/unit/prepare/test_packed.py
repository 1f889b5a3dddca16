"""Packing with the real extension, where it is built: the files change, and no pixel does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swin_train.data.decode import decode
from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.native.library import unavailable
from swin_train.errors import UserError
from swin_train.prepare.job import Settings, prepare
from swin_train.prepare.sources import open_source


def test_packing_keeps_every_pixel_or_says_what_is_missing(
    folder: Path, tmp_path: Path, picture: Callable, images_of: Callable
) -> None:
    (folder / "train/ant/large.jpg").write_bytes(picture(99, side=200))
    (folder / "train/ant/cmyk.jpg").write_bytes(picture(98, mode="CMYK"))
    (folder / "train/ant/broken.jpg").write_bytes(picture(97)[:-40])
    source, settings = ImageFolder(str(folder), "train"), Settings("packed", "train", 20_000)
    if unavailable():
        with pytest.raises(UserError, match="needs the native extension"):
            prepare(source, tmp_path / "out", settings, 2)
        return

    entry = prepare(source, tmp_path / "out", settings, 2)

    expected, found = images_of(source), images_of(open_source(tmp_path / "out", "train"))
    assert found.keys() == expected.keys()
    for name, (folder_name, label, data) in found.items():
        assert (folder_name, label) == expected[name][:2]
        if name != "ant/broken.jpg":
            np.testing.assert_array_equal(decode(data, 3, name), decode(expected[name][2], 3, name))
    for name in ("ant/broken.jpg", "ant/cmyk.jpg", "bee/bee_3.png"):
        assert found[name] == expected[name]
    assert entry["tiled"] == 24 - 5
    assert list(entry["bad"]) == ["train/ant/broken.jpg"]
