"""DIST: how a run is spread over processes."""

from typing import Literal

from swin_train.config.node import Section, opt


class Dist(Section):
    """How a run is spread over processes, and how long they wait for each other."""

    STRATEGY: Literal["ddp", "fsdp", "hsdp"] = opt(
        "ddp",
        "ddp: every process holds the whole model; fsdp: each holds a part of every parameter, its gradient and the"
        " optimizer's state (torch's fully_shard, block by block); hsdp: so within SHARD_SIZE processes, which"
        " together hold one of several copies.",
    )
    SHARD_SIZE: int = opt(0, "hsdp: processes that hold one copy together; 0 is those of a machine.", ge=0)
    GATHER_DTYPE: Literal["fp32", "bf16"] = opt(
        "fp32",
        "fsdp and hsdp: type in which blocks are gathered before they compute; bf16 halves the traffic, and rounds"
        " norms and biases too.",
    )
    REDUCE_DTYPE: Literal["fp32", "bf16"] = opt(
        "fp32", "Type in which gradients travel between processes; bf16 halves the traffic and rounds them."
    )
    TIMEOUT_S: float = opt(
        300.0,
        "Seconds after which a process is taken for lost that the others wait for in an update, or that does not"
        " answer.",
        gt=0,
    )
    SETUP_TIMEOUT_S: float = opt(
        1800.0,
        "The same where one that answers may take long: finding images, reading and writing files.",
        gt=0,
    )
    CHECK_EVERY: int = opt(
        1000,
        "Updates between two comparisons of the weights of processes that hold the same; 0 is never.",
        ge=0,
    )
