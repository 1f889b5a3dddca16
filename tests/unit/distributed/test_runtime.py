"""What the main process does for all, and what the others hear of its errors."""

import errno
from typing import Any

import pytest
import torch

from swin_train.distributed.channel import Channel
from swin_train.distributed.runtime import Runtime
from swin_train.errors import (
    DataError,
    LockLost,
    NumericsError,
    PeerLost,
    Stopped,
    StorageError,
    UserError,
)


class Line(Channel):
    """Takes down what the main process says, or says it to another one."""

    def __init__(self, *said: Any) -> None:
        object.__setattr__(self, "said", list(said))

    def from_main(self, value: Any) -> Any:
        said: list[Any] = self.said  # type: ignore[attr-defined]
        if value:
            said.append(value)
        return said[-1]


def heard_of(error: Exception) -> UserError:
    """What another process raises when ``error`` ends the main one."""
    line = Line()
    with pytest.raises(type(error)) as raised:
        Runtime(torch.device("cpu"), world_size=2, files=line).from_main(lambda: raise_(error))
    assert raised.value is error
    with pytest.raises(UserError) as heard:
        Runtime(torch.device("cpu"), rank=1, world_size=2, files=line).from_main(pytest.fail)
    return heard.value


def raise_(error: Exception) -> None:
    raise error


def test_all_get_what_the_main_process_found() -> None:
    line = Line()

    found = [
        Runtime(torch.device("cpu"), rank=rank, world_size=2, files=line).from_main(lambda: {"a": [1]})
        for rank in (0, 1)
    ]

    assert found == [{"a": [1]}, {"a": [1]}]


@pytest.mark.parametrize(
    "error",
    [UserError("x"), NumericsError("x"), DataError("x"), StorageError("x"), LockLost("x"), PeerLost("x")],
)
def test_others_end_with_its_kind_message_and_status(error: UserError) -> None:
    heard = heard_of(error)

    assert (type(heard), str(heard), heard.exit_status) == (type(error), "x", error.exit_status)


def test_a_full_disk_is_one_for_all() -> None:
    heard = heard_of(OSError(errno.ENOSPC, "No space left on device", "run.lock"))

    assert (type(heard), heard.exit_status) == (StorageError, 28)
    assert str(heard) == "run.lock: cannot be written (No space left on device); see to free space"


def test_what_only_a_traceback_explains_is_a_lost_process_to_the_others() -> None:
    heard = heard_of(ZeroDivisionError("by zero"))

    assert (type(heard), str(heard)) == (PeerLost, "another process: ZeroDivisionError: by zero")


def test_a_signal_to_the_main_process_was_agreed_by_nobody() -> None:
    heard = heard_of(Stopped("by a signal", 143, is_agreed=True))

    assert isinstance(heard, Stopped)
    assert (heard.exit_status, heard.is_agreed) == (143, False)
