"""Threads: the same results from any number of them, many batches, several callers, forks."""

import gc
import os
import resource
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from swin_train.data.formats import FileSpan
from swin_train.data.native.library import Crops, Pool
from swin_train.errors import UserError


@pytest.fixture
def batch(photograph, encode, random_box):
    """Twelve different pictures, and their crops."""
    items = [encode(photograph(40 + 9 * i, 150 - 7 * i)) for i in range(12)]
    rng, crops = np.random.default_rng(0), Crops.empty(12)
    for i in range(12):
        left, top, right, bottom = random_box(rng, 40 + 9 * i, 150 - 7 * i)
        crops.limits[i] = left, top, right, bottom
        crops.boxes[i] = left, top, right - left, bottom - top
    return items, crops


def render(pool, items, crops):
    out = np.empty((len(items), 3, 32, 32), np.uint8)
    assert pool.render(pool.load(items), crops, out) == [None] * len(items)
    return out


def test_results_do_not_depend_on_the_number_of_threads(batch):
    results = []
    for threads in (1, 2, 5, 16):
        pool = Pool(threads)
        results.append(render(pool, *batch))
        pool.close()

    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_several_batches_may_be_in_work(batch):
    pool = Pool(3)
    expected = render(pool, *batch)
    wrong = []

    def render_often():
        for _ in range(20):
            if not np.array_equal(render(pool, *batch), expected):
                wrong.append(threading.get_ident())

    callers = [threading.Thread(target=render_often) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert wrong == []
    pool.close()


def test_other_python_threads_run_meanwhile(batch):
    items, crops = batch
    pool, steps, is_done = Pool(1), [], threading.Event()

    def count():
        while not is_done.is_set():
            steps.append(1)

    counter = threading.Thread(target=count)
    counter.start()
    before = len(steps)
    pictures = pool.load(items * 20)
    many = Crops(*(np.concatenate([values] * 20) for values in vars(crops).values()))
    pool.render(pictures, many, np.empty((240, 3, 224, 224), np.uint8))
    during = len(steps) - before
    is_done.set()
    counter.join()

    assert during > 1000  # the call takes tens of milliseconds
    pool.close()


def memory_kb():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_memory_stays_as_it_is_over_many_batches(batch, tmp_path):
    items, crops = batch
    spans = []
    for i, item in enumerate(items):
        (tmp_path / str(i)).write_bytes(item + bytes(200_000))
        spans.append(FileSpan(bytes(tmp_path / str(i)), 0, -1))
    pool = Pool(2)
    for _ in range(20):
        render(pool, spans, crops)
    gc.collect()
    before = memory_kb()

    for _ in range(100):
        render(pool, spans, crops)

    gc.collect()
    assert memory_kb() - before < 10_000  # 240 MB were read
    pool.close()


def test_a_huge_picture_does_not_leave_its_memory_behind(crop_to):
    pool = Pool(1)
    out = np.empty((1, 3, 1, 4096), np.uint8)
    huge = np.zeros((8192, 16, 3), np.uint8)
    before = memory_kb()

    for _ in range(3):
        assert pool.render(pool.load([huge]), crop_to((0, 0, 16, 8192)), out) == [None]

    assert memory_kb() - before < 60_000  # its rows of 4096 pixels took 134 MB
    pool.close()


def test_an_empty_batch_is_rendered(pool):
    assert pool.render(pool.load([]), Crops.empty(0), np.empty((0, 3, 8, 8), np.uint8)) == []
    assert pool.decode(pool.load([])) == []


def test_a_closed_pool_is_refused(batch):
    pool = Pool(1)
    pool.close()
    pool.close()

    with pytest.raises(RuntimeError, match="the pool is closed"):
        pool.load(batch[0])


def num_threads():
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def test_a_pool_ends_its_threads_when_it_is_collected():
    before = num_threads()
    pool = Pool(6)
    assert num_threads() == before + 6

    del pool
    gc.collect()

    assert num_threads() == before


def test_a_forked_child_needs_a_pool_of_its_own(batch):
    pool = Pool(2)
    expected = render(pool, *batch)
    child = os.fork()
    if child == 0:  # its exit status tells
        status = 1
        try:
            pool.load(batch[0])
        except RuntimeError as error:
            is_told = "before a fork" in str(error)
            pool.close()
            del pool
            status = 0 if is_told and np.array_equal(render(Pool(2), *batch), expected) else 2
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(render(pool, *batch), expected)
    pool.close()


def test_no_thread_is_a_mistake():
    with pytest.raises(ValueError, match="threads is 0; it must be at least 1"):
        Pool(0)


def test_too_many_threads_are_an_error_that_says_so():
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + (64 << 20), limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot start 5000 threads \(.*\); use fewer"):
            Pool(5000)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def address_space():
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    "out",
    [
        np.empty((12, 3, 8, 8), np.float32),
        np.empty((11, 3, 8, 8), np.uint8),
        np.empty((12, 2, 8, 8), np.uint8),
        np.empty((12, 3, 0, 8), np.uint8),
        np.empty((12, 3, 8), np.uint8),
        torch.empty((12, 3, 8, 8), dtype=torch.int8),
    ],
)
def test_a_result_of_another_shape_or_type_is_a_mistake(pool, batch, out):
    items, crops = batch

    with pytest.raises(ValueError, match=r"out is .*; it must be torch.uint8 \[12, 1 or 3, height, width\]"):
        pool.render(pool.load(items), crops, out)


def test_a_result_with_gaps_is_a_mistake(pool, batch):
    items, crops = batch

    with pytest.raises(ValueError, match="contiguous and on the CPU"):
        pool.render(pool.load(items), crops, np.empty((12, 3, 8, 16), np.uint8)[..., ::2])


@pytest.mark.parametrize("name", ["limits", "boxes", "filters", "flips", "shifts"])
def test_crops_of_another_shape_or_type_are_a_mistake(pool, batch, name):
    items, crops = batch
    values = getattr(crops, name)
    for wrong in (values[1:], values.astype(np.int16)):
        changed = Crops(**{**vars(crops), name: wrong})

        with pytest.raises(ValueError, match=rf"crops.{name} is {wrong.dtype} .*; it must be {values.dtype}"):
            pool.render(pool.load(items), changed, np.empty((12, 3, 8, 8), np.uint8))


def test_tensors_are_filled_too(pool, batch):
    items, crops = batch
    out = torch.empty(12, 3, 32, 32, dtype=torch.uint8)

    assert pool.render(pool.load(items), crops, out) == [None] * 12

    np.testing.assert_array_equal(out.numpy(), render(pool, items, crops))
