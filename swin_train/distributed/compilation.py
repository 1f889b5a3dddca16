"""Compiling a model by torch.compile, before it is spread over processes, and the seconds that this takes."""

import importlib.util
from typing import Any, Literal, cast

import torch
from torch import nn

from swin_train.errors import UserError

Compilation = Literal["off", "blocks", "model"]

BACKEND = "inductor"

# Blocks share their code, and torch gives up on a piece of code after eight graphs. Stages, shifts, the two modes and a
# ragged batch need more.
_MOST_GRAPHS = 256


def compile_model(model: nn.Module, how: Compilation, device: torch.device) -> None:
    """Let the forward passes of ``model``, or of its blocks, be compiled when they are first called.

    Only ``forward`` is replaced: names and hooks stay, and what shards a block runs outside of its graph. A copy made
    afterwards would compute with this model's weights, so copy first.

    Args:
        model: not yet wrapped.
        how: "blocks" compiles the patch embedding, each block and each merging, of which equal ones share a graph;
            "model" makes one graph of all.
        device: that it will run on.

    Raises:
        UserError: there is nothing here that compiles.
    """
    if how == "off":
        return
    _check_compiler(device)
    torch._dynamo.config.specialize_int = True  # else those of a sharded block would be symbols
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_GRAPHS)
    for part in [model] if how == "model" else _parts(model):
        forward = torch.compile(part.forward, fullgraph=True, backend=BACKEND)
        part.forward = forward  # type: ignore[method-assign]


def compile_seconds() -> float:
    """Seconds that this process has spent compiling so far; whoever measures speed leaves them out."""
    return torch._dynamo.utils.calculate_time_spent().get("total_wall_time", 0.0)


def _parts(model: nn.Module) -> list[nn.Module]:
    hierarchical = cast(Any, model)
    parts = [hierarchical.patch_embed]
    for stage in hierarchical.layers:
        parts += [*stage.blocks] + ([] if stage.downsample is None else [stage.downsample])
    return parts


def _check_compiler(device: torch.device) -> None:
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise UserError("TRAIN.COMPILE: the package triton is not installed; install it, or set off")
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise UserError(
            "TRAIN.COMPILE: there is no C++ compiler, which a CPU needs; install g++, or set off"
        ) from error
