"""What is made of an update when it is measured: which micro-batches, and what their times say."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from swin_train.config import Config, load_config
from swin_train.engine import fit_trial
from swin_train.engine.fit_trial import run_updates
from swin_train.engine.plan import make_plan

PLAIN = {"AUG__MIXUP": 0, "AUG__CUTMIX": 0}


class Watch:
    """Stands for ``train_step``: notes what it is given; an image takes 0.1 s of its clock, the optimizer 1 s."""

    def __init__(self, left_out: int = 0) -> None:
        self.updates: list[list[Any]] = []
        self.held: list[bool] = []
        self.states: list[Any] = []
        self.now = 0.0
        self._left_out = left_out

    def clock(self) -> float:
        return self.now

    def __call__(
        self, state: Any, micro_batches: Any, task: Any, *, precision: Any, clip_grad: float
    ) -> None:
        self.states.append(state)
        self.held.append(all(p.grad is not None for p in state.model.parameters()))
        self.updates.append([])
        for batch in micro_batches:
            self.updates[-1].append(batch)
            self.now += 0.1 * batch.num_images
        self.now += 1.0
        if len(self.updates) > self._left_out:
            for parameter in state.model.parameters():
                state.optimizer.state[parameter] = {"averages": 0}


@pytest.fixture
def watched(tiny_opts: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[float, Watch]]:
    def run(processes: int = 1, left_out: int = 0, **changes: object) -> tuple[float, Watch]:
        watch = Watch(left_out)
        monkeypatch.setattr(fit_trial, "train_step", watch)
        monkeypatch.setattr(fit_trial.time, "perf_counter", watch.clock)
        cfg: Config = load_config(None, tiny_opts(**changes))
        plan = make_plan(cfg, world_size=processes, num_images=1000, num_classes=4)
        return run_updates(cfg, plan), watch

    return run


@pytest.mark.parametrize(
    ("micro_batch", "global_batch", "processes", "sizes", "seconds"),
    [
        (8, 8, 1, [8], 0.8 + 1),
        (8, 64, 1, [8, 8], 8 * 0.8 + 1),
        (8, 20, 1, [8, 8, 4], 2 * 0.8 + 0.4 + 1),
        (8, 24, 2, [8, 4], 0.8 + 0.4 + 1),
    ],
)
def test_the_time_of_an_update_follows_from_a_short_one(
    micro_batch: int, global_batch: int, processes: int, sizes: list[int], seconds: float, watched: Callable
) -> None:
    batches = {"DATA__BATCH_SIZE": micro_batch, "TRAIN__GLOBAL_BATCH": global_batch}

    images_per_s, watch = watched(processes, **PLAIN, **batches)

    assert [[len(batch.images) for batch in update] for update in watch.updates] == [sizes] * 3
    assert watch.states[0].plan.accumulation == len(sizes)
    assert images_per_s == pytest.approx(global_batch // processes / seconds)
    assert set(watch.held) == {processes > 1}  # as DistributedDataParallel's buckets do


def test_batches_are_as_those_of_training(watched: Callable) -> None:
    _, mixed = watched(AUG__MIX_GROUP=4, AMP_DTYPE="bf16", DATA__PROGRESSIVE=[[1, 24]])
    _, plain = watched(**PLAIN, DATA__IMG_SIZE=[16, 24])

    batch, other = mixed.updates[0][0], plain.updates[0][0]
    assert (batch.images.shape, batch.images.dtype) == ((8, 3, 24, 24), torch.bfloat16)  # the largest size
    assert (batch.targets.shape, batch.targets.dtype) == ((8, 4), torch.float32)
    assert (other.images.shape, other.images.dtype) == ((8, 3, 16, 24), torch.float32)
    assert (other.targets.shape, other.targets.dtype) == ((8,), torch.int64)


def test_updates_that_overflow_in_fp16_are_not_the_ones_that_are_measured(watched: Callable) -> None:
    _, watch = watched(**PLAIN, AMP_DTYPE="fp16", left_out=5)

    assert len(watch.updates) == 6 + 2  # the sixth is the first that the optimizer makes


def test_what_is_built_is_what_is_trained(watched: Callable) -> None:
    _, watch = watched(**PLAIN, TRAIN__EMA_DECAY=0.9, TRAIN__OPTIMIZER__NAME="sgd", TRAIN__FREEZE="stages 1")

    state = watch.states[0]
    assert state.ema is not None
    assert type(state.optimizer).__name__ == "SGD"
    assert state.model.head.weight.requires_grad
    assert not state.model.layers[0].blocks[0].norm1.weight.requires_grad
    assert state.model.training


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_real_updates_are_made(precision: str, tiny_opts: Callable) -> None:
    cfg = load_config(None, tiny_opts(AMP_DTYPE=precision, AUG__MIX_GROUP=4, TRAIN__GLOBAL_BATCH=16))

    assert run_updates(cfg, make_plan(cfg, world_size=1, num_images=1000, num_classes=4)) > 0
