"""Everything of a run that changes while it trains, and its form on disk."""

from dataclasses import dataclass, field
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer

from swin_train.distributed import unwrap
from swin_train.engine.guard import StepGuard
from swin_train.engine.plan import RunPlan
from swin_train.engine.precision import LossScale
from swin_train.engine.spikes import SpikeWatch
from swin_train.errors import UserError
from swin_train.optim.saved_state import fit_optimizer_state, place_of_state, save_optimizer
from swin_train.weights.mismatch import differences
from swin_train.weights.stored_tensors import StoredTensors


@dataclass
class TrainState:
    """Model, optimizer, averaged weights and counters.

    ``step`` counts updates; with the plan it says where in the run we are, and since all randomness is a function of
    it no generator has to be saved.

    Attributes:
        evaluated: the update after which the last evaluation was made.
        best: highest top-1 of each kind of weights, in percent.
        best_step: the update after which the highest of the raw weights was found.
        guard: counts updates that were left out.
        spikes: the last losses, and what follows from those that jumped.
    """

    model: nn.Module
    optimizer: Optimizer
    loss_scale: LossScale
    plan: RunPlan
    ema: ModelEmaV3 | None = None
    step: int = 0
    evaluated: int = 0
    best: dict[str, float] = field(default_factory=dict)
    best_step: int = 0
    guard: StepGuard = field(default_factory=StepGuard)
    spikes: SpikeWatch = field(default_factory=SpikeWatch)

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self.step // self.plan.steps_per_epoch

    @property
    def step_in_epoch(self) -> int:
        """Updates made in the epoch that is under way."""
        return self.step % self.plan.steps_per_epoch

    @property
    def is_trained(self) -> bool:
        """Whether the last update has been made."""
        return self.step >= self.plan.total_steps

    @property
    def needs_evaluation(self) -> bool:
        """Whether an epoch has ended that has not been evaluated yet."""
        return self.step > self.evaluated and self.step_in_epoch == 0

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train or to evaluate."""
        return self.is_trained and not self.needs_evaluation

    def weights(self) -> dict[str, nn.Module]:
        """Return the models that are evaluated and kept: ``raw`` and, where it is on, ``ema``."""
        models = {"raw": unwrap(self.model)}
        if self.ema is not None:
            models["ema"] = self.ema.module
        return models

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that have to be saved: ``model.NAME``, ``ema.NAME`` and ``optim.NAME.WHAT``."""
        tensors = {f"model.{name}": value for name, value in unwrap(self.model).state_dict().items()}
        if self.ema is not None:
            tensors |= {f"ema.{name}": value for name, value in self.ema.module.state_dict().items()}
        moments, _ = save_optimizer(self.optimizer, unwrap(self.model))
        return tensors | {f"optim.{name}": value for name, value in moments.items()}

    def numbers(self) -> dict[str, Any]:
        """Return what has to be saved and is no tensor, as plain JSON values."""
        _, optimizer = save_optimizer(self.optimizer, unwrap(self.model))
        return {
            "step": self.step,
            "evaluated": self.evaluated,
            "best": self.best,
            "best_step": self.best_step,
            "loss_scale": self.loss_scale.numbers(),
            "guard": self.guard.numbers(),
            "spikes": self.spikes.numbers(),
            "optimizer": optimizer,
        }

    def restore(self, stored: StoredTensors, numbers: dict[str, Any]) -> None:
        """Take over a saved state.

        Raises:
            UserError: its tensors are not those of this model and optimizer; nothing is changed then.
        """
        model, saved = unwrap(self.model), stored.meta
        tensors = {name: value for name, value in self.tensors().items() if not name.startswith("optim.")}
        _check_same(tensors, {name: value for name, value in saved.items() if not name.startswith("optim.")})
        places = {name: place_of_state(name, value, model) for name, value in _below("optim.", saved).items()}
        optimizer = fit_optimizer_state(self.optimizer, model, places, numbers["optimizer"])
        stored.read_into(tensors | {f"optim.{name}": place for name, place in places.items()})
        self.optimizer.load_state_dict(optimizer)
        self.loss_scale.restore(numbers["loss_scale"])
        self.guard.restore(numbers["guard"])
        self.spikes = SpikeWatch.from_numbers(numbers["spikes"])
        self.step, self.evaluated = numbers["step"], numbers["evaluated"]
        self.best, self.best_step = dict(numbers["best"]), numbers["best_step"]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _check_same(own: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    if found := differences(saved, own):
        raise UserError(
            "checkpoint: it does not fit the model of this run; resume with the model and TRAIN.EMA_DECAY it was "
            f"saved with, or start under another TAG. {found}"
        )


def seed_library_generators(seed: int, device: torch.device) -> None:
    """Set torch's own generators, which dropout inside modules draws from.

    Done at every update, so that a resumed run draws the same without saving a generator's state.
    """
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 100 us, this one
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
