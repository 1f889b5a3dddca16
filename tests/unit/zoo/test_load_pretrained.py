"""Fine-tuning starts from what fits of a file, and reports the rest."""

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from yacs.config import CfgNode

from swin_train.models.hierarchical import HierarchicalModel
from swin_train.weights.write import write_weights
from swin_train.zoo.load import load_pretrained


def test_pretrained_weights_go_into_a_larger_window_with_a_fresh_head(
    make_model: Callable, tmp_path: Path
) -> None:
    source = make_model(seed=1, img_size=8, window_size=2)
    write_weights(tmp_path / "w.safetensors", source.state_dict(), {})
    model = make_model(seed=2, num_classes=7)
    head = model.head.weight.clone()

    report = load_pretrained(model, tmp_path / "w.safetensors")

    assert str(report) == (
        "loaded 48 tensors; resized 3 bias tables 3x3 -> 7x7 (bicubic); "
        "head of 7 classes fresh (the file has 5)"
    )
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.norm.weight, source.norm.weight)


def test_a_published_file_with_buffers_is_loaded_and_counted(
    make_model: Callable, tmp_path: Path, source: HierarchicalModel
) -> None:
    buffers = {name: t for name, t in source.named_buffers() if "stochastic_depth" not in name}
    torch.save({"model": source.state_dict() | buffers}, tmp_path / "w.pth")

    report = load_pretrained(make_model(seed=2), tmp_path / "w.pth")

    assert str(report) == "loaded 50 tensors; head of 5 classes kept; dropped 4 buffers (recomputed)"


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_training_checkpoint_of_the_authors_with_their_objects_gives_every_bit_and_says_of_every_tensor(
    make_model: Callable, tmp_path: Path, source: HierarchicalModel, is_zip: bool
) -> None:
    """As their save_checkpoint writes it: the configuration is a CfgNode. Others keep their arguments beside it."""
    buffers = {name: t for name, t in source.named_buffers() if "stochastic_depth" not in name}
    optimizer = torch.optim.AdamW(source.parameters())
    content = {
        "model": source.state_dict() | buffers,
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": {"base_values": [0.1], "metric": None},
        "max_accuracy": 81.2,
        "scaler": {"scale": 65536.0},
        "epoch": 299,
        "config": CfgNode({"MODEL": CfgNode({"NAME": "swin_tiny"}), "AMP_OPT_LEVEL": "O1"}),
        "args": argparse.Namespace(cfg="configs/swin/swin_tiny_patch4_window7_224.yaml", local_rank=0),
    }
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
    model = make_model(seed=2, num_classes=7)

    report = load_pretrained(model, tmp_path / "w.pth")

    loaded, given = model.state_dict(), source.state_dict()
    assert {digest(loaded[name]) == digest(given[name]) for name in report.kept} == {True}
    assert set(report.fresh) == {"head.weight", "head.bias"}
    assert sorted([*report.kept, *(tensor.name for tensor in report.resized), *report.fresh]) == sorted(
        loaded
    )
    assert len(report.kept) + len(report.fresh) + report.dropped.total() == len(content["model"])


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def test_positions_of_maps_that_are_not_square_keep_their_rows(make_model: Callable, tmp_path: Path) -> None:
    source = make_model(seed=1, img_size=(8, 16), ape=True)
    with torch.no_grad():  # grows down the rows only
        source.absolute_pos_embed.copy_(
            torch.arange(4.0).repeat_interleave(8)[None, :, None].expand(1, 32, 8)
        )
    write_weights(tmp_path / "w.safetensors", source.state_dict(), {"img_size": "[8, 16]"})
    model = make_model(seed=2, img_size=(16, 8), ape=True)

    report = load_pretrained(model, tmp_path / "w.safetensors")

    assert "resized 1 position embedding 4x8 -> 8x4 (bicubic)" in str(report)
    rows = model.absolute_pos_embed.view(8, 4, 8)
    torch.testing.assert_close(rows, rows[:, :1].expand(8, 4, 8))
