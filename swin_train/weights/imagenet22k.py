"""Which of ImageNet-22K's classes are ImageNet-1K's."""

from importlib.resources import files

NUM_CLASSES_1K = 1_000

# Class 850 of ImageNet-1K, n04399382, stands under another synset in ImageNet-22K.
_RENAMED_CLASS, _RENAMED_ROW = 850, 5564


def rows_of_1k_in_22k() -> list[int]:
    """For each of the 1,000 classes of ImageNet-1K, its row in a head of 21,841 classes.

    Source: timm's lists of synsets; equal to the map that the official fine-tuning uses.
    """
    row_of = {synset: row for row, synset in enumerate(_synsets("imagenet21k_goog_synsets.txt"))}
    rows = [row_of.get(synset, -1) for synset in _synsets("imagenet_synsets.txt")]
    rows[_RENAMED_CLASS] = _RENAMED_ROW
    return rows


def _synsets(name: str) -> list[str]:
    return (files("timm") / "data" / "_info" / name).read_text().split()
