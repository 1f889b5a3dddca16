"""From the host to the device: copied and finished while the batch before is in use."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from swin_train.data.images import Loaded

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def on_device(
    batches: Iterable[Loaded], device: torch.device, finished: Callable[[Loaded], T]
) -> Iterator[T]:
    """The batches on the device, finished there.

    To a GPU, each is copied and finished on a stream of its own while its predecessor is being used.

    Args:
        batches: as workers made them.
        device: where they go.
        finished: what is done to a batch that has arrived; a dataclass of tensors comes out.
    """
    if device.type != "cuda":
        for loaded in batches:
            yield finished(_moved(loaded, device))
        return
    stream = torch.cuda.Stream(device)
    ready: tuple[T, torch.cuda.Event] | None = None
    for loaded in batches:
        with torch.cuda.stream(stream):
            batch = finished(_moved(loaded, device))
            done = stream.record_event()
        if ready is not None:
            yield _handed_over(*ready, device)
        ready = batch, done
    if ready is not None:
        yield _handed_over(*ready, device)


def _moved(loaded: Loaded, device: torch.device) -> Loaded:
    plan = loaded.plan
    return loaded._replace(
        images=loaded.images.to(device, non_blocking=True),
        labels=loaded.labels.to(device, non_blocking=True),
        plan=None if plan is None else plan.to(device),
    )


def _handed_over(batch: T, done: "torch.cuda.Event", device: torch.device) -> T:
    stream = torch.cuda.current_stream(device)
    stream.wait_event(done)
    for field in fields(batch):
        tensor = getattr(batch, field.name)
        if isinstance(tensor, Tensor):
            tensor.record_stream(stream)  # or its memory could be given to a later batch while it is in use
    return batch
