"""Signals that ask a run to stop: when they are noted, obeyed at once, or change nothing."""

import logging
import os
import signal
import threading

import pytest

from swin_train.distributed.signals import StopSignals, stopped
from swin_train.errors import Stopped

POLITE = (signal.SIGTERM, signal.SIGUSR1)


def send(number: int) -> None:
    os.kill(os.getpid(), number)  # delivered before this returns, in the main thread


@pytest.mark.parametrize(("number", "urgency"), [*((number, 1) for number in POLITE), (signal.SIGINT, 2)])
def test_a_signal_is_noted_once_there_is_something_to_save(number: int, urgency: int) -> None:
    with StopSignals() as signals:
        signals.defer()
        assert signals.urgency == 0

        send(number)

        assert signals.urgency == urgency


@pytest.mark.parametrize(
    ("number", "status", "message"),
    [
        *(
            (
                number,
                143,
                "stopped by a signal (SIGTERM or SIGUSR1) before the first update; nothing was lost",
            )
            for number in POLITE
        ),
        (signal.SIGINT, 130, "stopped by Ctrl-C before the first update; nothing was lost"),
    ],
)
def test_before_there_is_anything_to_save_a_signal_ends_the_run_at_once(
    number: int, status: int, message: str
) -> None:
    with StopSignals(), pytest.raises(Stopped) as error:
        send(number)

    assert (str(error.value), error.value.exit_status) == (message, status)


def test_a_second_signal_does_not_disturb_the_end_that_the_first_brought() -> None:
    with StopSignals() as signals:
        with pytest.raises(Stopped):
            send(signal.SIGTERM)

        send(signal.SIGTERM)

        assert signals.urgency == 1


@pytest.mark.parametrize("again", POLITE)
def test_a_second_signal_changes_nothing_and_is_said_once(
    again: int, caplog: pytest.LogCaptureFixture
) -> None:
    with StopSignals() as signals:
        signals.defer()
        send(signal.SIGTERM)
        assert signals.urgency == 1
        assert caplog.messages == []

        send(again)

        assert [signals.urgency, signals.urgency] == [1, 1]
    assert caplog.messages == [f"{signal.Signals(again).name}: the run is stopping already"]
    assert caplog.records[0].levelno == logging.WARNING


def test_several_signals_between_two_looks_are_each_said(caplog: pytest.LogCaptureFixture) -> None:
    with StopSignals() as signals:
        signals.defer()
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            send(number)

        assert signals.urgency == 2
    assert caplog.messages == [f"{name}: the run is stopping already" for name in ("SIGTERM", "SIGINT")]


def test_a_second_ctrl_c_ends_at_once() -> None:
    with StopSignals() as signals:
        signals.defer()
        send(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_ctrl_c_after_sigterm_is_noted() -> None:
    with StopSignals() as signals:
        signals.defer()
        send(signal.SIGTERM)

        send(signal.SIGINT)

        assert signals.urgency == 2


def test_handlers_are_put_back() -> None:
    watched = (*POLITE, signal.SIGINT)
    before = [signal.getsignal(number) for number in watched]

    with StopSignals():
        assert [signal.getsignal(number) for number in watched] != before

    assert [signal.getsignal(number) for number in watched] == before


def test_in_another_thread_none_is_handled() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[object] = []

    def run() -> None:
        with StopSignals() as signals:
            found.extend([signal.getsignal(signal.SIGTERM), signals.urgency])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert found == [before, 0]


@pytest.mark.parametrize(
    ("urgency", "status", "message"),
    [
        (1, 143, "stopped by a signal (SIGTERM or SIGUSR1) after update 3"),
        (2, 130, "stopped by Ctrl-C after update 3"),
    ],
)
def test_what_ended_a_run_is_its_status(urgency: int, status: int, message: str) -> None:
    error = stopped(urgency, "after update 3", is_agreed=True)

    assert (str(error), error.exit_status) == (message, status)
