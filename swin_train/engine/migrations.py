"""What older versions wrote in train.json, in today's words. Tensors need none: their names are a file format.

Schema 1 had one file of tensors, state.safetensors, torch's GradScaler, and a fingerprint of the images that did not
see their order.
"""

from collections.abc import Callable
from typing import Any

SCHEMA = 2

Content = dict[str, Any]


def migrate(content: Content) -> Content:
    """Return the content of a train.json in today's schema; ``content`` itself is left as it was."""
    while content["schema"] < SCHEMA:
        content = _STEPS[content["schema"]](content)
    return content


def _from_1(content: Content) -> Content:
    state, scaler = content["state"], content["state"]["scaler"]
    now = {
        "step": state["step"],
        "evaluated": state["step"],  # states at the end of an epoch were saved after its evaluation
        "best": state["best"],
        "best_step": 0,
        "loss_scale": {"scale": scaler["scale"], "good_steps": scaler["_growth_tracker"]} if scaler else {},
        "guard": {"recent": []},
        "spikes": {"losses": [], "left_out": [], "kept": [], "num_rollbacks": 0},
        "optimizer": state["optimizer"],
    }
    run = {name: fact for name, fact in content["run"].items() if name != "images"}
    run["images_in_any_order"] = content["run"]["images"]
    return {**content, "schema": 2, "state": now, "run": run}


_STEPS: dict[int, Callable[[Content], Content]] = {1: _from_1}
