"""What older versions wrote, in today's words."""

from typing import Any

import pytest
import torch

from swin_train.engine.guard import StepGuard
from swin_train.engine.migrations import SCHEMA, migrate
from swin_train.engine.precision import LossScale
from swin_train.engine.spikes import SpikeWatch

OPTIMIZER = {"optimizer": "AdamW", "state": {}, "groups": []}


def of_schema_1(scaler: dict[str, Any]) -> dict[str, Any]:
    state = {"step": 5, "best": {"raw": 50.0}, "scaler": scaler, "optimizer": OPTIMIZER}
    return {"schema": 1, "state": state, "run": {"seed": 3, "images": "a hash"}, "header": {"model": "tiny"}}


def test_today_s_content_stays_as_it_is() -> None:
    content = {"schema": SCHEMA, "state": {"step": 1}}

    assert migrate(content) == content == {"schema": SCHEMA, "state": {"step": 1}}


def test_schema_1_in_today_s_words() -> None:
    migrated = migrate(of_schema_1({}))

    state = migrated["state"]
    assert migrated["schema"] == SCHEMA
    assert migrated["header"] == {"model": "tiny"}
    assert migrated["run"] == {"seed": 3, "images_in_any_order": "a hash"}
    assert (state["step"], state["evaluated"], state["best"], state["best_step"]) == (5, 5, {"raw": 50.0}, 0)
    assert state["optimizer"] == OPTIMIZER
    assert SpikeWatch.from_numbers(state["spikes"]) == SpikeWatch()
    guard = StepGuard()
    guard.restore(state["guard"])
    assert guard.num_recent(5) == 0


@pytest.mark.parametrize("scaler", [{}, {"scale": 512.0, "growth_factor": 2.0, "_growth_tracker": 1999}])
def test_the_loss_scale_of_torch_s_scaler_goes_on(scaler: dict[str, Any]) -> None:
    scale = LossScale(torch.device("cpu"), is_enabled=True)

    scale.restore(migrate(of_schema_1(scaler))["state"]["loss_scale"])
    assert scale.value.item() == (512.0 if scaler else 65536.0)
    scale.update(torch.tensor(False))

    assert scale.value.item() == (1024.0 if scaler else 65536.0)


def test_the_content_itself_is_left_as_it_was() -> None:
    content = of_schema_1({})

    migrate(content)

    assert content == of_schema_1({})
