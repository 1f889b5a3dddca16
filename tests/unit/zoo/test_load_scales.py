"""The windows by which Swin v2 scales its position biases are those of its training."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from swin_train.errors import UserError
from swin_train.models.swin_v2 import SwinTransformerV2
from swin_train.weights.write import write_weights
from swin_train.zoo.load import load_pretrained


@pytest.fixture
def make_v2(make_model: Callable) -> Callable[..., SwinTransformerV2]:
    return partial(make_model, family="swinv2")


def save_published(path: Path, model: SwinTransformerV2) -> Path:
    """Save a model as the authors do, with its tables of coordinates."""
    tables = {name: table for name, table in model.named_buffers() if name.endswith("coords_table")}
    sides = {name: 2 * model.layers[int(name.split(".")[1])].window - 1 for name in tables}
    tables = {name: table.view(1, sides[name], sides[name], 2) for name, table in tables.items()}
    torch.save({"model": model.state_dict() | tables}, path)
    return path


SCALES = (
    "its position biases were learned in windows of [4, 3], the model scales them by [8, 8]; "
    "set MODEL.SWINV2.PRETRAINED_WINDOW_SIZES to [4, 3]"
)


def test_a_swin_v2_in_another_window_warns_and_names_the_fix(
    make_v2: Callable, load_exact: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_published(tmp_path / "w.pth", make_v2(seed=1, img_size=12))  # windows of 4 and 3

    load_pretrained(make_v2(seed=2, img_size=32, window_size=8), path)
    with pytest.raises(UserError) as error:
        load_exact(make_v2(seed=2, img_size=32, window_size=8), path)

    assert caplog.messages == [f"{path}: {SCALES}"]
    assert str(error.value) == (
        f"{path}: was trained in windows of 4, the model has 8; set MODEL.SWINV2.WINDOW_SIZE to 4, or fine-tune "
        f"with --pretrained. For the windows of the model: {SCALES}"
    )


def test_a_swin_v2_is_evaluated_in_other_windows_where_its_scales_are_kept(
    make_v2: Callable, load_exact: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_published(tmp_path / "w.pth", make_v2(seed=1, img_size=12))

    load_exact(make_v2(seed=2, img_size=32, window_size=8, pretrained_window_sizes=(4, 3)), path)

    assert caplog.messages == [f"{path}: used in windows of [8, 8], trained in [4, 3]"]


def test_a_swin_v2_scaled_otherwise_in_its_own_windows_is_refused(
    make_v2: Callable, load_exact: Callable, tmp_path: Path
) -> None:
    path = save_published(tmp_path / "w.pth", make_v2(seed=1))

    with pytest.raises(
        UserError, match=r"w.pth: its position biases were learned in windows of \[4, 4\], the"
    ):
        load_exact(make_v2(seed=2, pretrained_window_sizes=(6, 6)), path)


def test_a_swin_v2_that_knows_its_pre_training_s_windows_is_loaded_without_a_word(
    make_v2: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture, load: Callable
) -> None:
    source = make_v2(seed=1, img_size=12)
    path = save_published(tmp_path / "w.pth", source)

    load_pretrained(make_v2(seed=2, img_size=32, window_size=8, pretrained_window_sizes=(4, 3)), path)
    load(make_v2(seed=2, img_size=12), path)

    assert caplog.messages == []


def test_a_swin_v2_that_does_not_tell_its_windows_is_evaluated_with_a_warning(
    make_v2: Callable, load_exact: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, make_v2(seed=1, img_size=12).state_dict(), {})

    load_exact(make_v2(seed=2, img_size=12), path)
    load_pretrained(make_v2(seed=2, img_size=12), path)

    assert caplog.messages == [f"{path}: does not tell the windows that it was trained in; taken for [4, 3]"]


@pytest.mark.parametrize("sizes", [{}, {"pretrained_window_sizes": (4, 4)}])
@pytest.mark.parametrize("img_size", [8, (6, 20), 4])
def test_a_swin_v2_on_maps_that_bound_its_windows_keeps_its_scales(
    make_v2: Callable,
    load_exact: Callable,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    img_size: int | tuple[int, int],
    sizes: dict,
) -> None:
    source = make_v2(seed=1, img_size=16).eval()
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter)  # norms that start at zero would hide everything
    path = save_published(tmp_path / "w.pth", source)
    model = make_v2(seed=2, img_size=img_size, **sizes).eval()

    load_exact(model, path)

    images = torch.randn(2, 3, *model.img_size)
    torch.testing.assert_close(model(images), source(images))  # products of other sizes round otherwise
    assert model.pretrained_window_sizes == (4, 4)
    assert len(caplog.messages) == 1
    assert "trained in [4, 4]" in caplog.messages[0]
