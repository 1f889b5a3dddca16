"""What became of the weights of a file, in one line."""

from collections import Counter
from dataclasses import dataclass, field

from swin_train.weights.layouts.dropped import Dropped, in_words
from swin_train.weights.resize import Resized


@dataclass(frozen=True)
class Report:
    """What became of each tensor; ``str`` is the one line to show.

    Attributes:
        kept: names of those that went over as they were, the head perhaps by a choice of its rows.
        resized: those that were interpolated.
        head: what was done about the head, in words.
        fresh: names in the target that keep their initial values.
        dropped: what was left behind in the file.
        layout: the layout of the file.
        name_changes: what else was done to its names, in words.
    """

    kept: tuple[str, ...]
    resized: tuple[Resized, ...]
    head: str
    fresh: tuple[str, ...] = ()
    dropped: Dropped = field(default_factory=Dropped)
    layout: str = "official"
    name_changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        layout = "" if self.layout == "official" else f" ({self.layout} layout)"
        loaded = f"loaded {len(self.kept) + len(self.resized)} tensors{layout}"
        resized = map("resized {}".format, changes(self.resized))
        return "; ".join([loaded, *self.name_changes, *resized, self.head, *in_words(self.dropped)])


def changes(resized: tuple[Resized, ...] | list[Resized]) -> list[str]:
    """What was interpolated in words, equal changes together."""
    counts = Counter((tensor.kind, tensor.change) for tensor in resized)
    return [f"{count} {kind}{'s' if count > 1 else ''} {change}" for (kind, change), count in counts.items()]
