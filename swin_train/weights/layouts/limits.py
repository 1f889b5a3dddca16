"""What other libraries' Swins cannot express. Each function raises ValueError where that is met."""

from collections.abc import Mapping

from torch import Tensor

from swin_train.weights.architecture import TITLES
from swin_train.weights.layouts.complete import check_complete
from swin_train.weights.layouts.facts import Facts


def refuse_what_no_peer_has(state: Mapping[str, Tensor], facts: Facts, peer: str) -> None:
    """Another family, a weight more or less than a Swin has, and the options that only the authors' code has."""
    _refuse_other_families(facts, peer)
    check_complete(state, facts)
    _refuse_plain_patches(facts, peer)
    _refuse_scaled_attention(facts, peer)


def _refuse_other_families(facts: Facts, peer: str) -> None:
    """The peers have Swin v1 and v2 only."""
    if facts.family not in ("swin", "swinv2"):
        raise ValueError(f"{peer} has no {TITLES[facts.family]}; keep the official layout")


def _refuse_plain_patches(facts: Facts, peer: str) -> None:
    """A patch embedding that is not normalised."""
    if not facts.patch_norm:
        raise ValueError(
            f"the patch embedding is not normalised (PATCH_NORM is off), {peer}'s always is; "
            "keep the official layout"
        )


def refuse_absolute_positions(facts: Facts, peer: str) -> None:
    """A learned position for each patch."""
    if facts.ape:
        raise ValueError(
            f"there is an absolute position embedding (APE is on), {peer} has none; keep the official layout"
        )


def _refuse_scaled_attention(facts: Facts, peer: str) -> None:
    """Attention logits with a factor of their own."""
    if facts.qk_scale is not None:
        raise ValueError(
            f"the attention is scaled by {facts.qk_scale} (QK_SCALE), {peer}'s always by the head dimension "
            "to the power of -1/2; keep the official layout"
        )


def refuse_differing_windows(windows: tuple[int, ...], peer: str) -> None:
    """A window that small maps have bounded, where the peer has one window for all stages."""
    if len(set(windows)) > 1:
        raise ValueError(
            f"the stages' windows are {list(windows)}, {peer} has one for all and does not bound it by the map, "
            "so its logits would be wrong; choose timm, or keep the official layout"
        )


def refuse_oblong_maps(facts: Facts, windows: tuple[int, ...] | None, peer: str) -> None:
    """A map with one side in a single window and the other in several.

    The official code takes the shorter side for both: it does not shift such a map. The peer looks at each
    side on its own, and shifts along the longer.
    """
    if facts.maps is None or windows is None:
        return
    for stage, ((height, width), window) in enumerate(zip(facts.maps, windows, strict=True)):
        is_bounded = window < max(windows)
        is_shifted = facts.depths[stage] > 1
        if min(height, width) <= window < max(height, width) and (is_shifted or is_bounded):
            raise ValueError(
                f"the map of stage {stage} is {height} x {width}, of which one side fits into a window of "
                f"{window}; {peer} bounds and shifts windows by each side on its own, so its logits would be "
                "wrong; keep the official layout"
            )
