"""How DIST is understood, and what one process makes of it."""

import pytest
import torch
from torch import nn

from swin_train.config import load_config
from swin_train.distributed.channel import Channel
from swin_train.distributed.parallelize import (
    choose_spread,
    gradient_sync,
    parallelize,
    unwrap,
    whole_on_main,
)
from swin_train.distributed.runtime import Runtime
from swin_train.errors import UserError

CPU = torch.device("cpu")


def runtime(world_size: int, local_world_size: int) -> Runtime:
    return Runtime(CPU, world_size=world_size, local_world_size=local_world_size)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "hsdp"])
def test_one_process_holds_everything_whatever_is_asked(strategy: str) -> None:
    spread = choose_spread(load_config(None, ["DIST.STRATEGY", strategy]), runtime(1, 1))

    assert (spread.mesh, spread.is_alone, spread.part) == (None, True, 0)
    model = nn.Linear(2, 2)
    assert parallelize(model, spread) is unwrap(model) is model
    assert whole_on_main({"w": model.weight}, runtime(1, 1)) == {"w": model.weight}
    assert whole_on_main({"w": model.weight}, Runtime(CPU, rank=1, world_size=2)) == {}
    with gradient_sync(model, is_last=False):
        pass


def test_with_ddp_each_process_holds_all() -> None:
    spread = choose_spread(
        load_config(None, ["DIST.STRATEGY", "ddp", "DIST.REDUCE_DTYPE", "bf16"]), runtime(4, 2)
    )

    assert (spread.mesh, spread.is_alone, spread.reduce_dtype) == (None, False, torch.bfloat16)


@pytest.mark.parametrize(
    ("opts", "world_size", "said"),
    [
        (["DIST.STRATEGY", "fsdp"], 1, ["DIST.STRATEGY fsdp changes nothing: there is one process"]),
        (
            ["DIST.SHARD_SIZE", "2"],
            4,
            ["DIST.SHARD_SIZE is not read: it is for DIST.STRATEGY hsdp, not ddp"],
        ),
        (["DIST.STRATEGY", "ddp"], 1, []),
    ],
)
def test_what_is_asked_for_in_vain_is_said(
    opts: list[str], world_size: int, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    choose_spread(load_config(None, opts), runtime(world_size, 2))

    assert caplog.messages == said


class Machines(Channel):
    """Processes of machines of 4, 4 and 8."""

    def gather(self, value: int) -> list[int]:
        return [4] * 8 + [8] * 8


def test_machines_of_unlike_sizes_have_no_size_of_a_machine() -> None:
    """4 and 8 both divide 16: the processes would ask for other groups than each other."""
    cfg = load_config(None, ["DIST.STRATEGY", "hsdp"])

    with pytest.raises(UserError) as error:
        choose_spread(cfg, Runtime(CPU, world_size=16, local_world_size=4, files=Machines()))

    assert str(error.value) == (
        "DIST.SHARD_SIZE is 0, but the machines have 4 and 8 processes; give the number of processes that share a "
        "model, a divisor of 16"
    )


@pytest.mark.parametrize(
    ("world_size", "local_world_size", "asked", "shard_size"), [(8, 8, 3, 3), (6, 4, 0, 4), (2, 2, 8, 8)]
)
def test_groups_that_do_not_divide_the_processes_are_refused(
    world_size: int, local_world_size: int, asked: int, shard_size: int
) -> None:
    cfg = load_config(None, ["DIST.STRATEGY", "hsdp", "DIST.SHARD_SIZE", str(asked)])

    with pytest.raises(UserError) as error:
        choose_spread(cfg, runtime(world_size, local_world_size))

    assert str(error.value) == (
        f"DIST.SHARD_SIZE: {world_size} processes cannot be divided into groups of {shard_size}; choose a divisor of "
        f"{world_size}"
    )


@pytest.mark.parametrize("strategy", ["fsdp", "hsdp"])
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.float64])
def test_blocks_are_not_gathered_in_a_type_that_is_not_computed_in(
    strategy: str, dtype: torch.dtype | None
) -> None:
    cfg = load_config(None, ["DIST.STRATEGY", strategy, "DIST.GATHER_DTYPE", "bf16"])

    with pytest.raises(UserError) as error:
        choose_spread(cfg, runtime(2, 2), dtype)

    assert str(error.value) == (
        f"DIST.GATHER_DTYPE is bf16, but this run computes in {dtype or 'torch.float32'}; set AMP_DTYPE bf16, or "
        f"gather in fp32"
    )
