"""What worker processes do: requests in, decoded and augmented images out.

Workers are stateless: a request says which images of which epoch to prepare, and nothing else decides what
comes out. What is wrong with an image is handed over as a value, because DataLoader buries the message of an
exception that leaves a worker in a traceback.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from swin_train.data import draws
from swin_train.data.augment import EvalTransform, TooElongated, TrainTransform
from swin_train.data.decode import DecodeError, decode
from swin_train.data.formats import ImageSource
from swin_train.data.sampler import BatchRequest
from swin_train.errors import DataError

_TIMEOUT_S = 300  # a worker that needs longer for a batch hangs, for example on a network disk that is gone


class BadImage(NamedTuple):
    """An image that could not be used: its place in the data set, its name and what is wrong with it."""

    image: int
    name: str
    reason: str


class Loaded(NamedTuple):
    """What a request has become: images [B, channels, height, width], labels [B], and the bad images met.

    A named tuple, because DataLoader moves those to pinned memory field by field.
    """

    images: Tensor
    labels: Tensor
    request: BatchRequest
    bad: tuple[BadImage, ...]


@dataclass(frozen=True)
class TrainImages(Dataset["Loaded | DataError"]):
    """Augmented images; one that is bad is replaced by another of its class, and reported.

    Attributes:
        source: the training set.
        transform: from a decoded image to a view of it.
        channels: of an image, 1 or 3.
        seed: of the run.
    """

    source: ImageSource
    transform: TrainTransform
    channels: int
    seed: int

    def __getitem__(self, request: BatchRequest) -> Loaded | DataError:
        bad: list[BadImage] = []
        try:
            views = [self._view(request.epoch, index, bad) for index in request.indices.tolist()]
        except DataError as error:
            return error
        return _collate(views, self.source, request, bad)

    def _view(self, epoch: int, index: int, bad: list[BadImage]) -> Tensor:
        def transform(image: Image.Image) -> Tensor:
            return self.transform(image, draws.sample_rng(self.seed, epoch, index))

        for candidate in self._candidates(epoch, index):
            try:
                return _view(self.source, candidate, self.channels, transform)
            except DecodeError as error:
                bad.append(BadImage(candidate, error.name, error.reason))
        raise DataError(
            f"{self.source.name(index)}: neither it nor any other image of class "
            f"{self.source.classes[self.source.labels[index]]!r} can be used; last, {bad[-1].name}: "
            f"{bad[-1].reason}. Restore the files."
        )

    def _candidates(self, epoch: int, index: int) -> Iterator[int]:
        """The image itself, then the others of its class, from a drawn one on."""
        yield index
        same_class = (self.source.labels == self.source.labels[index]).nonzero()[0].tolist()
        start = draws.key(self.seed, draws.Stream.SUBSTITUTE, epoch, index) % len(same_class)
        yield from (other for other in same_class[start:] + same_class[:start] if other != index)


@dataclass(frozen=True)
class EvalImages(Dataset["Loaded | DataError"]):
    """Images as a model is shown them in evaluation; a bad one is an error, because metrics must be exact.

    Attributes:
        source: the validation set.
        transform: from a decoded image to the model's input.
        channels: of an image, 1 or 3.
    """

    source: ImageSource
    transform: EvalTransform
    channels: int

    def __getitem__(self, request: BatchRequest) -> Loaded | DataError:
        try:
            views = [
                _view(self.source, index, self.channels, self.transform) for index in request.indices.tolist()
            ]
        except DecodeError as error:
            return DataError(
                f"{error.name}: {error.reason}; an evaluation needs every image. Restore or delete the file."
            )
        return _collate(views, self.source, request, [])


def _view(
    source: ImageSource, index: int, channels: int, transform: Callable[[Image.Image], Tensor]
) -> Tensor:
    """An image as the model is shown it; DecodeError names the image, whatever step it stops."""
    name = source.name(index)
    try:
        data = source.read(index)
    except OSError as error:
        raise DecodeError(name, f"cannot be read ({error.strerror or error})") from error
    image = decode(data, channels, name)
    try:
        return transform(image)
    except TooElongated as error:
        raise DecodeError(name, str(error)) from error
    # Memory that runs out, a limit of Pillow's, or a mistake of ours that only this picture brings to light.
    except Exception as error:
        text = ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))
        raise DecodeError(name, f"cannot be transformed ({text})") from error


def _collate(views: list[Tensor], source: ImageSource, request: BatchRequest, bad: list[BadImage]) -> Loaded:
    labels = torch.from_numpy(source.labels[request.indices])
    # default_collate stacks into shared memory when it runs in a worker
    return Loaded(default_collate(views), labels, request, tuple(bad))


@dataclass(frozen=True)
class WorkerOptions:
    """How batches are prepared.

    Attributes:
        num_workers: processes; 0 works in the calling one.
        prefetch: batches that each process prepares ahead.
        pin_memory: whether batches lie in page-locked memory, from which copies to a GPU can overlap.
    """

    num_workers: int
    prefetch: int
    pin_memory: bool


class Workers:
    """Worker processes that are started at the first pass and kept for all later ones."""

    def __init__(
        self, images: TrainImages | EvalImages, requests: Sampler[BatchRequest], options: WorkerOptions
    ) -> None:
        parallel: dict[str, Any] = {}
        if options.num_workers:
            parallel = {
                "num_workers": options.num_workers,
                "prefetch_factor": options.prefetch,
                "persistent_workers": True,
                "timeout": _TIMEOUT_S,
                "worker_init_fn": _start_worker,
                # said here, because Python 3.14 changes its default to one that imports torch in each worker
                "multiprocessing_context": "fork" if sys.platform == "linux" else None,
            }
        self._has_processes = options.num_workers > 0
        self._loader: DataLoader[Loaded | DataError] = DataLoader(
            images,
            sampler=requests,
            batch_size=None,  # a request is already a whole batch
            collate_fn=_as_it_is,
            pin_memory=options.pin_memory,
            generator=torch.Generator(),  # or each pass would advance the global generator
            **parallel,
        )

    def __iter__(self) -> Iterator[Loaded]:
        # from here these say that a pipe to a worker broke; anywhere else they have nothing to do with workers
        broken_pipe = (EOFError, ConnectionError) if self._has_processes else ()
        with _reported_losses((RuntimeError, *broken_pipe)):
            for loaded in self._loader:
                if isinstance(loaded, DataError):
                    # A new one: an exception kept by its own frame is a cycle, and workers that the garbage
                    # collector finds in one take 5 s to stop.
                    raise DataError(str(loaded))
                yield loaded


def reported_worker_losses() -> AbstractContextManager[None]:
    """Turn DataLoader's words that a worker process died or hangs into a DataError that says what to do.

    DataLoader says so from a signal handler, that is, in the middle of whatever runs; so whoever uses a feed
    does so inside of this. All other errors pass.
    """
    return _reported_losses((RuntimeError,))


@contextmanager
def _reported_losses(kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        message = worker_loss(error)
        if message is None:
            raise
        raise DataError(message) from error


def worker_loss(error: Exception) -> str | None:
    """What to tell the user if ``error`` says that a worker process died or hangs, otherwise None."""
    text = " ".join(str(error).split())
    if isinstance(error, EOFError | ConnectionError):
        is_loss = not text.startswith("Caught ")  # a worker's own exception, which DataLoader hands on
    else:
        is_loss = text.startswith(("DataLoader worker (pid", "DataLoader timed out"))
    if not is_loss:
        return None
    return (
        f"Data loading: a worker process was lost ({text or type(error).__name__}). Often memory or /dev/shm "
        "is full: lower DATA.NUM_WORKERS or DATA.PREFETCH. DATA.NUM_WORKERS 0 loads in the main process."
    )


def _start_worker(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides
    torch.set_num_threads(1)


def _as_it_is(loaded: Any) -> Any:
    """Instead of DataLoader's default, which would take the named tuple apart."""
    return loaded
