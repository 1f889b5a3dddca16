import sys
import types
from collections.abc import Callable

import pytest
import torch
from torch import nn

from swin_train.models.layers.norm import layer_norm
from swin_train.models.layers.patch import PatchEmbed, PatchMerging
from swin_train.models.layers.stage import Stage
from swin_train.models.swin import SwinTransformer


def test_patch_merging_joins_down_the_columns_first() -> None:
    merging = PatchMerging(1, nn.LayerNorm)
    merging.norm = nn.Identity()
    merging.reduction = nn.Identity()
    x = torch.arange(4.0).view(1, 2, 2, 1)  # 0 1 / 2 3

    assert merging(x).flatten().tolist() == [0, 2, 1, 3]


def test_patch_embed_without_norm_has_no_norm_parameters() -> None:
    embed = PatchEmbed(2, 3, 8)

    assert set(embed.state_dict()) == {"proj.weight", "proj.bias"}
    assert embed(torch.zeros(1, 3, 4, 6)).shape == (1, 2, 3, 8)


def test_windows_and_shifts_are_the_reference_s() -> None:
    def shifts(model: SwinTransformer) -> list[list[tuple[int, int]]]:
        return [[(b.attn.window, b.attn.shift) for b in stage.blocks] for stage in model.layers]

    with torch.device("meta"):
        at_224, at_256 = SwinTransformer(), SwinTransformer(256, window_size=16)

    assert shifts(at_224) == [[(7, 0), (7, 3)], [(7, 0), (7, 3)], [(7, 0), (7, 3)] * 3, [(7, 0), (7, 0)]]
    assert shifts(at_256) == [[(16, 0), (16, 8)], [(16, 0), (16, 8)], [(16, 0)] * 6, [(8, 0), (8, 0)]]


def test_checkpointing_is_left_out_in_evaluation(
    make_model: Callable, make_images: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(checkpoint_stages=(0, 1)).eval()
    monkeypatch.setattr("swin_train.models.layers.stage.checkpoint", None)

    assert isinstance(model.layers[0], Stage)
    model(make_images())


def test_layer_norm_is_torch_s_unless_fused_is_asked_for() -> None:
    assert layer_norm(fused=False) is nn.LayerNorm


def test_fused_layer_norm_without_apex_falls_back_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "apex", None)

    assert layer_norm(fused=True) is nn.LayerNorm
    assert "NVIDIA's apex is not installed; torch's LayerNorm is used instead" in caplog.text


def test_fused_layer_norm_is_apex_s_where_installed(
    make_model: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FusedLayerNorm(nn.LayerNorm):
        pass

    module = types.ModuleType("apex.normalization")
    module.FusedLayerNorm = FusedLayerNorm
    monkeypatch.setitem(sys.modules, "apex", types.ModuleType("apex"))
    monkeypatch.setitem(sys.modules, "apex.normalization", module)

    model = make_model(depths=(1,), num_heads=(2,), norm_layer=layer_norm(fused=True))

    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 4
    assert all(isinstance(norm, FusedLayerNorm) for norm in norms)
