import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from swin_train.engine.plan import RunPlan
from swin_train.engine.precision import LossScale
from swin_train.engine.state import TrainState
from swin_train.errors import UserError
from swin_train.weights.stored_tensors import StoredTensors, store_tensors


def state_of(model: nn.Module) -> TrainState:
    """A state that has made no update; what is tested needs no plan."""
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    scale = LossScale(torch.device("cpu"), is_enabled=False)
    return TrainState(model, optimizer, scale, cast(RunPlan, None))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., tuple[StoredTensors, dict[str, Any]]]:
    """Saves the state of a model, with further tensors."""

    def save(model: nn.Module, **further: Tensor) -> tuple[StoredTensors, dict[str, Any]]:
        state = state_of(model)
        store_tensors(tmp_path, state.tensors() | further, None)
        return StoredTensors(tmp_path), json.loads(json.dumps(state.numbers()))

    return save


def test_what_does_not_fit_the_model_is_named_and_nothing_changes(saved: Callable) -> None:
    state = state_of(nn.Linear(2, 1))
    before = {name: value.clone() for name, value in state.tensors().items()}
    stored = saved(nn.Linear(3, 1, bias=False), **{"ema.weight": torch.zeros(1)})

    message = (
        r"^checkpoint: it does not fit the model of this run; resume with the model and TRAIN.EMA_DECAY it was saved "
        r"with, or start under another TAG. Missing: model.bias. Unknown: ema.weight. "
        r"Misshapen: model.weight \(1, 3\) instead of \(1, 2\)$"
    )
    with pytest.raises(UserError, match=message):
        state.restore(*stored)
    assert all(torch.equal(value, before[name]) for name, value in state.tensors().items())


def test_a_state_of_the_same_model_is_taken_over(saved: Callable) -> None:
    state, other = state_of(nn.Linear(2, 1)), nn.Linear(2, 1)

    state.restore(*saved(other))

    assert torch.equal(state.tensors()["model.weight"], other.weight)
