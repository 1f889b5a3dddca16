"""Numbers from which a run could go on."""

from collections.abc import Mapping

import torch
from torch import Tensor

from swin_train.distributed.channel import Channel
from swin_train.distributed.parallelize import own_part
from swin_train.errors import NumericsError


def check_finite(tensors: Mapping[str, Tensor], step: int, channel: Channel) -> None:
    """Refuse to save numbers from which no run could go on; all processes call this together.

    Args:
        tensors: of the state, of the same names in all processes.
        step: updates made, for the message.
        channel: of the processes.

    Raises:
        NumericsError: in every process, naming the first tensor that holds one that is not finite.
    """
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    finite = torch.stack([_is_finite(own_part(tensors[name])).cpu() for name in names])
    worst = len(names) - int(finite.logical_not().nonzero()[0]) if not finite.all() else 0
    found = channel.largest([worst])[0]
    if found:
        raise NumericsError(
            f"step {step}: {names[len(names) - found]} holds numbers that are not finite; it was not saved, "
            f"and older checkpoints are intact. Lower TRAIN.BASE_LR, lengthen the warm-up, or use AMP_DTYPE bf16 "
            f"or fp32"
        )


def _is_finite(tensor: Tensor) -> Tensor:
    """Return whether all numbers of a tensor are finite, bool []; isfinite().all() takes ten times as long."""
    if not tensor.numel():  # a process may hold nothing of a small one
        return torch.ones((), dtype=torch.bool)
    least, most = torch.aminmax(tensor)  # both are NaN where one number is
    return least.isfinite() & most.isfinite()
