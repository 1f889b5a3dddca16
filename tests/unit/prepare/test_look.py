"""What one image file is."""

import io

import pytest
from PIL import Image

from swin_train.data.decode import FORMATS
from swin_train.prepare.look import look


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_that_training_takes_is_looked_at(format: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(file, format)

    seen = look(file.getvalue(), "train/a/x.jpg")

    assert seen.problem is None
    assert ("other ending" in seen.traits) is (format != "JPEG")
