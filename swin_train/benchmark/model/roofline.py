"""How fast training could be: the FLOPs and the bytes that cannot be saved, by arithmetic over a model's outline.

A step is a row of kernels, and each takes the longer of two times: its bytes at the speed of a copy, and its FLOPs at
that of a large matrix product. The floor is their sum; ``traffic`` says which kernels there are.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from swin_train.benchmark.model.ceilings import Ceilings
from swin_train.benchmark.model.traffic import PLANS, Kernel, Plan, Setting, traffic
from swin_train.benchmark.text import aligned
from swin_train.config import Config
from swin_train.errors import UserError
from swin_train.models.outline import outline

_TRAINING = 3  # the forward pass, and twice that for the gradients: what MFU counts by convention


@dataclass(frozen=True)
class Floor:
    """What cannot be saved of one image's training step: bytes by direction, and seconds of all of them."""

    forward_bytes: float
    backward_bytes: float
    update_bytes: float
    seconds: float


@dataclass(frozen=True)
class Part:
    """The embedding, a stage with its merging, the head or the update.

    Attributes:
        name: of the part.
        forward_flops: 2 for each multiply-add of its matrix products, for one image.
        floors: by plan.
    """

    name: str
    forward_flops: float
    floors: dict[Plan, Floor]

    @property
    def training_flops(self) -> float:
        """3 times the forward pass's, whatever is computed again."""
        return _TRAINING * self.forward_flops


@dataclass(frozen=True)
class Roofline:
    """The floor of a model's training step on this machine.

    Attributes:
        config: name of the configuration.
        batch_size: images that share the reading of the weights, and the update.
        ceilings: what the machine can do.
        parts: in order; ``traffic`` says what is counted.
    """

    config: str
    batch_size: int
    ceilings: Ceilings
    parts: tuple[Part, ...]

    @property
    def model(self) -> Part:
        """All parts together."""
        floors = {plan: _add(part.floors[plan] for part in self.parts) for plan in PLANS}
        return Part("model", sum(part.forward_flops for part in self.parts), floors)

    def images_per_s(self, plan: Plan) -> float:
        """At most."""
        return 1 / self.model.floors[plan].seconds

    def mfu(self, plan: Plan) -> float:
        """Model FLOPs utilisation at the floor: training FLOPs per second over ``ceilings.matmul_tflops``."""
        return self.model.training_flops * self.images_per_s(plan) / _peak(self.ceilings)

    def as_dict(self) -> dict[str, Any]:
        """All of it for a JSON file; bytes, FLOPs and seconds are of one image."""
        plans = {
            plan: {
                "images_per_s": self.images_per_s(plan),
                "mfu": self.mfu(plan),
                "mfu_of": self.ceilings.peak,
            }
            for plan in PLANS
        }
        parts = {
            part.name: asdict(part) | {"training_flops": part.training_flops}
            for part in (*self.parts, self.model)
        }
        batch = {"config": self.config, "batch_size": self.batch_size}
        return batch | {"ceilings": self.ceilings.as_dict(), "plans": plans, "parts": parts}


def roofline(cfg: Config, ceilings: Ceilings) -> Roofline:
    """The floor of a training step of ``cfg``, with DATA.BATCH_SIZE images, in the dtype of ``ceilings``.

    Raises:
        UserError: MODEL.TYPE is swin_mlp, whose kernels are not counted.
    """
    check_is_counted(cfg)
    model = outline(cfg, cfg.num_classes)
    element = ceilings.element_bytes
    kernels = {plan: traffic(model, Setting(plan, element, cfg.DATA.BATCH_SIZE)) for plan in PLANS}
    parts = tuple(
        Part(
            name,
            sum(kernel.flops for kernel in listed if kernel.direction == "forward"),
            {plan: _floor(kernels[plan][name], ceilings) for plan in PLANS},
        )
        for name, listed in kernels["fused"].items()
    )
    return Roofline(cfg.MODEL.NAME, cfg.DATA.BATCH_SIZE, ceilings, parts)


def check_is_counted(cfg: Config) -> None:
    """Refuse a model whose kernels are not counted.

    Raises:
        UserError: MODEL.TYPE is swin_mlp.
    """
    if cfg.MODEL.TYPE == "swin_mlp":
        raise UserError("benchmark: MODEL.TYPE is swin_mlp; the roofline counts swin and swinv2 only")


def as_text(result: Roofline) -> str:
    """The table, and what the floor means; the update's bytes stand with those of the backward pass."""
    columns = [f"{plan} {unit}" for plan in PLANS for unit in ("MB fwd", "bwd", "us")]
    rows = [("of one image", "GFLOP fwd", "train", *columns)]
    for part in (*result.parts, result.model):
        cells = [f"{part.forward_flops / 1e9:.2f}", f"{part.training_flops / 1e9:.2f}"]
        for floor in part.floors.values():
            backward = floor.backward_bytes + floor.update_bytes
            cells += [
                f"{floor.forward_bytes / 1e6:.1f}",
                f"{backward / 1e6:.1f}",
                f"{floor.seconds * 1e6:.1f}",
            ]
        rows.append((part.name, *cells))
    lines = [f"{result.config}, batch {result.batch_size}, {result.ceilings.dtype}", *aligned(rows), ""]
    for plan in PLANS:
        lines.append(f"{plan}: at most {result.images_per_s(plan):.0f} images/s, {result.mfu(plan):.1%} MFU")
    lines.append(f"MFU is the share of {result.ceilings.peak}")
    lines.append(f"bytes move at {result.ceilings.copy_gb_s.median:.4g} GB/s, measured here by a copy")
    return "\n".join(lines)


def _peak(ceilings: Ceilings) -> float:
    return ceilings.matmul_tflops.median * 1e12


def _floor(kernels: Iterable[Kernel], ceilings: Ceilings) -> Floor:
    speed, seconds = ceilings.copy_gb_s.median * 1e9, 0.0
    bytes_of = {"forward": 0.0, "backward": 0.0, "update": 0.0}
    for kernel in kernels:
        bytes_of[kernel.direction] += kernel.bytes
        seconds += max(kernel.bytes / speed, kernel.flops / _peak(ceilings))
    return Floor(bytes_of["forward"], bytes_of["backward"], bytes_of["update"], seconds)


def _add(floors: Iterable[Floor]) -> Floor:
    columns = zip(*(tuple(vars(floor).values()) for floor in floors), strict=True)
    return Floor(*(sum(column) for column in columns))
