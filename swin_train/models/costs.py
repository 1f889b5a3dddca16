"""What a model costs to hold and to run, by arithmetic over its outline: parameters, FLOPs, activations."""

from collections.abc import Iterator
from dataclasses import dataclass

from swin_train.models.outline import POSITION_HIDDEN, Outline, StageOutline


@dataclass(frozen=True)
class Product:
    """``times`` products of matrices, [rows, inner] x [inner, columns]; a convolution is the one it equals."""

    rows: int
    inner: int
    columns: int
    times: int = 1

    @property
    def multiply_adds(self) -> int:
        """Multiplications, each with an addition."""
        return self.outputs * self.inner

    @property
    def outputs(self) -> int:
        """Elements that come out."""
        return self.times * self.rows * self.columns


def model_parameters(model: Outline, num_frozen_stages: int = 0) -> int:
    """Parameters of the model, without the patch embedding and the first stages where they are frozen.

    ``num_frozen_stages`` beyond the last stage leaves the head alone.
    """
    head = (model.num_features + 1) * model.num_classes
    if num_frozen_stages > len(model.stages):
        return head
    stages = sum(stage_parameters(model, stage) for stage in model.stages[num_frozen_stages:])
    embedding = 0 if num_frozen_stages else _embedding_parameters(model)
    return embedding + stages + 2 * model.num_features + head


def _embedding_parameters(model: Outline) -> int:
    first = model.stages[0]
    norm = 2 if model.patch_norm else 0
    positions = first.tokens if model.ape else 0
    return (model.patch_values + 1 + norm + positions) * first.channels


def stage_parameters(model: Outline, stage: StageOutline) -> int:
    """Of the blocks and the merging."""
    C, hidden = stage.channels, model.hidden(stage)
    norms, perceptron = 4 * C, 2 * C * hidden + hidden + C
    merging_norm = 4 * C if model.family == "swinv2" else 8 * C  # v2 normalises what comes out
    merging = 0 if stage.merged is None else 8 * C**2 + merging_norm
    return stage.depth * (norms + _mixer_parameters(model, stage) + perceptron) + merging


def _mixer_parameters(model: Outline, stage: StageOutline) -> int:
    C, heads, N = stage.channels, stage.heads, stage.window**2
    if model.family == "swin_mlp":
        return heads * N * (N + 1)
    attention = 3 * C**2 + C**2 + C  # q, k, v and the output
    if model.family == "swinv2":
        position_network = 3 * POSITION_HIDDEN + POSITION_HIDDEN * heads
        return attention + position_network + heads + (2 * C if model.qkv_bias else 0)
    return attention + num_offsets(stage) * heads + (3 * C if model.qkv_bias else 0)


def num_offsets(stage: StageOutline) -> int:
    """Relative positions within a window, each with a bias of its own."""
    return (2 * stage.window - 1) ** 2


def products(model: Outline) -> Iterator[Product]:
    """All matrix products of a forward pass of one image in evaluation, padding included."""
    yield embedding_product(model)
    for stage in model.stages:
        yield from stage_products(model, stage)
    yield Product(1, model.num_features, model.num_classes)


def embedding_product(model: Outline) -> Product:
    """The convolution that embeds the patches."""
    first = model.stages[0]
    return Product(first.tokens, model.patch_values, first.channels)


def stage_products(model: Outline, stage: StageOutline) -> Iterator[Product]:
    """Those of the blocks and the merging."""
    T, C, hidden = stage.tokens, stage.channels, model.hidden(stage)
    for shift in stage.shifts:
        yield from _mixer_products(model, stage, shift)
        yield Product(T, C, hidden)
        yield Product(T, hidden, C)
    if stage.merged is not None:
        height, width = stage.merged
        yield Product(height * width, 4 * C, 2 * C)


def _mixer_products(model: Outline, stage: StageOutline, shift: int) -> Iterator[Product]:
    T, C, N, head_dim = stage.tokens, stage.channels, stage.window**2, stage.channels // stage.heads
    windows = stage.padded_tokens(shift) // N * stage.heads  # of all heads
    if model.family == "swin_mlp":
        yield Product(N, N, head_dim, windows)
        return
    yield Product(T, C, 3 * C)
    if model.family == "swinv2":
        yield Product(num_offsets(stage), 2, POSITION_HIDDEN)
        yield Product(num_offsets(stage), POSITION_HIDDEN, stage.heads)
    yield Product(N, head_dim, N, windows)
    yield Product(N, N, head_dim, windows)
    yield Product(T, C, C)


def papers_multiply_adds(model: Outline) -> int:
    """The papers' "FLOPs": multiply-adds of one image, padding and position networks free, norms one each.

    Source: the official ``flops`` methods, which count the last norm on a map of twice the sides.
    """
    first = model.stages[0]
    embedding = first.tokens * first.channels * (model.patch_values + (1 if model.patch_norm else 0))
    stages = sum(_papers_stage(model, stage) for stage in model.stages)
    last_norm = first.tokens * model.num_features // 2 ** len(model.stages)
    return embedding + stages + last_norm + model.num_features * model.num_classes


def _papers_stage(model: Outline, stage: StageOutline) -> int:
    T, C = stage.tokens, stage.channels
    mixing = [_papers_mixing(model, stage, shift) for shift in stage.shifts]
    block = 2 * T * C + 2 * T * C * model.hidden(stage)  # two norms, the perceptron
    merging = 0
    if stage.merged is not None:
        height, width = stage.merged
        normalised = 2 * C if model.family == "swinv2" else 4 * C
        merging = height * width * (normalised + 8 * C**2)
    return sum(mixing) + stage.depth * block + merging


def _papers_mixing(model: Outline, stage: StageOutline, shift: int) -> int:
    T, C, window = stage.tokens, stage.channels, stage.window
    if model.family == "swin_mlp":  # a shift adds a row and a column of windows
        rows, columns = (side / window + (1 if shift else 0) for side in stage.map)
        return round(rows * columns * C * window**4)
    return T * (4 * C**2 + 2 * window**2 * C)
