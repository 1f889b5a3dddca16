"""What of a file is not loaded, and why."""

from collections import Counter
from typing import Literal

Reason = Literal["buffers", "pretraining", "key_biases", "counters", "averages", "unneeded"]
Dropped = Counter[Reason]  # how many tensors of a file stay behind

_WORDS: dict[Reason, tuple[str, str, str]] = {  # for one tensor, for several, and what else is said
    # Index tables, masks and constants, which a model computes itself.
    "buffers": ("buffer", "buffers", "(recomputed)"),
    # The mask token and decoder of masked image modelling.
    "pretraining": ("tensor", "tensors", "of the pre-training"),
    # Thirds of biases that torchvision's Swin v2 stores and sets to zero in each forward.
    "key_biases": ("key bias", "key biases", "(torchvision sets them to zero)"),
    # How many steps an average of weights is of.
    "counters": ("counter", "counters", "of the averaging"),
    # The averaged weights beside the trained ones, where those were asked for.
    "averages": (
        "averaged tensor",
        "averaged tensors",
        "(--eval takes them with TEST.WEIGHTS ema, convert with --weights ema)",
    ),
    # What a model has after the stages whose maps are asked for.
    "unneeded": ("tensor", "tensors", "that the features do not need"),
}


def in_words(dropped: Dropped) -> list[str]:
    """One part of a sentence for each reason that there is."""
    return [
        f"dropped {count} {one if count == 1 else several} {rest}"
        for reason, (one, several, rest) in _WORDS.items()
        if (count := dropped[reason])
    ]
