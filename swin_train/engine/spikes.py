"""Losses that jump: noticed against the last 200, so that the checkpoint before can be kept or returned to."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_WINDOW = 200  # losses that tell what is usual
_FEWEST = 50  # before there are that many, nothing is called unusual
MOST_ROLLBACKS = 3  # of a run; a loss that spikes again and again has another reason than its images


@dataclass
class SpikeWatch:
    """The losses of the last updates, and what was done about spikes.

    Attributes:
        losses: of the last updates, oldest first; spikes are not among them.
        left_out: updates whose images are passed over, as (first, last).
        kept: checkpoints before spikes, by their update.
        num_rollbacks: times that the run went back.
    """

    losses: list[float] = field(default_factory=list)
    left_out: list[tuple[int, int]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    num_rollbacks: int = 0

    def find(self, losses: Mapping[int, float], sigma: float) -> tuple[int, str] | None:
        """Take note of the losses of updates; return the first update whose loss is a spike, and why in words.

        Args:
            losses: by the number of the update; one that is not finite, because the update was left out, is passed
                over.
            sigma: how many standard deviations above the mean a spike is; 0 finds none.
        """
        for step, loss in losses.items():
            if not math.isfinite(loss):
                continue
            if sigma and len(self.losses) >= _FEWEST:
                mean, deviation = statistics.fmean(self.losses), statistics.pstdev(self.losses)
                if loss > mean + sigma * deviation:
                    usual = f"{len(self.losses)} before had {mean:.4g} +- {deviation:.2g}"
                    return step, f"from what the {usual} to {loss:.4g}"
            self.losses = [*self.losses[1 - _WINDOW :], loss]
        return None

    def is_left_out(self, step: int) -> bool:
        """Whether the images of update ``step``, counted from 1, are passed over."""
        return any(first <= step <= last for first, last in self.left_out)

    def numbers(self) -> dict[str, Any]:
        """What has to be saved."""
        return {
            "losses": self.losses,
            "left_out": self.left_out,
            "kept": self.kept,
            "num_rollbacks": self.num_rollbacks,
        }

    @classmethod
    def from_numbers(cls, numbers: dict[str, Any]) -> "SpikeWatch":
        """Return what was saved."""
        left_out = [(first, last) for first, last in numbers["left_out"]]
        return cls(list(numbers["losses"]), left_out, list(numbers["kept"]), numbers["num_rollbacks"])
