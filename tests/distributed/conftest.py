"""A run of a few seconds, what it is without a fault, and where it lies."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agents import Agents
from ranks import Ranks, check_statuses
from state_digest import newest_state, state_digest

RECIPE = {"SAVE_STEPS": 3, "SAVE_ASYNC": False, "TRAIN__EPOCHS": 3, "TRAIN__EMA_DECAY": 0.9}  # 15 updates


@pytest.fixture
def opts(several_opts: Callable) -> Callable[..., list[str]]:
    """Gives the arguments of the run, changed as asked."""
    return lambda **changes: several_opts(**RECIPE | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    """Gives the folder of the run with a tag."""
    return lambda tag: tmp_path / "output/tiny" / tag


@pytest.fixture(scope="session")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def undisturbed_run(opts: Callable, ranks: Ranks, _kept: Path) -> Path:
    """The folder of a run that nothing happened to; the run is made once."""
    run = _kept / "tiny/undisturbed"
    if not run.exists():
        check_statuses(ranks.run(2, opts(OUTPUT=str(_kept), TAG="undisturbed")), 0, 0)
    return run


@pytest.fixture
def undisturbed(undisturbed_run: Path) -> str:
    """The digest of its last state."""
    return state_digest(newest_state(undisturbed_run))


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    """Starts the real torchrun; ends what is left of it."""
    agents = Agents(tmp_path / "agents")
    yield agents
    agents.kill()
