"""Feature maps and their windows: padding, the cyclic shift, the cut, and their inverses; what the shift parts."""

from typing import Literal

import torch
from torch import Tensor

from swin_train.kernels.windows import whole_windows

Padding = Literal["reference", "timm", "masked"]
"""What stands beside the edge of a map that is no multiple of the window.

reference: ``pad_token``, before the roll; a key like any other. The authors' detection code and torchvision.
timm: ``pad_token``, after the roll, so inside the seam; a key like any other. timm.
masked: nothing that is ever attended to; before the roll.
"""

_APART = -100.0  # the paper's code adds this to the logits of pairs from different regions


def attention_mask(
    height: int,
    width: int,
    window: int,
    shift: int,
    padding: Padding = "reference",
    device: torch.device | None = None,
) -> Tensor | None:
    """What parts the tokens of a window, for a map of ``height`` x ``width`` tokens before padding.

    Returns:
        [windows, N, N]: 0, or -100 across the seams of the cyclic shift, or -inf towards hidden padding;
        None where nothing is parted.
    """
    hidden = padding == "masked" and bool(height % window or width % window)
    if not shift and not hidden:
        return None
    sides = whole_windows(height, window), whole_windows(width, window)
    rows, columns = (_region(side, window, shift, device) for side in sides)
    region = _windows(3 * rows[:, None] + columns[None, :], window)
    apart = region[:, :, None] != region[:, None, :]
    mask = torch.zeros(apart.shape, device=device).masked_fill(apart, _APART)
    if hidden:
        is_on_map = tokens_on_map(height, width, window, shift, padding, device)
        mask = mask.masked_fill(~is_on_map[:, None, :], float("-inf"))
    return mask


def tokens_on_map(
    height: int, width: int, window: int, shift: int, padding: Padding, device: torch.device | None = None
) -> Tensor:
    """Bool [windows, N]: which tokens stand on a map of ``height`` x ``width`` tokens, and are no padding."""

    def along(side: int) -> Tensor:
        inside = torch.arange(whole_windows(side, window), device=device) < side
        return inside if padding == "timm" else inside.roll(-shift)  # timm rolls the map alone

    return _windows(along(height)[:, None] & along(width)[None, :], window)


def pad_and_roll(
    qkv: Tensor, *, window: int, shift: int, padding: Padding, pad_token: Tensor | None
) -> Tensor:
    """Step 1: [B, H, W, 3C] to [B, H', W', 3C]."""
    if shift and padding == "timm":
        return _pad(qkv.roll((-shift, -shift), dims=(1, 2)), window, pad_token)
    whole = _pad(qkv, window, pad_token)
    return whole.roll((-shift, -shift), dims=(1, 2)) if shift else whole


def _pad(qkv: Tensor, window: int, pad_token: Tensor | None) -> Tensor:
    B, H, W, C3 = qkv.shape
    below, right = whole_windows(H, window) - H, whole_windows(W, window) - W
    token = qkv.new_zeros(C3) if pad_token is None else pad_token.to(qkv.dtype)
    if right:
        qkv = torch.cat([qkv, token.expand(B, H, right, C3)], dim=2)
    if below:
        qkv = torch.cat([qkv, token.expand(B, below, W + right, C3)], dim=1)
    return qkv


def partition(whole: Tensor, *, num_heads: int, window: int, parts: int = 3) -> tuple[Tensor, ...]:
    """Each of the parts that the channels hold, q, k and v, as [B, windows, heads, N, head dimension]."""
    B, H, W, channels = whole.shape
    head_dim = channels // (parts * num_heads)
    cut = whole.reshape(B, H // window, window, W // window, window, parts, num_heads, head_dim)
    return cut.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(5, 6).flatten(2, 3).unbind(0)


def merge(out: Tensor, height: int, width: int, *, window: int) -> Tensor:
    """Put [B, windows, heads, N, head dimension] back on the map: [B, H', W', C]."""
    B, _, num_heads, _, head_dim = out.shape
    grid = out.unflatten(3, (window, window)).unflatten(1, (height // window, width // window))
    return grid.permute(0, 1, 4, 2, 5, 3, 6).reshape(B, height, width, num_heads * head_dim)


def roll_back_and_cut(merged: Tensor, height: int, width: int, *, shift: int, padding: Padding) -> Tensor:
    """The end of step 4: undo step 1, in its reverse order."""
    if padding == "timm":
        merged = merged[:, :height, :width]
    if shift:
        merged = merged.roll((shift, shift), dims=(1, 2))
    return merged[:, :height, :width]


def _region(side: int, window: int, shift: int, device: torch.device | None) -> Tensor:
    """Along a side of the rolled map: 0 before the last window, in it 1 for what stayed, 2 for the rest."""
    position = torch.arange(side, device=device)
    return (position >= side - window).long() + (position >= side - shift).long()


def _windows(grid: Tensor, window: int) -> Tensor:
    """[H', W'] to [windows, N]."""
    height, width = grid.shape
    cut = grid.view(height // window, window, width // window, window)
    return cut.transpose(1, 2).flatten(2).flatten(0, 1)
