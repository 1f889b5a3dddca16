"""How the kernels of augmentation are launched: a program works on a block of one image, all channels.

So a program reads one plan and takes one path.
"""

# ruff: noqa: N803
# mypy: disallow-untyped-defs=False

from typing import Any

import triton
import triton.language as tl
from torch import Tensor


def launch(kernel: Any, images: Tensor, *arguments: object, block: int = 512, **how: object) -> None:
    """Run a kernel on every block of every image; no product is fused into a sum, which would round otherwise.

    Args:
        kernel: takes images, arguments and how, and beside them height, width, blocks, CHANNELS and BLOCK.
        images: [B, channels, height, width].
        arguments: what follows ``images``.
        block: pixels of a program.
        how: arguments by name.
    """
    batch, channels, height, width = images.shape
    blocks = triton.cdiv(height * width, block)
    kernel[batch * blocks,](
        images,
        *arguments,
        height=height,
        width=width,
        blocks=blocks,
        CHANNELS=channels,
        BLOCK=block,
        enable_fp_fusion=False,
        **how,
    )


@triton.jit
def whereabouts(blocks, width, BLOCK: tl.constexpr):
    """The program's image, in int64 as a batch may hold 2**31 values, and the rows and columns of its pixels."""
    program = tl.program_id(0)
    places = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    return (program // blocks).to(tl.int64), places // width, places % width
