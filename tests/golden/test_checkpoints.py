"""Checkpoints of every schema go on in today's code: ``kept_run.py`` says how they were made."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from kept_run import MADE_WITH, STEPS, TOTAL_STEPS, losses_of, train_in, write_images
from safetensors.torch import load_file
from state_digest import newest_state, state_digest

import swin_train.engine.checkpoint
from swin_train import load_config, train
from swin_train.engine.migrations import SCHEMA
from swin_train.engine.step_folders import read_train_json
from swin_train.errors import UserError
from swin_train.tasks import build_task
from swin_train.weights.manifest import write_manifest

KEPT = Path(__file__).parent / "checkpoints"
_OTHER_PROCESSORS = 1e-5  # which sum float32 in another order


def kept_state(schema: int) -> Path:
    return KEPT / f"schema-{schema}/step-{STEPS[schema]:08d}"


@pytest.fixture(params=range(1, SCHEMA + 1))
def schema(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def resume(tmp_path: Path) -> Callable[[str, Path], Path]:
    """Goes on from a training state in a folder of a name; returns the run's folder."""

    def go_on(name: str, state: Path) -> Path:
        folder = tmp_path / name
        write_images(folder / "data")
        shutil.copytree(state, folder / "output/tiny/golden/checkpoints" / state.name)
        return train_in(folder)

    return go_on


@pytest.fixture
def recorded() -> Callable[[int], dict[int, float]]:
    """The losses of all updates of the run that made the checkpoint of a schema."""

    def read(schema: int) -> dict[int, float]:
        losses = json.loads((KEPT / f"schema-{schema}/losses.json").read_text())
        return {int(step): loss for step, loss in losses.items()}

    return read


def test_a_kept_checkpoint_is_loaded_bit_by_bit_and_goes_on_as_it_did(
    schema: int, resume: Callable, recorded: Callable, monkeypatch: Any, assert_equal: Callable
) -> None:
    loaded: dict[str, torch.Tensor] = {}
    real = swin_train.engine.checkpoint.Checkpointer.resume

    def note(checkpoints: Any, state: Any) -> None:
        real(checkpoints, state)
        loaded.update({name: value.clone() for name, value in state.tensors().items()})

    monkeypatch.setattr(swin_train.engine.checkpoint.Checkpointer, "resume", note)

    run = resume("run", kept_state(schema))

    files = kept_state(schema).glob("*.safetensors")
    assert_equal(loaded, {name: value for file in files for name, value in load_file(file).items()})
    expected = {step: loss for step, loss in recorded(schema).items() if step > STEPS[schema]}
    assert len(expected) == TOTAL_STEPS - STEPS[schema]
    assert losses_of(run) == pytest.approx(expected, rel=_OTHER_PROCESSORS)


def test_a_kept_checkpoint_saved_again_today_ends_bit_identical(
    schema: int, resume: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = resume("straight", kept_state(schema))

    class Stop(Exception):
        pass

    real = swin_train.engine.checkpoint.Checkpointer.resume

    def save_again(checkpoints: Any, state: Any) -> None:
        """Save what was loaded as today's code does, in place of what it was loaded from."""
        real(checkpoints, state)
        old = checkpoints.source
        content = read_train_json(old)
        old.rename(old.with_name("old"))
        checkpoints._on_disk = None  # it would be left as it is
        header = {name: json.dumps(value) for name, value in content["header"].items()}
        checkpoints.save(state, content["run"], header, must=True)
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(swin_train.engine.checkpoint.Checkpointer, "resume", save_again)
        with pytest.raises(Stop):
            resume("again", kept_state(schema))
    saved = newest_state(straight.parents[2] / "../again/output/tiny/golden")
    assert json.loads((saved / "train.json").read_text())["schema"] == SCHEMA

    again = resume("again from there", saved)

    assert losses_of(again) == losses_of(straight)
    assert state_digest(newest_state(again)) == state_digest(newest_state(straight))
    assert newest_state(again).name == f"step-{TOTAL_STEPS:08d}"


@pytest.mark.skipif(
    not torch.__version__.startswith(f"{MADE_WITH}."),
    reason=f"torch draws other initial weights in other versions than {MADE_WITH}, which made what is kept",
)
def test_today_s_code_makes_the_run_that_was_kept(tmp_path: Path, recorded: Callable) -> None:
    write_images(tmp_path / "data")

    losses = losses_of(train_in(tmp_path))

    assert losses == pytest.approx(recorded(SCHEMA), rel=_OTHER_PROCESSORS)


def test_no_path_of_a_machine_is_in_what_is_kept(schema: int) -> None:
    content = json.loads((kept_state(schema) / "train.json").read_text())

    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for part in value.values() for text in texts(part)]
        if isinstance(value, list):
            return [text for part in value for text in texts(part)]
        return [value] if isinstance(value, str) else []

    assert "data" in texts(content)
    assert not [text for text in texts(content) if "/" in text]


def test_a_checkpoint_of_a_later_schema_is_refused(tmp_path: Path, resume: Callable) -> None:
    later = Path(shutil.copytree(kept_state(SCHEMA), tmp_path / kept_state(SCHEMA).name))
    content = json.loads((later / "train.json").read_text())
    (later / "train.json").write_text(json.dumps(content | {"schema": SCHEMA + 1}))
    (later / "MANIFEST.json").unlink()
    write_manifest(later, {"schema": SCHEMA + 1, "step": STEPS[SCHEMA]})

    message = (
        rf"{later.name}: written in checkpoint schema {SCHEMA + 1}, this version reads 1 to {SCHEMA}; use the version "
        rf"of swin_train that wrote it$"
    )
    with pytest.raises(UserError, match=message):
        resume("run", later)


@pytest.fixture
def other_order(digits: Path, tmp_path: Path) -> Path:
    """Images whose order is not that of their names: class ``a`` comes before ``a-b``, but ``a-b/0`` before ``a/0``."""
    for split in ("train", "val"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for label, name in enumerate(("a", "a-b", "c", "d")):
            shutil.copytree(digits / split / f"digit_{label}", tmp_path / "data" / split / name)
    return tmp_path / "data"


def test_runs_of_schema_1_go_on_by_their_own_fingerprint(
    other_order: Path, tiny_opts: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It did not see the order of the images. Saved again, the run has today's."""
    opts = {"DATA__DATA_PATH": str(other_order)}
    cfg = load_config(None, tiny_opts(**opts))
    folder = newest_state(train(cfg).folder)
    in_order = json.loads((folder / "train.json").read_text())["run"]["images"]
    in_any_order = as_schema_1(folder, cfg)
    assert in_any_order != in_order  # or this tests nothing

    longer = train(load_config(None, tiny_opts(**opts, TRAIN__EPOCHS=3))).folder

    run = json.loads((newest_state(longer) / "train.json").read_text())["run"]
    assert run["images"] == in_order
    assert "images_in_any_order" not in run


def test_runs_of_schema_1_refuse_other_images(other_order: Path, tiny_opts: Callable) -> None:
    opts = {"DATA__DATA_PATH": str(other_order)}
    cfg = load_config(None, tiny_opts(**opts))
    as_schema_1(newest_state(train(cfg).folder), cfg)
    (other_order / "train/a/0.png").rename(other_order / "train/a/another.png")

    with pytest.raises(
        UserError, match=r"began: the names, labels and sizes of the training images was \w{64}, now"
    ):
        train(load_config(None, tiny_opts(**opts, TRAIN__EPOCHS=3)))


def as_schema_1(folder: Path, cfg: Any) -> str:
    """Write the train.json of a state as the first version did; return the fingerprint in it."""
    content = json.loads((folder / "train.json").read_text())
    state = content["state"]
    old = {name: state[name] for name in ("step", "best", "optimizer")} | {"scaler": {}}
    images = build_task(cfg).fingerprint_in_any_order()
    content |= {"schema": 1, "state": old, "run": content["run"] | {"images": images}}
    (folder / "train.json").write_text(json.dumps(content))
    (folder / "MANIFEST.json").unlink()
    write_manifest(folder, {"schema": 1, "step": state["step"]})
    return images
