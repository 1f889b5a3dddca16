"""The weights within a training state, of today's files and of those of schema 1."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from faults import flip_bit
from safetensors.torch import save_file
from torch import Tensor

from swin_train.errors import UserError
from swin_train.weights.manifest import entry, write_manifest
from swin_train.weights.stored_tensors import StoredTensors, files_of, store_tensors
from swin_train.weights.training_state import read_section, training_state_at

TENSORS = {
    "model.a.weight": torch.arange(40.0).view(8, 5),
    "model.b": torch.arange(6, dtype=torch.bfloat16),
    "ema.b": torch.zeros(6),
    "optim.b.step": torch.tensor(3.0),
}


def make_today(folder: Path) -> None:
    store_tensors(folder, TENSORS, None)


def test_a_file_that_goes_away_while_it_is_read_is_an_error_of_the_system(tmp_path: Path) -> None:
    """As when the run that is evaluated deletes an old checkpoint."""
    store_tensors(tmp_path, TENSORS, None)
    stored = StoredTensors(tmp_path)
    for file in files_of(tmp_path, 0):
        file.unlink()

    with pytest.raises(OSError, match=r"rank 0: Missing key in checkpoint state_dict: model\.b"):
        stored.read(["model.b"])


def test_a_shape_that_its_values_do_not_fill_is_refused(tmp_path: Path, confined: Callable) -> None:
    """A value that says that it is the last of a billion."""
    folder = tmp_path / "step-00000001"
    folder.mkdir()
    (folder / "train.json").write_text("{}")
    info = {"model.a": {"saved_offsets": [10**9]}}
    header = {"DCP_SHARDING_INFO": json.dumps(info), "DCP_VERSION": "1.0", "format": "pt"}
    save_file({"model.a": torch.zeros(1)}, folder / "shard-00001-model-00001-of-00001.safetensors", header)
    write_manifest(folder, {}, {path.name: entry(path) for path in folder.iterdir()})

    message = confined(lambda: read_section(folder, "model", "raw"))

    assert message == (
        f"{folder}: cannot be read (model.a has 1000000001 values, of which the files hold 1); copy it again (delete "
        "it first)"
    )


def test_nothing_is_copied_by_way_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread's current CUDA device is the first one: each process of a machine would take memory there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("torch.distributed.checkpoint.filesystem._OverlappingCpuLoader", pytest.fail)

    store_tensors(tmp_path, TENSORS, None)

    assert files_of(tmp_path, 0)


def make_schema_1(folder: Path) -> None:
    save_file(TENSORS, folder / "state.safetensors")


@pytest.fixture(params=[make_today, make_schema_1], ids=["today", "schema 1"])
def state(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("swin_train.weights.stored_tensors._FILE_BYTES", 64)  # several files
    folder = tmp_path / "a state"
    folder.mkdir()
    request.param(folder)
    (folder / "train.json").write_text(json.dumps({}))
    write_manifest(folder, {})
    return folder


def test_a_section_is_read_from_whatever_files_it_lies_in(state: Path, assert_equal: Callable) -> None:
    tensors, sections = read_section(state, "model", "raw")

    assert_equal(tensors, {"a.weight": TENSORS["model.a.weight"], "b": TENSORS["model.b"]})
    assert sorted(sections) == ["ema", "model", "model", "optim"]


def test_a_state_is_known_by_its_folder_and_by_each_of_its_files(state: Path) -> None:
    assert training_state_at(state) == state
    for file in state.glob("*.safetensors"):
        assert training_state_at(file) == state


def test_without_its_manifest_it_is_known_and_refused(state: Path) -> None:
    (state / "MANIFEST.json").unlink()

    assert training_state_at(state) == state
    with pytest.raises(
        UserError,
        match=r"MANIFEST\.json cannot be read .*; give another checkpoint, or the whole of this folder$",
    ):
        read_section(state, "model", "raw")


def test_a_state_that_lost_all_its_files_of_tensors_is_known_by_its_manifest(state: Path) -> None:
    for file in state.glob("*.safetensors"):
        file.unlink()

    assert training_state_at(state) == state


@pytest.mark.parametrize("name", ["last.safetensors", "shard-1-model-1-of-1.safetensors", "train.json"])
def test_other_files_are_no_part_of_a_state(tmp_path: Path, name: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / name)

    assert training_state_at(tmp_path / name) is None
    assert training_state_at(tmp_path) is None
    assert training_state_at(tmp_path / "nowhere") is None


def test_a_missing_file_is_refused(state: Path) -> None:
    file = max(state.glob("*.safetensors"))
    file.unlink()

    with pytest.raises(UserError) as error:
        read_section(state, "model", "raw")

    assert str(error.value) == f"{file} is missing; give another checkpoint, or the whole of this folder"


def test_a_flipped_bit_is_refused(state: Path) -> None:
    file = max(state.glob("*.safetensors"))
    flip_bit(file)

    with pytest.raises(
        UserError, match="has another SHA-256 than its manifest: its content is damaged; give an"
    ):
        read_section(state, "model", "raw")


def test_a_section_that_is_not_there_is_said_with_those_that_are(state: Path) -> None:
    with pytest.raises(UserError) as error:
        read_section(state, "other", "averaged")

    assert str(error.value) == f"{state}: holds no averaged weights; it holds: ema, model, optim"


def test_what_is_no_safetensors_file_is_said(state: Path) -> None:
    """Its manifest may say that it is as it was written."""
    for file in state.glob("*.safetensors"):
        file.write_text("an error page")
    (state / "MANIFEST.json").unlink()
    write_manifest(state, {})

    with pytest.raises(UserError, match=r"copy it again \(delete it first\)$"):
        read_section(state, "model", "raw")


@pytest.mark.parametrize(("limit", "num_files"), [(1, 4), (24, 3), (184, 2), (10**6, 1)])
def test_files_are_filled_up_to_their_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, num_files: int, assert_equal: Callable
) -> None:
    """A tensor that is larger alone has a file of its own; in order of names there are 24, 160, 12 and 4 bytes."""
    monkeypatch.setattr("swin_train.weights.stored_tensors._FILE_BYTES", limit)

    store_tensors(tmp_path, TENSORS, None)

    assert len(files_of(tmp_path, 0)) == len(list(tmp_path.iterdir())) == num_files
    assert files_of(tmp_path, 0)[0].name == f"shard-00001-model-00001-of-{num_files:05d}.safetensors"
    assert files_of(tmp_path, 1) == []
    stored = StoredTensors(tmp_path)
    assert {name: (value.shape, value.dtype) for name, value in stored.meta.items()} == {
        name: (value.shape, value.dtype) for name, value in TENSORS.items()
    }
    assert_equal(stored.read(list(TENSORS)), TENSORS)


def test_tensors_are_read_into_place(tmp_path: Path) -> None:
    store_tensors(tmp_path, TENSORS, None)
    place: Tensor = torch.full((8, 5), -1.0)

    StoredTensors(tmp_path).read_into({"model.a.weight": place})
    StoredTensors(tmp_path).read_into({})

    assert torch.equal(place, TENSORS["model.a.weight"])
