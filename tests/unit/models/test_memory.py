"""The memory formula against the bytes that forward passes keep."""

import contextlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from swin_train.config import Config, load_config
from swin_train.kernels.window_attention import choice, on_windows
from swin_train.models import swin_v2
from swin_train.models.build import build_model
from swin_train.models.freeze import freeze
from swin_train.models.memory import Setting, activation_memory, block_formula, training_memory
from swin_train.models.outline import FAMILIES, Outline, outline

ON_CPU = Setting(is_mixed=False, attention="reference")
ON_GPU = Setting(is_mixed=True, attention="triton")
SIZES = [(40, 40), (34, 50)]  # in whole windows; padded
BATCH = 3


def outline_of(cfg: Config) -> Outline:
    return outline(cfg, cfg.MODEL.NUM_CLASSES)


def bytes_kept(model: nn.Module, run: Callable[[], object]) -> int:
    """Of the storages that ``run`` saves for the backward pass, those of the model left out."""
    storages: dict[int, torch.UntypedStorage] = {}
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            storages[storage._cdata] = storage  # kept alive, so that its address is not used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storage.nbytes() for storage in storages.values())


def bytes_of_a_forward_pass(cfg: Config, device: str = "cpu", batch_size: int = BATCH) -> int:
    with torch.device(device):
        model = build_model(cfg).train()
        images = torch.zeros(batch_size, 3, *cfg.DATA.img_size)
    freeze(model, cfg.TRAIN.FREEZE)
    return bytes_kept(model, lambda: model(images))


def bytes_at_blocks_computed_again(cfg: Config, device: str = "cpu") -> list[int]:
    """For each checkpointed block, what is kept while it is computed again: all before it, and the block."""
    with torch.device(device):
        model = build_model(cfg).train()
        images = torch.zeros(BATCH, 3, *cfg.DATA.img_size)

    def forward_to(number: int, position: int) -> None:
        x = model._embed(images)
        for stage in model.layers[:number]:
            x = stage(x)
        stage = model.layers[number]
        for block in stage.blocks[:position]:
            x = checkpoint(block, x, use_reentrant=False)
        checkpoint(stage.blocks[position], x, use_reentrant=False)  # keeps its input
        stage.blocks[position](x)

    return [
        bytes_kept(model, partial(forward_to, number, position))
        for number in cfg.checkpoint_stages
        for position in range(len(model.layers[number].blocks))
    ]


@pytest.mark.parametrize(
    ("changes", "num_frozen_stages"),
    [
        ({}, 0),
        ({"SECTION.APE": True, "SECTION.PATCH_NORM": False, "SECTION.MLP_RATIO": 2.0}, 0),
        ({"TRAIN.FREEZE": "stages 1"}, 1),
        ({"TRAIN.FREEZE": "stages 2"}, 2),
        ({"TRAIN.FREEZE": "all_but_head"}, 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_formula_is_what_a_forward_pass_on_the_cpu_keeps(
    family: str, size: tuple[int, int], changes: dict[str, Any], num_frozen_stages: int, configure: Callable
) -> None:
    cfg = configure(family, size, **changes)
    setting = Setting(is_mixed=False, attention="reference", num_frozen_stages=num_frozen_stages)

    expected = bytes_of_a_forward_pass(cfg)

    assert activation_memory(outline_of(cfg), setting, BATCH).bytes(BATCH) == expected


@pytest.mark.parametrize("stages", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_with_checkpointing_the_formula_is_the_most_that_is_kept_at_a_time(
    family: str, size: tuple[int, int], stages: tuple[int, ...], configure: Callable
) -> None:
    cfg = configure(family, size, TRAIN__CHECKPOINT_STAGES=stages)
    setting = Setting(is_mixed=False, attention="reference", checkpointed=stages)

    expected = max(bytes_of_a_forward_pass(cfg), *bytes_at_blocks_computed_again(cfg))

    assert activation_memory(outline_of(cfg), setting, BATCH).bytes(BATCH) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_in_mixed_precision_the_input_of_a_block_that_is_computed_again_is_kept_beside_it(
    family: str, monkeypatch: pytest.MonkeyPatch, configure: Callable
) -> None:
    cfg = configure(family, (34, 50), TRAIN__USE_CHECKPOINT=True)
    setting = Setting(is_mixed=True, attention="reference", checkpointed=(0, 1))

    with CudaAutocast() as autocast:
        monkeypatch.setattr(swin_v2, "_without_autocast", lambda device_type: autocast.disabled())
        expected = max(bytes_of_a_forward_pass(cfg, "meta"), *bytes_at_blocks_computed_again(cfg, "meta"))

    # After a merging without a norm at its end, the input is in 16 bits, which the formula leaves out.
    found = activation_memory(outline_of(cfg), setting, BATCH).bytes(BATCH)
    assert found == (expected if family == "swinv2" else pytest.approx(expected, rel=0.03))


def test_checkpointing_the_first_two_stages_saves_two_thirds_of_what_checkpointing_all_saves() -> None:
    def kept(*stages: int) -> int:
        setting = Setting(is_mixed=True, attention="triton", checkpointed=stages)
        model = outline(load_config("swin_tiny_patch4_window7_224"), 1000)
        return activation_memory(model, setting, 128).bytes(128)

    assert (kept() - kept(0, 1)) / (kept() - kept(0, 1, 2, 3)) == pytest.approx(0.67, abs=0.005)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_base_patch4_window12_192_22k"])
def test_maps_of_a_single_window_are_told_to_3_percent(name: str) -> None:
    cfg = load_config(name, ["MODEL.DROP_PATH_RATE", 0.0])

    expected = bytes_of_a_forward_pass(cfg, "meta", batch_size=64)

    found = activation_memory(outline_of(cfg), ON_CPU, 64).bytes(64)
    assert found == pytest.approx(expected, rel=0.03)


class CudaAutocast(TorchFunctionMode):
    """On any device, what CUDA's autocast does to the functions that our models call.

    Source: PyTorch's documentation, "CUDA Op-Specific Behavior".
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_enabled = True
        self._cache: dict[int, Tensor] = {}

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        self.is_enabled = False
        yield
        self.is_enabled = True

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.is_enabled and func in (
            F.linear,
            torch.conv2d,
            F.conv2d,
            torch.conv1d,
            F.conv1d,
            Tensor.matmul,
        ):
            args = tuple(self._cast(value, torch.bfloat16) for value in args)
        elif func is F.layer_norm:
            args = tuple(self._cast(value, torch.float32) for value in args)
        return func(*args, **(kwargs or {}))

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
            return value
        is_weight = value.is_leaf and value.requires_grad
        return self._cache.setdefault(id(value), value.to(dtype)) if is_weight else value.to(dtype)


def memory_efficient_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *, scale: float, mask: Tensor | None, dropout: float
) -> Tensor:
    """``sdpa_attention`` with CUDA's kernel called by its name, so that it runs on the meta device."""
    num_windows, num_heads, num_tokens = q.shape[1:4]
    added = (bias if mask is None else bias + mask[:, None]).to(q.dtype)
    added = added.expand(num_windows, num_heads, num_tokens, num_tokens).flatten(0, 1)
    q, k, v = (x.flatten(1, 2) for x in (q, k, v))
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    out = kernel(q, k, v, added.expand(len(q), -1, -1, -1), True, dropout, False, scale=scale)[0]
    return out.unflatten(1, (num_windows, num_heads))


@pytest.mark.parametrize("attention", ["triton", "sdpa", "reference"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_in_mixed_precision_the_formula_is_what_its_rules_keep(
    family: str, size: tuple[int, int], attention: str, monkeypatch: pytest.MonkeyPatch, configure: Callable
) -> None:
    autocast = CudaAutocast()
    monkeypatch.setattr(swin_v2, "_without_autocast", lambda device_type: autocast.disabled())
    monkeypatch.setattr(on_windows, "sdpa_attention", memory_efficient_attention)
    monkeypatch.setattr(choice, "triton_obstacle", lambda *_: None)  # the meta device stands for a GPU
    cfg = configure(family, size, MODEL__ATTENTION=attention)

    with autocast:
        expected = bytes_of_a_forward_pass(cfg, "meta")

    # sdpa's kernel rounds its sums of rows up to 32 tokens, which the formula leaves out.
    found = activation_memory(outline_of(cfg), Setting(is_mixed=True, attention=attention), BATCH).bytes(
        BATCH
    )
    assert found == (pytest.approx(expected, rel=0.01) if attention == "sdpa" else expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu_the_formula_is_what_a_forward_pass_keeps(family: str, configure: Callable) -> None:
    cfg = configure(family, (224, 224), SECTION__EMBED_DIM=96, SECTION__WINDOW_SIZE=7)

    with torch.autocast("cuda", dtype=torch.bfloat16):
        expected = bytes_of_a_forward_pass(cfg, "cuda")

    found = activation_memory(outline_of(cfg), ON_GPU, BATCH).bytes(BATCH)
    assert found == pytest.approx(expected, rel=0.03)  # biases of 49 tokens are padded to 56


@pytest.mark.parametrize(
    ("keys", "bytes_per_parameter"),
    [
        ({}, 16),
        ({"TRAIN.OPTIMIZER.NAME": "sgd"}, 12),
        ({"TRAIN.OPTIMIZER.NAME": "sgd", "TRAIN.OPTIMIZER.MOMENTUM": 0.0}, 8),
        ({"TRAIN.OPTIMIZER.NAME": "fused_lamb"}, 16),
        ({"TRAIN.EMA_DECAY": 0.999}, 20),
    ],
    ids=str,
)
def test_parameters_take_what_the_optimizer_and_the_average_keep(
    keys: dict[str, Any], bytes_per_parameter: int, configure: Callable
) -> None:
    cfg = configure("swin", **keys)

    memory = training_memory(cfg, outline_of(cfg), num_frozen_stages=0)

    assert memory.parameters == bytes_per_parameter * memory.trained_parameters


@pytest.mark.parametrize(
    ("keys", "device", "precision", "attention"),
    [
        ({}, "cuda", "16-bit", "triton"),
        ({"MODEL.ATTENTION": "sdpa"}, "cuda", "16-bit", "sdpa"),
        ({"MODEL.SWIN.NUM_HEADS": [4, 8, 16, 32]}, "cuda", "16-bit", "sdpa"),
        ({"AMP_ENABLE": False}, "cuda", "float32", "sdpa"),
        ({"AMP_DTYPE": "fp32"}, "cuda", "float32", "sdpa"),
        ({"DEVICE": "cpu"}, "cpu", "float32", "reference"),
        ({"DEVICE": "cpu", "AMP_DTYPE": "fp64"}, "cpu", "float64", "reference"),
        ({"DEVICE": "cpu", "AMP_DTYPE": "bf16"}, "cpu", "16-bit", "reference"),
        ({"DEVICE": "mps"}, "mps", "float32", "reference"),
        ({"MODEL.TYPE": "swin_mlp"}, "cuda", "16-bit", None),
    ],
    ids=str,
)
def test_the_estimate_is_for_what_the_configuration_computes_with(
    keys: dict[str, Any], device: str, precision: str, attention: str | None
) -> None:
    cfg = load_config(None, [part for item in keys.items() for part in item])

    memory = training_memory(cfg, outline_of(cfg), num_frozen_stages=0)

    assert (memory.device, memory.precision, memory.attention) == (device, precision, attention)
    kept = 128 * memory.activations_per_image + memory.activations_once
    assert memory.total == memory.parameters + kept


def test_float64_takes_twice_what_float32_takes() -> None:
    narrow, wide = (
        training_memory(cfg, outline_of(cfg), num_frozen_stages=0)
        for cfg in (load_config(None, ["DEVICE", "cpu", "AMP_DTYPE", dtype]) for dtype in ("fp32", "fp64"))
    )

    assert wide.total == 2 * narrow.total
    assert wide.parameters == 2 * narrow.parameters
    assert wide.block_formula == f"2 x {narrow.block_formula}"


@pytest.mark.parametrize("setting", [ON_CPU, ON_GPU])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_formula_that_is_shown_is_the_one_that_is_computed(
    family: str, setting: Setting, configure: Callable
) -> None:
    model, deeper = (
        outline_of(configure(family, (34, 50), SECTION__DEPTHS=depths)) for depths in ((1, 3), (2, 3))
    )
    stage = deeper.stages[0]
    letters = {
        "T": stage.tokens,
        "P": stage.padded_tokens(stage.shift),
        "C": stage.channels,
        "N": stage.window**2,
    }
    letters |= {"heads": stage.heads, "hidden": deeper.hidden(stage)}

    of_a_block = [activation_memory(model, setting, 1).per_image for model in (model, deeper)]

    formula = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", block_formula(family, setting))
    assert eval(formula, {}, letters) == of_a_block[1] - of_a_block[0]
