"""Evaluation: every image once, whatever the number of processes."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_train.config import Config
from swin_train.data.loader import EvalFeed
from swin_train.data.workers import reported_worker_losses
from swin_train.distributed import Runtime, launch
from swin_train.distributed.parallelize import is_sharded
from swin_train.engine.attention import say_attention
from swin_train.engine.header import INPUT_KEYS
from swin_train.engine.identity import is_same
from swin_train.engine.precision import Precision, choose_precision
from swin_train.errors import UserError
from swin_train.models.build import padded_maps
from swin_train.record import Recorder
from swin_train.tasks import Classification, build_task
from swin_train.tasks.classification import at_least_float32
from swin_train.weights.download import local_file
from swin_train.weights.metadata import class_names, value
from swin_train.weights.read import Weights, read_weights
from swin_train.zoo.load import fit_exactly

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Accuracies in percent and the mean cross-entropy, over ``num_images`` images.

    ``topk`` is top-5 accuracy, or top-k with as many classes as there are when they are fewer.
    """

    top1: float
    topk: float
    k: int
    loss: float
    num_images: int

    def __str__(self) -> str:
        accuracies = f"Acc@1 {self.top1:.3f} Acc@{self.k} {self.topk:.3f}"
        return f"{accuracies} loss {self.loss:.4f} ({self.num_images} images)"


def evaluate(cfg: Config) -> Evaluation:
    """Evaluate exactly the checkpoint that ``MODEL.RESUME`` names on the validation images.

    Needs no training set and writes nothing.

    Raises:
        UserError: no checkpoint is named, or it does not fit the model or the classes.
        DataError: an image cannot be decoded; a metric over the others would not be the metric.
    """
    with launch(cfg) as runtime, Recorder(None, runtime.is_main), reported_worker_losses():
        path = _named_checkpoint(cfg)
        task = build_task(cfg, need_train=False)
        weights = read_weights(path, cfg.TEST.WEIGHTS)
        _check_classes(cfg, task, class_names(weights.metadata))
        model = task.build_model()
        _warn_of_other_inputs(cfg, weights, is_padded=bool(padded_maps(model)))
        fit_exactly(model, weights)
        precision = choose_precision(cfg, runtime.device)
        kind = weights.metadata.get("weights", cfg.TEST.WEIGHTS)
        logger.info("%s: %s weights, %s, on %s", path, kind, precision.name, runtime.device)
        say_attention(model.eval(), runtime.device, precision)
        feed = task.build_eval_feed(runtime.rank, runtime.world_size, runtime.device)
        return evaluate_model(model.to(runtime.device, precision.parameter_dtype), feed, precision, runtime)


def evaluate_model(
    model: nn.Module,
    feed: EvalFeed,
    precision: Precision,
    runtime: Runtime,
    at_each_batch: Callable[[], object] = bool,
) -> Evaluation:
    """Return the metrics of ``model`` over all processes' images; it comes back in the mode it was in.

    Counts and sums are added up over the processes and divided once, so the result does not depend on
    how the images are spread; padding that evens out the processes' batches is masked, and all processes see
    equally many batches.

    Args:
        model: on the device.
        feed: this process's share of the images.
        precision: of the forward passes.
        runtime: of this process.
        at_each_batch: called before each, in all processes at the same ones.
    """
    # Sharded parameters that are gathered in inference mode could not be trained afterwards.
    with torch.no_grad() if is_sharded(model) else torch.inference_mode():
        return _evaluate(model, feed, precision, runtime, at_each_batch)


def _evaluate(
    model: nn.Module,
    feed: EvalFeed,
    precision: Precision,
    runtime: Runtime,
    at_each_batch: Callable[[], object],
) -> Evaluation:
    was_training = model.training
    model.eval()
    sums: Tensor | None = None
    k = 1
    for batch in feed.batches():
        at_each_batch()
        with precision.autocast():
            logits = at_least_float32(model(batch.images.to(precision.parameter_dtype)))
        k = min(5, logits.shape[1])
        batch_sums = _sums(logits, batch.labels, batch.mask, k)
        sums = batch_sums if sums is None else sums + batch_sums
    model.train(was_training)
    if sums is None:
        sums = torch.zeros(4, dtype=torch.float64)
    num_images, top1, topk, loss = runtime.sum(sums.to(runtime.device)).tolist()
    return Evaluation(100 * top1 / num_images, 100 * topk / num_images, k, loss / num_images, int(num_images))


def _sums(logits: Tensor, labels: Tensor, mask: Tensor, k: int) -> Tensor:
    """Return [images, right at 1, right at k, loss] summed over a batch; float64 counts exactly to 2^53."""
    right = (logits.topk(k, dim=1).indices == labels[:, None]) & mask[:, None]
    losses = F.cross_entropy(logits, labels, reduction="none") * mask
    parts = torch.stack([mask.sum(), right[:, :1].sum(), right.sum(), losses.sum()])
    return parts if logits.device.type == "mps" else parts.double()  # Apple GPUs have no float64


def _named_checkpoint(cfg: Config) -> Path:
    if not cfg.MODEL.RESUME:
        raise UserError("MODEL.RESUME: is empty, and it names the checkpoint to evaluate; give --resume PATH")
    path = local_file(cfg.MODEL.RESUME)
    if (path / "weights").is_dir():
        raise UserError(
            f"MODEL.RESUME: {path} is the folder of a run, which holds several checkpoints; name one of them, such "
            f"as {path / 'weights/best.safetensors'}"
        )
    return path


def _warn_of_other_inputs(cfg: Config, weights: Weights, *, is_padded: bool) -> None:
    """Say where the images will be prepared in another way than those that the model was trained on."""
    now = json.loads(json.dumps(cfg.flat()))
    trained = {key: value(weights.metadata, name) for name, key in INPUT_KEYS.items()}
    trained["MODEL.PADDING"] = weights.padding if is_padded else None
    others = [
        f"{key} {now[key]} instead of {before}"
        for key, before in trained.items()
        if _is_value_of(key, before) and not is_same(key, before, now[key])
    ]
    if others:
        logger.warning("%s: evaluated with %s of its training", cfg.MODEL.RESUME, ", ".join(others))


def _is_value_of(key: str, said: object) -> bool:
    try:
        dict(Config.walk())[key].coerce(said)
    except ValueError:  # not written by this project
        return False
    return True


def _check_classes(cfg: Config, task: Classification, trained: list[str] | None) -> None:
    if trained is None or tuple(trained) == task.class_names:
        return
    foreign = sorted(set(trained) ^ set(task.class_names))
    raise UserError(
        f"{cfg.MODEL.RESUME}: it was trained on other classes than {cfg.DATA.DATA_PATH} holds "
        f"({len(foreign)} differ: {', '.join(foreign[:5])}), so its outputs mean other things; evaluate it "
        f"on images of its own classes"
    )
