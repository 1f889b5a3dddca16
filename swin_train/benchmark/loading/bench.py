"""What every contender of the loader benchmark is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from swin_train.config import Config
from swin_train.data.formats import ImageSource

Configure = Callable[[Mapping[str, Any]], Config]
"""From keys and values to the user's configuration with these changed."""


@dataclass(frozen=True)
class Bench:
    """The conditions that all contenders share.

    Attributes:
        configure: gives the configuration.
        source: the images of the split that is measured.
        packed: the same images, packed; None where they are not given.
        is_eval: whether evaluation is measured instead of training.
        num_images: images per thread and pass.
        device: whose batches are prepared; nothing is copied to it.
    """

    configure: Configure
    source: ImageSource
    packed: ImageSource | None
    is_eval: bool
    num_images: int
    device: torch.device


@dataclass(frozen=True)
class Load:
    """How one contender loads.

    Attributes:
        threads: worker processes or threads; 0 works in the calling thread, where the contender can.
        augmented: False leaves all after the resize out, for measuring the parts.
    """

    threads: int
    augmented: bool = True


# What is drawn but not wanted when the parts are measured.
UNAUGMENTED = {"AUG.AUTO_AUGMENT": "none", "AUG.COLOR_JITTER": 0, "AUG.REPROB": 0}
