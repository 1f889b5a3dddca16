"""Faults at an exact moment of a run: imported by the prelude of a rank (``ranks.py``), reachable from nowhere else.

::

    import faults, signal
    faults.at(step=5, rank=1, do=faults.kill(signal.SIGKILL))
    faults.in_saving(call=7, do=faults.raise_(OSError(errno.ENOSPC, "No space left on device")))

An action takes what the function says that it is in; ``rank`` None is every rank; with ``once``, a path
that is made, the fault does not come again after a restart.
"""

import contextlib
import functools
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Action = Callable[..., object]
_STEP = "swin_train.engine.epoch.train_step"


def at(step: int, do: Action, *, rank: int | None = None, once: str | None = None) -> None:
    """Do it as update ``step`` begins, counted from 1 as the log does; the action gets the TrainState."""

    def is_now(_: int, state: Any, *rest: Any, **named: Any) -> bool:
        return state.step + 1 == step

    _before(_STEP, is_now, lambda state, *rest: do(state), rank, once)


class Died(Exception):
    """Stands for whatever ends a process, in a test that goes on in the same one."""


@contextlib.contextmanager
def dies_before(step: int) -> Iterator[None]:
    """Let the training inside die as update ``step`` begins; what comes after it trains on without a fault."""
    module_name, name = _STEP.rsplit(".", 1)
    module = importlib.import_module(module_name)
    original = getattr(module, name)
    at(step, raise_(Died()))
    try:
        yield
    except Died:
        return
    finally:
        setattr(module, name, original)
    raise AssertionError(f"update {step} never began")


def in_evaluation(do: Action, *, batch: int = 1, rank: int | None = None, once: str | None = None) -> None:
    """Do it in evaluation, after the forward pass of a batch: the ``batch``-th of this process, counted from 1."""
    before_call("swin_train.engine.evaluate._sums", do, call=batch, rank=rank, once=once)


def in_saving(do: Action, *, call: int, rank: int | None = 0, once: str | None = None) -> None:
    """Do it before the ``call``-th time that this process touches a path below checkpoints/ or weights/.

    Counted are the opening, making, renaming and deleting of files and folders, and every fsync, from 1; so they are
    found in a save wherever its code is. An OSError raised here is one of that call.
    """
    seen = 0

    def touch(what: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if what not in _TOUCHES or not any(_is_saved(path) for path in arguments):
            return
        seen += 1
        if seen == call and _is_due(rank, once):
            do()

    sys.addaudithook(touch)
    fsync = os.fsync

    def audited_fsync(descriptor: int) -> None:  # the interpreter has no event for it
        touch("fsync", (Path(f"/proc/self/fd/{descriptor}").readlink(),))
        fsync(descriptor)

    os.fsync = audited_fsync


_TOUCHES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "fsync")


def _is_saved(path: object) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    found = Path(os.fsdecode(path))
    is_code = found.suffix in (".py", ".pyc")  # swin_train/weights/ is no folder of a run
    return not is_code and bool({"checkpoints", "weights"} & set(found.parts[:-1]))


def before_call(
    target: str, do: Action, *, call: int = 1, rank: int | None = None, once: str | None = None
) -> None:
    """Do it before the ``call``-th call of a function, named ``package.module.name`` as its caller finds it.

    The action gets the positional arguments of the call.
    """
    _before(target, lambda calls, *rest, **named: calls == call, do, rank, once)


def _before(target: str, is_now: Callable[..., bool], do: Action, rank: int | None, once: str | None) -> None:
    module_name, name = target.rsplit(".", 1)
    module = importlib.import_module(module_name)
    original = getattr(module, name)
    calls = 0

    @functools.wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if is_now(calls, *arguments, **named) and _is_due(rank, once):
            do(*arguments)
        return original(*arguments, **named)

    setattr(module, name, wrapped)


def _is_due(rank: int | None, once: str | None) -> bool:
    if rank is not None and rank != int(os.environ.get("RANK", "0")):
        return False
    if once is None:
        return True
    try:
        Path(once).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def kill(number: int = signal.SIGKILL, *, times: int = 1) -> Action:
    """Send this process a signal, or several at once."""

    def do(*_: Any) -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    return do


def raise_(error: BaseException) -> Action:
    """Raise an error."""

    def do(*_: Any) -> None:
        raise error

    return do


def sleep(seconds: float) -> Action:
    """Hang, as in a file system that does not answer."""
    return lambda *_: time.sleep(seconds)


def corrupt(pattern: str) -> Action:
    """Flip one bit in the middle of a file: the last of those that match an absolute pattern."""

    def do(*_: Any) -> None:
        path = sorted(Path("/").glob(pattern.lstrip("/")))[-1]
        flip_bit(path)

    return do


def flip_bit(path: Path) -> None:
    """Flip the lowest bit of the byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def nan_gradient(state: Any) -> None:
    """Make one number of this process's gradient NaN in the update that begins, before it is averaged."""

    def spoil(gradient: Any) -> Any:
        hook.remove()
        spoilt = gradient.clone()
        spoilt.view(-1)[0] = float("nan")
        return spoilt

    hook = next(p for p in state.model.parameters() if p.requires_grad).register_hook(spoil)


def drift(state: Any) -> None:
    """Change one weight of this process by the smallest step there is: its replicas differ from now on."""
    import torch

    weight = next(p for p in state.model.parameters() if p.requires_grad).data.view(-1)
    weight[0] = torch.nextafter(weight[0], torch.tensor(float("inf")))


def slow(seconds: float) -> None:
    """Make every update take at least ``seconds``, so that a signal from outside finds the run under way."""
    _before(_STEP, lambda *_, **__: True, sleep(seconds), None, None)
