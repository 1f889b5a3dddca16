from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swin_train.errors import UserError
from swin_train.models.swin import SwinTransformer
from swin_train.weights.write import write_weights
from swin_train.zoo import load_exact, load_pretrained


def make_model(seed: int, **changes: object) -> SwinTransformer:
    torch.manual_seed(seed)
    sizes = {"embed_dim": 8, "depths": (2,), "num_heads": (2,), "window_size": 2, "num_classes": 5}
    return SwinTransformer(**{"img_size": 8, "patch_size": 2, **sizes, **changes})


@pytest.fixture
def source() -> SwinTransformer:
    return make_model(seed=1)


@pytest.fixture
def path(tmp_path: Path, source: SwinTransformer) -> Path:
    path = tmp_path / "w.safetensors"
    write_weights(path, source.state_dict(), {"epoch": "3"})
    return path


def test_exact_loading_makes_the_model_the_file_s(source: SwinTransformer, path: Path) -> None:
    model = make_model(seed=2)

    weights = load_exact(model, path)

    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(model.eval()(images), source.eval()(images))
    assert weights.metadata == {"epoch": "3"}


def test_exact_loading_refuses_another_architecture_naming_both(path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_exact(make_model(seed=2, embed_dim=16, depths=(1,)), path)

    message = str(error.value)
    assert f"{path}: is not a checkpoint of this model" in message
    assert "The file: embed_dim 8, depths [2], num_heads [2], patch_size 2, in_chans 3" in message
    assert "The model: embed_dim 16, depths [1], num_heads [2], patch_size 2, in_chans 3" in message
    assert "Unknown: layers.0.blocks.1.attn.proj.bias" in message


def test_exact_loading_refuses_other_classes(path: Path) -> None:
    with pytest.raises(UserError, match=r"Misshapen: head.bias \(5,\) instead of \(7,\), head.weight"):
        load_exact(make_model(seed=2, num_classes=7), path)


def test_pretrained_weights_go_into_a_larger_window_with_a_fresh_head(
    source: SwinTransformer, path: Path
) -> None:
    model = make_model(seed=2, img_size=16, window_size=4, num_classes=7)
    head = model.head.weight.clone()

    report = load_pretrained(model, path)

    assert str(report) == (
        "loaded 32 tensors; resized 2 bias tables 3x3 -> 7x7 (bicubic); "
        "head of 7 classes fresh (the file has 5)"
    )
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.norm.weight, source.norm.weight)


def test_a_published_file_with_buffers_is_loaded_and_counted(tmp_path: Path, source: SwinTransformer) -> None:
    buffers = {name: t for name, t in source.named_buffers() if t is not None}
    torch.save({"model": source.state_dict() | buffers}, tmp_path / "w.pth")

    report = load_pretrained(make_model(seed=2), tmp_path / "w.pth")

    assert str(report) == "loaded 34 tensors; head of 5 classes kept; dropped 3 buffers (recomputed)"


TABLE = "layers.0.blocks.1.attn.relative_position_bias_table"


@pytest.mark.parametrize("load", [load_pretrained, load_exact])
@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("head.weight", torch.tensor(1.0)),
        ("head.weight", torch.zeros(5, 8, device="meta")),
        ("head.weight", torch.zeros(5, 8).to_sparse()),
        ("head.weight", torch.zeros(5, 8, dtype=torch.int8)),
        (TABLE, torch.zeros(0, 2)),
        (TABLE, torch.tensor(1.0)),
        (TABLE, torch.zeros(1, 9, 2)),
    ],
)
def test_odd_tensors_are_refused_naming_file_and_tensor_and_change_nothing(
    tmp_path: Path, source: SwinTransformer, load: Callable, name: str, tensor: torch.Tensor
) -> None:
    path = tmp_path / "w.pth"
    torch.save({"model": {**source.state_dict(), name: tensor}}, path)
    model = make_model(seed=2)
    before = {name: t.clone() for name, t in model.state_dict().items()}

    with pytest.raises(UserError, match=rf"{path}: .*{name}"):
        load(model, path)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
