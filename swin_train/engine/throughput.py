"""``--throughput``: how many images a second the model evaluates, by the reference's protocol."""

import logging
import time

import torch

from swin_train.config import Config
from swin_train.distributed import Runtime, launch
from swin_train.engine.attention import say_attention
from swin_train.engine.precision import choose_precision
from swin_train.record import Recorder
from swin_train.tasks import build_task

logger = logging.getLogger(__name__)

_FORWARDS = {"cuda": (50, 30)}  # warm-up and timed, as the reference does
_FORWARDS_ELSEWHERE = (2, 5)  # a CPU has no clocks and caches to warm up that long


@torch.inference_mode()
def throughput(cfg: Config) -> float:
    """Return images per second of one process: forward passes over one validation batch held in memory.

    The dtype is that of evaluation and is said; the reference measures float32 whatever it is told.

    Raises:
        UserError: the validation images cannot be opened.
    """
    with launch(cfg) as runtime, Recorder(None, runtime.is_main):
        for key in ("MODEL.RESUME", "MODEL.PRETRAINED"):
            if cfg.flat()[key]:
                logger.warning("%s %s is not read: weights do not change the speed", key, cfg.flat()[key])
        task = build_task(cfg, need_train=False)
        precision = choose_precision(cfg, runtime.device)
        model = task.build_model().to(runtime.device, precision.parameter_dtype).eval()
        say_attention(model, runtime.device, precision)
        feed = task.build_eval_feed(runtime.rank, runtime.world_size, runtime.device)
        images = next(feed.batches()).images.to(precision.parameter_dtype)
        num_warmup, num_timed = _FORWARDS.get(runtime.device.type, _FORWARDS_ELSEWHERE)
        with precision.autocast():
            for _ in range(num_warmup):
                model(images)
            _wait(runtime)
            start = time.perf_counter()
            for _ in range(num_timed):
                model(images)
            _wait(runtime)
        images_per_s = num_timed * len(images) / (time.perf_counter() - start)
        logger.info(
            "batch_size %d throughput %.1f images/s (%s, %s, %d forwards timed after %d)",
            len(images),
            images_per_s,
            precision.name,
            runtime.device,
            num_timed,
            num_warmup,
        )
    return images_per_s


def _wait(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)
    elif runtime.device.type == "mps":
        torch.mps.synchronize()
