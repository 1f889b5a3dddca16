"""What makes a run the run that it is, and what may change while it goes on."""

import json
from typing import Any

from swin_train.config import Config
from swin_train.distributed import Runtime
from swin_train.engine.plan import RunPlan
from swin_train.errors import DataError

RunFacts = dict[str, Any]
"""What a run is started with and keeps to its end, as JSON values."""

# Global batch and mixing groups are taken over, not compared.
_COMPARED = {
    "seed": "SEED",
    "num_images": "the number of training images",
    "images": "the order or the names, labels and sizes of the training images",
    "class_names": "the classes",
}
_COMPARED_WHERE_RECORDED = (
    _COMPARED
    | {
        "images_in_any_order": "the names, labels and sizes of the training images",  # in place of images, in schema 1
    }
)
# Keys that make another run when they change, beside those of the model's section.
_IDENTITY = (
    *("MODEL.TYPE", "MODEL.PADDING", "DATA.IMG_SIZE", "DATA.MEAN", "DATA.STD"),
    # the order of the images, of which an epoch is under way
    *("DATA.SAMPLING", "DATA.SHUFFLE", "AUG.REPEATS"),
)
# Keys, or beginnings of keys, that say where and how a run computes, not what it learns.
_NOT_OF_THE_TRAINING = (
    *("BASE", "OUTPUT", "TAG", "DEVICE", "LOCAL_RANK", "EVAL_MODE", "THROUGHPUT_MODE", "PRINT_FREQ", "SAVE_"),
    *("MODEL.NAME", "MODEL.PRETRAINED", "MODEL.RESUME", "TRAIN.AUTO_RESUME", "DATA.DATA_PATH"),
    *(
        "DATA.NUM_WORKERS",
        "DATA.PREFETCH",
        "DATA.TIMEOUT_S",
        "DATA.PIN_MEMORY",
        "DATA.CACHE_MODE",
        "DATA.RAM_CACHE_GB",
        "DATA.CACHE_DIR",
        "DATA.CACHE_GB",
    ),
)


def run_facts(plan: RunPlan, class_names: tuple[str, ...], images: str) -> RunFacts:
    """Return what a run is started with and keeps to its end; ``images`` is the fingerprint of the training set."""
    return {
        "seed": plan.seed,
        "global_batch": plan.global_batch,
        "mix_group": plan.mix_group,
        "num_images": plan.num_images,
        "images": images,
        "class_names": list(class_names),
    }


def check_same_facts(facts: RunFacts, runtime: Runtime) -> None:
    """Make sure that all processes begin the same run: the same images, above all, on the disk of each machine.

    Raises:
        DataError: in every process, naming those that differ from the first and in what.
    """
    everyone: list[RunFacts] = runtime.files.gather(facts)
    for rank, theirs in enumerate(everyone):
        different = [label for fact, label in _COMPARED.items() if theirs[fact] != everyone[0][fact]]
        if different:
            raise DataError(
                f"rank {rank}: it sees other data than rank 0, in {', '.join(different)}; see to it that "
                f"DATA.DATA_PATH holds the same on every machine"
            )


def compare_runs(
    cfg: Config, facts: RunFacts, recorded_config: dict[str, Any], recorded_facts: RunFacts
) -> tuple[list[str], list[str]]:
    """Say how a run would go on differently from how it was saved.

    Returns:
        What makes it another run, and the settings that may change, each as "KEY was A, now B".
    """
    differences = [
        f"{label} {_change(recorded_facts[fact], facts[fact])}"
        for fact, label in _COMPARED_WHERE_RECORDED.items()
        if fact in recorded_facts and recorded_facts[fact] != facts[fact]
    ]
    changes = _changed_settings(cfg, recorded_config)
    identity = (f"{cfg.MODEL.selected_key}.", *_IDENTITY)
    differences += [f"{key} {change}" for key, change in changes.items() if key.startswith(identity)]
    return differences, [f"{key} {change}" for key, change in changes.items()]


def is_same(key: str, one: object, other: object) -> bool:
    """Whether two values of a key, as JSON has them, mean the same: 224 and [224, 224] are one size."""
    if key == "DATA.IMG_SIZE":
        one, other = ([side, side] if isinstance(side, int) else side for side in (one, other))
    return one == other


def _changed_settings(cfg: Config, recorded: dict[str, Any]) -> dict[str, str]:
    """Return the keys whose values differ from those a run was saved with, each with what became of it."""
    now = json.loads(json.dumps(cfg.flat()))  # as recorded: lists for tuples
    changes = {}
    for key, value in now.items():
        before: Any = recorded
        for part in key.split("."):
            before = before.get(part, value) if isinstance(before, dict) else value  # a key that came later
        if not is_same(key, before, value) and not key.startswith(_NOT_OF_THE_TRAINING):
            changes[key] = _change(before, value)
    return changes


def _change(before: object, now: object) -> str:
    return f"was {_short(before)}, now {_short(now)}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."
