"""Files that every machine should see are looked for on each of them."""

import platform
from typing import Any

import pytest
import torch

import swin_train.engine.every_machine
from swin_train.distributed import Runtime
from swin_train.distributed.channel import Channel
from swin_train.engine.every_machine import machines_without

CPU = torch.device("cpu")


class Others(Channel):
    """A channel to processes that miss nothing but this."""

    def gather(self, value: Any) -> list[Any]:
        return ["", value, "zebra", "ant", "ant"]


@pytest.fixture
def other() -> Runtime:
    """The process of another machine that looks."""
    return Runtime(CPU, rank=2, local_rank=0, world_size=5, local_world_size=1, files=Others())


@pytest.fixture(autouse=True)
def _in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swin_train.engine.every_machine, "_SEEN_WITHIN_S", 0.2)
    monkeypatch.setattr(swin_train.engine.every_machine, "_LOOK_EVERY_S", 0.01)


def test_machines_that_miss_it_are_named_once(other: Runtime) -> None:
    assert machines_without(lambda: False, other) == sorted({platform.node(), "ant", "zebra"})


def test_what_comes_to_be_seen_in_time_is_seen(other: Runtime) -> None:
    looks = iter([False, False, True])

    assert machines_without(lambda: next(looks), other) == ["ant", "zebra"]
    assert next(looks, None) is None


@pytest.mark.parametrize("changes", [{"rank": 0}, {"local_rank": 1}])
def test_the_main_process_and_second_ones_of_a_machine_do_not_look(changes: dict[str, int]) -> None:
    ranks = {"rank": 2, "local_rank": 0} | changes
    runtime = Runtime(CPU, world_size=5, local_world_size=2, files=Others(), **ranks)

    assert machines_without(pytest.fail, runtime) == ["ant", "zebra"]


def test_on_one_machine_nobody_looks() -> None:
    runtime = Runtime(CPU, world_size=2, local_world_size=2, files=Others())

    assert machines_without(pytest.fail, runtime) == []
