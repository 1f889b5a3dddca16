"""How the kernels of window attention are launched: which, on how many programs, with how many warps."""

# mypy: disallow-untyped-defs=False

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from swin_train.kernels.relative_position import sum_by_offset
from swin_train.kernels.window_attention import triton_tiled, triton_whole
from swin_train.kernels.window_attention.arguments import Arguments, Gradients

_MAX_WHOLE = 64  # tokens of a window that a program holds at once
_MIN_TILE = 16  # rows of the smallest product
_PROCESSORS_ELSEWHERE = 2  # where the kernels are interpreted


class Launch(NamedTuple):
    """How a kernel is launched.

    Attributes:
        warps: of a program.
        stages: how far loads run ahead.
        queries, keys: of a tile, where a program does not hold a whole window.
        per_processor: programs for each multiprocessor, where a program goes through windows.
    """

    warps: int
    stages: int
    queries: int = 64
    keys: int = 64
    per_processor: int = 0


# By what the compiler makes of them for sm_90a: no spilled registers, and as many programs at once as that leaves room.
LAUNCHES = {
    "whole_forward": Launch(4, 2, per_processor=4),
    "whole_backward": Launch(8, 2, per_processor=1),
    "tiled_forward": Launch(4, 2, 64, 32),
    "query_gradients": Launch(4, 2, 64, 32),
    "key_gradients": Launch(4, 2, 32, 64),
    "bias_gradients": Launch(4, 2, 64, 32, per_processor=3),
}
# Products of float32 take no tensor cores, and many more registers.
LAUNCHES_FLOAT32 = {
    "whole_forward": Launch(8, 1, per_processor=2),
    "whole_backward": Launch(8, 1, per_processor=1),
    "tiled_forward": Launch(4, 2, 32, 32),
    "query_gradients": Launch(4, 2, 32, 32),
    "key_gradients": Launch(4, 2, 32, 32),
    "bias_gradients": Launch(4, 2, 32, 32, per_processor=3),
}
# By kernel, head dimension and major compute capability, where another launch is better.
EXCEPTIONS = {("key_gradients", 64, 8): Launch(4, 2, 32, 32)}


def launch_of(kernel: str, given: Arguments) -> Launch:
    """How a kernel is launched for these arguments."""
    if given.qkv.dtype == torch.float32:
        return LAUNCHES_FLOAT32[kernel]
    capability = torch.cuda.get_device_capability(given.qkv.device)[0] if given.qkv.is_cuda else 0
    return EXCEPTIONS.get((kernel, given.head_dim, capability), LAUNCHES[kernel])


def forward(given: Arguments) -> tuple[Tensor, Tensor]:
    """The output [B, H, W, C], and log2 of each query's sum of exponentials [windows, heads, N]."""
    qkv = given.qkv
    out = qkv.new_empty(*qkv.shape[:3], given.channels)
    log_sums = qkv.new_empty(given.num_windows, given.num_heads, given.tokens, dtype=torch.float32)
    tensors = (*_inputs(given), out, log_sums)
    if given.tokens <= _MAX_WHOLE:
        launch = launch_of("whole_forward", given)
        programs = _programs(given, launch, given.num_heads)
        _run(triton_whole.forward, (given.num_heads * programs,), launch, given, tensors, goes_through=True)
    else:
        launch = launch_of("tiled_forward", given)
        _run(triton_tiled.forward, _grid_of_tiles(given, launch.queries), launch, given, tensors)
    return out, log_sums


def backward(given: Arguments, out: Tensor, log_sums: Tensor, out_gradient: Tensor) -> Gradients:
    """The gradients of the four tensors of ``given``, from ``forward``'s results and the gradient of the output."""
    how = _backward_whole if given.tokens <= _MAX_WHOLE else _backward_tiled
    qkv, pairs, scales, padding = how(given, out, log_sums, out_gradient)
    table = sum_by_offset(pairs.sum(0), given.window, given.table_window)
    heads = given.num_heads
    if given.scales is None:
        scales = scales.new_zeros(1, heads)
    pad_token = qkv.new_zeros(3, given.channels, dtype=torch.float32)
    if given.padding_is_keys:
        pad_token[1:] = padding.view(-1, heads, 2, given.head_dim).sum(0).transpose(0, 1).flatten(1)
    return Gradients(qkv, table, scales.view(-1, heads).sum(0), pad_token.flatten())


def _backward_whole(given, out, log_sums, out_gradient):
    launch = launch_of("whole_backward", given)
    programs, heads = _programs(given, launch, given.num_heads), given.num_heads
    qkv_gradient = torch.empty_like(given.qkv)
    bias = log_sums.new_empty(programs, heads, given.tokens, given.tokens)
    scales = log_sums.new_empty(programs, heads)
    padding = log_sums.new_empty(programs, heads, 2, given.head_dim)
    tensors = (*_inputs(given), log_sums, out_gradient, qkv_gradient, bias, scales, padding)
    _run(triton_whole.backward, (heads * programs,), launch, given, tensors, goes_through=True)
    return qkv_gradient, bias, scales, padding


def _backward_tiled(given, out, log_sums, out_gradient):
    inputs, heads = _inputs(given), given.num_heads
    qkv_gradient, deltas = torch.empty_like(given.qkv), torch.empty_like(log_sums)

    launch = launch_of("query_gradients", given)
    grid = _grid_of_tiles(given, launch.queries)
    scales = log_sums.new_empty(grid)
    tensors = (*inputs, out, log_sums, out_gradient, qkv_gradient, deltas, scales)
    _run(triton_tiled.query_gradients, grid, launch, given, tensors)

    launch = launch_of("key_gradients", given)
    grid = _grid_of_tiles(given, launch.keys)
    padding = log_sums.new_empty(*grid, 2, given.head_dim) if given.padding_is_keys else deltas
    tensors = (*inputs, log_sums, out_gradient, deltas, qkv_gradient, padding)
    _run(triton_tiled.key_gradients, grid, launch, given, tensors)

    launch = launch_of("bias_gradients", given)
    tiles = triton.cdiv(given.tokens, launch.queries) * triton.cdiv(given.tokens, launch.keys)
    programs = _programs(given, launch, heads * tiles)
    bias = log_sums.new_empty(programs, heads, given.tokens, given.tokens)
    tensors = (*inputs, log_sums, out_gradient, deltas, bias)
    _run(triton_tiled.bias_gradients, (heads * tiles, programs), launch, given, tensors, goes_through=True)
    return qkv_gradient, bias, scales, padding


def _inputs(given: Arguments) -> tuple[Tensor | None, ...]:
    token = given.pad_token
    if token is None and given.padding_is_keys:
        token = given.qkv.new_zeros(3 * given.channels)
    return given.qkv, given.table.contiguous(), given.scales, given.qkv if token is None else token


def _programs(given: Arguments, launch: Launch, columns: int) -> int:
    """How many programs share the windows, where ``columns`` of them go through the same ones."""
    device = given.qkv.device
    processors = (
        torch.cuda.get_device_properties(device).multi_processor_count
        if device.type == "cuda"
        else _PROCESSORS_ELSEWHERE
    )
    return min(given.num_windows, triton.cdiv(processors * launch.per_processor, columns))


def _grid_of_tiles(given: Arguments, tile: int) -> tuple[int]:
    return (given.num_windows * triton.cdiv(given.tokens, tile) * given.num_heads,)


def _run(
    kernel: Any,
    grid: tuple[int, ...],
    launch: Launch,
    given: Arguments,
    tensors: tuple[Tensor | None, ...],
    *,
    goes_through: bool = False,
) -> None:
    """Launch ``kernel``; ``goes_through`` says that a program goes through windows, so that it is told how many."""
    _, height, width, _ = given.qkv.shape
    rows, columns = given.grid
    counts = {"num_windows": given.num_windows} if goes_through else {}
    if given.tokens <= _MAX_WHOLE:
        tile = {"TOKENS": max(triton.next_power_of_2(given.tokens), _MIN_TILE)}
    else:
        tile = {"QUERIES": launch.queries, "KEYS": launch.keys}
    with torch.cuda.device_of(given.qkv):
        kernel[grid](
            *tensors,
            scale=given.scale,
            height=height,
            width=width,
            rows=rows,
            columns=columns,
            **counts,
            num_heads=given.num_heads,
            WINDOW=given.window,
            SHIFT=given.shift,
            TABLE_WINDOW=given.table_window,
            HEAD_DIM=given.head_dim,
            **tile,
            COSINE=given.cosine,
            HAS_SCALES=given.scales is not None,
            ROLLS_FIRST=given.padding == "timm",
            PADDING_IS_KEYS=given.padding_is_keys,
            PRECISION="tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee",
            num_warps=launch.warps,
            num_stages=launch.stages,
        )
