"""From environment variables to a running process group."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from swin_train.config import Config
from swin_train.distributed.channel import Channel
from swin_train.distributed.heartbeat import Heartbeat
from swin_train.distributed.launcher import warn_of_shared_store
from swin_train.distributed.roll_call import RollCall
from swin_train.distributed.runtime import Runtime
from swin_train.errors import PeerLost, Stopped, UserError

logger = logging.getLogger(__name__)

_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT")
_SETTLE_S = 0.2
_NCCL_LATER_S = 60.0


@contextmanager
def launch(cfg: Config) -> Iterator[Runtime]:
    """Join the processes that torchrun started, or run as one process without it.

    Yields:
        The process's Runtime; the process group is nccl on CUDA devices and gloo elsewhere.

    Raises:
        UserError: the environment contradicts itself, or ``DEVICE`` cannot be had.
        PeerLost: not all processes came.
    """
    launcher = os.getppid()  # before the others are waited for: it may die meanwhile
    rank, local_rank, world_size = read_environment(os.environ)
    local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE") or world_size)
    device = choose_device(cfg.DEVICE, local_rank)
    with _library_settings(cfg, device):
        if world_size == 1:
            yield Runtime(device, launcher=launcher)
            return
        with _process_group(cfg, device, rank, world_size) as store:
            patient = timedelta(seconds=cfg.DIST.SETUP_TIMEOUT_S)
            roll_call, heartbeat = None, None
            if store is not None:
                roll_call = RollCall(dist.PrefixStore("roll_call", store), rank, world_size)
                heartbeat = Heartbeat(dist.PrefixStore("heartbeat", store.clone()), rank, world_size)
            yield Runtime(
                device,
                rank,
                local_rank,
                world_size,
                local_world_size,
                steps=_channel(timedelta(seconds=cfg.DIST.TIMEOUT_S)),
                files=_channel(patient),
                saver=_channel(patient),
                launcher=launcher,
                roll_call=roll_call,
                heartbeat=heartbeat,
            )


def _channel(timeout: timedelta) -> Channel:
    group = dist.new_group(backend="gloo", timeout=timeout)
    assert isinstance(group, dist.ProcessGroup)  # every process is in it
    return Channel(group, dist.get_rank(), dist.get_world_size())


@contextmanager
def _process_group(
    cfg: Config, device: torch.device, rank: int, world_size: int
) -> Iterator[dist.Store | None]:
    """Give the store that the processes met at; None where whoever calls this as a library has joined them."""
    if dist.is_initialized():
        yield None
        return
    warn_of_shared_store(os.environ)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store = _meet(timedelta(seconds=cfg.DIST.SETUP_TIMEOUT_S))
    is_cuda = device.type == "cuda"
    dist.init_process_group(
        "nccl" if is_cuda else "gloo",
        store=dist.PrefixStore("run", store),
        rank=rank,
        world_size=world_size,
        # nccl ends the process by itself; the channel of the updates is to say before whom it waits for
        timeout=timedelta(seconds=cfg.DIST.TIMEOUT_S + (_NCCL_LATER_S if is_cuda else 0)),
    )
    try:
        yield store
    except Stopped as stop:
        if stop.is_agreed:
            _leave()
        raise
    _leave()  # not after an error: peers may be inside a collective, and it would wait for them


def _meet(timeout: timedelta) -> dist.Store:
    try:
        store, _, _ = next(rendezvous("env://", timeout=timeout))
    except (RuntimeError, OSError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise PeerLost(
            f"launch: rank {os.environ['RANK']} found nobody at {where} ({str(error).splitlines()[0]}); is the first "
            f"machine up, and can this one reach it?"
        ) from error
    return store


def _leave() -> None:
    # A thread of a gloo group lets go of the tensors of a collective that has returned, and needs the interpreter's
    # lock for that. A group that is destroyed meanwhile waits for its thread for ever, and one that is left to the
    # end of the process aborts it (with torch 2.11, one run in three). Asleep, this thread lends it the lock.
    time.sleep(_SETTLE_S)
    dist.destroy_process_group()


@contextmanager
def _library_settings(cfg: Config, device: torch.device) -> Iterator[None]:
    """Set torch up for the run, and leave it to the caller as it was."""
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    had_benchmark = torch.backends.cudnn.benchmark
    if cfg.DETERMINISTIC:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it for fixed results
        torch.use_deterministic_algorithms(True)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = not cfg.DETERMINISTIC
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic)
        torch.backends.cudnn.benchmark = had_benchmark


def read_environment(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """Return rank, local rank and world size as torchrun set them, or 0, 0, 1.

    Raises:
        UserError: some are missing, are not numbers, or contradict each other.
    """
    given = {name: environment[name] for name in _TORCHRUN if environment.get(name)}
    if not given:
        return 0, 0, 1
    missing = [name for name in _TORCHRUN if name not in given]
    if given.get("WORLD_SIZE", "1") != "1":
        missing += [name for name in _MEETING_POINT if not environment.get(name)]
    shown = ", ".join(f"{name}={value}" for name, value in given.items())
    if missing:
        raise UserError(
            f"environment: {shown} but {' and '.join(missing)} not set; start with torchrun, which sets all "
            f"of {', '.join((*_TORCHRUN, *_MEETING_POINT))}, or unset them to run as one process"
        )
    try:
        rank, local_rank, world_size = (int(given[name]) for name in _TORCHRUN)
        local_world_size = int(environment.get("LOCAL_WORLD_SIZE") or world_size)
    except ValueError:
        raise UserError(
            f"environment: {shown}, LOCAL_WORLD_SIZE={environment.get('LOCAL_WORLD_SIZE')}; each must be a whole "
            f"number, as torchrun sets them"
        ) from None
    if not 0 <= rank < world_size:
        raise UserError(f"environment: {shown}; RANK must be from 0 to WORLD_SIZE - 1 = {world_size - 1}")
    if not 0 <= local_rank < local_world_size or local_rank > rank:
        raise UserError(
            f"environment: {shown}; LOCAL_RANK counts the processes of this machine from 0, so it must be "
            f"below LOCAL_WORLD_SIZE = {local_world_size} and not above RANK"
        )
    return rank, local_rank, world_size


def choose_device(wanted: str, local_rank: int) -> torch.device:
    """Return the device for ``DEVICE``: the CUDA device of ``local_rank``, mps, or cpu.

    Raises:
        UserError: the machine has no such device, or fewer CUDA devices than processes.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    if wanted == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if found == 0:
            raise UserError("DEVICE is cuda, but torch sees no CUDA device here; use DEVICE auto or cpu")
        if local_rank >= found:
            raise UserError(
                f"environment: LOCAL_RANK={local_rank}, but this machine has {found} CUDA device(s); start "
                f"at most {found} processes here (torchrun --nproc_per_node {found})"
            )
        return torch.device("cuda", local_rank)
    if wanted == "mps" and not _has_mps():
        raise UserError("DEVICE is mps, but torch sees no Apple GPU here; use DEVICE auto or cpu")
    return torch.device(wanted)


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
