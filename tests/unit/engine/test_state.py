from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from swin_train.engine.plan import RunPlan
from swin_train.engine.state import TrainState
from swin_train.errors import UserError


def state_of(model: nn.Module) -> TrainState:
    """A state that has made no update; what is tested needs no plan."""
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    return TrainState(model, optimizer, GradScaler(enabled=False), cast(RunPlan, None))


def saved(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state = state_of(model)
    return state.tensors(), state.numbers()


def test_what_does_not_fit_the_model_is_named_and_nothing_changes() -> None:
    state = state_of(nn.Linear(2, 1))
    before = {name: value.clone() for name, value in state.tensors().items()}
    tensors, numbers = saved(nn.Linear(3, 1, bias=False))

    message = (
        r"^checkpoint: it does not fit the model of this run; resume with the model and TRAIN.EMA_DECAY it was saved "
        r"with, or start under another TAG. Missing: model.bias. Unknown: ema.weight. "
        r"Misshapen: model.weight \(1, 3\) instead of \(1, 2\)$"
    )
    with pytest.raises(UserError, match=message):
        state.restore(tensors | {"ema.weight": torch.zeros(1)}, numbers)
    assert all(torch.equal(value, before[name]) for name, value in state.tensors().items())


def test_a_state_of_the_same_model_is_taken_over() -> None:
    state, other = state_of(nn.Linear(2, 1)), nn.Linear(2, 1)

    state.restore(*saved(other))

    assert torch.equal(state.tensors()["model.weight"], other.weight)
