import argparse
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from yacs.config import CfgNode

from swin_train.errors import UserError
from swin_train.weights.geometry import Geometry
from swin_train.weights.layouts import LAYOUTS
from swin_train.weights.layouts.dropped import Dropped
from swin_train.weights.manifest import write_manifest
from swin_train.weights.read import Weights, read_weights
from swin_train.weights.write import write_weights

STATE = {"norm.weight": torch.arange(3.0), "head.bias": torch.ones(2)}


@pytest.mark.parametrize("wrapper", ["model", "state_dict", None])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_torch_files_are_read(
    assert_equal: Callable, tmp_path: Path, wrapper: str | None, suffix: str
) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save({wrapper: STATE, "epoch": 3} if wrapper else STATE, path)

    weights = read_weights(path)

    assert_equal(weights.state, STATE)
    assert weights.source == str(path)
    assert weights.metadata == ({"epoch": 3} if wrapper else {})


def test_a_published_checkpoint_with_its_configuration_is_read(
    assert_equal: Callable, tmp_path: Path
) -> None:
    config = CfgNode({"MODEL": CfgNode({"NAME": "swin"}), "EPOCHS": 300})
    optimizer = {"state": {0: {"exp_avg": torch.zeros(1)}}, "param_groups": [{"lr": 0.1}]}
    content = {"model": OrderedDict(STATE), "optimizer": optimizer, "config": config, "max_accuracy": 81.2}
    torch.save(content, tmp_path / "ckpt.pth")

    weights = read_weights(tmp_path / "ckpt.pth")

    assert_equal(weights.state, STATE)
    assert weights.metadata == {"config": {"MODEL": {"NAME": "swin"}, "EPOCHS": 300}, "max_accuracy": 81.2}


def test_a_checkpoint_with_command_line_arguments_is_read(assert_equal: Callable, tmp_path: Path) -> None:
    torch.save({"model": STATE, "args": argparse.Namespace(lr=0.1)}, tmp_path / "ckpt.pth")

    assert_equal(read_weights(tmp_path / "ckpt.pth").state, STATE)


def test_a_checkpoint_of_lightning_is_read_without_its_prefix(tmp_path: Path, whole_state: Callable) -> None:
    state = {f"net.{name}": tensor for name, tensor in whole_state().items()}
    torch.save({"state_dict": state, "epoch": 3, "callbacks": {}}, tmp_path / "last.ckpt")

    weights = read_weights(tmp_path / "last.ckpt")

    assert weights.state.keys() == whole_state().keys()
    assert weights.notes == ["names without 'net.'"]


def test_of_another_model_no_value_is_looked_at(tmp_path: Path) -> None:
    resnet = {"conv1.weight": torch.ones(2), "bn1.num_batches_tracked": torch.tensor(3)}
    torch.save(resnet, tmp_path / "w.pth")

    assert (
        read_weights(tmp_path / "w.pth").state.keys() == resnet.keys()
    )  # for a message that says what it is


def test_safetensors_are_read_with_what_their_header_says(assert_equal: Callable, tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", STATE, {"author": "us", "epoch": "3"})
    save_file(STATE, tmp_path / "foreign.safetensors", {"author": "somebody"})

    ours, foreign = read_weights(tmp_path / "w.safetensors"), read_weights(tmp_path / "foreign.safetensors")

    assert_equal(ours.state, STATE)
    assert ours.metadata == {"author": "us", "epoch": "3"}
    assert_equal(foreign.state, STATE)
    assert foreign.metadata == {"author": "somebody"}


def save_training_state(folder: Path, *sections: str) -> Path:
    folder.mkdir()
    tensors = {f"{s}.{name}": t + i for i, s in enumerate(sections) for name, t in STATE.items()}
    save_file(tensors, folder / "state.safetensors")
    write_manifest(folder, {})
    return folder


def test_a_run_s_checkpoint_folder_gives_the_weights_asked_for(
    assert_equal: Callable, tmp_path: Path
) -> None:
    folder = save_training_state(tmp_path / "step-00000010", "model", "ema", "optim")

    assert_equal(read_weights(folder).state, STATE)
    assert_equal(read_weights(folder, "ema").state, {name: t + 1 for name, t in STATE.items()})
    assert_equal(read_weights(folder / "state.safetensors").state, STATE)


@pytest.mark.parametrize("name", ["step-00000010", "best"])
@pytest.mark.parametrize("file", ["", "state.safetensors"])
def test_a_damaged_checkpoint_folder_is_refused_whatever_it_is_called(
    tmp_path: Path, name: str, file: str
) -> None:
    folder = save_training_state(tmp_path / name, "model")
    content = bytearray((folder / "state.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "state.safetensors").write_bytes(content)

    with pytest.raises(UserError) as error:
        read_weights(folder / file)

    assert str(error.value) == (
        f"{folder}/state.safetensors has another SHA-256 than its manifest: its content is damaged; give another "
        "checkpoint, or the whole of this folder"
    )


def test_absent_averaged_weights_are_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    folder = save_training_state(tmp_path / "step-00000010", "model", "optim")
    torch.save({"model": STATE, "epoch": 3}, tmp_path / "w.pth")
    write_weights(tmp_path / "w.safetensors", STATE, {})

    with pytest.raises(UserError, match="holds no ema weights; it holds: model, optim"):
        read_weights(folder, "ema")
    with pytest.raises(UserError, match="holds no ema weights; it holds: model, epoch"):
        read_weights(tmp_path / "w.pth", "ema")
    with pytest.raises(UserError, match=r"holds no averaged weights \(ema\); ask for raw ones"):
        read_weights(tmp_path / "w.safetensors", "ema")


def test_a_file_that_is_marked_as_averaged_holds_them(assert_equal: Callable, tmp_path: Path) -> None:
    write_weights(tmp_path / "best_ema.safetensors", STATE, {"weights": "ema"})

    assert_equal(read_weights(tmp_path / "best_ema.safetensors", "ema").state, STATE)
    assert_equal(read_weights(tmp_path / "best_ema.safetensors").state, STATE)


def test_averaged_weights_of_a_torch_file_are_read(assert_equal: Callable, tmp_path: Path) -> None:
    average = {name: t + 1 for name, t in STATE.items()}
    torch.save({"state_dict": STATE, "state_dict_ema": average}, tmp_path / "w.pth")

    assert_equal(read_weights(tmp_path / "w.pth", "ema").state, average)


def test_averaged_weights_beside_those_asked_for_are_counted(tmp_path: Path) -> None:
    folder = save_training_state(tmp_path / "step-00000010", "model", "ema", "optim")
    without = save_training_state(tmp_path / "step-00000020", "model", "optim")
    torch.save({"model": STATE, "model_ema": STATE | {"n_averaged": torch.tensor(9)}}, tmp_path / "w.pth")

    assert read_weights(folder).dropped == Dropped(averages=2)
    assert read_weights(folder, "ema").dropped == read_weights(without).dropped == Dropped()
    assert read_weights(tmp_path / "w.pth").dropped == Dropped(averages=3)
    assert read_weights(tmp_path / "w.pth", "ema").dropped == Dropped(counters=1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["swin", "swinv2"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_every_layout_is_read_into_the_published_names(
    tmp_path: Path,
    whole_state: Callable,
    assert_equal: Callable,
    layout: str,
    family: str,
    suffix: str,
    in_layout: Callable,
) -> None:
    path, state = tmp_path / f"w{suffix}", whole_state(family)
    theirs = in_layout(state, layout)
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in theirs.items()}}, path)
    else:
        write_weights(path, theirs, {})

    weights = read_weights(path)

    assert_equal(weights.state, state)
    assert weights.layout == layout
    assert str(weights) == (f"{path}" if layout == "official" else f"{path} ({layout} layout)")
    assert weights.geometry.windows == ((4, 4) if family == "swin" or layout == "torchvision" else None)


def test_what_was_left_behind_is_counted_and_read_for_what_it_tells(
    tmp_path: Path, whole_state: Callable, in_layout: Callable
) -> None:
    torch.save(in_layout(whole_state("swinv2"), "torchvision"), tmp_path / "w.pth")

    weights = read_weights(tmp_path / "w.pth")

    assert weights.dropped == Dropped(buffers=6, key_biases=3)
    assert weights.geometry == Geometry((4, 4), (0, 0))


def test_a_pre_training_of_simmim_s_time_is_read(
    tmp_path: Path, whole_state: Callable, assert_equal: Callable
) -> None:
    state = whole_state("swinv2", classes=0)
    encoder = {f"encoder.{name.replace('cpb_mlp', 'rpe_mlp')}": tensor for name, tensor in state.items()}
    others = {"encoder.mask_token": torch.zeros(1, 1, 8), "decoder.0.bias": torch.zeros(3)}
    torch.save({"model": encoder | others}, tmp_path / "w.pth")

    weights = read_weights(tmp_path / "w.pth")

    assert_equal(weights.state, state)
    assert (weights.layout, weights.dropped) == ("official", Dropped(pretraining=2))
    assert weights.name_changes == ("names without 'encoder.'", "rpe_mlp read as cpb_mlp")


def test_an_average_that_torchvision_s_training_saved_is_read(
    tmp_path: Path, whole_state: Callable, assert_equal: Callable, in_layout: Callable
) -> None:
    theirs = in_layout(whole_state(), "torchvision")
    average = {f"module.{name}": tensor for name, tensor in theirs.items()} | {"n_averaged": torch.tensor(9)}
    torch.save({"model": theirs, "model_ema": average}, tmp_path / "w.pth")

    weights = read_weights(tmp_path / "w.pth", "ema")

    assert_equal(weights.state, whole_state())
    assert weights.dropped == Dropped(buffers=3, counters=1)


def test_this_project_s_metadata_tell_sizes(tmp_path: Path, whole_state: Callable) -> None:
    facts = {"img_size": "[16, 32]", "windows": "[4, 4]", "pretrained_windows": "[4, 2]"}
    write_weights(tmp_path / "w.safetensors", whole_state("swinv2"), facts)

    assert read_weights(tmp_path / "w.safetensors").geometry == Geometry((4, 4), (4, 2), (16, 32))


CONFIG = {"model_type": "swinv2", "image_size": [24, 32], "patch_size": 2, "depths": [2, 1], "window_size": 8}


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_hugging_face_is_read_with_the_sizes_of_its_configuration(
    tmp_path: Path, whole_state: Callable, assert_equal: Callable, in_layout: Callable, name: str
) -> None:
    theirs = in_layout(whole_state("swinv2"), "huggingface")
    (torch.save if name.endswith("bin") else save_file)(theirs, tmp_path / name)
    config = CONFIG | {"pretrained_window_sizes": [8, 4]}
    (tmp_path / "config.json").write_text(json.dumps(config))

    weights = read_weights(tmp_path)

    assert_equal(weights.state, whole_state("swinv2"))
    assert (weights.source, weights.layout) == (str(tmp_path), "huggingface")
    assert weights.geometry == Geometry((8, 6), (8, 4), (24, 32), window_size=8)
    assert read_weights(tmp_path / name).geometry == weights.geometry


def test_a_header_knows_better_than_the_configuration_beside_it(
    tmp_path: Path, whole_state: Callable, in_layout: Callable
) -> None:
    facts = {"img_size": "16", "windows": "[4, 4]"}
    write_weights(tmp_path / "model.safetensors", in_layout(whole_state("swinv2"), "huggingface"), facts)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))

    assert read_weights(tmp_path).geometry == Geometry((4, 4), (0, 0), (16, 16), window_size=8)


def test_weights_that_no_manifest_lists_are_not_taken_for_a_run_s_own(tmp_path: Path) -> None:
    folder = save_training_state(tmp_path / "step-00000010", "model")
    save_file({"stray": torch.zeros(1)}, folder / "model.safetensors")

    with pytest.raises(UserError, match=r"model.safetensors is not listed in the manifest"):
        read_weights(folder)


def test_a_configuration_beside_other_files_is_not_looked_at(
    tmp_path: Path, whole_state: Callable, in_layout: Callable
) -> None:
    save_file(in_layout(whole_state("swinv2"), "huggingface"), tmp_path / "w.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))

    assert read_weights(tmp_path / "w.safetensors").geometry == Geometry()


def test_weights_are_known_without_a_file() -> None:
    weights = Weights(STATE, "here", {})

    assert (str(weights), weights.layout, weights.geometry) == ("here", "official", Geometry())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_weights_and_integer_buffers_are_read(
    assert_equal: Callable, tmp_path: Path, dtype: torch.dtype
) -> None:
    state = {name: tensor.to(dtype) for name, tensor in STATE.items()}
    index = {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(16, 16, dtype=torch.int64)}
    torch.save({"model": state | index}, tmp_path / "w.pth")

    weights = read_weights(tmp_path / "w.pth")

    assert_equal(weights.state, state)
    assert weights.dropped == Dropped(buffers=1)
