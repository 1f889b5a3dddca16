"""One update: its gradient is that of the global batch, and one that is not finite changes nothing."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest
import timm.optim
import torch
from torch import Tensor, nn

from swin_train.data.loader import Batch
from swin_train.engine.plan import RunPlan
from swin_train.engine.precision import LossScale, Precision
from swin_train.engine.state import TrainState
from swin_train.engine.step import StepResult, train_step

CPU = torch.device("cpu")
FP32, FP64 = Precision("cpu", None), Precision("cpu", torch.float64)
PLAN = RunPlan(
    num_images=20,
    num_classes=3,
    seed=0,
    world_size=1,
    global_batch=10,
    micro_batch=4,
    accumulation=3,
    mix_group=0,
    epochs=1,
    steps_per_epoch=2,
    warmup_steps=0,
    base_lr=0.1,
    warmup_lr=0.0,
    min_lr=0.0,
)
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    "fused SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, fused=True),
    "fused SGD without momentum": lambda p: torch.optim.SGD(p, lr=0.1, fused=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, fused=False),
    "Lamb": lambda p: timm.optim.Lamb(p, lr=0.1),
}


class SquaredError:
    """A loss of every image; ``times`` makes it as large as a test needs it."""

    def __init__(self, times: float = 1.0) -> None:
        self.times = times

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        error = (model(batch.images).double() - batch.targets).square().mean(dim=1)
        return (error * self.times).to(batch.images.dtype)


def make_state(make: Callable[..., torch.optim.Optimizer], dtype: torch.dtype = torch.float32) -> TrainState:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3)).to(dtype)
    return TrainState(model, make(list(model.parameters())), LossScale(CPU, is_enabled=False), PLAN)


def make_batches(sizes: Iterable[int], dtype: torch.dtype = torch.float32) -> list[Batch]:
    """The same images and targets, however they are cut."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(10, 5, generator=generator, dtype=torch.float64).to(dtype)
    targets = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    cut = zip(images.split(list(sizes)), targets.split(list(sizes)), strict=True)
    return [Batch(image, target, torch.zeros(len(image)), len(image)) for image, target in cut]


def update(state: TrainState, times: float = 1.0, **changes: Any) -> StepResult:
    """Make one update of three micro-batches, the last of them smaller, and count it."""
    settings: dict[str, Any] = {"precision": FP32, "clip_grad": 0.0, **changes}
    dtype = settings["precision"].parameter_dtype
    task = cast(Any, SquaredError(times))
    result = train_step(state, make_batches((4, 4, 2), dtype), task, **settings)
    state.step += 1
    return result


def frozen_copy(state: TrainState) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.tensors().items()}


def test_ragged_micro_batches_have_the_gradient_of_the_whole(assert_equal: Callable) -> None:
    state, whole = (make_state(OPTIMIZERS["fused SGD without momentum"], torch.float64) for _ in range(2))
    loss = SquaredError().loss(whole.model, make_batches((10,), torch.float64)[0]).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    whole.optimizer.step()

    result = update(state, precision=FP64)

    assert result.loss_sum.item() / 10 == pytest.approx(loss.item(), rel=1e-14)
    gradients = [parameter.grad for parameter in whole.model.parameters()]
    norm = torch.nn.utils.get_total_norm([g for g in gradients if g is not None])
    assert result.grad_norm.item() == pytest.approx(norm.item(), rel=1e-14)
    found, expected = (dict(one.model.named_parameters()) for one in (state, whole))
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-15)  # float64 sums of ten terms


def test_float64_counts_in_float64() -> None:
    result = update(make_state(OPTIMIZERS["fused AdamW"], torch.float64), precision=FP64)

    assert (result.loss_sum.dtype, result.grad_norm.dtype) == (torch.float64, torch.float64)


@pytest.mark.parametrize("clip", [0.05, 1e6])
def test_gradients_are_clipped_as_torch_does(clip: float, assert_equal: Callable) -> None:
    state, other = (make_state(OPTIMIZERS["fused SGD"]) for _ in range(2))
    for batch in make_batches((4, 4, 2)):
        (SquaredError().loss(other.model, batch).sum() * (1 / 10)).backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(other.model.parameters(), clip)
    other.optimizer.step()

    result = update(state, clip_grad=clip)

    assert result.grad_norm.item() == norm.item() > 0.05
    assert_equal(state.tensors(), other.tensors())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_bad_update_changes_no_bit(name: str, clip: float, assert_equal: Callable) -> None:
    state = make_state(OPTIMIZERS[name])
    update(state, clip_grad=clip)
    before = frozen_copy(state)

    result = update(state, times=float("inf"), clip_grad=clip)

    assert not result.grad_norm.isfinite()
    assert_equal(state.tensors(), before)
    assert all(parameter.grad is None for parameter in state.model.parameters())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_bad_first_update_is_as_if_it_had_not_been(name: str, assert_equal: Callable) -> None:
    """torch's fused SGD takes its momenta from memory that nobody wrote, where its first step is left out."""
    state, other = (make_state(OPTIMIZERS[name]) for _ in range(2))

    update(state, times=float("nan"))
    for _ in range(2):
        update(state)
        update(other)

    assert_equal(state.tensors(), other.tensors())


def test_the_guard_knows_the_update_and_its_norms() -> None:
    state = make_state(OPTIMIZERS["fused AdamW"])

    for times in (1.0, float("inf"), 1.0):
        update(state, times)

    found = state.guard.look()
    assert found is not None
    assert (found.count, found.last, found.scale) == (1, 2, 1.0)
    assert len(found.norms) == len(list(state.model.parameters()))


def test_the_loss_scale_is_taken_out_of_norms_and_gradients(assert_equal: Callable) -> None:
    """A power of two scales floats exactly, so everything is as without."""
    state, other = (make_state(OPTIMIZERS["fused AdamW"]) for _ in range(2))
    state.loss_scale = LossScale(CPU, is_enabled=True)

    for clip in (0.0, 0.05):
        scaled, plain = update(state, clip_grad=clip), update(other, clip_grad=clip)
        assert (scaled.grad_norm.item(), scaled.loss_sum.item()) == (
            plain.grad_norm.item(),
            plain.loss_sum.item(),
        )

    torch.testing.assert_close(
        state.tensors(), other.tensors(), rtol=1e-6, atol=0
    )  # one more rounding of a factor


def test_an_overflow_halves_the_loss_scale_and_is_left_out(assert_equal: Callable) -> None:
    """The loss and its gradient are finite, times 65536 they are not."""
    state = make_state(OPTIMIZERS["fused AdamW"])
    state.loss_scale = LossScale(CPU, is_enabled=True)
    update(state)
    before = frozen_copy(state)

    result = update(state, times=1e35)

    assert not result.grad_norm.isfinite()
    assert state.loss_scale.value.item() == 32768.0
    assert_equal(state.tensors(), before)
    found = state.guard.look()
    assert found is not None
    assert found.scale == 65536.0  # that with which it overflowed


def test_gradients_keep_nothing_from_one_update_to_the_next(assert_equal: Callable) -> None:
    state = make_state(OPTIMIZERS["fused SGD without momentum"])
    first = update(state).grad_norm.item()
    state.model.load_state_dict(make_state(OPTIMIZERS["AdamW"]).model.state_dict())

    assert update(state).grad_norm.item() == first
