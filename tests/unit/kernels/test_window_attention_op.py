"""Window attention as one op: against the contract, and what compilers, exporters and counters make of it."""

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from swin_train.engine.attention import say_attention
from swin_train.engine.precision import Precision
from swin_train.errors import UserError
from swin_train.kernels.relative_position import gather_bias, relative_position_index, sum_by_offset
from swin_train.kernels.window_attention import (
    attention_mask,
    choice,
    choose,
    fused_window_attention,
    window_attention,
)
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_v2 import SwinTransformerV2

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
FAMILIES = {"swin": SwinTransformer, "swinv2": SwinTransformerV2}


@pytest.fixture
def on_cpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The op can be asked for here: on a CPU its steps are written out."""
    monkeypatch.setattr(choice, "triton_obstacle", lambda *_: None)


def make_tensors(
    size: tuple[int, int], window: int, *, num_heads: int = 2, dtype: torch.dtype
) -> dict[str, Tensor]:
    """q, k and v of 8 channels a head; a table for a window that is larger by one; factors; the padded token."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    return {
        "qkv": draw(2, *size, 3 * 8 * num_heads),
        "table": draw((2 * window + 1) ** 2, num_heads),
        "scale": draw(num_heads, 1, 1).exp(),
        "pad_token": draw(3 * 8 * num_heads),
    }


def reference(tensors: dict[str, Tensor], window: int, shift: int, padding: str, cosine: bool) -> Tensor:
    qkv, table = tensors["qkv"], tensors["table"]
    return window_attention(
        qkv,
        gather_bias(table, relative_position_index(window, window + 1)),
        num_heads=table.shape[1],
        window=window,
        shift=shift,
        scale=tensors["scale"],
        cosine=cosine,
        padding=padding,
        pad_token=tensors["pad_token"],
        mask=attention_mask(*qkv.shape[1:3], window, shift, padding),
    )


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("padding", ["reference", "timm", "masked"])
@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(6, 9), (7, 10)])  # in whole windows; padded
def test_the_op_has_the_outputs_and_gradients_of_the_reference(
    size: tuple[int, int], shift: int, padding: str, cosine: bool
) -> None:
    given = make_tensors(size, 3, dtype=torch.float64)
    results = []
    for attend in (reference, _fused):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items()}
        out = attend(leaves, 3, shift, padding, cosine)
        results.append([out, *torch.autograd.grad(out.sin().sum(), leaves.values(), materialize_grads=True)])

    torch.testing.assert_close(results[1], results[0])  # float64's 1e-7: another order of sums


def _fused(tensors: dict[str, Tensor], window: int, shift: int, padding: str, cosine: bool) -> Tensor:
    return fused_window_attention(
        tensors["qkv"],
        tensors["table"],
        num_heads=tensors["table"].shape[1],
        window=window,
        shift=shift,
        scale=tensors["scale"],
        cosine=cosine,
        padding=padding,
        pad_token=tensors["pad_token"],
    )


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("padding", ["reference", "masked"])
def test_torch_finds_nothing_wrong_with_the_op(padding: str, cosine: bool) -> None:
    given = make_tensors((7, 10), 3, dtype=torch.float32)
    leaves = [given[name].requires_grad_() for name in ("qkv", "table", "pad_token")]
    scales = given["scale"].flatten().requires_grad_() if cosine else None
    arguments = (*leaves[:2], scales, leaves[2], 2, 3, 1, 0.3, cosine, padding)

    torch.library.opcheck(torch.ops.swin_train.window_attention.default, arguments)
    out, log_sums = torch.ops.swin_train.window_attention(*arguments)
    backward = (out, *arguments[:4], out, log_sums, *arguments[4:])
    detached = [x.detach() if isinstance(x, Tensor) else x for x in backward]
    torch.library.opcheck(torch.ops.swin_train.window_attention_backward.default, detached)


def test_nothing_is_cast_in_mixed_precision_but_by_the_projection() -> None:
    given = make_tensors((6, 9), 3, dtype=torch.float32)
    given["qkv"] = given["qkv"].bfloat16()
    exact = reference({name: tensor.double() for name, tensor in given.items()}, 3, 1, "reference", True)

    with torch.autocast("cpu", torch.bfloat16):
        leaves = {name: tensor.requires_grad_() for name, tensor in given.items()}
        out = _fused(leaves, 3, 1, "reference", True)
    gradients = torch.autograd.grad(out.float().sum(), leaves.values(), materialize_grads=True)

    assert out.dtype == torch.bfloat16
    assert [g.dtype for g in gradients] == [torch.bfloat16, torch.float32, torch.float32, torch.float32]
    torch.testing.assert_close(out.double(), exact, rtol=2**-8, atol=2**-8)  # one rounding to 8 bits


def test_adding_up_by_offset_is_the_adjoint_of_spreading_a_table() -> None:
    generator = torch.Generator().manual_seed(0)
    for window, table_window in ((1, 1), (2, 2), (5, 5), (3, 5)):
        index = relative_position_index(window, table_window)
        table = torch.randn((2 * table_window - 1) ** 2, 4, generator=generator, dtype=torch.float64)
        pairs = torch.randn(4, window**2, window**2, generator=generator, dtype=torch.float64)

        found = (sum_by_offset(pairs, window, table_window) * table).sum()

        torch.testing.assert_close(found, (pairs * gather_bias(table, index)).sum())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 5}, "48 channels do not hold q, k, v of 5 heads"),
        ({"shift": 3}, r"shift 3 is outside 0\.\.2"),
        (
            {"table": torch.zeros(25, 3)},
            r"table has shape \(25, 3\), expected .* 2\] of a window with a side of 3",
        ),
        ({"table": torch.zeros(9, 2)}, r"table has shape \(9, 2\)"),
        ({"table": torch.zeros(36, 2)}, r"table has shape \(36, 2\)"),
        ({"table": torch.zeros(26, 2)}, r"table has shape \(26, 2\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    given = {"qkv": torch.zeros(1, 6, 6, 48), "table": torch.zeros(25, 2)}

    with pytest.raises(ValueError, match=message):
        fused_window_attention(**given | {"num_heads": 2, "window": 3, "shift": 0, "scale": 0.3} | change)


def make_model(family: str, attention: str, **options: Any) -> HierarchicalModel:
    """Two stages; the first one's map is padded and the second one's bounds the window."""
    sizes = {"embed_dim": 16, "depths": (2, 2), "num_heads": (1, 2), "window_size": 4, "num_classes": 5}
    torch.manual_seed(0)
    model = FAMILIES[family](26, 4, attention=attention, drop_path_rate=0.0, **sizes, **options)
    for parameter in model.parameters():  # Swin v2's branches start as nothing
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 26, 30, generator=torch.Generator().manual_seed(1))


def outputs_and_gradients(model: nn.Module, images: Tensor) -> list[Tensor]:
    out = model(images)
    return [out, *torch.autograd.grad(out.square().sum(), list(model.parameters()), materialize_grads=True)]


@pytest.mark.usefixtures("on_cpu_too")
@pytest.mark.parametrize("family", FAMILIES)
class TestInAModel:
    def test_it_gives_what_the_reference_gives(self, family: str, images: Tensor) -> None:
        expected, found = (
            outputs_and_gradients(make_model(family, attention).double(), images.double())
            for attention in ("reference", "triton")
        )

        torch.testing.assert_close(found, expected)

    def test_it_is_compiled_as_a_part_of_one_graph(self, family: str, images: Tensor) -> None:
        model = make_model(family, "triton").double()
        graphs: list[torch.fx.GraphModule] = []

        def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable:
            graphs.append(graph)
            return torch._dynamo.backends.debugging.aot_eager(graph, inputs)

        found = outputs_and_gradients(torch.compile(model, fullgraph=True, backend=backend), images.double())

        torch.testing.assert_close(found, outputs_and_gradients(model, images.double()), rtol=0, atol=0)
        targets = [str(node.target) for graph in graphs for node in graph.graph.nodes]
        assert sum("swin_train.window_attention" in target for target in targets) == 4

    def test_it_is_exported_as_one_op_for_any_batch(self, family: str, images: Tensor) -> None:
        model = make_model(family, "triton").eval()
        batch = torch.export.Dim("batch", min=1, max=64)

        with torch.no_grad():
            program = torch.export.export(model, (images,), dynamic_shapes=({0: batch},))
            found = program.module()(torch.cat([images] * 2))
            expected = model(torch.cat([images] * 2))

        targets = [str(node.target) for node in program.graph.nodes]
        assert sum("swin_train.window_attention" in target for target in targets) == 4
        torch.testing.assert_close(found, expected, rtol=0, atol=0)

    def test_blocks_are_computed_again_with_the_same_bits(self, family: str, images: Tensor) -> None:
        plain = make_model(family, "triton").double().train()
        again = make_model(family, "triton", checkpoint_stages=(0, 1)).double().train()

        torch.testing.assert_close(
            outputs_and_gradients(again, images.double()),
            outputs_and_gradients(plain, images.double()),
            rtol=0,
            atol=0,
        )

    def test_the_products_are_counted(self, family: str, images: Tensor) -> None:
        counts = []
        for attention in ("reference", "triton"):
            with FlopCounterMode(display=False) as counter:
                make_model(family, attention)(images)
            counts.append(counter.get_total_flops())

        assert counts[0] == counts[1]

    def test_a_copy_is_its_own(self, family: str, images: Tensor) -> None:
        model = make_model(family, "triton").eval()
        with torch.no_grad():
            before = model(images)
            other = copy.deepcopy(model)
            for parameter in other.parameters():
                parameter.add_(0.1)

            assert not torch.equal(other(images), before)
            assert torch.equal(model(images), before)


@pytest.mark.usefixtures("on_cpu_too")
def test_the_backward_pass_counts_five_products_where_the_forward_pass_has_two() -> None:
    qkv = torch.randn(1, 8, 8, 48, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        out = fused_window_attention(qkv, torch.zeros(49, 2), num_heads=2, window=4, shift=0, scale=0.3)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()

    assert forward.get_total_flops() == 2 * 2 * 64 * 16 * 16
    assert backward.get_total_flops() == 5 * 2 * 64 * 16 * 16


@pytest.mark.usefixtures("on_cpu_too")
def test_swin_v2_computes_its_table_once_in_evaluation(images: Tensor) -> None:
    model = make_model("swinv2", "triton").eval()
    computed: list[int] = []
    model.layers[0].blocks[0].mixer.cpb_mlp.register_forward_hook(lambda *_: computed.append(1))

    with torch.no_grad():
        first = model(images)
        assert torch.equal(model(images), first)

    assert len(computed) == 1


class TestChoice:
    @pytest.fixture
    def gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A GPU that has everything."""
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA H200")
        monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: object())

    @pytest.mark.parametrize("attention", ["sdpa", "reference"])
    def test_what_is_asked_for_is_taken(self, attention: str) -> None:
        assert choose(attention, CPU, torch.float32, head_dim=32) == (attention, "as asked for")

    def test_a_cpu_spells_it_out(self) -> None:
        assert choose("auto", CPU, torch.float32, head_dim=32) == ("reference", "the fastest on cpu")

    @pytest.mark.usefixtures("gpu")
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_a_gpu_takes_the_fused_kernel(self, dtype: torch.dtype) -> None:
        assert choose("auto", GPU, dtype, head_dim=32) == ("triton", "one fused kernel, the fastest here")
        assert choose("triton", GPU, torch.float32, head_dim=32) == ("triton", "as asked for")

    @pytest.mark.usefixtures("gpu")
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"dtype": torch.float64}, "it computes in bfloat16, float16 and float32, not in torch.float64"),
            ({"head_dim": 24}, "it takes 16, 32 or 64 channels a head, not 24"),
            ({"dropout": 0.1}, "it has no dropout of attention weights"),
        ],
    )
    def test_where_it_cannot_run_sdpa_is_taken_and_it_cannot_be_asked_for(
        self, changes: dict[str, Any], reason: str
    ) -> None:
        facts = {"device": GPU, "dtype": torch.bfloat16, "head_dim": 32, "dropout": 0.0} | changes

        assert choose("auto", **facts) == ("sdpa", f"not triton: {reason}")
        with pytest.raises(
            UserError, match=f"MODEL.ATTENTION triton cannot run: {reason}; use auto, sdpa or ref"
        ):
            choose("triton", **facts)

    @pytest.mark.usefixtures("gpu")
    def test_float32_takes_sdpa(self) -> None:
        found = choose("auto", GPU, torch.float32, head_dim=32)
        assert found == ("sdpa", "not triton: products of float32 take no tensor cores there")

    @pytest.mark.usefixtures("gpu")
    def test_an_old_gpu_and_a_missing_package_are_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 0))
            assert (
                "compute capability 8.0 or more, and this is"
                in choose("auto", GPU, torch.float16, head_dim=32).reason
            )
        monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
        assert (
            choose("auto", GPU, torch.float16, head_dim=32).reason
            == "not triton: the package triton is not installed"
        )

    def test_the_fused_kernel_on_a_cpu_is_refused_before_anything_runs(self) -> None:
        model = make_model("swin", "triton")

        with pytest.raises(
            UserError, match="triton cannot run: it needs an NVIDIA GPU, and this is cpu; use auto"
        ):
            say_attention(model, CPU, Precision("cpu", None))

    def test_one_line_says_what_runs_and_why(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            say_attention(make_model("swinv2", "auto"), CPU, Precision("cpu", None))

        assert caplog.messages == ["window attention: reference (the fastest on cpu)"]

    @pytest.mark.usefixtures("gpu")
    def test_stages_that_differ_are_told_apart(self, caplog: pytest.LogCaptureFixture) -> None:
        model = SwinTransformer(32, 4, window_size=4, embed_dim=16, depths=(1, 2), num_heads=(1, 4))

        with caplog.at_level(logging.INFO):
            say_attention(model, GPU, Precision("cuda", torch.bfloat16))

        assert caplog.messages == [
            "window attention: stage 1: triton (one fused kernel, the fastest here); "
            "stage 2: sdpa (not triton: it takes 16, 32 or 64 channels a head, not 8)"
        ]
