"""What other libraries' Swins cannot express. Each function raises ValueError where that is met."""

from collections.abc import Mapping

from torch import Tensor

from swin_train.weights.architecture import TITLES
from swin_train.weights.geometry import bounded_by_maps, same_factors
from swin_train.weights.layouts.complete import check_complete
from swin_train.weights.layouts.spec import ModelSpec


def refuse_what_no_peer_has(state: Mapping[str, Tensor], spec: ModelSpec, peer: str) -> None:
    """Another family, a weight more or less than a Swin has, and the options that only the authors' code has."""
    _refuse_other_families(spec, peer)
    check_complete(state, spec)
    _refuse_plain_patches(spec, peer)
    _refuse_scaled_attention(spec, peer)


def _refuse_other_families(spec: ModelSpec, peer: str) -> None:
    """The peers have Swin v1 and v2 only."""
    if spec.family not in ("swin", "swinv2"):
        raise ValueError(f"{peer} has no {TITLES[spec.family]}; keep the official layout")


def _refuse_plain_patches(spec: ModelSpec, peer: str) -> None:
    """A patch embedding that is not normalised."""
    if not spec.patch_norm:
        raise ValueError(
            f"the patch embedding is not normalised (PATCH_NORM is off), {peer}'s always is; "
            "keep the official layout"
        )


def refuse_absolute_positions(spec: ModelSpec, peer: str) -> None:
    """A learned position for each patch."""
    if spec.ape:
        raise ValueError(
            f"there is an absolute position embedding (APE is on), {peer} has none; keep the official layout"
        )


def _refuse_scaled_attention(spec: ModelSpec, peer: str) -> None:
    """Attention logits with a factor of their own."""
    if spec.qk_scales is not None and not same_factors(spec.qk_scales, spec.usual_qk_scales):
        raise ValueError(
            f"the attention is scaled by {list(spec.qk_scales)} (QK_SCALE), {peer}'s by the head dimension to the "
            f"power of -1/2, {list(spec.usual_qk_scales)}; keep the official layout"
        )


def refuse_differing_windows(windows: tuple[int, ...], peer: str) -> None:
    """A window that small maps have bounded, where the peer has one window for all stages."""
    if len(set(windows)) > 1:
        raise ValueError(
            f"the stages' windows are {list(windows)}, {peer} has one for all and does not bound it by the map, "
            "so its logits would be wrong; choose timm, or keep the official layout"
        )


def refuse_chosen_windows(spec: ModelSpec, peer: str) -> None:
    """Windows that no single size gives, which small maps alone bound; timm has a size for each stage."""
    if spec.windows is None:
        return
    smallest = [min(spec.windows[0], *sides) for sides in spec.maps] if spec.maps else [0] * len(spec.windows)
    if not bounded_by_maps(spec.windows) or any(
        window < least for window, least in zip(spec.windows, smallest, strict=True)
    ):
        raise ValueError(
            f"the stages' windows are {list(spec.windows)}, {peer} has one size for all, which small maps alone "
            "bound; keep the layout of the file"
        )


def refuse_cut_images(spec: ModelSpec, peer: str) -> None:
    """Images that are no multiple of the patch, of which the peer cuts off the rest, and this project pads it."""
    if spec.img_size is not None and any(side % spec.patch_size for side in spec.img_size):
        raise ValueError(
            f"images of {spec.img_size[0]} x {spec.img_size[1]} are no multiple of the patches' {spec.patch_size}, and "
            f"{peer} cuts off the rest, so its logits would be wrong; keep the official layout"
        )


def refuse_oblong_maps(spec: ModelSpec, windows: tuple[int, ...] | None, peer: str) -> None:
    """A map with one side in a single window and the other in several.

    The official code takes the shorter side for both: it does not shift such a map. The peer looks at each
    side on its own, and shifts along the longer.
    """
    if spec.maps is None or windows is None:
        return
    configured = max(spec.configured_window or 0, *windows)
    for stage, ((height, width), window) in enumerate(zip(spec.maps, windows, strict=True)):
        is_bounded = window < configured
        is_shifted = spec.depths[stage] > 1
        if min(height, width) <= window < max(height, width) and (is_shifted or is_bounded):
            raise ValueError(
                f"the map of stage {stage} is {height} x {width}, of which one side fits into a window of "
                f"{window}; {peer} bounds and shifts windows by each side on its own, so its logits would be "
                "wrong; keep the official layout"
            )
