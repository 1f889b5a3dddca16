"""Tasks: what is learned = data + model + loss + metrics."""

from swin_train.config import Config
from swin_train.errors import UserError
from swin_train.models.outline import check_is_trained
from swin_train.tasks.classification import Classification, ClassificationLoss

TASKS = {
    "swin": Classification,
    "swinv2": Classification,
    "swin_mlp": Classification,
    "swin_moe": Classification,
}
"""The task of each ``MODEL.TYPE``."""


def build_task(cfg: Config, *, need_train: bool = True) -> Classification:
    """Open the data of ``cfg`` and say what is learned on it.

    Raises:
        UserError: the data cannot be opened or contradicts the configuration, or the model or its training is
            configured only.
    """
    check_is_trained(cfg)
    if cfg.MODEL.TYPE not in TASKS:
        raise UserError(f"MODEL.TYPE is {cfg.MODEL.TYPE!r}; the tasks are for {', '.join(TASKS)}")
    return TASKS[cfg.MODEL.TYPE](cfg, need_train=need_train)


__all__ = ["TASKS", "Classification", "ClassificationLoss", "build_task"]
