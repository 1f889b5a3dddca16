"""TRAIN: how long, how fast and with which optimizer."""

from typing import Literal

from swin_train.config.node import Section, opt


class LrScheduler(Section):
    """How the learning rate falls after the warm-up."""

    NAME: Literal["cosine", "linear", "step", "multistep"] = opt("cosine", "Shape of the curve.")
    DECAY_EPOCHS: int = opt(30, "step: epochs between two falls.", ge=1)
    DECAY_RATE: float = opt(0.1, "step: factor at each fall.", gt=0)
    WARMUP_PREFIX: bool = opt(
        True, "cosine: start the curve after the warm-up; false lets the warm-up cover its beginning."
    )
    GAMMA: float = opt(0.1, "multistep: factor at each milestone.", gt=0)
    MULTISTEPS: tuple[int, ...] = opt((), "multistep: the milestones, in epochs.", ge=1)


class Optimizer(Section):
    """Which optimizer, with its constants."""

    NAME: str = opt("adamw", "adamw, sgd, fused_adam, fused_lamb, or another of timm's optimizers.")
    EPS: float = opt(1e-8, "Added to the denominator of Adam's update.", gt=0)
    BETAS: tuple[float, float] = opt((0.9, 0.999), "Decay of Adam's two running means.", ge=0, lt=1)
    MOMENTUM: float = opt(0.9, "Momentum of SGD.", ge=0, lt=1)


class Moe(Section):
    """How the reference stores mixtures of experts."""

    SAVE_MASTER: bool = opt(False, "Has no effect here: a checkpoint always holds all experts.")


class Train(Section):
    """How long, how fast and with which optimizer."""

    START_EPOCH: int = opt(
        0, "Epoch to start at, counted from 0; a checkpoint that is resumed sets its own.", ge=0
    )
    EPOCHS: int = opt(300, "Passes over the training set.", ge=1)
    WARMUP_EPOCHS: int = opt(20, "Epochs in which the learning rate rises from WARMUP_LR to BASE_LR.", ge=0)
    WEIGHT_DECAY: float = opt(
        0.05, "Weight decay of matrices; biases, norms and position tables have none.", ge=0
    )
    BASE_LR: float = opt(5e-4, "Highest learning rate, per 512 images of the global batch.", gt=0)
    WARMUP_LR: float = opt(5e-7, "First learning rate, per 512 images of the global batch.", ge=0)
    MIN_LR: float = opt(5e-6, "Last learning rate of the cosine, per 512 images of the global batch.", ge=0)
    CLIP_GRAD: float = opt(5.0, "Largest norm of the gradient; 0 leaves it as it is.", ge=0)
    AUTO_RESUME: bool = opt(True, "Go on from the last checkpoint in the output folder, if there is one.")
    ACCUMULATION_STEPS: int = opt(1, "Forward passes per update.", ge=1)
    GLOBAL_BATCH: int = opt(
        0,
        "Images per update over all processes; 0 is BATCH_SIZE x processes x ACCUMULATION_STEPS"
        " of the first launch, recorded with the run.",
        ge=0,
    )
    USE_CHECKPOINT: bool = opt(False, "Save memory by computing each block's activations again in backward.")
    COMPILE: Literal["off", "blocks", "model"] = opt(
        "off",
        "Compile the model by torch.compile when it is first run, which takes a minute or more and saves time in every"
        " update: its blocks, of which equal ones share a graph, or the model as one graph.",
    )
    CHECKPOINT_STAGES: tuple[int, ...] = opt(
        (), "The same for the blocks of these stages alone, from 0; USE_CHECKPOINT is all of them.", ge=0
    )
    MAX_BAD_STEPS: int = opt(
        10,
        "Updates among the last 1,000 that may be left out because a gradient was not finite, before the run stops."
        " In fp16, whose loss scale leaves some out by design, it stops when the scale falls below 1.",
        ge=0,
    )
    SPIKE_SIGMA: float = opt(
        6.0,
        "A loss that many standard deviations above the mean of the last 200 is a spike: it is said, and the"
        " checkpoint before it is kept; 0 is off.",
        ge=0,
    )
    ON_SPIKE: Literal["keep", "rollback"] = opt(
        "keep",
        "keep: go on after a spike; rollback: go back to the checkpoint before it and pass over the images of the"
        " 10 updates up to it, at most 3 times in a run.",
    )
    LAYER_DECAY: float = opt(1.0, "Factor on the learning rate from each layer to the one below.", gt=0, le=1)
    EMA_DECAY: float = opt(
        0.0, "Decay of the averaged weights that are evaluated as well; 0 is off.", ge=0, lt=1
    )
    LOSS: Literal["ce", "bce"] = opt(
        "ce", "Cross entropy over the classes, or binary cross entropy per class."
    )
    CLASS_WEIGHTS: tuple[float, ...] = opt(
        (), "Weight of each class in the loss, in the order of the class names; empty is all equal.", gt=0
    )
    FREEZE: str = opt(
        "none", "What is not trained: none, all_but_head, or 'stages N' (patches and N stages)."
    )
    LR_SCHEDULER: LrScheduler
    OPTIMIZER: Optimizer
    MOE: Moe
