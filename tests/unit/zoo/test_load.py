"""What holds for both ways of loading."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swin_train.errors import UserError
from swin_train.models.hierarchical import HierarchicalModel
from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS, infer_spec
from swin_train.weights.write import write_weights
from swin_train.zoo.load import geometry_of, load_pretrained


@pytest.mark.parametrize("layout", ["timm", "torchvision", "huggingface"])
def test_other_layouts_are_loaded_and_said_aloud(
    make_model: Callable, load_exact: Callable, tmp_path: Path, layout: str
) -> None:
    source = make_model(seed=1)
    spec = infer_spec(source.state_dict(), Geometry())
    write_weights(tmp_path / "w.safetensors", LAYOUTS[layout].from_official(source.state_dict(), spec), {})
    exact, adapted = (make_model(seed=2) for _ in range(2))

    weights = load_exact(exact, tmp_path / "w.safetensors")
    report = load_pretrained(adapted, tmp_path / "w.safetensors")

    assert weights.layout == layout
    assert str(report).startswith(
        f"loaded {len(source.state_dict())} tensors ({layout} layout); head of 5 classes"
    )
    for model in (exact, adapted):
        assert all(torch.equal(t, source.state_dict()[name]) for name, t in model.state_dict().items())


def test_attention_scaled_otherwise_is_refused_in_evaluation_and_said_in_fine_tuning(
    make_model: Callable, load_exact: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, make_model(seed=1).state_dict(), {"qk_scales": "[0.5, 0.5]"})  # which is 4 ** -0.5
    message = (
        f"{path}: its attention was scaled by [0.5, 0.5], the model's is by [0.25, 0.25]; set "
        "MODEL.SWIN.QK_SCALE to 0.5"
    )

    load_exact(make_model(seed=2), path)
    load_pretrained(make_model(seed=2, qk_scale=0.25), path)
    with pytest.raises(UserError) as error:
        load_exact(make_model(seed=2, qk_scale=0.25), path)

    assert caplog.messages == [message]
    assert str(error.value) == message


def test_positions_that_may_lie_otherwise_are_said(
    make_model: Callable, load: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_model(seed=1, img_size=(16, 24), ape=True)
    for name, metadata in (("bare", {}), ("whole", {"img_size": "[16, 24]"})):
        write_weights(tmp_path / f"{name}.safetensors", source.state_dict(), metadata)
        load(make_model(seed=2, img_size=(16, 24), ape=True), tmp_path / f"{name}.safetensors")

    assert caplog.messages == [
        f"{tmp_path}/bare.safetensors: does not tell the size of its images; its absolute positions are taken for "
        "those of a map of 8 x 12 or, if they are of another number, of a square"
    ]


def test_a_swin_mlp_is_loaded_at_its_windows_alone(
    make_model: Callable, tmp_path: Path, load: Callable
) -> None:
    source = make_model(seed=1, family="swin_mlp")
    write_weights(tmp_path / "w.safetensors", source.state_dict(), {})
    model = make_model(seed=2, family="swin_mlp")

    load(model, tmp_path / "w.safetensors")

    assert all(torch.equal(t, source.state_dict()[name]) for name, t in model.state_dict().items())
    with pytest.raises(
        UserError, match=r"has windows \[4, 4\], the model \[4, 3\], and a Swin-MLP's spatial"
    ):
        load(make_model(seed=2, family="swin_mlp", img_size=12), tmp_path / "w.safetensors")


TABLE = "layers.0.blocks.1.attn.relative_position_bias_table"


@pytest.mark.filterwarnings("ignore:Validating sparse tensor:UserWarning")  # of torch.load
@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("head.weight", torch.tensor(1.0)),
        ("head.weight", torch.zeros(5, 16, device="meta")),
        ("head.weight", torch.zeros(5, 16).to_sparse()),
        ("head.weight", torch.zeros(5, 16, dtype=torch.int8)),
        (TABLE, torch.zeros(0, 2)),
        (TABLE, torch.tensor(1.0)),
        (TABLE, torch.zeros(1, 49, 2)),
    ],
)
def test_odd_tensors_are_refused_naming_file_and_tensor_and_change_nothing(
    make_model: Callable,
    tmp_path: Path,
    source: HierarchicalModel,
    load: Callable,
    name: str,
    tensor: torch.Tensor,
) -> None:
    path = tmp_path / "w.pth"
    torch.save({"model": {**source.state_dict(), name: tensor}}, path)
    model = make_model(seed=2)
    before = {name: t.clone() for name, t in model.state_dict().items()}

    with pytest.raises(UserError, match=rf"{path}: .*{name}"):
        load(model, path)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_the_geometry_of_a_model_is_that_of_its_maps(make_model: Callable) -> None:
    v1 = make_model(seed=1, img_size=(12, 14))
    v2 = make_model(seed=1, family="swinv2", img_size=12, pretrained_window_sizes=(6, 0))

    assert geometry_of(v1) == Geometry((4, 3), None, (12, 14), 4, (0.5, 0.5))
    assert geometry_of(v2) == Geometry((4, 3), (6, 0), (12, 12), 4)
    assert geometry_of(make_model(seed=1, family="swin_mlp")) == Geometry((4, 4), None, (16, 16), 4)
