"""``benchmark scaling``: what an image costs by its size, with attention in windows and over the whole image.

A window holds the same number of patches whatever the image, so that a Swin's work is linear in the number of pixels.
Each patch of a ViT attends to all others: that part of its work is quadratic, and outgrows the rest as images grow.
"""

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from swin_train.benchmark.model.ceilings import device_name, dtype_name
from swin_train.benchmark.model.scaling_result import KINDS, Case, Point, ScalingResult
from swin_train.benchmark.model.timing import seconds_of, wait
from swin_train.benchmark.model.work import NUM_BATCHES, Batches, loss_of, make_batches
from swin_train.config import Config
from swin_train.errors import UserError
from swin_train.models.build import build_model

T = TypeVar("T")
Progress = Callable[[str], None]
Make = Callable[[int], nn.Module]  # from the side of the images

_VITS = {"tiny": 5.7e6, "small": 22e6, "base": 86e6, "large": 304e6}  # parameters at 224 pixels
_VIT_PATCH = 16
_WARMUP = 2  # steps; the first allocates the gradients, to which all later ones are added
_STEPS = {"cuda": 5}  # in a row, of a round; elsewhere one
_IMAGES = {"cuda": 64}  # of 224 pixels, in a batch; elsewhere one. Larger images are fewer
_ON_CUDA = "peak of what is allocated during a step, beyond weights, their gradients and images"
_ELSEWHERE = "what a training step keeps for its backward pass (distinct storages), beyond weights and images"


def default_sizes(device: torch.device, *, is_quick: bool) -> tuple[int, ...]:
    """Sides of the images in pixels, unless it is said."""
    if is_quick:
        return 64, 96, 128
    return (224, 256, 384, 512, 768, 1024) if device.type == "cuda" else (224, 256, 384, 512)


def benchmark_scaling(
    cfg: Config,
    device: torch.device,
    *,
    sizes: Sequence[int],
    rounds: int,
    precision_dtype: torch.dtype,
    progress: Progress,
) -> ScalingResult:
    """Measure the model of ``cfg`` and timm's ViT of about as many parameters, with random weights, not compiled.

    Batches shrink as images grow, alike for both; all numbers are per image. The window stays: where a map is no
    multiple of it, the Swin pays for its padding.

    Args:
        cfg: its DATA.IMG_SIZE is replaced.
        device: to compute on.
        sizes: sides of square images in pixels, in any order.
        rounds: how often each is measured; 1 at least.
        precision_dtype: of the matrix products; weights are float32.
        progress: is told what begins.

    Raises:
        UserError: the ViT has no such size, or the memory holds none of them.
    """
    if wrong := [size for size in sizes if size < 1 or size % _VIT_PATCH]:
        raise UserError(
            f"benchmark scaling: sizes must be multiples of {_VIT_PATCH}, the ViT's patch; got {wrong[0]}"
        )
    result = ScalingResult(
        config=cfg.MODEL.NAME,
        device=device_name(device),
        dtype=dtype_name(precision_dtype),
        threads=torch.get_num_threads(),
        rounds=rounds,
        steps=_STEPS.get(device.type, 1),
        counted=_ON_CUDA if device.type == "cuda" else _ELSEWHERE,
    )
    prepare = partial(_prepare, cfg, _models(cfg, device), device, precision_dtype)
    works: dict[Case, _Work] = {}
    for size in sorted(set(sizes)):
        works |= prepare(size, result, progress)
    for number in range(1, rounds + 1):
        progress(f"round {number} of {rounds}")
        for case in list(works)[:: 1 if number % 2 else -1]:
            seconds = fitting(partial(works[case].seconds, result.steps, device))
            result.points[case].add(seconds)
            if seconds is None:
                del works[case]
    if not works:
        raise UserError("benchmark scaling: the memory holds none of the sizes; give smaller ones")
    return result


def fitting(function: Callable[[], T]) -> T | None:
    """What ``function`` returns; None where the memory does not hold it, and then what it took is given back."""
    try:
        return function()
    except (torch.OutOfMemoryError, MemoryError):
        pass
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # the words of torch's allocator for the CPU
            raise
    gc.collect()  # after the except clause, which held the frames of the step
    torch.cuda.empty_cache()
    return None


def _models(cfg: Config, device: torch.device) -> dict[str, Make]:
    """By name, this project's first, what makes them on the device."""
    swin = cfg.MODEL.NAME or cfg.MODEL.TYPE
    num_parameters = sum(p.numel() for p in build_model(cfg).parameters())
    nearest = min(_VITS, key=lambda name: abs(_VITS[name] - num_parameters))
    vit = f"vit_{nearest}_patch{_VIT_PATCH}"

    def make_swin(size: int) -> nn.Module:
        with device:
            return build_model(Config(cfg.flat() | {"DATA.IMG_SIZE": size}, cfg.origins))

    def make_vit(size: int) -> nn.Module:
        from timm import create_model

        with device:
            return create_model(
                f"{vit}_224",
                img_size=size,
                in_chans=cfg.MODEL.selected.IN_CHANS,
                num_classes=cfg.num_classes,
                drop_path_rate=cfg.MODEL.DROP_PATH_RATE,
            )

    return {swin: make_swin, vit: make_vit}


@dataclass(frozen=True)
class _Work:
    """Steps of a model at one size; nothing in them waits for the device."""

    model: nn.Module
    batches: Batches
    autocast: Callable[[], AbstractContextManager[Any]]
    is_training: bool

    @property
    def batch_size(self) -> int:
        return self.batches.images.shape[1]

    def step(self, i: int) -> None:
        """Go forward, and backward in training, with batch number ``i``."""
        if self.is_training:
            loss_of(self.model, self.batches, i, self.autocast).backward()
            return
        with torch.inference_mode(), self.autocast():
            self.model(self.batches.images[i % NUM_BATCHES])

    def seconds(self, times: int, device: torch.device) -> float:
        """Seconds per image, on average over ``times`` steps."""
        self.model.train(self.is_training)
        return seconds_of(self.step, times, device) / self.batch_size

    def memory_bytes(self, device: torch.device) -> float | None:
        """Bytes per image; None where they are not counted."""
        self.model.train(self.is_training)
        if device.type != "cuda":
            return self._saved_bytes() / self.batch_size if self.is_training else None
        wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        idle = torch.cuda.memory_allocated(device)
        self.step(0)
        wait(device)
        return (torch.cuda.max_memory_allocated(device) - idle) / self.batch_size

    def _saved_bytes(self) -> int:
        """What autograd keeps at the end of a forward pass; views of one storage count once."""
        held = {
            t.untyped_storage().data_ptr() for t in (*self.model.parameters(), *vars(self.batches).values())
        }
        saved: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.step(0)
        return sum(num_bytes for place, num_bytes in saved.items() if place not in held)


def _prepare(
    cfg: Config,
    models: dict[str, Make],
    device: torch.device,
    dtype: torch.dtype,
    size: int,
    result: ScalingResult,
    progress: Progress,
) -> dict[Case, _Work]:
    """Make and warm up all of one size, and measure their memory; what does not fit is told in ``result``."""
    batch_size = max(1, _IMAGES.get(device.type, 1) * 224**2 // size**2)
    autocast = partial(torch.autocast, device.type, dtype=dtype) if dtype != torch.float32 else nullcontext
    channels, classes = cfg.MODEL.selected.IN_CHANS, cfg.num_classes
    batches = fitting(partial(make_batches, batch_size, channels, (size, size), classes, device))
    works = {}
    for name, make in models.items():
        progress(f"warming up {name} at {size} pixels")
        model = None if batches is None else fitting(partial(make, size))
        for kind in KINDS:
            case = Case(name, size, kind)
            result.points[case] = Point(batch_size)
            if batches is None or model is None:
                continue
            work = _Work(model, batches, autocast, kind == "training")
            if fitting(partial(work.seconds, _WARMUP, device)) is not None:
                works[case] = work
                memory = fitting(partial(work.memory_bytes, device))
                result.points[case] = Point(batch_size, [], memory)
    return works
