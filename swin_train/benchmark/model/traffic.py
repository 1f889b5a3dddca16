"""The kernels of a training step, as bytes that they must move and FLOPs, by arithmetic over a model's outline.

A kernel reads what it needs and writes what it gives once: caches are perfect within it and empty between two.

A block, with T tokens (P with padding), C channels, hidden H, windows of N tokens, A = heads N P attention weights; b
bytes an element, r an element of the residual stream. "x + y" reads x and writes y:

    forward   product [T, I] x [I, O]   b (T I + T O), the weights once a batch: qkv, proj, fc1, fc2
              norm, with the residual   (r + b) T C + (r + b) T C: the stream and a branch; their sum, and normalised
              GELU                      b (T H + T H)
    backward  product                   the forward one's twice, for dX and dW, and b T O for the gradient of the bias
              norm: dX                  (b + 2 r) T C + r T C: its gradient, its input, the stream's; their sum
              norm: weight and bias     (b + r) T C
              stochastic depth          r T C + b T C: the branch's part of the stream's gradient
              GELU                      b (2 T H + T H)

and window attention. In plan "fused" it is one kernel each way, and the residual stream has r = b:

    forward   b (3 T C + T C)
    backward  b (4 T C + 3 T C): q, k, v and the gradient; 5 products, as the weights are computed again

In plan "compiled" everything pointwise is fused, but the windows and their weights go through memory, and r = 4 in the
first stage, as mixed precision normalises the patches in float32:

    forward   cut and roll b (3 T C + 3 P C), q @ k.T b (2 P C + A), softmax with biases b (A + A),
              weights @ v b (A + P C + P C), merge and roll back b (P C + T C)
    backward  merge b (T C + P C), dV b (A + P C + P C), dWeights b (2 P C + A), softmax b (2 A + A),
              the biases' b A, dQ and dK b (A + P C + P C) each, cut b (3 P C + 3 T C)

Around the blocks: the embedding's product, without dX, and its norm; a merging's norm, r T C + 4 b M C where M tokens
come out, and product, without bias; the mean over the last map, b T C, and 3 b T C on the way back through it and the
last norm; the head. The update, once a batch, is clipping (4 bytes a parameter read), AdamW (16 read, 12 written) and
the weights' 16-bit copies (4 read, 2 written).

Swin v2 is counted as v1: its cosines, and its norms behind the branches, change little. Swin-MLP is not counted. Not
counted either: the loss, pointwise FLOPs, position networks, absolute positions, dropout.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from swin_train.models.costs import Product, embedding_product, model_parameters
from swin_train.models.outline import Outline, StageOutline

Plan = Literal["fused", "compiled"]
PLANS: tuple[Plan, ...] = ("fused", "compiled")

Direction = Literal["forward", "backward", "update"]

_WIDE = 4  # bytes of a float32
_UPDATE = 4 + 28  # bytes of a parameter: clipping, AdamW
_CAST = 6


class Kernel(NamedTuple):
    """One pass over memory, for one image: bytes read and written, FLOPs of its matrix products."""

    direction: Direction
    bytes: float
    flops: float = 0.0


@dataclass(frozen=True)
class Setting:
    """What the bytes depend on, beside the model.

    Attributes:
        plan: what is fused.
        element: bytes of an element that a matrix product reads.
        batch_size: images that share the weights.
    """

    plan: Plan
    element: int
    batch_size: int

    def residual(self, number: int) -> int:
        """Bytes of an element of the residual stream of that stage, from 0."""
        return max(self.element, _WIDE) if self.plan == "compiled" and number == 0 else self.element


def traffic(model: Outline, setting: Setting) -> dict[str, list[Kernel]]:
    """The kernels of the embedding, each stage with its merging, the head, and the update."""
    found = {"embedding": list(_embedding(model, setting))}
    for number in range(len(model.stages)):
        found[f"stage {number + 1}"] = list(_stage(model, number, setting))
    found["head"] = list(_head(model, setting))
    num_bytes = _UPDATE + (_CAST if setting.element < _WIDE else 0)
    found["update"] = [Kernel("update", num_bytes * model_parameters(model) / setting.batch_size)]
    return found


def _embedding(model: Outline, setting: Setting) -> Iterator[Kernel]:
    product, b, r = embedding_product(model), setting.element, setting.residual(0)
    forward, _, weight, bias = _product(product, setting)
    yield from (forward, weight, bias)
    if model.patch_norm:
        yield Kernel("forward", (b + r) * product.outputs)
        yield Kernel("backward", (2 * b + r) * product.outputs)
        yield Kernel("backward", (b + r) * product.outputs)


def _stage(model: Outline, number: int, setting: Setting) -> Iterator[Kernel]:
    stage, b, r = model.stages[number], setting.element, setting.residual(number)
    T, C, H = stage.tokens, stage.channels, model.hidden(stage)
    attention = _fused_attention if setting.plan == "fused" else _attention_by_steps
    for shift in stage.shifts:
        for _ in range(2):
            yield Kernel("forward", 2 * (r + b) * T * C)
            yield Kernel("backward", (b + 3 * r) * T * C)
            yield Kernel("backward", (b + r) * T * C)
            yield Kernel("backward", (r + b) * T * C)
        for inner, columns in ((C, 3 * C), (C, C), (C, H), (H, C)):
            yield from _product(Product(T, inner, columns), setting)
        yield from attention(stage, shift, b)
        yield Kernel("forward", b * 2 * T * H)
        yield Kernel("backward", b * 3 * T * H)
    if stage.merged is not None:
        M = stage.merged[0] * stage.merged[1]
        yield Kernel("forward", r * T * C + b * 4 * M * C)
        yield Kernel("backward", b * 4 * M * C + 2 * r * T * C)
        yield Kernel("backward", b * 4 * M * C + r * T * C)
        yield from _product(Product(M, 4 * C, 2 * C), setting, has_bias=False)


def _head(model: Outline, setting: Setting) -> Iterator[Kernel]:
    last = model.stages[-1]
    yield Kernel("forward", setting.element * last.tokens * last.channels)
    yield Kernel("backward", setting.element * 3 * last.tokens * last.channels)
    if model.num_classes:
        yield from _product(Product(1, model.num_features, model.num_classes), setting)


def _product(product: Product, setting: Setting, *, has_bias: bool = True) -> Iterator[Kernel]:
    """A product with weights: itself, dX, dW and the gradient of the bias."""
    rows, inner, columns, b = product.rows, product.inner, product.columns, setting.element
    num_bytes = b * (rows * (inner + columns) + inner * columns / setting.batch_size)
    flops = 2 * product.multiply_adds
    yield Kernel("forward", num_bytes, flops)
    yield Kernel("backward", num_bytes, flops)
    yield Kernel("backward", num_bytes, flops)
    if has_bias:
        yield Kernel("backward", b * rows * columns)


def _fused_attention(stage: StageOutline, shift: int, b: int) -> Iterator[Kernel]:
    size, product = stage.tokens * stage.channels, _attention_flops(stage, shift)
    yield Kernel("forward", b * 4 * size, 2 * product)
    yield Kernel("backward", b * 7 * size, 5 * product)


def _attention_by_steps(stage: StageOutline, shift: int, b: int) -> Iterator[Kernel]:
    P, product = stage.padded_tokens(shift), _attention_flops(stage, shift)
    size, padded, weights = (
        stage.tokens * stage.channels,
        P * stage.channels,
        stage.heads * stage.window**2 * P,
    )
    yield Kernel("forward", b * 3 * (size + padded))  # cut
    yield Kernel("forward", b * (2 * padded + weights), product)
    yield Kernel("forward", b * 2 * weights)  # softmax
    yield Kernel("forward", b * (2 * padded + weights), product)
    yield Kernel("forward", b * (padded + size))  # merge

    yield Kernel("backward", b * (size + padded))  # merge
    for _ in ("dV", "dWeights", "dQ", "dK"):
        yield Kernel("backward", b * (2 * padded + weights), product)
    yield Kernel("backward", b * 3 * weights)  # softmax
    yield Kernel("backward", b * weights)  # biases
    yield Kernel("backward", b * 3 * (padded + size))  # cut


def _attention_flops(stage: StageOutline, shift: int) -> int:
    """Of one product of all windows and heads."""
    return 2 * stage.padded_tokens(shift) * stage.window**2 * stage.channels
