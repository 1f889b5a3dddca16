"""What a worker process makes of a request: decoded and augmented images.

Nothing is carried from one request to the next: it says which images of which epoch to prepare, and nothing
else decides what comes out. What is wrong with an image is handed over as a value, because DataLoader buries
the message of an exception that leaves a worker in a traceback.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from swin_train.data import draws
from swin_train.data.decode import DecodeError, decode
from swin_train.data.encoded import read
from swin_train.data.formats import ImageSource
from swin_train.data.pipelines.pipeline import Memory, Pipeline, Place, Plan, Shown, fresh
from swin_train.data.recipe.limits import TooElongated
from swin_train.data.sampler import BatchRequest
from swin_train.errors import DataError


class BadImage(NamedTuple):
    """An image that could not be used: its place in the data set, its name and what is wrong with it."""

    image: int
    name: str
    reason: str


class Loaded(NamedTuple):
    """What a request has become: images [B, channels, height, width], labels [B], and the bad images met.

    The images are float32 and finished, or uint8 with a plan of what is left to do. A named tuple, because
    DataLoader moves those to pinned memory field by field.
    """

    images: Tensor
    labels: Tensor
    plan: Plan | None
    request: BatchRequest
    bad: tuple[BadImage, ...]


def _ignore(image: int) -> None:
    pass


@dataclass(frozen=True)
class TrainImages:
    """Augmented images; one that is bad is replaced by another of its class, and reported.

    Attributes:
        source: the training set.
        pipeline: from a decoded image to a view of it.
        channels: of an image, 1 or 3.
        seed: of the run.
        note: told of each image before it is touched; of -1 when a batch is done.
    """

    source: ImageSource
    pipeline: Pipeline
    channels: int
    seed: int
    note: Callable[[int], None] = _ignore

    def __call__(self, request: BatchRequest, memory: Memory = fresh) -> Loaded | DataError:
        """The batch of a request, or why there is none."""
        bad: list[BadImage] = []
        try:
            shown = [
                self._show(Place(self.seed, request.epoch, image, repeat), bad)
                for image, repeat in request.showings()
            ]
        except DataError as error:
            return error
        images, plan = self.pipeline.collate(shown, memory)
        return Loaded(images, _labels(self.source, request), plan, request, tuple(bad))

    def _show(self, place: Place, bad: list[BadImage]) -> Shown:
        for candidate in candidates(self.source, place):
            self.note(candidate)
            try:
                return show(self.source, candidate, self.channels, self.pipeline, place)
            except DecodeError as error:
                bad.append(BadImage(candidate, error.name, error.reason))
        raise no_image_left(self.source, place.image, bad[-1])


@dataclass(frozen=True)
class EvalImages:
    """Images as a model is shown them in evaluation; a bad one is an error, because metrics must be exact.

    Attributes:
        source: the validation set.
        pipeline: from a decoded image to the model's input.
        channels: of an image, 1 or 3.
        note: told of each image before it is touched; of -1 when a batch is done.
    """

    source: ImageSource
    pipeline: Pipeline
    channels: int
    note: Callable[[int], None] = _ignore

    def __call__(self, request: BatchRequest, memory: Memory = fresh) -> Loaded | DataError:
        """The batch of a request, or why there is none."""
        try:
            shown = [self._show(image) for image in request.indices.tolist()]
        except DecodeError as error:
            return unusable_for_evaluation(error)
        images, plan = self.pipeline.collate(shown, memory)
        return Loaded(images, _labels(self.source, request), plan, request, ())

    def _show(self, image: int) -> Shown:
        self.note(image)
        return show(self.source, image, self.channels, self.pipeline, Place(0, 0, image))


def candidates(source: ImageSource, place: Place) -> Iterator[int]:
    """The image itself, then the others of its class, from a drawn one on."""
    yield place.image
    same_class = (source.labels == source.labels[place.image]).nonzero()[0].tolist()
    start = draws.key(place.seed, draws.Stream.SUBSTITUTE, place.epoch, place.image) % len(same_class)
    yield from (other for other in same_class[start:] + same_class[:start] if other != place.image)


def no_image_left(source: ImageSource, image: int, last: BadImage) -> DataError:
    """What to say when a whole class is unusable."""
    return DataError(
        f"{source.name(image)}: neither it nor any other image of class "
        f"{source.classes[source.labels[image]]!r} can be used; last, {last.name}: {last.reason}. "
        "Restore the files."
    )


def unusable_for_evaluation(error: DecodeError) -> DataError:
    """What to say of a bad image in the validation set."""
    return DataError(
        f"{error.name}: {error.reason}; an evaluation needs every image. Restore or delete the file."
    )


def show(source: ImageSource, image: int, channels: int, pipeline: Pipeline, place: Place) -> Shown:
    """An image as the model is shown it; DecodeError names the image, whatever step it stops."""
    name = source.name(image)
    pixels = decode(read(source, image, name), channels, name)
    with transforming(name):
        return pipeline.show(pixels, place)


@contextmanager
def transforming(name: str) -> Iterator[None]:
    """Whatever stops the transform of an image is a DecodeError that names it."""
    try:
        yield
    except TooElongated as error:
        raise DecodeError(name, str(error)) from error
    # Memory that runs out, a limit of Pillow's, or a mistake of ours that only this picture brings to light.
    except Exception as error:
        text = ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))
        raise DecodeError(name, f"cannot be transformed ({text})") from error


def what_is_wrong(source: ImageSource, image: int) -> str:
    """Look at an image once more, and say why it cannot be used."""
    name = source.name(image)
    try:
        decode(read(source, image, name), 3, name)
    except DecodeError as error:
        return error.reason
    return "it could not be used when it was asked for; now it can be decoded"


def _labels(source: ImageSource, request: BatchRequest) -> Tensor:
    return torch.from_numpy(source.labels[request.indices])
