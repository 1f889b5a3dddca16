"""timm's layout: patches are merged at the start of a stage instead of the end; the head is a module.

Expressible: v1 and v2, any windows and pre-trained windows, q, k, v with or without bias.
"""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from swin_train.weights.layouts import limits, official
from swin_train.weights.layouts.layout import Layout, renamed, swapped, with_prefix_replaced
from swin_train.weights.layouts.spec import ModelSpec

_PEER = "timm"
_HEAD = (("head.fc.", "head."),)  # timm's name, ours
_STAGE = re.compile(r"layers\.(\d{1,9})\.(blocks|downsample)\.")


def recognises(names: Collection[str]) -> bool:
    """A merging in the last stage, none in the first; or the head's own module."""
    if not official.recognises(names):
        return False
    found = {(int(match[1]), match[2]) for name in names if (match := _STAGE.match(name))}
    last = max(stage for stage, part in found if part == "blocks")
    has_head = any(name.startswith("head.fc.") for name in names)
    return (0, "downsample") not in found and ((last, "downsample") in found or has_head)


def official_name(name: str) -> str:
    """Merging of stage i + 1 to that of stage i, "head.fc." to "head."."""
    return with_prefix_replaced(_with_merging_moved(name, -1), _HEAD)


def from_official(state: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """See ``Layout``."""
    limits.refuse_what_no_peer_has(state, spec, _PEER)
    limits.refuse_absolute_positions(spec, _PEER)
    limits.refuse_cut_images(spec, _PEER)
    limits.refuse_oblong_maps(spec, spec.windows, _PEER)
    return renamed(state, _timm_name)


def _timm_name(name: str) -> str:
    return with_prefix_replaced(_with_merging_moved(name, 1), swapped(_HEAD))


def _with_merging_moved(name: str, step: int) -> str:
    found = _STAGE.match(name)
    if found is None or found[2] != "downsample":
        return name
    return f"layers.{int(found[1]) + step}.downsample.{name[found.end() :]}"


TIMM = Layout(_PEER, recognises, official_name, from_official, padding="timm")
