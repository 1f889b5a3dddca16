"""``--throughput``: ``benchmark inference`` of this project's model alone, by the reference's protocol."""

import logging

from swin_train.benchmark.model.timing import seconds_of
from swin_train.benchmark.model.work import forward_pass, make_batches
from swin_train.config import Config
from swin_train.distributed import launch
from swin_train.distributed.compilation import compile_model
from swin_train.engine.attention import say_attention
from swin_train.engine.precision import choose_precision
from swin_train.models.build import build_model
from swin_train.record import Recorder

logger = logging.getLogger(__name__)

_FORWARDS = {"cuda": (50, 30)}  # warm-up and timed, as the reference does
_FORWARDS_ELSEWHERE = (2, 5)  # a CPU has no clocks and caches to warm up that long


def throughput(cfg: Config) -> float:
    """Return images per second of one process: forward passes over random images, as TRAIN.COMPILE compiles them.

    The dtype is that of evaluation and is said; the reference measures float32 whatever it is told.

    Raises:
        UserError: the device cannot compute as ``cfg`` says.
    """
    with launch(cfg) as runtime, Recorder(None, runtime.is_main):
        for key in ("MODEL.RESUME", "MODEL.PRETRAINED"):
            if cfg.flat()[key]:
                logger.warning("%s %s is not read: weights do not change the speed", key, cfg.flat()[key])
        device, precision = runtime.device, choose_precision(cfg, runtime.device)
        model = build_model(cfg).to(device, precision.parameter_dtype)
        say_attention(model.eval(), device, precision)
        compile_model(model, cfg.TRAIN.COMPILE, device)
        batch_size = cfg.DATA.BATCH_SIZE
        batches = make_batches(
            batch_size, model.in_chans, cfg.DATA.img_size, 1, device, precision.parameter_dtype
        )
        forward = forward_pass(model, batches, precision.autocast)
        num_warmup, num_timed = _FORWARDS.get(device.type, _FORWARDS_ELSEWHERE)
        seconds_of(forward, num_warmup, device)
        images_per_s = batch_size / seconds_of(forward, num_timed, device)
        logger.info(
            "batch_size %d throughput %.1f images/s (%s, %s, %d forwards timed after %d)",
            batch_size,
            images_per_s,
            precision.name,
            device,
            num_timed,
            num_warmup,
        )
    return images_per_s
