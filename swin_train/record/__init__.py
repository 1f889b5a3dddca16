"""What a run tells: console, JSON lines and TensorBoard, from one call."""

from swin_train.record.recorder import Recorder

__all__ = ["Recorder"]
