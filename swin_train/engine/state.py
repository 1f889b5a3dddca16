"""Everything of a run that changes while it trains, and its form on disk."""

from dataclasses import dataclass, field
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from swin_train.distributed import unwrap
from swin_train.engine.plan import RunPlan
from swin_train.errors import UserError
from swin_train.optim.saved_state import fit_optimizer_state, save_optimizer
from swin_train.weights.mismatch import differences


@dataclass
class TrainState:
    """Model, optimizer, averaged weights and counters.

    ``step`` counts updates; with the plan it says where in the run we are, so it is the only counter, and
    since all randomness is a function of it no generator has to be saved.
    """

    model: nn.Module
    optimizer: Optimizer
    scaler: GradScaler
    plan: RunPlan
    ema: ModelEmaV3 | None = None
    step: int = 0
    best: dict[str, float] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self.step // self.plan.steps_per_epoch

    @property
    def step_in_epoch(self) -> int:
        """Updates made in the epoch that is under way."""
        return self.step % self.plan.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether the last update has been made."""
        return self.step >= self.plan.total_steps

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
            "best": self.best,
            "scaler": self.scaler.state_dict(),
            "optimizer": optimizer,
        }

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Take over a saved state.

        Raises:
            UserError: its tensors are not those of this model and optimizer; nothing is changed then.
        """
        model = unwrap(self.model)
        own = self.tensors()
        _check_same(
            {name: value for name, value in own.items() if not name.startswith("optim.")},
            {name: value for name, value in tensors.items() if not name.startswith("optim.")},
        )
        optimizer = fit_optimizer_state(
            self.optimizer, model, _below("optim.", tensors), numbers["optimizer"]
        )
        model.load_state_dict(_below("model.", tensors))
        if self.ema is not None:
            self.ema.module.load_state_dict(_below("ema.", tensors))
        self.optimizer.load_state_dict(optimizer)
        if self.scaler.is_enabled() and numbers["scaler"]:
            self.scaler.load_state_dict(numbers["scaler"])
        self.step = numbers["step"]
        self.best = dict(numbers["best"])


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
