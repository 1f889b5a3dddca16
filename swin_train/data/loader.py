"""Feeds: batches on the device, normalised and mixed, for as long as an epoch or an evaluation lasts."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from swin_train.data import draws
from swin_train.data.device import on_device
from swin_train.data.formats import ImageSource
from swin_train.data.images import BadImage, Loaded
from swin_train.data.mixing import Mixer
from swin_train.data.sampler import EpochSampler, EvalSampler
from swin_train.errors import DataError
from swin_train.kernels.augment import MixPlan, Normalisation, finish, mix_images, operate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """A micro-batch for training.

    Attributes:
        images: [B, channels, height, width], normalised, in the dtype of training.
        targets: [B] int64 labels, or [B, classes] float32 while images are mixed.
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


class Batches(Protocol):
    """What workers make of a sampler's requests, in order; one pass at a time."""

    def __iter__(self) -> Iterator[Loaded]: ...


@dataclass(frozen=True)
class Finisher:
    """What is done to a batch on the device.

    Attributes:
        device: where it arrives.
        normalisation: of images that arrive as uint8.
        dtype: of the images that leave.
    """

    device: torch.device
    normalisation: Normalisation
    dtype: torch.dtype = torch.float32

    def __call__(self, loaded: Loaded, mix: MixPlan | None = None) -> Tensor:
        """The images of a batch that is on the device, normalised and mixed, [B, channels, height, width]."""
        images, plan = loaded.images, loaded.plan
        if plan is None:
            return (images if mix is None else mix_images(images, mix)).to(self.dtype)
        if plan.operations is not None:
            images = operate(images, plan.operations)
        return finish(images, self.normalisation, erasures=plan.erasures, mix=mix, dtype=self.dtype)


class TrainFeed:
    """Training batches of this process.

    Args:
        workers: what prepares the requests of ``sampler``.
        sampler: which images make up which batch.
        source: the training set.
        mixer: Mixup and CutMix; None leaves targets as labels.
        max_bad_images: how many different images may be replaced before the run stops.
        finisher: what is left to do on the device.
    """

    def __init__(
        self,
        workers: Batches,
        sampler: EpochSampler,
        source: ImageSource,
        *,
        mixer: Mixer | None,
        max_bad_images: int,
        finisher: Finisher,
    ) -> None:
        self.source = source
        self.num_images = source.num_images
        self.num_classes = source.num_classes
        self.steps_per_epoch = sampler.geometry.steps_per_epoch
        self._seed = sampler.geometry.seed
        self._mixer = mixer
        self.max_bad_images = max_bad_images
        self._finisher = finisher
        self._bad: dict[int, BadImage] = {}
        self._sampler = sampler
        self._workers = workers

    @property
    def bad_images(self) -> tuple[BadImage, ...]:
        """The different images that this process could not use since the feed was made."""
        return tuple(self._bad.values())

    def images_of(self, epoch: int, step: int) -> list[int]:
        """The images of an update, over all processes; both are counted from 0."""
        return self._sampler.images_of(epoch, step)

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Micro-batches from ``first_step`` to the end of the epoch; one pass at a time.

        Raises:
            DataError: more images are bad than may be, or a worker was lost.
        """
        return on_device(self.host_batches(epoch, first_step), self._finisher.device, self._finished)

    def host_batches(self, epoch: int, first_step: int = 0) -> Iterator[Loaded]:
        """The same batches as they are before they go to the device."""
        self._sampler.start_at(epoch, first_step)
        for loaded in self._workers:
            for bad in loaded.bad:
                self._count(bad)
            yield loaded

    def _finished(self, loaded: Loaded) -> Batch:
        request, device = loaded.request, self._finisher.device
        keys = torch.from_numpy(
            draws.drop_path_keys(self._seed, request.epoch, request.step, request.positions)
        )
        mix, targets = None, loaded.labels
        if self._mixer is not None and self._mixer.is_on(request.epoch):
            mix = self._mixer.plan(
                (loaded.images.shape[2], loaded.images.shape[3]),
                len(loaded.images),
                epoch=request.epoch,
                step=request.step,
                first_group=int(request.positions[0]) // self._mixer.group,
            ).to(device)
            targets = self._mixer.targets(targets, mix)
        images = self._finisher(loaded, mix)
        return Batch(images, targets, keys.to(device, non_blocking=True), len(images))

    def _count(self, bad: BadImage) -> None:
        if bad.image in self._bad:
            return
        self._bad[bad.image] = bad
        if len(self._bad) > self.max_bad_images:
            raise DataError(
                f"{bad.name}: {bad.reason}; {len(self._bad)} training image(s) cannot be used so far, and "
                f"DATA.MAX_BAD_IMAGES allows {self.max_bad_images}. Restore or delete the file, or allow more."
            )
        logger.warning("%s: %s; replaced by another image of its class", bad.name, bad.reason)


class EvalFeed:
    """Evaluation batches of this process; together the processes see every image once.

    Args:
        workers: what prepares the requests of ``sampler``.
        sampler: which images make up which batch.
        source: the validation set.
        finisher: what is left to do on the device.
    """

    def __init__(
        self, workers: Batches, sampler: EvalSampler, source: ImageSource, *, finisher: Finisher
    ) -> None:
        self.num_images = source.num_images
        self.num_classes = source.num_classes
        self.num_batches = len(sampler)
        self._finisher = finisher
        self._workers = workers

    def batches(self) -> Iterator[EvalBatch]:
        """All batches of this process; one pass at a time.

        Raises:
            DataError: an image cannot be used, or a worker was lost.
        """
        return on_device(self._workers, self._finisher.device, self._finished)

    def host_batches(self) -> Iterator[Loaded]:
        """The same batches as they are before they go to the device."""
        return iter(self._workers)

    def _finished(self, loaded: Loaded) -> EvalBatch:
        mask = torch.from_numpy(loaded.request.positions < self.num_images)
        mask = mask.to(self._finisher.device, non_blocking=True)
        return EvalBatch(self._finisher(loaded), loaded.labels, mask)
