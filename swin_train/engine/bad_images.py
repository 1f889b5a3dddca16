"""Training images that could not be used: counted over all processes, listed, and bounded."""

import json
import os
from pathlib import Path

import torch

from swin_train.data.images import what_is_wrong
from swin_train.data.loader import TrainFeed
from swin_train.distributed import Runtime
from swin_train.errors import DataError


class BadImageList:
    """The file that names every training image that was replaced since the launch.

    Args:
        path: of the file, JSON lines; written by the main process, where there is something to write.
        runtime: of this process.
    """

    def __init__(self, path: Path, runtime: Runtime) -> None:
        self._path = path
        self._runtime = runtime
        self.count = 0

    def update(self, feed: TrainFeed) -> None:
        """Add up what the processes met, each image once; all processes call this together.

        Raises:
            DataError: in every process, when there are more than ``DATA.MAX_BAD_IMAGES`` allows. A process that
                meets too many by itself has raised it before.
        """
        found = torch.zeros(feed.num_images, dtype=torch.int32, device=self._runtime.device)
        found[[bad.image for bad in feed.bad_images]] = 1
        images = self._runtime.sum(found).nonzero()[:, 0].tolist()
        if len(images) > self.count and self._runtime.is_main:
            self._write(feed, images)
        self.count = len(images)
        if self.count > feed.max_bad_images:
            raise DataError(
                f"{self._path}: lists {self.count} training images that could not be used by all processes "
                f"together, and DATA.MAX_BAD_IMAGES allows {feed.max_bad_images}; restore or delete them, or "
                "allow more"
            )

    def _write(self, feed: TrainFeed, images: list[int]) -> None:
        lines = [
            {"image": image, "name": feed.source.name(image), "reason": what_is_wrong(feed.source, image)}
            for image in images
        ]
        beside = self._path.with_suffix(".tmp")
        beside.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        os.replace(beside, self._path)  # noqa: PTH105
