"""Which folders are training states, and which of them is meant."""

import json
import os
from pathlib import Path

import pytest

from swin_train.engine.migrations import SCHEMA
from swin_train.engine.step_folders import (
    named_state,
    newest_whole,
    read_train_json,
    step_folder,
    step_folders,
    step_of,
)
from swin_train.errors import UserError
from swin_train.weights.manifest import write_manifest


def make_state(folder: Path, schema: object = SCHEMA) -> Path:
    folder.mkdir(parents=True)
    (folder / "train.json").write_text(json.dumps({"schema": schema, "state": {}}))
    write_manifest(folder, {})
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with three states; the newest has the oldest date."""
    for age, step in enumerate((9, 10, 100000)):
        when = 4e9 - 1e9 * age
        os.utime(make_state(step_folder(tmp_path / "run/checkpoints", step)), (when, when))
    return tmp_path / "run"


def test_states_are_in_the_order_of_their_numbers_not_of_their_dates(run: Path) -> None:
    found = step_folders(run / "checkpoints")

    assert [step_of(folder) for folder in found] == [9, 10, 100000]
    assert newest_whole(run / "checkpoints") == found[-1]


@pytest.mark.parametrize(
    "name",
    [
        *("step-00000200-backup", "step-200", "step-1", "step-000000200", "old-step-00000200"),
        *("damaged-step-00000200", ".tmp-step-00000200", ".trash-step-00000200", "step-00000200~"),
    ],
)
def test_folders_of_other_names_are_no_states(run: Path, name: str) -> None:
    make_state(run / "checkpoints" / name)

    assert [step_of(folder) for folder in step_folders(run / "checkpoints")] == [9, 10, 100000]
    assert newest_whole(run / "checkpoints").name == "step-00100000"


def test_where_there_is_no_folder_there_are_no_states(tmp_path: Path) -> None:
    assert step_folders(tmp_path / "checkpoints") == []


def test_the_newest_that_is_whole_is_chosen(run: Path) -> None:
    (run / "checkpoints/step-00100000/train.json").write_text("{}")

    assert newest_whole(run / "checkpoints").name == "step-00000010"


def test_where_none_is_whole_it_is_said(run: Path) -> None:
    for folder in step_folders(run / "checkpoints"):
        (folder / "MANIFEST.json").unlink()

    with pytest.raises(UserError) as error:
        newest_whole(run / "checkpoints")

    assert str(error.value) == (
        f"{run / 'checkpoints'}: none of its 3 checkpoint(s) is whole; restore one, or move the folder away to start "
        f"anew"
    )


@pytest.mark.parametrize("named", ["", "checkpoints", "checkpoints/step-00100000"])
def test_a_state_is_named_by_its_folder_or_that_of_its_run(run: Path, named: str) -> None:
    assert named_state(run / named).name == "step-00100000"


def test_an_older_state_can_be_named(run: Path) -> None:
    assert named_state(run / "checkpoints/step-00000009").name == "step-00000009"


def test_a_damaged_state_that_is_named_is_refused(run: Path) -> None:
    folder = run / "checkpoints/step-00000009"
    (folder / "train.json").unlink()

    with pytest.raises(
        UserError, match=r"^MODEL\.RESUME: \S+train\.json is missing; give another checkpoint$"
    ):
        named_state(folder)


def test_what_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        named_state(tmp_path / "nowhere")

    assert str(error.value) == (
        f"MODEL.RESUME: {tmp_path / 'nowhere'} does not exist; give a checkpoint folder step-N or a run's folder"
    )


@pytest.mark.parametrize("name", ["weights", "step-10"])
def test_what_is_no_state_is_said(tmp_path: Path, name: str) -> None:
    folder = make_state(tmp_path / name)

    with pytest.raises(
        UserError, match=r"^MODEL\.RESUME: .* holds no training state to go on from; give a .*"
    ):
        named_state(folder)


@pytest.mark.parametrize("schema", [SCHEMA + 1, 0, "2", None])
def test_a_schema_of_another_version_is_refused(tmp_path: Path, schema: object) -> None:
    folder = make_state(tmp_path / "step-00000001", schema)

    with pytest.raises(UserError) as error:
        read_train_json(folder)

    assert str(error.value) == (
        f"{folder}: written in checkpoint schema {schema}, this version reads 1 to {SCHEMA}; use the version of "
        f"swin_train that wrote it"
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "\0"])
def test_a_train_json_that_cannot_be_read_is_said(tmp_path: Path, text: str) -> None:
    folder = make_state(tmp_path / "step-00000001")
    (folder / "train.json").write_text(text)

    with pytest.raises(
        UserError, match=r"train\.json: cannot be read \(.*\); give a whole checkpoint folder$"
    ):
        read_train_json(folder)
