import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from swin_train.errors import UserError
from swin_train.weights.read import read_weights
from swin_train.weights.write import write_weights

STATE = {
    "layers.0.blocks.0.norm1.weight": torch.ones(2),
    "norm.weight": torch.arange(3.0),
    "head.bias": torch.ones(2),
}
SPARSE = pytest.mark.filterwarnings("ignore:Validating sparse tensor:UserWarning")  # of torch.load
STORAGE = pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")  # of quantized tensors


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.pth: there is no such file"):
        read_weights(tmp_path / "none.pth")


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    message = r"is a folder without MANIFEST.json or model.safetensors or pytorch_model.bin; name a file of"
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_whose_weights_are_spread_over_files_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.index.json").write_text("{}")

    message = rf"its weights are spread over several files, which {name}.index.json lists; save them as one"
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.onnx").touch()

    with pytest.raises(
        UserError, match=r"the ending '.onnx' is not known; it must be .safetensors, .pth, .pt, .bin or .ckpt"
    ):
        read_weights(tmp_path / "w.onnx")


def test_a_safetensors_file_without_tensors_is_refused(tmp_path: Path) -> None:
    save_file({}, tmp_path / "w.safetensors")

    with pytest.raises(UserError, match=r"w.safetensors: holds no tensors; expected a file of weights"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not a checkpoint"),
        ({"epoch": 3}, "is not a checkpoint of weights; .* Found: epoch"),
        ({"model": {"a": 1}}, "is not a checkpoint of weights; .* Found: a"),
        ({"model": {}}, "is not a checkpoint of weights; .* Found: model"),
        ({}, "is not a checkpoint of weights; .* Found: nothing"),
    ],
)
def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")

    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "w.pth")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", STATE | {"norm.weight": torch.tensor([1.0, float("nan")])}, {})

    with pytest.raises(UserError, match=r"norm.weight holds values that are not finite in float32; take an"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("value", [1e300, -1e39])
def test_weights_that_only_float64_can_hold_are_refused(tmp_path: Path, value: float) -> None:
    large = torch.tensor([1.0, value], dtype=torch.float64)
    write_weights(tmp_path / "w.safetensors", STATE | {"norm.weight": large}, {})

    with pytest.raises(UserError, match=r"norm.weight holds values that are not finite in float32"):
        read_weights(tmp_path / "w.safetensors")


def quantized(tensor: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that these tensors will go
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def to_csr(tensor: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that these tensors may change
        return tensor.to_sparse_csr()


@SPARSE
@STORAGE
@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (lambda t: t.to(torch.int8), "is torch.int8"),
        (lambda t: t.bool(), "is torch.bool"),
        (lambda t: t.to(torch.complex64), "is torch.complex64"),
        (lambda t: t.to(torch.float8_e4m3fn), "is torch.float8_e4m3fn"),
        (lambda t: t.to("meta"), "on meta"),
        (lambda t: t.to_sparse(), "torch.sparse_coo"),
        (to_csr, "torch.sparse_csr"),
        (quantized, "is torch.qint8"),
        (lambda t: torch.ones(1).expand_as(t), "torch.strided"),
    ],
)
def test_a_weight_that_is_not_dense_floating_point_is_refused(
    tmp_path: Path, odd: Callable[[torch.Tensor], torch.Tensor], words: str
) -> None:
    torch.save({"model": STATE | {"norm.bias": odd(torch.ones(2, 3))}}, tmp_path / "w.pth")

    with pytest.raises(UserError, match=rf"w.pth: norm.bias .*{words}.*; a weight must be a dense tensor"):
        read_weights(tmp_path / "w.pth")


def test_an_integer_weight_of_a_safetensors_file_is_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", STATE | {"norm.weight": torch.ones(2, dtype=torch.int8)}, {})

    with pytest.raises(UserError, match=r"w.safetensors: norm.weight is torch.int8"):
        read_weights(tmp_path / "w.safetensors")


def test_an_empty_weight_is_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", STATE | {"norm.weight": torch.ones(0, 1)}, {})

    with pytest.raises(UserError, match=r"norm.weight has the shape \(0, 1\) and no values"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_name_that_is_no_string_is_refused(tmp_path: Path, wrapped: bool) -> None:
    state = {**STATE, 0: torch.ones(2)}
    torch.save({"model": state} if wrapped else state, tmp_path / "w.pth")

    with pytest.raises(UserError, match=r"w.pth: a tensor is called 0, which is no string; expected names"):
        read_weights(tmp_path / "w.pth")


def test_a_checkpoint_that_contains_itself_is_refused(tmp_path: Path) -> None:
    endless: list = []
    endless.append(endless)
    torch.save({"model": STATE, "extra": endless}, tmp_path / "w.pth")

    with pytest.raises(UserError, match=r"w.pth: what it holds beside the weights contains itself"):
        read_weights(tmp_path / "w.pth")


def test_a_weight_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    twice = {"head.bias": torch.zeros(1), "module.head.bias": torch.ones(1)}
    write_weights(tmp_path / "w.safetensors", twice, {})

    with pytest.raises(UserError, match=r"both called head.bias; expected each weight once"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("teacher.", r"w.pth: the names of a Swin begin with 'teacher.'; save the weights of the Swin alone"),
        ("backbone.stages.0.blocks.0.attn.w_msa.", r"w.pth: is of mmpretrain"),
    ],
)
def test_names_in_a_form_that_is_not_read_are_refused(
    tmp_path: Path, whole_state: Callable, prefix: str, message: str
) -> None:
    torch.save({prefix + name: tensor for name, tensor in whole_state().items()}, tmp_path / "w.pth")

    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "w.pth")


def test_parts_of_a_weight_that_do_not_fit_are_refused(
    tmp_path: Path, whole_state: Callable, in_layout: Callable
) -> None:
    theirs = in_layout(whole_state(), "huggingface")
    del theirs["swin.encoder.layers.0.blocks.0.attention.self.key.weight"]
    torch.save(theirs, tmp_path / "w.pth")

    with pytest.raises(UserError, match=r"w.pth: layers.0.blocks.0.attn.key.weight is missing"):
        read_weights(tmp_path / "w.pth")


@SPARSE
def test_values_are_checked_under_the_names_of_the_file(
    tmp_path: Path, whole_state: Callable, in_layout: Callable
) -> None:
    name = "swin.encoder.layers.0.blocks.0.attention.self.key.weight"
    theirs = in_layout(whole_state(), "huggingface") | {name: torch.zeros(8, 8).to_sparse()}
    torch.save(theirs, tmp_path / "w.pth")

    with pytest.raises(UserError, match=rf"w.pth: {name} is torch.float32, torch.sparse_coo"):
        read_weights(tmp_path / "w.pth")
