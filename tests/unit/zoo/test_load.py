from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swin_train.errors import UserError
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.models.swin import SwinTransformer
from swin_train.models.swin_mlp import SwinMlp
from swin_train.models.swin_v2 import SwinTransformerV2
from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec
from swin_train.weights.read import Weights, read_weights
from swin_train.weights.write import write_weights
from swin_train.zoo.load import fit_exactly, geometry_of, load_pretrained


def make_model(seed: int, **changes: object) -> SwinTransformer:
    torch.manual_seed(seed)
    sizes = {"embed_dim": 8, "depths": (2,), "num_heads": (2,), "window_size": 2, "num_classes": 5}
    return SwinTransformer(**{"img_size": 8, "patch_size": 2, **sizes, **changes})


def load_exact(model: HierarchicalModel, path: Path) -> Weights:
    weights = read_weights(path)
    fit_exactly(model, weights)
    return weights


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

    assert str(error.value) == (
        f"{path}: is of another architecture: has embed_dim 8, the model 16; has 2 blocks in stage 0, the model 1. "
        "The file: Swin v1, embed_dim 8, depths [2], num_heads [2], patch_size 2, in_chans 3. "
        "The model: Swin v1, embed_dim 16, depths [1], num_heads [2], patch_size 2, in_chans 3"
    )


def test_exact_loading_refuses_other_classes(path: Path) -> None:
    with pytest.raises(UserError, match=r"w.safetensors: has 5 classes, the model 7; "):
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


TWO_STAGES = {"depths": (2, 1), "num_heads": (2, 4), "window_size": 4}


def make_v2(seed: int, img_size: int, window_size: int, **changes: object) -> SwinTransformerV2:
    torch.manual_seed(seed)
    sizes = {"embed_dim": 8, "depths": (2, 1), "num_heads": (2, 4), "num_classes": 5, "patch_size": 2}
    return SwinTransformerV2(img_size, **sizes, window_size=window_size, **changes)


def published_tables(model: SwinTransformerV2) -> dict[str, torch.Tensor]:
    """The tables of coordinates, as published files hold them."""
    tables = {name: table for name, table in model.named_buffers() if name.endswith("coords_table")}
    sides = {name: 2 * model.layers[int(name.split(".")[1])].window - 1 for name in tables}
    return {name: table.view(1, sides[name], sides[name], 2) for name, table in tables.items()}


def make_mlp(img_size: int) -> SwinMlp:
    sizes = {"embed_dim": 8, "depths": (2, 1), "num_heads": (2, 4), "num_classes": 5, "patch_size": 2}
    return SwinMlp(img_size, **sizes, window_size=4)


@pytest.mark.parametrize("layout", ["timm", "torchvision", "huggingface"])
def test_other_layouts_are_loaded_and_said_aloud(tmp_path: Path, layout: str) -> None:
    source = make_model(seed=1, img_size=16, **TWO_STAGES)
    facts = infer_spec(source.state_dict(), Geometry())
    write_weights(tmp_path / "w.safetensors", LAYOUTS[layout].from_official(source.state_dict(), facts), {})
    exact, adapted = (make_model(seed=2, img_size=16, **TWO_STAGES) for _ in range(2))

    weights = load_exact(exact, tmp_path / "w.safetensors")
    report = load_pretrained(adapted, tmp_path / "w.safetensors")

    assert weights.layout == layout
    assert str(report).startswith(
        f"loaded {len(source.state_dict())} tensors ({layout} layout); head of 5 classes"
    )
    for model in (exact, adapted):
        assert all(torch.equal(t, source.state_dict()[name]) for name, t in model.state_dict().items())


def test_errors_say_the_layout_too(tmp_path: Path) -> None:
    source = make_model(seed=1, img_size=16, **TWO_STAGES)
    facts = infer_spec(source.state_dict(), Geometry())
    write_weights(tmp_path / "w.safetensors", LAYOUTS["timm"].from_official(source.state_dict(), facts), {})

    with pytest.raises(UserError, match=r"w.safetensors \(timm layout\): is of another architecture"):
        load_exact(make_model(seed=2), tmp_path / "w.safetensors")


def test_evaluation_on_larger_maps_interpolates_what_they_bound_no_more_and_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.safetensors"
    source = make_model(seed=1, img_size=12, ape=True, **TWO_STAGES)  # maps of 6 and 3, windows of 4 and 3
    write_weights(path, source.state_dict(), {})
    model = make_model(seed=2, img_size=16, ape=True, **TWO_STAGES)

    load_exact(model, path)

    assert caplog.messages == [
        f"{path}: resized 1 position embedding 6x6 -> 8x8 (bicubic), 1 bias table 5x5 -> 7x7 (bicubic) "
        "for maps of another size"
    ]
    expected = make_model(seed=3, img_size=16, ape=True, **TWO_STAGES)
    load_pretrained(expected, path)
    assert all(torch.equal(t, expected.state_dict()[name]) for name, t in model.state_dict().items())


@pytest.mark.parametrize("size", [12, 8, (6, 20), 4])  # which bound one or both windows
def test_evaluation_on_smaller_maps_is_what_the_trained_model_does_itself(
    tmp_path: Path, size: int | tuple[int, int]
) -> None:
    source = make_model(seed=1, img_size=16, ape=True, **TWO_STAGES).eval()
    write_weights(tmp_path / "w.safetensors", source.state_dict(), {})
    model = make_model(seed=2, img_size=size, ape=True, **TWO_STAGES).eval()

    load_exact(model, tmp_path / "w.safetensors")

    images = torch.randn(2, 3, *model.img_size)
    assert torch.equal(model(images), source(images))


def test_evaluation_with_another_window_is_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", make_model(seed=1, img_size=12, **TWO_STAGES).state_dict(), {})

    with pytest.raises(
        UserError, match=r"trained in windows of 4, the model has 5; set MODEL.SWIN.WINDOW_SIZE"
    ):
        load_exact(
            make_model(seed=2, img_size=12, **TWO_STAGES | {"window_size": 5}), tmp_path / "w.safetensors"
        )


def test_positions_of_maps_that_are_not_square_keep_their_rows(tmp_path: Path) -> None:
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


SCALES = (
    "its position biases were learned in windows of [4, 3], the model scales them by [8, 8]; "
    "set MODEL.SWINV2.PRETRAINED_WINDOW_SIZES to [4, 3]"
)


def test_a_swin_v2_in_another_window_warns_and_names_the_fix(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.pth"
    source = make_v2(seed=1, img_size=12, window_size=4)  # windows of 4 and 3
    torch.save({"model": source.state_dict() | published_tables(source)}, path)

    load_pretrained(make_v2(seed=2, img_size=32, window_size=8), path)
    with pytest.raises(UserError) as error:
        load_exact(make_v2(seed=2, img_size=32, window_size=8), path)

    assert caplog.messages == [f"{path}: {SCALES}"]
    assert str(error.value) == (
        f"{path}: was trained in windows of 4, the model has 8; set MODEL.SWINV2.WINDOW_SIZE to 4, or fine-tune "
        f"with --pretrained. Or keep them: {SCALES}"
    )


def test_a_swin_v2_is_evaluated_in_other_windows_where_its_scales_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.pth"
    source = make_v2(seed=1, img_size=12, window_size=4)
    torch.save({"model": source.state_dict() | published_tables(source)}, path)

    load_exact(make_v2(seed=2, img_size=32, window_size=8, pretrained_window_sizes=(4, 3)), path)

    assert caplog.messages == [f"{path}: used in windows of [8, 8], trained in [4, 3]"]


def test_a_swin_v2_scaled_otherwise_in_its_own_windows_is_refused(tmp_path: Path) -> None:
    source = make_v2(seed=1, img_size=16, window_size=4)
    torch.save({"model": source.state_dict() | published_tables(source)}, tmp_path / "w.pth")

    with pytest.raises(
        UserError, match=r"w.pth: its position biases were learned in windows of \[4, 4\], the"
    ):
        load_exact(
            make_v2(seed=2, img_size=16, window_size=4, pretrained_window_sizes=(6, 6)), tmp_path / "w.pth"
        )


def test_attention_scaled_otherwise_is_refused_in_evaluation_and_said_in_fine_tuning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, make_model(seed=1).state_dict(), {"qk_scales": "[0.5]"})  # which is 4 ** -0.5
    message = (
        f"{path}: its attention was scaled by [0.5], the model's is by [0.25]; set MODEL.SWIN.QK_SCALE to that of "
        "its training"
    )

    load_exact(make_model(seed=2), path)
    load_pretrained(make_model(seed=2, qk_scale=0.25), path)
    with pytest.raises(UserError) as error:
        load_exact(make_model(seed=2, qk_scale=0.25), path)

    assert caplog.messages == [message]
    assert str(error.value) == message


@pytest.mark.parametrize("load", [load_pretrained, load_exact])
def test_a_swin_v2_that_knows_its_pre_training_s_windows_is_loaded_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, load: Callable
) -> None:
    source = make_v2(seed=1, img_size=12, window_size=4)
    torch.save({"model": source.state_dict() | published_tables(source)}, tmp_path / "w.pth")
    write_weights(tmp_path / "bare.safetensors", source.state_dict(), {})  # which tells no windows

    load_pretrained(
        make_v2(seed=2, img_size=32, window_size=8, pretrained_window_sizes=(4, 3)), tmp_path / "w.pth"
    )
    load(make_v2(seed=2, img_size=12, window_size=4), tmp_path / "w.pth")
    load(make_v2(seed=2, img_size=32, window_size=8), tmp_path / "bare.safetensors")

    assert caplog.messages == []


@pytest.mark.parametrize("load", [load_pretrained, load_exact])
def test_a_swin_mlp_is_loaded_at_its_windows_alone(tmp_path: Path, load: Callable) -> None:
    source = make_mlp(16)
    write_weights(tmp_path / "w.safetensors", source.state_dict(), {})
    model = make_mlp(16)

    load(model, tmp_path / "w.safetensors")

    assert all(torch.equal(t, source.state_dict()[name]) for name, t in model.state_dict().items())
    with pytest.raises(
        UserError, match=r"has windows \[4, 4\], the model \[4, 3\], and a Swin-MLP's spatial"
    ):
        load(make_mlp(12), tmp_path / "w.safetensors")


TABLE = "layers.0.blocks.1.attn.relative_position_bias_table"


@pytest.mark.filterwarnings("ignore:Validating sparse tensor:UserWarning")  # of torch.load
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


def test_the_geometry_of_a_model_is_that_of_its_maps() -> None:
    v1 = make_model(seed=1, img_size=(12, 14), **TWO_STAGES)
    v2 = make_v2(seed=1, img_size=12, window_size=4, pretrained_window_sizes=(6, 0))

    assert geometry_of(v1) == Geometry((4, 3), None, (12, 14), 4, (0.5, 0.5))
    assert geometry_of(v2) == Geometry((4, 3), (6, 0), (12, 12), 4)
    assert geometry_of(make_mlp(16)) == Geometry((4, 4), None, (16, 16), 4)
