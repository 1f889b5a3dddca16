"""Optimizers, their parameter groups, and learning rates as functions of the update."""

from swin_train.optim.groups import parameter_groups
from swin_train.optim.optimizers import build_optimizer
from swin_train.optim.schedules import Schedule, build_schedule, set_learning_rates

__all__ = ["Schedule", "build_optimizer", "build_schedule", "parameter_groups", "set_learning_rates"]
