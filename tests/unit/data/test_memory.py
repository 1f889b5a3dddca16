"""Memory of worker processes, which read a large index again and again."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from swin_train.data.formats import FileSpan, ImageSource
from swin_train.data.loader import TrainFeed
from swin_train.data.watch import workers_seen

_NUM_IMAGES = 1_000_000
_BATCH, _BATCHES = 32, 100


class _Index(ImageSource):
    """A million images, all of them the same picture; names are made from their numbers."""

    def __init__(self) -> None:
        file = io.BytesIO()
        Image.new("RGB", (16, 16)).save(file, "PNG")
        self._data = file.getvalue()
        self.classes = ("a", "b")
        self.labels = np.arange(_NUM_IMAGES) % 2
        self.sizes = np.full(_NUM_IMAGES, len(self._data))

    def read(self, index: int) -> bytes:
        return self._data

    def span(self, index: int) -> FileSpan | None:
        return None

    def name(self, index: int) -> str:
        return f"train/{index}"


class _Objects(_Index):
    """The same with a Python object per image, whose count of references is written when it is read."""

    def __init__(self) -> None:
        super().__init__()
        self._names = [f"train/{index}" for index in range(_NUM_IMAGES)]

    def read(self, index: int) -> bytes:
        assert self._names[index]
        return super().read(index)


def own_memory(pid: int) -> int:
    """Bytes that a process shares with no other; RSS would not see that a page of the parent is copied."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Private_Dirty")


def growth(feed: TrainFeed, epochs: int) -> int:
    """By how many bytes the memory of the workers grows after the first pass."""
    first_step = feed.steps_per_epoch - _BATCHES
    memory = []
    for epoch in range(1 + epochs):
        assert sum(batch.num_images for batch in feed.batches(epoch, first_step)) == _BATCHES * _BATCH
        memory.append(sum(own_memory(worker.pid) for worker in workers_seen() if worker.exit_code is None))
    return memory[-1] - memory[0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("index", "least", "most"), [(_Index, -(2**20), 2**21), (_Objects, 2**23, 2**26)])
def test_two_more_epochs_of_a_large_index_take_no_more_memory_unless_it_has_an_object_per_image(
    process_feed: Callable[..., TrainFeed], index: Callable[[], Any], least: int, most: int
) -> None:
    feed = process_feed(index(), workers=2, plain=True, global_batch=_BATCH, micro_batch=_BATCH)

    assert least < growth(feed, 2) < most
