"""Threads do the work and results come in order; one error, or a reader that has left, ends all of it."""

import threading
import time
from contextlib import closing
from threading import Event

import pytest

from swin_train.prepare.in_order import Stopped, in_order


def test_results_come_in_the_order_of_the_work() -> None:
    def work(number: int, stop: Event) -> int:
        time.sleep(0.001 * ((number * 7) % 5))
        return number * number

    assert list(in_order(work, range(40), 4)) == [number * number for number in range(40)]


def test_not_much_is_begun_before_the_first_result_is_taken() -> None:
    begun = []

    def work(number: int, stop: Event) -> int:
        begun.append(number)
        return number

    with closing(in_order(work, range(1000), 2)) as results:
        next(results)

    assert len(begun) <= 6


@pytest.mark.timeout(30)
def test_an_error_stops_what_is_under_way() -> None:
    stopped = []

    def work(number: int, stop: Event) -> int:
        if number == 0:
            raise ValueError("bad")
        while not stop.is_set():
            time.sleep(0.001)
        stopped.append(number)
        raise Stopped

    with pytest.raises(ValueError, match="bad"):
        list(in_order(work, range(100), 3))

    assert len(stopped) <= 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]
