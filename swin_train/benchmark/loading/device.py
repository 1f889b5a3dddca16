"""What is left to the device costs there: operations, normalising and erasing; mixing is everybody's."""

import time
from collections.abc import Callable
from itertools import islice

import torch

from swin_train.benchmark.loading.bench import Bench, Load
from swin_train.benchmark.loading.feeds import train_feed
from swin_train.benchmark.rounds import Spread, spread
from swin_train.data.loader import Finisher
from swin_train.kernels.augment import Normalisation

_NUM_BATCHES = 4


def device_ms(bench: Bench, num_rounds: int) -> Spread:
    """Milliseconds per image that the device needs to finish training batches, by round.

    On a GPU these are seconds on the clock with nothing else running, on a CPU with one thread.
    """
    cfg, feed = train_feed(bench, Load(1), "portable", "device")
    normalisation = Normalisation(torch.tensor(cfg.DATA.MEAN), torch.tensor(cfg.DATA.STD)).to(bench.device)
    finish = Finisher(bench.device, normalisation)
    batches = []
    for loaded in islice(feed.host_batches(0), _NUM_BATCHES):
        plan = None if loaded.plan is None else loaded.plan.to(bench.device)
        batches.append(loaded._replace(images=loaded.images.to(bench.device), plan=plan))
    wait: Callable[[], None] = torch.cuda.synchronize if bench.device.type == "cuda" else lambda: None
    seconds = []
    for _ in range(num_rounds + 1):
        wait()
        start = time.perf_counter()
        for loaded in batches:
            finish(loaded)
        wait()
        seconds.append(time.perf_counter() - start)
    num_images = sum(len(loaded.images) for loaded in batches)
    return spread([1000 * s / num_images for s in seconds[1:]])  # the first compiles kernels
