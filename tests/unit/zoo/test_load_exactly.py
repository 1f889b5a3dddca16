"""A model becomes what a file holds, or says why it cannot."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swin_train.errors import UserError
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec
from swin_train.weights.write import write_weights
from swin_train.zoo.load import load_pretrained


def test_exact_loading_makes_the_model_the_file_s(
    make_model: Callable, load_exact: Callable, source: HierarchicalModel, path: Path
) -> None:
    model = make_model(seed=2)

    weights = load_exact(model, path)

    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(model.eval()(images), source.eval()(images))
    assert weights.metadata == {"epoch": "3"}


def test_exact_loading_refuses_another_architecture_naming_both(
    make_model: Callable, load_exact: Callable, path: Path
) -> None:
    with pytest.raises(UserError) as error:
        load_exact(make_model(seed=2, embed_dim=16, depths=(1, 1)), path)

    assert str(error.value) == (
        f"{path}: is of another architecture: has embed_dim 8, the model 16; has 2 blocks in stage 0, the model 1. "
        "The file: Swin v1, embed_dim 8, depths [2, 1], num_heads [2, 4], patch_size 2, in_chans 3. "
        "The model: Swin v1, embed_dim 16, depths [1, 1], num_heads [2, 4], patch_size 2, in_chans 3"
    )


def test_exact_loading_refuses_other_classes(make_model: Callable, load_exact: Callable, path: Path) -> None:
    with pytest.raises(UserError, match=r"w.safetensors: has 5 classes, the model 7; "):
        load_exact(make_model(seed=2, num_classes=7), path)


def test_errors_say_the_layout_too(make_model: Callable, load_exact: Callable, tmp_path: Path) -> None:
    source = make_model(seed=1)
    spec = infer_spec(source.state_dict(), Geometry())
    write_weights(tmp_path / "w.safetensors", LAYOUTS["timm"].from_official(source.state_dict(), spec), {})

    with pytest.raises(UserError, match=r"w.safetensors \(timm layout\): is of another architecture"):
        load_exact(make_model(seed=2, embed_dim=16), tmp_path / "w.safetensors")


def test_evaluation_on_larger_maps_interpolates_what_they_bound_no_more_and_warns(
    make_model: Callable, load_exact: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.safetensors"
    source = make_model(seed=1, img_size=12, ape=True)  # maps of 6 and 3, windows of 4 and 3
    write_weights(path, source.state_dict(), {})
    model = make_model(seed=2, ape=True)

    load_exact(model, path)

    assert caplog.messages == [
        f"{path}: resized 1 position embedding 6x6 -> 8x8 (bicubic), 1 bias table 5x5 -> 7x7 (bicubic) "
        "for maps of another size"
    ]
    expected = make_model(seed=3, ape=True)
    load_pretrained(expected, path)
    assert all(torch.equal(t, expected.state_dict()[name]) for name, t in model.state_dict().items())


@pytest.mark.parametrize("size", [12, 8, (6, 20), 4])  # which bound one or both windows
def test_evaluation_on_smaller_maps_is_what_the_trained_model_does_itself(
    make_model: Callable, load_exact: Callable, tmp_path: Path, size: int | tuple[int, int]
) -> None:
    source = make_model(seed=1, ape=True).eval()
    write_weights(tmp_path / "w.safetensors", source.state_dict(), {})
    model = make_model(seed=2, img_size=size, ape=True).eval()

    load_exact(model, tmp_path / "w.safetensors")

    images = torch.randn(2, 3, *model.img_size)
    assert torch.equal(model(images), source(images))


def test_evaluation_with_another_window_is_refused(
    make_model: Callable, load_exact: Callable, tmp_path: Path
) -> None:
    write_weights(tmp_path / "w.safetensors", make_model(seed=1, img_size=12).state_dict(), {})

    with pytest.raises(
        UserError, match=r"trained in windows of 4, the model has 5; set MODEL.SWIN.WINDOW_SIZE"
    ):
        load_exact(make_model(seed=2, img_size=12, window_size=5), tmp_path / "w.safetensors")
