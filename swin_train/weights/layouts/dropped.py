"""What of a file is not loaded, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dropped:
    """How many tensors of a file stay behind, by their reason; ``reasons`` says it in words.

    Attributes:
        buffers: index tables, masks and constants, which a model computes itself.
        pretraining: the mask token and decoder of masked image modelling.
        key_biases: thirds of biases that torchvision's Swin v2 stores and sets to zero in each forward.
        counters: how many steps an average of weights is of.
        averages: the averaged weights beside the trained ones, where those were asked for.
        unneeded: what a model has after the stages whose maps are asked for.
    """

    buffers: int = 0
    pretraining: int = 0
    key_biases: int = 0
    counters: int = 0
    averages: int = 0
    unneeded: int = 0

    def __add__(self, other: "Dropped") -> "Dropped":
        return Dropped(
            self.buffers + other.buffers,
            self.pretraining + other.pretraining,
            self.key_biases + other.key_biases,
            self.counters + other.counters,
            self.averages + other.averages,
            self.unneeded + other.unneeded,
        )

    def reasons(self) -> list[str]:
        """One part of a sentence for each reason that there is."""
        said = (
            (self.buffers, "buffer", "(recomputed)"),
            (self.pretraining, "tensor", "of the pre-training"),
            (self.key_biases, "key bias", "(torchvision sets them to zero)"),
            (self.counters, "counter", "of the averaging"),
            (self.averages, "averaged tensor", "(TEST.WEIGHTS ema and convert --weights ema take them)"),
            (self.unneeded, "tensor", "that the features do not need"),
        )
        return [f"dropped {count} {_plural(what, count)} {why}" for count, what, why in said if count]


NOTHING = Dropped()


def _plural(what: str, count: int) -> str:
    if count == 1:
        return what
    return f"{what}es" if what.endswith("s") else f"{what}s"
