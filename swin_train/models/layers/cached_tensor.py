"""A tensor that is computed from others, kept as long as they stay as they are."""

from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook


class CachedTensor:
    """Keeps the last result of a computation without gradients.

    Its sources are known to be unchanged by being the same objects, in the same memory, with the same count of
    in-place changes, and by no optimizer's step in this process: a fused one does not count its changes. Nor
    does PyTorch count those through ``.data``, a NumPy view or a replayed CUDA graph; after them a new
    ``CachedTensor`` is needed. That is also what copies and pickles hold.
    """

    _num_steps: ClassVar[int] = 0  # of all optimizers

    def __init__(self) -> None:
        self._kept: _Kept | None = None

    def __reduce__(self) -> tuple[type["CachedTensor"], tuple[()]]:
        return CachedTensor, ()

    def get(self, sources: Sequence[Tensor], key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """The result of ``compute``, or the kept one if it was made from the same things.

        Where operations are recorded, and for tensors without memory of their own, it is always computed.
        Threads may share it.

        Args:
            sources: what ``compute`` reads and what may change.
            key: what else the result depends on.
            compute: makes the result.
        """
        if _is_recording() or not all(_has_memory(t) and not t.is_inference() for t in sources):
            return compute()  # inference tensors have no count of changes
        states = tuple((id(t), t.data_ptr(), t._version) for t in sources)
        made_from = key, torch.is_inference_mode_enabled(), CachedTensor._num_steps, states
        kept = self._kept  # read once: another thread may replace it
        if kept is None or kept.made_from != made_from:
            alive = tuple((t, t.untyped_storage()) for t in sources)
            kept = _Kept(made_from, compute(), alive)
            if _has_memory(kept.value):
                self._kept = kept
        return kept.value

    @classmethod
    def _count_step(cls, *_: object) -> None:
        cls._num_steps += 1


register_optimizer_step_post_hook(CachedTensor._count_step)


class _Kept(NamedTuple):
    made_from: Hashable
    value: Tensor
    alive: object  # the sources: nothing else gets an identity or an address that "made_from" names


def _is_recording() -> bool:
    """Whether operations become part of a graph, for gradients or to be run again with other values."""
    return (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or (torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing())
    )


def _has_memory(tensor: Tensor) -> bool:
    """False for what stands for other tensors, as in vmap, in FakeTensorMode and in sharded models."""
    try:
        return type(tensor) in (Tensor, nn.Parameter) and tensor.data_ptr() != 0
    except RuntimeError:  # the answer of vmap and jvp
        return False
