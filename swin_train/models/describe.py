"""What a model is: its parameters, its multiply-adds, its shapes, the memory that it takes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swin_train.config import Config
from swin_train.config.freeze import ALL_BUT_HEAD, parse_freeze
from swin_train.errors import UserError
from swin_train.models import costs
from swin_train.models.memory import TrainingMemory, training_memory
from swin_train.models.outline import Outline, StageOutline, outline

if TYPE_CHECKING:  # describing a configuration takes no torch
    from torch import nn


def num_parameters(model: "nn.Module", *, trainable_only: bool = False) -> int:
    """Number of scalars in the parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


@dataclass(frozen=True)
class StageDescription(StageOutline):
    """A stage with what it costs.

    Attributes:
        parameters: number of them, the merging's too.
        flops: 2 for each multiply-add of its matrix products, for one image.
    """

    parameters: int
    flops: int


@dataclass(frozen=True)
class Description:
    """A model in numbers; costs are for one image of ``img_size``.

    Attributes:
        name: MODEL.NAME.
        family: MODEL.TYPE.
        img_size: height and width, in pixels.
        patch_size: side of a patch, in pixels.
        in_chans: channels of the images.
        num_classes: outputs of the head.
        padding: MODEL.PADDING, what stands beside a map that is no multiple of its window.
        parameters: number of them.
        multiply_adds: what the papers call FLOPs: products of matrices, and one per element for each norm;
            padding and Swin v2's position networks are free.
        flops: 2 for each multiply-add of every matrix product that is executed, padding and position networks
            included; norms, softmax and GELU are free.
        activations: elements that convolutions and matrix products give, as Dollar et al. 2021 ("Fast and
            Accurate Model Scaling") define them; the logits of attention are among them.
        stages: in order.
        training_memory: of a training step, estimated.
    """

    name: str
    family: str
    img_size: tuple[int, int]
    patch_size: int
    in_chans: int
    num_classes: int
    padding: str
    parameters: int
    multiply_adds: int
    flops: int
    activations: int
    stages: tuple[StageDescription, ...]
    training_memory: TrainingMemory


def describe(cfg: Config, num_classes: int | None = None) -> Description:
    """Describe the model that ``build_model`` makes of ``cfg``, by arithmetic: nothing is built.

    Args:
        cfg: the configuration.
        num_classes: outputs of the head; None takes ``cfg.num_classes``.

    Raises:
        UserError: MODEL.TYPE is not built by this version, or TRAIN.FREEZE leaves nothing to train.
    """
    model = outline(cfg, cfg.num_classes if num_classes is None else num_classes)
    products = list(costs.products(model))
    return Description(
        name=cfg.MODEL.NAME,
        family=model.family,
        img_size=model.img_size,
        patch_size=model.patch_size,
        in_chans=model.in_chans,
        num_classes=model.num_classes,
        padding=cfg.MODEL.PADDING,
        parameters=costs.model_parameters(model),
        multiply_adds=costs.papers_multiply_adds(model),
        flops=sum(2 * product.multiply_adds for product in products),
        activations=sum(product.outputs for product in products),
        stages=tuple(_describe_stage(model, stage) for stage in model.stages),
        training_memory=training_memory(cfg, model, _num_frozen_stages(cfg.TRAIN.FREEZE, model)),
    )


def _describe_stage(model: Outline, stage: StageOutline) -> StageDescription:
    products = costs.stage_products(model, stage)
    return StageDescription(
        **vars(stage),
        parameters=costs.stage_parameters(model, stage),
        flops=sum(2 * product.multiply_adds for product in products),
    )


def _num_frozen_stages(rule: str, model: Outline) -> int:
    """How many stages TRAIN.FREEZE freezes; one more than there are is all but the head.

    The configuration was checked: the rule is known, and the model has that many stages.

    Raises:
        UserError: with the message of ``freeze``, where there is no head.
    """
    frozen = parse_freeze(rule)
    if frozen != ALL_BUT_HEAD:
        return frozen
    if not model.num_classes:
        raise UserError(
            f"TRAIN.FREEZE: {rule!r}: cannot freeze all but the head; the model has no head (num_classes is 0)"
        )
    return len(model.stages) + 1
