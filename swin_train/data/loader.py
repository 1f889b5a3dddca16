"""Feeds: batches on the device, normalised and mixed, for as long as an epoch or an evaluation lasts."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swin_train.data import draws
from swin_train.data.mixing import Mixer
from swin_train.data.sampler import BatchGeometry, EpochSampler, EvalSampler
from swin_train.data.workers import BadImage, EvalImages, Loaded, TrainImages, WorkerOptions, Workers
from swin_train.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """A micro-batch for training.

    Attributes:
        images: [B, channels, height, width] float32, normalised.
        targets: [B] int64 labels, or [B, classes] float32 where images are mixed.
        drop_path_keys: [B] int64, for the model's forward.
        num_images: B.
    """

    images: Tensor
    targets: Tensor
    drop_path_keys: Tensor
    num_images: int


@dataclass(frozen=True)
class EvalBatch:
    """A batch for evaluation.

    Attributes:
        images: [B, channels, height, width] float32, normalised.
        labels: [B] int64.
        mask: [B] bool, False for the padding that gives every process the same number of batches.
    """

    images: Tensor
    labels: Tensor
    mask: Tensor


class TrainFeed:
    """Training batches of this process.

    Args:
        images: what the workers prepare.
        geometry: which images make up which batch.
        mixer: Mixup and CutMix; None leaves targets as labels.
        max_bad_images: how many different images may be replaced before the run stops.
        device: where the batches arrive.
        options: of the workers.
    """

    def __init__(
        self,
        images: TrainImages,
        geometry: BatchGeometry,
        *,
        mixer: Mixer | None,
        max_bad_images: int,
        device: torch.device,
        options: WorkerOptions,
    ) -> None:
        self.num_images = images.source.num_images
        self.num_classes = images.source.num_classes
        self.steps_per_epoch = geometry.steps_per_epoch
        self._seed = geometry.seed
        self._mixer = mixer
        self._max_bad_images = max_bad_images
        self._device = device
        self._bad: dict[int, BadImage] = {}
        self._sampler = EpochSampler(geometry)
        self._workers = Workers(images, self._sampler, options)

    @property
    def bad_images(self) -> tuple[BadImage, ...]:
        """The different images that this process could not use since the feed was made."""
        return tuple(self._bad.values())

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Micro-batches from ``first_step`` to the end of the epoch; one pass at a time.

        Raises:
            DataError: more images are bad than may be, or a worker was lost.
        """
        self._sampler.start_at(epoch, first_step)
        for loaded in _on_device(self._counted(self._workers), self._device):
            request = loaded.request
            keys = draws.drop_path_keys(self._seed, epoch, request.step, request.positions)
            images, targets = loaded.images, loaded.labels
            if self._mixer is not None:
                first_group = int(request.positions[0]) // self._mixer.group
                images, targets = self._mixer(
                    images, targets, epoch=epoch, step=request.step, first_group=first_group
                )
            yield Batch(images, targets, _moved(keys, self._device), len(images))

    def _counted(self, batches: Iterable[Loaded]) -> Iterator[Loaded]:
        for loaded in batches:
            for bad in loaded.bad:
                self._count(bad)
            yield loaded

    def _count(self, bad: BadImage) -> None:
        if bad.image in self._bad:
            return
        self._bad[bad.image] = bad
        if len(self._bad) > self._max_bad_images:
            raise DataError(
                f"{bad.name}: {bad.reason}; {len(self._bad)} training image(s) cannot be used so far, and "
                f"DATA.MAX_BAD_IMAGES is {self._max_bad_images}. Restore or delete the file, or allow more."
            )
        logger.warning("%s: %s; replaced by another image of its class", bad.name, bad.reason)


class EvalFeed:
    """Evaluation batches of this process; together the processes see every image once.

    Args:
        images: what the workers prepare.
        sampler: which images make up which batch.
        device: where the batches arrive.
        options: of the workers.
    """

    def __init__(
        self, images: EvalImages, sampler: EvalSampler, *, device: torch.device, options: WorkerOptions
    ) -> None:
        self.num_images = images.source.num_images
        self.num_classes = images.source.num_classes
        self.num_batches = len(sampler)
        self._device = device
        self._workers = Workers(images, sampler, options)

    def batches(self) -> Iterator[EvalBatch]:
        """All batches of this process; one pass at a time.

        Raises:
            DataError: an image cannot be used, or a worker was lost.
        """
        for loaded in _on_device(self._workers, self._device):
            mask = loaded.request.positions < self.num_images
            yield EvalBatch(loaded.images, loaded.labels, _moved(mask, self._device))


def _moved(array: NDArray[np.int64] | NDArray[np.bool_], device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)


def _on_device(batches: Iterable[Loaded], device: torch.device) -> Iterator[Loaded]:
    """The batches on the device; to a GPU, each is copied while its predecessor is being used."""
    if device.type != "cuda":
        for loaded in batches:
            yield loaded._replace(images=loaded.images.to(device), labels=loaded.labels.to(device))
        return
    stream = torch.cuda.Stream(device)
    ready: tuple[Loaded, torch.cuda.Event] | None = None
    for loaded in batches:
        copied = _copy_on(stream, loaded, device)
        if ready is not None:
            yield _hand_over(*ready, device)
        ready = copied
    if ready is not None:
        yield _hand_over(*ready, device)


def _copy_on(
    stream: torch.cuda.Stream, loaded: Loaded, device: torch.device
) -> tuple[Loaded, torch.cuda.Event]:
    with torch.cuda.stream(stream):
        images = loaded.images.to(device, non_blocking=True)
        labels = loaded.labels.to(device, non_blocking=True)
        return loaded._replace(images=images, labels=labels), stream.record_event()


def _hand_over(loaded: Loaded, copied: torch.cuda.Event, device: torch.device) -> Loaded:
    stream = torch.cuda.current_stream(device)
    stream.wait_event(copied)
    for tensor in (loaded.images, loaded.labels):
        tensor.record_stream(stream)  # or the memory could be given to the next copy while it is in use
    return loaded
