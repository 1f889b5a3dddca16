"""Window attention at one size: its tensors, its implementations, and whether these compute the same."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from swin_train.config import Config
from swin_train.errors import UserError
from swin_train.kernels.relative_position import gather_bias, relative_position_index
from swin_train.kernels.window_attention import (
    Padding,
    attention_mask,
    choose,
    fused_window_attention,
    window_attention,
)
from swin_train.models.outline import outline

Attend = Callable[[Tensor, Tensor], Tensor]
"""From q, k, v, [B, H, W, 3C], and the table of biases, [offsets, heads], to [B, H, W, C]."""

Direction = Literal["forward", "backward"]

# Of the largest element, which the error is too: sums in another order; in 16 bits 3 and 2 digits of each factor.
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class Shape:
    """A size at which a model attends.

    Attributes:
        stage: from 1.
        batch_size: images, B.
        map: height and width, in tokens.
        channels: of each token, C.
        heads: of the attention.
        window: side of a window, in tokens.
        shift: of the windows, in tokens.
        padding: what stands beside a map that is no multiple of the window.
        cosine: as in Swin v2, with a factor for each head.
    """

    stage: int
    batch_size: int
    map: tuple[int, int]
    channels: int
    heads: int
    window: int
    shift: int
    padding: Padding
    cosine: bool

    def bytes(self, direction: Direction, element: int) -> int:
        """What must move: q, k, v in, the output out; backward q, k, v and its gradient in, theirs out."""
        return element * self._num_outputs * {"forward": 3 + 1, "backward": 3 + 1 + 3}[direction]

    def flops(self, direction: Direction) -> int:
        """Of the matrix products, without padding: 2; backward 5, as the weights are computed again."""
        return 2 * self._num_outputs * self.window**2 * {"forward": 2, "backward": 5}[direction]

    @property
    def _num_outputs(self) -> int:
        return self.batch_size * self.map[0] * self.map[1] * self.channels

    def __str__(self) -> str:
        height, width = self.map
        sizes = f"{self.batch_size} x {height} x {width} x {self.channels}, {self.heads} heads"
        return f"stage {self.stage}: {sizes}, window {self.window}, shift {self.shift}"


def shapes_of(cfg: Config, batch_size: int) -> list[Shape]:
    """Each size at which the model of ``cfg`` attends, once.

    Raises:
        UserError: the model has no window attention, or is not built by this version.
    """
    if cfg.MODEL.TYPE == "swin_mlp":
        raise UserError(
            "benchmark kernel: MODEL.TYPE is swin_mlp, which has no window attention; use swin or swinv2"
        )
    return [
        Shape(
            stage=number,
            batch_size=batch_size,
            map=stage.map,
            channels=stage.channels,
            heads=stage.heads,
            window=stage.window,
            shift=shift,
            padding=cfg.MODEL.PADDING,
            cosine=cfg.MODEL.TYPE == "swinv2",
        )
        for number, stage in enumerate(outline(cfg, cfg.num_classes).stages, start=1)
        for shift in sorted(set(stage.shifts))
    ]


class Case(NamedTuple):
    """A size with random tensors.

    Attributes:
        shape: that size.
        qkv: [B, H, W, 3C], with a gradient.
        table: float32 [(2 * window - 1) ** 2, heads], with a gradient.
        scale: of the logits, one or float32 [heads, 1, 1].
        pad_token: float32 [3C], what a padded token is.
        out_gradient: [B, H, W, C].
    """

    shape: Shape
    qkv: Tensor
    table: Tensor
    scale: float | Tensor
    pad_token: Tensor
    out_gradient: Tensor


def make_case(shape: Shape, device: torch.device, dtype: torch.dtype) -> Case:
    """The same tensors at every call."""
    generator = torch.Generator(device).manual_seed(0)

    def draw(*size: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.randn(size, generator=generator, device=device, dtype=dtype)

    size, C = (shape.batch_size, *shape.map), shape.channels
    scale: float | Tensor = (C // shape.heads) ** -0.5
    if shape.cosine:
        scale = draw(shape.heads, 1, 1, dtype=torch.float32).exp()
    return Case(
        shape=shape,
        qkv=draw(*size, 3 * C).requires_grad_(),
        table=draw((2 * shape.window - 1) ** 2, shape.heads, dtype=torch.float32).requires_grad_(),
        scale=scale,
        pad_token=draw(3 * C).float(),
        out_gradient=draw(*size, C),
    )


def _by_steps(case: Case, *, use_sdpa: bool = False) -> Attend:
    shape, device = case.shape, case.qkv.device
    index = relative_position_index(shape.window, device=device)
    mask = attention_mask(*shape.map, shape.window, shape.shift, shape.padding, device)

    def attend(qkv: Tensor, table: Tensor) -> Tensor:
        return window_attention(
            qkv,
            gather_bias(table, index),
            num_heads=shape.heads,
            window=shape.window,
            shift=shape.shift,
            scale=case.scale,
            cosine=shape.cosine,
            padding=shape.padding,
            pad_token=case.pad_token,
            mask=mask,
            use_sdpa=use_sdpa,
        )

    return attend


def _fused(case: Case) -> Attend:
    shape = case.shape
    head_dim = shape.channels // shape.heads
    choose("triton", case.qkv.device, case.qkv.dtype, head_dim=head_dim)  # raises where it cannot run

    def attend(qkv: Tensor, table: Tensor) -> Tensor:
        return fused_window_attention(
            qkv,
            table,
            num_heads=shape.heads,
            window=shape.window,
            shift=shape.shift,
            scale=case.scale,
            cosine=shape.cosine,
            padding=shape.padding,
            pad_token=case.pad_token,
        )

    return attend


def _compiled(case: Case) -> Attend:
    torch.compiler.reset()  # it compiles a function a few times only, and has to once for each size
    return torch.compile(_by_steps(case), fullgraph=True, dynamic=False)


REFERENCE, COMPILED = "reference", "compiled reference"

IMPLEMENTATIONS: dict[str, Callable[[Case], Attend]] = {
    REFERENCE: _by_steps,
    "sdpa": lambda case: _by_steps(case, use_sdpa=True),
    "triton": _fused,
    COMPILED: _compiled,
}
"""Make each for a case; UserError says why it cannot run."""


def tolerance(dtype: torch.dtype) -> float:
    """The largest ``error_of`` that may be, in float32, float16 or bfloat16."""
    return _TOLERANCE[dtype]


def error_of(attend: Attend, case: Case) -> float:
    """The largest error of the output and the gradients of ``qkv`` and ``table``, relative to their largest elements.

    The reference in float64 says what is right for the first and the last image. The others get a gradient of zero, so
    that these two make all of the table's. NaN where anything is not finite, infinite where another image has a
    gradient.
    """
    ends = [0, case.shape.batch_size - 1][: case.shape.batch_size]
    out_gradient = torch.zeros_like(case.out_gradient)
    out_gradient[ends] = case.out_gradient[ends]
    found = _run(attend, case.qkv, case.table, out_gradient)
    if not all(x.isfinite().all() for x in found):
        return math.nan
    out, qkv_gradient, table_gradient = found
    if qkv_gradient[1:-1].any():
        return math.inf

    qkv, table = (x.detach().double().requires_grad_() for x in (case.qkv[ends], case.table))
    expected = _run(_by_steps(case), qkv, table, case.out_gradient[ends].double())
    compared = zip((out[ends], qkv_gradient[ends], table_gradient), expected, strict=True)
    return max(_distance(mine, right) for mine, right in compared)


def _run(attend: Attend, qkv: Tensor, table: Tensor, out_gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    out = attend(qkv, table)
    qkv_gradient, table_gradient = torch.autograd.grad(out, (qkv, table), out_gradient)
    return out.detach(), qkv_gradient, table_gradient


def _distance(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()
