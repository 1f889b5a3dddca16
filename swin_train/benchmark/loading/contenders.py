"""The table of what is compared."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from swin_train.benchmark.loading.bench import Bench, Load
from swin_train.benchmark.loading.chains import chain_pass
from swin_train.benchmark.loading.feeds import feed_pass, packed_pass
from swin_train.benchmark.loading.rivals import dali_pass, ffcv_pass
from swin_train.benchmark.rounds import Pass

OFFICIAL, PREFETCHER = "official", "timm-prefetcher"


class Contender(NamedTuple):
    """One way to load.

    Attributes:
        make: prepares a pass; UserError where it cannot be used here.
        result: what a batch is when it leaves the host.
        is_trained_only: whether it has no evaluation transform of its own.
    """

    make: Callable[[Bench, Load], Pass]
    result: str
    is_trained_only: bool = False


_FINISHED = "float32, finished on the host"
_LEFT = "uint8; the device augments, normalises and erases"

CONTENDERS = {
    OFFICIAL: Contender(partial(chain_pass, use_prefetcher=False), _FINISHED),
    PREFETCHER: Contender(
        partial(chain_pass, use_prefetcher=True),
        "uint8, augmented; the device normalises and erases (not counted)",
    ),
    "timm": Contender(partial(feed_pass, pipeline="timm"), _FINISHED, is_trained_only=True),
    "exact": Contender(partial(feed_pass, pipeline="exact"), _FINISHED),
    "portable-host": Contender(partial(feed_pass, pipeline="portable", augment_on="host"), _FINISHED),
    "portable-device": Contender(partial(feed_pass, pipeline="portable", augment_on="device"), _LEFT),
    "native-host": Contender(partial(feed_pass, pipeline="native", augment_on="host"), _FINISHED),
    "native-device": Contender(partial(feed_pass, pipeline="native", augment_on="device"), _LEFT),
    "packed-host": Contender(partial(packed_pass, augment_on="host"), _FINISHED),
    "packed-device": Contender(partial(packed_pass, augment_on="device"), _LEFT),
    "dali": Contender(dali_pass, "uint8, resized and flipped; it has no RandAugment of this law"),
    "ffcv": Contender(ffcv_pass, "uint8, resized by area and flipped, of pictures encoded anew"),
}
"""What can be measured, in the order of the table."""
