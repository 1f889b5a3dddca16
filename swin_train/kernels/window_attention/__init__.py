"""Multi-head attention inside (shifted) windows, straight from the feature map to the feature map.

Contract, for every implementation:

1. *pad and roll*: the map ``qkv`` [B, H, W, 3C] is padded at the bottom and on the right to whole windows,
   [B, H', W', 3C], and rolled by ``-shift`` along both sides (cyclic shift). ``padding`` says in which order,
   and what a padded token is (see ``Padding``);
2. *partition*: it is cut into ``(H' / window) * (W' / window)`` windows of ``N = window ** 2`` tokens, row by
   row, and the channels into (q, k, v) x heads x head dimension;
3. *attend*: ``softmax(scale * q @ k.T + bias + mask) @ v``, the softmax in float32. With ``cosine``, each row
   of q and k is brought to unit length first. ``mask`` [windows, N, N] adds -100 (not -inf) to pairs that are
   neighbours only because of the roll, and -inf to keys that are hidden: see ``attention_mask``;
4. *merge, roll back, cut off*: the result [B, H, W, C] stands where its queries stood.

Sources: Swin (Liu et al. 2021), section 3.2 and figure 4; Swin v2 (Liu et al. 2022), section 3.3 for the
cosine.
"""

from swin_train.kernels.window_attention.choice import Attention, Choice, choose
from swin_train.kernels.window_attention.maps import Padding, attention_mask
from swin_train.kernels.window_attention.on_windows import window_attention
from swin_train.kernels.window_attention.op import fused_window_attention

__all__ = [
    "Attention",
    "Choice",
    "Padding",
    "attention_mask",
    "choose",
    "fused_window_attention",
    "window_attention",
]
