"""Before anything is timed: a model must compute what this project's does in float32."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from swin_train.benchmark.model.work import Batches, loss_of

# float32: sums in another order. 16 bits: three digits of each product.
_LOSS = {"float32": 1e-4, "16-bit": 1e-2}
_DIRECTION = {"float32": 0.9999, "16-bit": 0.999}


class Outcome(NamedTuple):
    """What a model computes of a batch in evaluation: the loss, the gradient's norm and that of the images."""

    loss: float
    grad_norm: float
    image_gradient: Tensor


@dataclass(frozen=True)
class Verdict:
    """How far a model is from the expected outcome.

    Attributes:
        loss, grad_norm: relative differences.
        cosine: of the gradients with respect to the images.
        is_passed: whether the model may be timed.
    """

    loss: float
    grad_norm: float
    cosine: float
    is_passed: bool

    def __str__(self) -> str:
        return f"loss {self.loss:.1e} and gradient {self.grad_norm:.1e} apart, cosine of gradients {self.cosine:.5f}"


def outcome(
    model: nn.Module, batches: Batches, autocast: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Outcome:
    """Compute it, without anything random; the model comes back without gradients."""
    model.eval()
    images = batches.images[:1].clone().requires_grad_()
    loss = loss_of(model, Batches(images, batches.targets[:1]), 0, autocast)
    loss.backward()
    assert images.grad is not None
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    model.zero_grad(set_to_none=True)
    return Outcome(loss.item(), norm.item(), images.grad.float().flatten())


def judge(found: Outcome, expected: Outcome, *, is_mixed: bool) -> Verdict:
    """Compare the outcome of a model with that of this project's in float32."""
    kind = "16-bit" if is_mixed else "float32"
    loss = abs(found.loss - expected.loss) / abs(expected.loss)
    norm = abs(found.grad_norm - expected.grad_norm) / expected.grad_norm
    cosine = torch.cosine_similarity(found.image_gradient, expected.image_gradient, dim=0).item()
    is_passed = loss <= _LOSS[kind] and norm <= 10 * _LOSS[kind] and cosine >= _DIRECTION[kind]
    return Verdict(loss, norm, cosine, is_passed)  # NaN passes none of these
