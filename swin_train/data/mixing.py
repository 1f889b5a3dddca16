"""The laws of Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), with counted draws.

Images are mixed inside canonical groups of the global batch, so that neither the number of processes nor the
size of a micro-batch changes anything; in the reference the group is what one GPU happens to hold.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swin_train.data import draws
from swin_train.data.recipe.limits import Size
from swin_train.errors import UserError
from swin_train.kernels.augment import MixPlan


@dataclass(frozen=True)
class Mix:
    """How an image and its partner are mixed.

    Attributes:
        weight: of the image in its target, in [0, 1]; the partner has the rest.
        box: top, bottom, left and right of what the partner shows through (CutMix), in pixels; None: both are
            averaged with the weight (Mixup).
    """

    weight: float
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Mixer:
    """Pairs each image with its mirror in the group: the first with the last, and so on.

    Attributes:
        mixup_alpha: parameter of Mixup's beta law; 0: CutMix alone.
        cutmix_alpha: parameter of CutMix's beta law; 0, without ``cutmix_minmax``: Mixup alone.
        cutmix_minmax: least and greatest side of CutMix's box as parts of the image; replaces its beta law.
        prob: of mixing at all.
        switch_prob: of CutMix, where both are on.
        mode: what shares a draw: a ``batch`` (the group), a ``pair`` of images, or nothing (``elem``).
        smoothing: of the labels, spread over all classes.
        num_classes: length of a target.
        group: images per group.
        seed: of the run.
        end: the epoch from which on images are not mixed; None: never.

    Raises:
        UserError: the group is odd.
    """

    mixup_alpha: float
    cutmix_alpha: float
    cutmix_minmax: tuple[float, float] | None
    prob: float
    switch_prob: float
    mode: str
    smoothing: float
    num_classes: int
    group: int
    seed: int
    end: int | None = None

    def __post_init__(self) -> None:
        if self.group < 2 or self.group % 2:
            raise UserError(
                f"AUG.MIX_GROUP (0 means the micro-batch) is {self.group}; Mixup and CutMix pair the images "
                "of a group, so it must be even. Or set AUG.MIXUP and AUG.CUTMIX to 0."
            )

    def is_on(self, epoch: int) -> bool:
        """Whether images are mixed in an epoch."""
        return self.end is None or epoch < self.end

    def plan(self, size: Size, num_images: int, *, epoch: int, step: int, first_group: int) -> MixPlan:
        """How a micro-batch of whole groups is mixed.

        Args:
            size: height and width of the images.
            num_images: in the micro-batch.
            epoch: counted from 0.
            step: within the epoch.
            first_group: place of the first group in the global batch.
        """
        partners = np.arange(num_images).reshape(-1, self.group)[:, ::-1].reshape(-1)
        weights = np.ones(num_images)
        boxes = np.zeros((num_images, 4), dtype=np.int32)
        for group, start in enumerate(range(0, num_images, self.group), first_group):
            rng = draws.keyed_rng(self.seed, draws.Stream.MIX, epoch, step, group)
            for rows in self._rows_that_share_a_mix():
                mix = self.draw(*size, rng)
                weights[start + rows] = mix.weight
                boxes[start + rows] = mix.box or 0
        return MixPlan(*(torch.from_numpy(array) for array in (partners.copy(), weights, boxes)))

    def targets(self, labels: Tensor, mix: MixPlan) -> Tensor:
        """Distributions over the classes.

        Args:
            labels: [B] int64.
            mix: how their images are mixed.

        Returns:
            [B, num_classes] float32, each of sum 1.
        """
        off = self.smoothing / self.num_classes
        targets = torch.full((len(labels), self.num_classes), off, device=labels.device)
        targets.scatter_(1, labels[:, None], 1.0 - self.smoothing + off)
        own, other = mix.weights[:, None].float(), (1.0 - mix.weights)[:, None].float()
        return targets * own + targets[mix.partners] * other

    def _rows_that_share_a_mix(self) -> list[NDArray[np.int64]]:
        rows = np.arange(self.group)
        if self.mode == "batch":
            return [rows]
        if self.mode == "elem":
            return [rows[i : i + 1] for i in range(self.group)]
        return [np.array([i, self.group - 1 - i]) for i in range(self.group // 2)]

    def draw(self, height: int, width: int, rng: random.Random) -> Mix:
        """Draw whether, which and how much to mix images of this size."""
        if rng.random() >= self.prob:
            return Mix(1.0)
        cutmix = self.cutmix_alpha > 0 or self.cutmix_minmax is not None
        if cutmix and self.mixup_alpha > 0:
            cutmix = rng.random() < self.switch_prob
        if not cutmix:
            return Mix(draws.beta(rng, self.mixup_alpha, self.mixup_alpha))
        top, bottom, left, right = box = self._draw_box(height, width, rng)
        # the box's true area: rounding and the image's border change what the beta law gave
        return Mix(1.0 - (bottom - top) * (right - left) / (height * width), box)

    def _draw_box(self, height: int, width: int, rng: random.Random) -> tuple[int, int, int, int]:
        if self.cutmix_minmax is None:
            side = math.sqrt(1 - draws.beta(rng, self.cutmix_alpha, self.cutmix_alpha))
            return *_clipped_span(height, side, rng), *_clipped_span(width, side, rng)
        return *_inner_span(height, self.cutmix_minmax, rng), *_inner_span(width, self.cutmix_minmax, rng)


def _clipped_span(length: int, part: float, rng: random.Random) -> tuple[int, int]:
    """Start and end of a part of ``length`` around a random centre; what is outside is cut off."""
    span, centre = int(length * part), draws.below(rng, length)
    return max(0, centre - span // 2), min(length, centre + (span + 1) // 2)


def _inner_span(length: int, parts: tuple[float, float], rng: random.Random) -> tuple[int, int]:
    """Start and end of a stretch inside ``length`` whose size is between two parts of it."""
    shortest, longest = int(length * parts[0]), int(length * parts[1])
    span = shortest + draws.below(rng, max(1, longest - shortest))
    start = draws.below(rng, length - span + 1)
    return start, start + span
