"""What is timed: a training step or a forward pass, the same code for all models."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_BATCHES = 8  # that follow one another, so that none is the last one's; never zeros, which compute faster
_LR, _WEIGHT_DECAY, _CLIP_GRAD = 1e-3, 0.05, 5.0  # as in the paper


@dataclass(frozen=True)
class Batches:
    """Synthetic images and soft targets, as mixing leaves them, on the device.

    Attributes:
        images: [NUM_BATCHES, B, channels, height, width].
        targets: [NUM_BATCHES, B, classes], which sum to 1.
    """

    images: Tensor
    targets: Tensor


def make_batches(
    batch_size: int,
    num_channels: int,
    img_size: tuple[int, int],
    num_classes: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Batches:
    """Random numbers, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(NUM_BATCHES, batch_size, num_channels, *img_size, generator=generator)
    targets = torch.rand(NUM_BATCHES, batch_size, num_classes, generator=generator).softmax(-1)
    return Batches(images.to(device, dtype), targets.to(device, dtype))


def training_step(
    model: nn.Module, batches: Batches, autocast: Callable[[], AbstractContextManager[None]]
) -> Callable[[int], None]:
    """A function that makes update number ``i``: AdamW, clipped, of the soft-target cross entropy.

    Nothing in it waits for the device.
    """
    model.train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=_LR, weight_decay=_WEIGHT_DECAY, fused=True)

    def step(i: int) -> None:
        loss = loss_of(model, batches, i, autocast)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, _CLIP_GRAD, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def loss_of(
    model: nn.Module, batches: Batches, i: int, autocast: Callable[[], AbstractContextManager[None]]
) -> Tensor:
    """The mean loss of a batch, in float32."""
    images, targets = batches.images[i % NUM_BATCHES], batches.targets[i % NUM_BATCHES]
    with autocast():
        logits = model(images)
    return F.cross_entropy(logits.float(), targets)


def forward_pass(
    model: nn.Module, batches: Batches, autocast: Callable[[], AbstractContextManager[None]]
) -> Callable[[int], None]:
    """A function that computes the logits of batch number ``i``, without gradients."""
    model.eval()

    @torch.inference_mode()
    def forward(i: int) -> None:
        with autocast():
            model(batches.images[i % NUM_BATCHES])

    return forward
