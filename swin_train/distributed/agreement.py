"""Whether processes that should hold the same weights do: compared by a hash of their bits."""

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from swin_train.distributed.channel import Channel
from swin_train.distributed.parallelize import own_part
from swin_train.errors import NumericsError

# Two's complement of 64-bit constants of splitmix64; int64 products and sums wrap.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MULTIPLIER = 0xBF58476D1CE4E5B9 - 2**64
_CHUNK = 1 << 22  # elements that are spread to 8 bytes at a time
_BITS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}


def hash_tensors(tensors: Iterable[Tensor]) -> int:
    """Return 64 bits that depend on every bit of the tensors and on its place; made where the tensors are."""
    folded: Tensor | None = None
    for tensor in tensors:
        flat = own_part(tensor).detach().contiguous().view(-1)
        for chunk in flat.view(_BITS[flat.element_size()]).split(_CHUNK):
            places = torch.arange(len(chunk), device=chunk.device, dtype=torch.int64)
            mixed = _spread(chunk.to(torch.int64) ^ (places * _GAMMA), 32) * _MULTIPLIER
            part = _spread(mixed, 29).sum()
            folded = part if folded is None else (folded * _GAMMA) ^ (part + (folded >> 31))
    return 0 if folded is None else int(folded)


def _spread(values: Tensor, bits: int) -> Tensor:
    """Let upper bits of int64 values reach lower ones, as products do not; different values stay different."""
    unsigned = (values >> bits) & (2 ** (64 - bits) - 1)  # >> repeats the sign, whose bit would be lost
    return values ^ unsigned


def check_agreement(tensors: Iterable[Tensor], copy: int, channel: Channel, when: str) -> None:
    """Compare the tensors of processes that should hold the same; all processes call this together.

    Args:
        tensors: that this process holds.
        copy: processes of another number of theirs hold other parts.
        channel: to compare over.
        when: for the message, such as "update 1000".

    Raises:
        NumericsError: in every process, naming those that differ from most of their kind.
    """
    if channel.world_size == 1:
        return
    hashes = channel.gather([copy, hash_tensors(tensors)])
    for part in sorted({part for part, _ in hashes}):
        ranks = {rank: value for rank, (held, value) in enumerate(hashes) if held == part}
        [(usual, count), *others] = Counter(ranks.values()).most_common()
        if not others:
            continue
        is_clear = count > others[0][1]  # of two that differ nobody knows which one is right
        strays = [rank for rank, value in ranks.items() if value != usual or not is_clear]
        raise NumericsError(
            f"{when}: the weights of rank {', '.join(map(str, strays))} are no longer those of "
            f"{'the others' if is_clear else 'each other'} that should hold the same; memory or a processor may be "
            f"faulty. Go on from the last checkpoint, without that machine"
        )
