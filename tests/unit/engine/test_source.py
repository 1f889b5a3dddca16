"""Which state a launch of several machines goes on from."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import swin_train.engine.source
from swin_train.config import Config, load_config
from swin_train.distributed import Runtime
from swin_train.distributed.channel import Channel
from swin_train.engine.commit import Commit, commit
from swin_train.engine.source import find_source
from swin_train.errors import UserError


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Two states of a run."""
    for step in (1, 2):
        folder = tmp_path / f"checkpoints/step-{step:08d}"
        commit(Commit(folder, {"model.a": torch.ones(1)}, "{}", step, owner=1, check_owner=bool), Channel())
    return tmp_path / "checkpoints"


@pytest.fixture
def cfg() -> Config:
    return load_config(None, [])


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a runtime whose other machine sees these states as damaged."""

    def make(*damaged: str) -> Runtime:
        def machines_without(is_there: partial, runtime: Runtime) -> list[str]:
            return ["node2"] if is_there.args[0].name in damaged else []

        monkeypatch.setattr(swin_train.engine.source, "machines_without", machines_without)
        return Runtime(torch.device("cpu"))

    return make


def test_a_state_that_is_damaged_on_another_machine_is_put_aside(
    checkpoints: Path, cfg: Config, elsewhere: Any
) -> None:
    assert find_source(cfg, checkpoints, elsewhere("step-00000002")) == checkpoints / "step-00000001"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["damaged-step-00000002", "step-00000001"]


def test_a_machine_that_sees_no_state_ends_the_run_and_nothing_is_touched(
    checkpoints: Path, cfg: Config, elsewhere: Any
) -> None:
    """As one that does not have OUTPUT mounted: the states are as good as they were."""
    message = r"step-00000002: is not whole as node2 sees it, nor is any older state"
    with pytest.raises(UserError, match=message):
        find_source(cfg, checkpoints, elsewhere("step-00000001", "step-00000002"))
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-00000001", "step-00000002"]


def test_a_state_of_another_run_is_left_where_it_is(
    tmp_path: Path, checkpoints: Path, elsewhere: Any
) -> None:
    cfg = load_config(None, ["MODEL.RESUME", str(checkpoints)])

    found = find_source(cfg, tmp_path / "own", elsewhere("step-00000002"))

    assert found == checkpoints / "step-00000001"
    assert (checkpoints / "step-00000002").is_dir()


def test_a_run_whose_states_were_all_put_aside_does_not_begin_anew(
    checkpoints: Path, cfg: Config, elsewhere: Any
) -> None:
    for folder in list(checkpoints.iterdir()):
        folder.rename(folder.with_name(f"damaged-{folder.name}"))

    with pytest.raises(
        UserError, match="all its checkpoints were put aside as damaged; restore one of them as step-N"
    ):
        find_source(cfg, checkpoints, elsewhere())
