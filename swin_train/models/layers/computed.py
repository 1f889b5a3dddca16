"""Buffers that follow from a module's sizes alone."""

from collections.abc import Callable
from typing import Self, cast

import torch
from torch import Tensor, nn


class ComputedBuffers(nn.Module):
    """A module whose buffers are kept out of checkpoints, so that weights fit any resolution, and never rounded."""

    def __init__(self) -> None:
        super().__init__()
        self._computed: dict[str, Callable[[], Tensor | None]] = {}

    def register_computed(self, name: str, compute: Callable[[], Tensor | None]) -> None:
        """Add a buffer; numbers with a fraction are kept in torch's default dtype until the module is cast."""
        self._computed[name] = compute
        value = compute()
        if value is not None and value.is_floating_point():
            value = value.to(torch.get_default_dtype())
        self.register_buffer(name, value, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast; computed buffers get their values anew, which ``to_empty`` loses and casts round."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, compute in self._computed.items():
            buffer = self._buffers[name]
            if buffer is not None and buffer is not before[name]:
                with torch.device("cpu"):
                    buffer.copy_(cast(Tensor, compute()).to(buffer.dtype))
        return self
