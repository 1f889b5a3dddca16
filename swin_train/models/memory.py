"""How much memory a training step takes, by arithmetic over a model's outline.

The estimate, for one process and a batch of B images:

    parameters   4 bytes each, and for those that are trained 4 for the gradient and 4 for each average that the
                 optimizer keeps: 16 with AdamW, and with what is not known here; 12 with SGD's momentum; 4 more
                 with TRAIN.EMA_DECAY
    activations  B x what one image leaves for the backward pass + what any batch leaves once

A block leaves, with T tokens (P with padding), C channels, windows of N tokens, and b bytes for each element that a
matrix product or GELU reads again, 2 in mixed precision, else 4:

    norms        8 (C + 2) T: both inputs in float32, mean and deviation of each token
    perceptron   b (C + 2 hidden) T: the inputs of both layers and of GELU
    attention    as MODEL.ATTENTION says:
                 triton: b 5 C T + 4 heads P, the inputs of both projections, q, k, v, and a sum for each row of logits
                 sdpa: b (2 C T + 4 C P) + 4 heads P: q, k, v and the result once more, cut into windows
                 reference: b (2 C T + 3 C P + heads N P), with the attention weights; in Swin v1 b C P, the scaled q
    Swin v2      but for triton, b 2 C P + 4 (C P + 4 heads P) more: directions and lengths of q and k
    Swin-MLP     b C P instead of the attention: the windows

But for triton, mixed precision adds 8 C P in Swin v2, q and k in float32; and 4 heads N P to reference, its softmax.

The patch embedding, the mergings and the end of the model leave the inputs of their norms and products. What is left
once: the 16-bit weights of mixed precision, the biases of all windows for sdpa, Swin v2's position networks. What is
frozen leaves nothing.

A block of a stage that TRAIN.USE_CHECKPOINT or TRAIN.CHECKPOINT_STAGES names leaves its input alone, 4 C T, until it is
computed again. By then, what came after it is gone; so the activations are the most that there is at the end of the
forward pass or at one of these blocks, with all that it leaves. Its input is a part of that, but for Swin v2 in mixed
precision, which keeps it in 16 bits beside.

Not counted: temporary tensors, the batch, the loss, dropout's masks, buffers, CUDA's and the allocator's own memory.
What is counted is what the code keeps, but for a map of a single window, which is cut without a copy, and the input of
a stage's first block, which mixed precision may keep in 16 bits: up to 3 % of the activations more or less.
"""

from collections import Counter
from dataclasses import dataclass

from swin_train.config import Config
from swin_train.kernels.windows import FUSED_HEAD_DIMS
from swin_train.models.costs import embedding_product, model_parameters, num_offsets
from swin_train.models.outline import POSITION_HIDDEN, Outline, StageOutline

_WIDE = 4  # bytes of a float32
_AVERAGES = {"sgd": 1}  # kept by an optimizer for each parameter; others keep two, as Adam and its kin do


@dataclass(frozen=True)
class ActivationMemory:
    """Bytes that a forward pass leaves for the backward pass."""

    per_image: int = 0
    once: int = 0

    def __add__(self, other: "ActivationMemory") -> "ActivationMemory":
        return ActivationMemory(self.per_image + other.per_image, self.once + other.once)

    def bytes(self, batch_size: int) -> int:
        """Of a batch."""
        return batch_size * self.per_image + self.once


@dataclass(frozen=True)
class Setting:
    """What the memory of a step depends on, beside the model.

    Attributes:
        is_mixed: matrix products are computed in 16 bits.
        attention: "triton", "sdpa" or "reference", as MODEL.ATTENTION.
        checkpointed: the stages whose blocks are computed again in the backward pass.
        num_frozen_stages: as TRAIN.FREEZE says; all and one more is everything but the head.
    """

    is_mixed: bool
    attention: str
    checkpointed: tuple[int, ...] = ()
    num_frozen_stages: int = 0

    @property
    def narrow(self) -> int:
        """Bytes of an element that a matrix product keeps."""
        return 2 if self.is_mixed else _WIDE


@dataclass(frozen=True)
class TrainingMemory:
    """The estimate, in bytes; the module tells how it is made.

    Attributes:
        device: what it is made for: "cuda", "mps" or "cpu".
        batch_size: images of one process.
        precision: "16-bit" (bfloat16 or float16), "float32" or "float64", of the matrix products.
        attention: "triton", "sdpa" or "reference"; None where there is none.
        checkpointing: the stages whose blocks are computed again in the backward pass.
        optimizer: TRAIN.OPTIMIZER.NAME.
        trained_parameters: number of those that are not frozen.
        parameters: with gradients, the optimizer's averages and TRAIN.EMA_DECAY's.
        activations_per_image: kept for the backward pass.
        activations_once: kept for the backward pass of any batch.
        block_formula: what a block keeps of one image, in the letters of the module.
        total: of parameters and activations.
    """

    device: str
    batch_size: int
    precision: str
    attention: str | None
    checkpointing: tuple[int, ...]
    optimizer: str
    trained_parameters: int
    parameters: int
    activations_per_image: int
    activations_once: int
    block_formula: str
    total: int


def training_memory(cfg: Config, model: Outline, num_frozen_stages: int) -> TrainingMemory:
    """The estimate for the device, batch size, precision and optimizer of ``cfg``; DEVICE auto is cuda."""
    device = "cuda" if cfg.DEVICE == "auto" else cfg.DEVICE
    setting = Setting(
        is_mixed=cfg.amp_enabled and _is_16_bit(cfg.AMP_DTYPE, device),
        attention=_attention(cfg, model, device),
        checkpointed=cfg.checkpoint_stages,
        num_frozen_stages=num_frozen_stages,
    )
    total, trained = model_parameters(model), model_parameters(model, num_frozen_stages)
    times = 2 if cfg.amp_enabled and cfg.AMP_DTYPE == "fp64" else 1  # what is float32 otherwise is float64
    parameters = (
        times * _WIDE * (total + trained * (1 + _num_averages(cfg)) + (total if cfg.TRAIN.EMA_DECAY else 0))
    )
    activations = activation_memory(model, setting, cfg.DATA.BATCH_SIZE)
    return TrainingMemory(
        device=device,
        batch_size=cfg.DATA.BATCH_SIZE,
        precision="16-bit" if setting.is_mixed else "float64" if times == 2 else "float32",
        attention=None if model.family == "swin_mlp" else setting.attention,
        checkpointing=setting.checkpointed,
        optimizer=cfg.TRAIN.OPTIMIZER.NAME,
        trained_parameters=trained,
        parameters=parameters,
        activations_per_image=times * activations.per_image,
        activations_once=times * activations.once,
        block_formula=f"{'2 x ' if times == 2 else ''}{block_formula(model.family, setting)}",
        total=parameters + times * activations.bytes(cfg.DATA.BATCH_SIZE),
    )


def activation_memory(model: Outline, setting: Setting, batch_size: int) -> ActivationMemory:
    """The most that is kept at a time; ``batch_size`` decides when that is, where blocks are computed again."""
    features, last, first_trained = model.num_features, model.stages[-1], setting.num_frozen_stages
    head = ActivationMemory(setting.narrow * features, _cast(setting, features * model.num_classes))
    if first_trained > len(model.stages):
        return head
    kept = ActivationMemory() if first_trained else _embedding(model, setting)
    at_blocks = []  # while one of them is computed again
    for number, stage in list(enumerate(model.stages))[first_trained:]:
        for shift in stage.shifts:
            block = _block(model, stage, shift, setting)
            if number in setting.checkpointed:
                at_blocks.append(kept + block + _input_beside(model, stage, setting))
                block = ActivationMemory(_WIDE * stage.channels * stage.tokens)
            kept += block
        kept += _merging(model, stage, setting)
    kept += head + ActivationMemory(_norm(last.tokens, features))
    return max([kept, *at_blocks], key=lambda memory: memory.bytes(batch_size))


def _input_beside(model: Outline, stage: StageOutline, setting: Setting) -> ActivationMemory:
    """A block's input, where the block itself keeps it in 16 bits only: Swin v2 does not normalise it."""
    is_other = model.family == "swinv2" and setting.is_mixed
    return ActivationMemory(_WIDE * stage.channels * stage.tokens if is_other else 0)


def _embedding(model: Outline, setting: Setting) -> ActivationMemory:
    product = embedding_product(model)
    norm = _norm(product.rows, product.columns) if model.patch_norm else 0
    patches = setting.narrow * product.rows * product.inner
    return ActivationMemory(patches + norm, _cast(setting, product.inner * product.columns))


def _merging(model: Outline, stage: StageOutline, setting: Setting) -> ActivationMemory:
    if stage.merged is None:
        return ActivationMemory()
    tokens, C = stage.merged[0] * stage.merged[1], stage.channels
    norm = _norm(tokens, 2 * C if model.family == "swinv2" else 4 * C)
    return ActivationMemory(setting.narrow * tokens * 4 * C + norm, _cast(setting, 8 * C**2))


def block_formula(family: str, setting: Setting) -> str:
    """The bytes that a block leaves for the backward pass of one image, in the letters of this module."""
    b, (narrow, wide) = setting.narrow, _mixer_terms(family, setting)
    mixer = f"{b} ({_sum_of(narrow)})" + (f" + {_WIDE} ({_sum_of(wide)})" if wide else "")
    return f"8 (C + 2) T + {b} (C + 2 hidden) T + {mixer}"


def _sum_of(terms: dict[str, int]) -> str:
    return " + ".join(letters if count == 1 else f"{count} {letters}" for letters, count in terms.items())


def _mixer_terms(family: str, setting: Setting) -> tuple[dict[str, int], dict[str, int]]:
    """What mixing the tokens leaves: elements of ``setting.narrow`` bytes, and elements in float32."""
    if family == "swin_mlp":
        return {"C P": 1}, {}
    if setting.attention == "triton":
        return {"C T": 5}, {"heads P": 1}
    narrow, wide = Counter({"C T": 2, "C P": 3}), Counter[str]()
    if family == "swinv2":
        narrow["C P"] += 2
        wide["C P"] += 3 if setting.is_mixed else 1  # in mixed precision q and k are cast to be normalised
        wide["heads P"] += 4
    if setting.attention == "sdpa":
        narrow["C P"] += 1
        wide["heads P"] += 1
    else:
        narrow["C P"] += 0 if family == "swinv2" else 1
        narrow["heads N P"] += 1
        wide["heads N P"] += 1 if setting.is_mixed else 0  # softmax is in float32
    return dict(+narrow), dict(+wide)


def _block(model: Outline, stage: StageOutline, shift: int, setting: Setting) -> ActivationMemory:
    T, C, P, hidden = stage.tokens, stage.channels, stage.padded_tokens(shift), model.hidden(stage)
    weights = stage.heads * stage.window**2 * P  # of the attention to one image
    size = {"C T": C * T, "C P": C * P, "heads P": stage.heads * P, "heads N P": weights}
    narrow, wide = _mixer_terms(model.family, setting)
    per_image = 2 * _norm(T, C) + setting.narrow * (C + 2 * hidden) * T
    per_image += setting.narrow * sum(count * size[letters] for letters, count in narrow.items())
    per_image += _WIDE * sum(count * size[letters] for letters, count in wide.items())

    if model.family == "swin_mlp":
        return ActivationMemory(per_image, _cast(setting, 2 * C * hidden + stage.heads * stage.window**4))
    once = _cast(setting, 2 * C * hidden + 4 * C**2)
    if setting.attention == "sdpa":
        once += setting.narrow * weights  # all windows have as many biases
    if model.family == "swinv2":
        once += _WIDE * (num_offsets(stage) * (POSITION_HIDDEN + stage.heads) + stage.heads)
        if setting.attention == "triton":  # the table, and what a padded token has
            once += _WIDE * (num_offsets(stage) * stage.heads + (3 * C if P > T else 0))
    return ActivationMemory(per_image, once)


def _norm(tokens: int, channels: int) -> int:
    """What a normalisation keeps: its input, with mean and deviation of each token."""
    return _WIDE * (channels + 2) * tokens


def _cast(setting: Setting, num_weights: int) -> int:
    """The 16-bit copies of weights that mixed precision makes."""
    return setting.narrow * num_weights if setting.is_mixed else 0


def _attention(cfg: Config, model: Outline, device: str) -> str:
    """What MODEL.ATTENTION means; "auto" takes a GPU to be one that the Triton kernels run on."""
    if cfg.MODEL.ATTENTION != "auto":
        return cfg.MODEL.ATTENTION
    if device != "cuda":
        return "reference"
    is_mixed = cfg.amp_enabled and _is_16_bit(cfg.AMP_DTYPE, device)
    fits = all(stage.channels // stage.heads in FUSED_HEAD_DIMS for stage in model.stages)
    return "triton" if is_mixed and fits else "sdpa"


def _is_16_bit(amp_dtype: str, device: str) -> bool:
    """What AMP_DTYPE means: "auto" is float32 on everything but a GPU."""
    return device == "cuda" if amp_dtype == "auto" else amp_dtype in ("bf16", "fp16")


def _num_averages(cfg: Config) -> int:
    optimizer = cfg.TRAIN.OPTIMIZER
    if optimizer.NAME.lower() == "sgd" and not optimizer.MOMENTUM:
        return 0
    return _AVERAGES.get(optimizer.NAME.lower(), 2)
