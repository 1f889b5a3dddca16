"""The root of the configuration."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from swin_train.config.node import Section, opt
from swin_train.config.schema.aug import Aug
from swin_train.config.schema.data import Data
from swin_train.config.schema.dist import Dist
from swin_train.config.schema.model import Model
from swin_train.config.schema.test import Test
from swin_train.config.schema.train import Train

# Keys whose default differs from the reference's on purpose, each with the reason.
DIFFERENT_DEFAULTS: Mapping[str, str] = MappingProxyType({})

NUM_CLASSES_22K = 21_841  # of ImageNet-22K, as the authors trained on it
_CLASSES_OF = {"imagenet22K": NUM_CLASSES_22K, "cifar10": 10, "cifar100": 100}


class Config(Section):
    """All settings of a run; read-only.

    ``origins`` tells where each key that is not at its default was set: "file:line", "--opts" or a flag; what was
    set last comes last.
    """

    BASE: tuple[str, ...] = opt(
        ("",), "Only in a YAML file: files or names to read first; relative to the file that names them."
    )
    OUTPUT: str = opt("", "Root of the output folders; '' is output/.", any_text=True)
    TAG: str = opt("default", "Name of the run; the output folder is OUTPUT/NAME/TAG.", any_text=True)
    SEED: int = opt(0, "All random draws follow from it.", ge=0)
    DEVICE: Literal["auto", "cuda", "mps", "cpu"] = opt(
        "auto", "What to compute on; auto is the best there is."
    )
    DETERMINISTIC: bool = opt(False, "Use only kernels that give the same bits every time; slower.")
    AMP_ENABLE: bool = opt(True, "Compute in mixed precision; false is float32.")
    AMP_DTYPE: Literal["auto", "bf16", "fp16", "fp32", "fp64"] = opt(
        "auto",
        "Type of mixed precision; auto is bf16 on a GPU that has it, fp16 on others, fp32 elsewhere. fp64 is"
        " everything in double precision: slow, to see which differences are rounding.",
    )
    AMP_NARROW_RESIDUAL: bool = opt(
        False,
        "In mixed precision, keep what the blocks add to in 16 bits from the first stage on; the reference does from"
        " the second on, and in Swin v2 nowhere.",
    )
    AMP_OPT_LEVEL: Literal["", "O0", "O1", "O2"] = opt(
        "",
        "Apex's old name, kept for old command lines: O0 means AMP_ENABLE False; O1 and O2 change nothing.",
    )
    ENABLE_AMP: bool = opt(
        False, "Has no effect here: the reference's SimMIM used it; AMP_ENABLE holds for all."
    )
    FUSED_WINDOW_PROCESS: bool = opt(
        False, "Has no effect here, kept for old command lines: MODEL.ATTENTION chooses."
    )
    FUSED_LAYERNORM: bool = opt(False, "Use apex's fused LayerNorm, where NVIDIA's apex is installed.")
    SAVE_FREQ: int = opt(1, "Epochs between two checkpoints.", ge=1)
    SAVE_STEPS: int = opt(0, "Updates between two further checkpoints; 0 is none.", ge=0)
    SAVE_MINUTES: float = opt(
        10.0, "Minutes between two further checkpoints within an epoch; 0 is none.", ge=0
    )
    SAVE_KEEP: int = opt(3, "Newest checkpoints to keep, beside that of the best evaluation.", ge=2)
    SAVE_FOREVER: int = opt(0, "Epochs between checkpoints that are never deleted; 0: all are in time.", ge=0)
    SAVE_ASYNC: bool = opt(True, "Go on training while a copy of the state is written.")
    SAVE_MAX_FAILURES: int = opt(
        3, "Checkpoints in a row that may fail to be written, as on a full disk, before the run stops.", ge=1
    )
    PRINT_FREQ: int = opt(10, "Updates between two lines of the log.", ge=1)
    EVAL_MODE: bool = opt(False, "Evaluate MODEL.RESUME and stop (--eval).")
    THROUGHPUT_MODE: bool = opt(False, "Measure the images per second of the model and stop (--throughput).")
    LOCAL_RANK: Literal[0] = opt(0, "Must stay 0: torchrun's environment tells a process its rank.")
    DATA: Data
    MODEL: Model
    TRAIN: Train
    AUG: Aug
    TEST: Test
    DIST: Dist

    origins: Mapping[str, str]

    def __init__(
        self, values: Mapping[str, Any] | None = None, origins: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(values)
        self.__dict__["origins"] = MappingProxyType(dict(origins or {}))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.flat(), dict(self.origins))

    def is_given(self, key: str) -> bool:
        """Whether ``key`` ("MODEL.NUM_CLASSES") was set by a file, --opts or a flag.

        Raises:
            KeyError: there is no such key.
        """
        if key not in dict(self.walk()):
            raise KeyError(f"{key} is no configuration key.{did_you_mean(key)}")
        return key in self.origins

    @property
    def is_pretraining(self) -> bool:
        """Whether this configuration is for SimMIM pre-training: it alone masks images."""
        return self.is_given("DATA.MASK_RATIO") or self.is_given("DATA.MASK_PATCH_SIZE")

    @property
    def num_classes(self) -> int:
        """The classes of a model without data: MODEL.NUM_CLASSES where it is given, else those of DATA.DATASET."""
        if self.is_given("MODEL.NUM_CLASSES"):
            return self.MODEL.NUM_CLASSES
        return _CLASSES_OF.get(self.DATA.DATASET, self.MODEL.NUM_CLASSES)

    @property
    def checkpoint_stages(self) -> tuple[int, ...]:
        """The stages whose blocks are computed again in the backward pass, in rising order."""
        if self.TRAIN.USE_CHECKPOINT:
            return tuple(range(len(self.MODEL.selected.DEPTHS)))
        return tuple(sorted(self.TRAIN.CHECKPOINT_STAGES))

    @property
    def amp_enabled(self) -> bool:
        """Whether mixed precision is asked for, by AMP_ENABLE and the older AMP_OPT_LEVEL together."""
        return self.AMP_ENABLE and self.AMP_OPT_LEVEL != "O0"

    @property
    def is_training(self) -> bool:
        """Whether this configuration trains, rather than evaluates or measures throughput."""
        return not (self.EVAL_MODE or self.THROUGHPUT_MODE)


def did_you_mean(key: str) -> str:
    """Give " Did you mean TRAIN.EPOCHS?" for a misspelt key or section, or nothing."""
    near = nearest(key)
    return f" Did you mean {near}?" if near else ""


def nearest(key: str) -> str:
    """Give the key or section that a misspelt one was probably meant to be, or nothing."""
    known = [name for name, _ in (*Config.walk_sections(), *Config.walk())]
    last_parts = {name: name.rpartition(".")[2] for name in known}
    near_last = difflib.get_close_matches(key.upper().rpartition(".")[2], set(last_parts.values()), n=1)
    same_last = [name for name in known if last_parts[name] in near_last]
    near = difflib.get_close_matches(key.upper(), same_last or known, n=1, cutoff=0 if same_last else 0.6)
    return near[0] if near else ""
