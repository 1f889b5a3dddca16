"""Compiled models compute what they computed before; equal blocks share a graph."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.debugging import aot_eager

from swin_train.config import load_config
from swin_train.distributed import compilation
from swin_train.distributed.compilation import compile_model, compile_seconds
from swin_train.errors import UserError
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_mlp import SwinMlp
from swin_train.models.swin_v2 import SwinTransformerV2

CPU = torch.device("cpu")
FAMILIES = [SwinTransformer, SwinTransformerV2, SwinMlp]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The graphs that are made from now on; they run by PyTorch's own operations, so with the same bits."""
    made: list[object] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable:
        made.append(graph)
        return aot_eager(graph, inputs)

    monkeypatch.setattr(compilation, "BACKEND", backend)
    torch._dynamo.reset()
    return made


def make_model(family: Callable, *, depth: int = 2, **options: Any) -> HierarchicalModel:
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "depths": (2, depth), "num_heads": (1, 2), "window_size": 4, "num_classes": 5}
    return family(32, 4, drop_path_rate=0.5, **sizes, **options).train()


def step(model: nn.Module, batch: int = 3) -> list[Tensor]:
    """The output and all gradients of a step of training."""
    images = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    out = model(images, torch.arange(batch))
    out.square().sum().backward()
    return [out.detach(), *(p.grad.clone() for p in model.parameters())]


# Graphs of older torch sum some gradients in another order.
BITS = {"rtol": 0, "atol": 0} if torch.__version__ >= "2.14" else {"rtol": 1e-4, "atol": 1e-6}


def assert_same_bits(found: list[Tensor], expected: list[Tensor]) -> None:
    torch.testing.assert_close(found, expected, **BITS)


@pytest.mark.parametrize(
    ("family", "how", "options"),
    [
        *((family, "blocks", {}) for family in FAMILIES),
        (SwinTransformerV2, "model", {}),
        (SwinTransformer, "blocks", {"checkpoint_stages": (0, 1)}),
        (SwinTransformer, "model", {"checkpoint_stages": (0, 1)}),
    ],
    ids=str,
)
def test_a_compiled_model_computes_what_it_did(
    graphs: list[object], family: Callable, how: str, options: dict[str, Any]
) -> None:
    model = make_model(family, **options)
    plain = copy.deepcopy(model)

    compile_model(model, how, CPU)

    for batch in (3, 2):  # a ragged batch
        assert_same_bits(step(model, batch), step(plain, batch))
    with torch.inference_mode():
        images = torch.randn(2, 3, 32, 32)
        assert_same_bits([model.eval()(images)], [plain.eval()(images)])
    assert graphs
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_equal_blocks_share_a_graph_whatever_is_dropped_of_them(graphs: list[object]) -> None:
    counts = []
    for depth in (4, 8):
        torch._dynamo.reset()
        graphs.clear()
        model = make_model(SwinTransformer, depth=depth)
        compile_model(model, "blocks", CPU)
        step(model)
        counts.append(len(graphs))

    # patch embedding, merging; the first block, which is never dropped, and the second, shifted; the second
    # stage's, whose map is one window, so that none is shifted
    assert counts == [5, 5]


def test_one_model_is_one_graph(graphs: list[object]) -> None:
    model = make_model(SwinTransformer)
    compile_model(model, "model", CPU)

    step(model)
    step(model)

    assert len(graphs) == 1


def test_off_leaves_all_as_it_was(graphs: list[object]) -> None:
    model = make_model(SwinTransformer)

    compile_model(model, "off", CPU)
    step(model)

    assert not graphs


def test_the_seconds_are_counted(graphs: list[object]) -> None:
    model = make_model(SwinTransformer)
    compile_model(model, "blocks", CPU)
    before = compile_seconds()

    step(model)
    compiled = compile_seconds()
    step(model)

    assert compiled > before
    assert compile_seconds() == compiled
    assert graphs


def test_a_missing_compiler_is_said() -> None:
    from torch._inductor import config

    message = r"TRAIN\.COMPILE: there is no C\+\+ compiler, which a CPU needs; install g\+\+, or set off"

    with config.patch("cpp.cxx", ("no-such-compiler",)), pytest.raises(UserError, match=message):
        compile_model(make_model(SwinTransformer), "blocks", CPU)


def test_a_missing_triton_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation.importlib.util, "find_spec", lambda name: None)
    message = r"TRAIN\.COMPILE: the package triton is not installed; install it, or set off"

    with pytest.raises(UserError, match=message):
        compile_model(make_model(SwinTransformer), "blocks", torch.device("cuda"))


def test_one_graph_of_blocks_that_are_spread_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"one graph cannot be made of blocks that are spread over processes: take blocks, or"
    ):
        load_config(None, ["TRAIN.COMPILE", "model", "DIST.STRATEGY", "fsdp"])
    load_config(None, ["TRAIN.COMPILE", "blocks", "DIST.STRATEGY", "fsdp"])


@pytest.mark.long
@pytest.mark.parametrize("how", ["blocks", "model"])
def test_with_torch_s_own_backend_too(how: str) -> None:
    """Some minutes of a C++ compiler."""
    torch._dynamo.reset()
    model = make_model(SwinTransformer)
    plain = copy.deepcopy(model)
    compile_model(model, how, CPU)

    torch.testing.assert_close(step(model), step(plain), rtol=1e-4, atol=1e-5)  # sums in another order
