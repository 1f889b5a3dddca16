"""``native``: decoded, cropped, resized and, if asked for, finished by C threads; no process, no copy.

The draws stay in Python: they take a few per cent of the time, and there is one place that makes them.
"""

import os
import threading
from collections.abc import Sequence
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor

from swin_train.data import draws
from swin_train.data.buffers import Buffers
from swin_train.data.decode import DecodeError, decode
from swin_train.data.decoded_cache import DecodedCache
from swin_train.data.encoded import place_or_bytes, read
from swin_train.data.formats import ImageSource
from swin_train.data.images import (
    BadImage,
    Loaded,
    candidates,
    no_image_left,
    transforming,
    unusable_for_evaluation,
)
from swin_train.data.native.library import Crops, Item, Pictures, Pool
from swin_train.data.pipelines.pipeline import Place, Plan
from swin_train.data.plan import plan_erasures, plan_operations
from swin_train.data.recipe.erasing import ErasingMode
from swin_train.data.recipe.evaluation import EvalRecipe, EvalView
from swin_train.data.recipe.view import Crop, Recipe, View
from swin_train.data.sampler import BatchRequest
from swin_train.errors import DataError
from swin_train.kernels.augment import Normalisation

V = TypeVar("V", View, EvalView)

_BICUBIC = Image.Resampling.BICUBIC
_NOTHING = View(Crop((0, 0, 1, 1), _BICUBIC))  # for the row of an image that cannot be used


class Rendered(NamedTuple, Generic[V]):
    """By row of a batch: the view that was rendered, or why there is none."""

    views: dict[int, V]
    errors: dict[int, DecodeError]


class _NativeImages(Generic[V]):
    """What training and evaluation have in common.

    Args:
        source: the images.
        channels: of an image, 1 or 3.
        normalisation: given: batches are finished here; None: that is left to the device.
        threads: of the pool.
        pinned: whether batches lie in page-locked memory.
        cache: of decoded pictures.
    """

    def __init__(
        self,
        source: ImageSource,
        channels: int,
        normalisation: Normalisation | None,
        threads: int,
        pinned: bool,
        cache: DecodedCache | None = None,
    ) -> None:
        self.source = source
        self._channels = channels
        self._normalisation = normalisation
        self._threads = threads
        self._cache = cache
        dtype = torch.uint8 if normalisation is None else torch.float32
        self._buffers = Buffers(dtype, pinned=pinned)
        self._pool: tuple[int, Pool] | None = None
        self._starting = threading.Lock()

    @property
    def pool(self) -> Pool:
        """The threads; started at first use in each process, because they do not outlive a fork."""
        with self._starting:
            if self._pool is None or self._pool[0] != os.getpid():
                self._pool = os.getpid(), Pool(self._threads)
            return self._pool[1]

    def _show(self, places: Sequence[Place], images: Sequence[int], out: Tensor) -> Rendered[V]:
        """Render the images, each as its place says; by row, the views or what is wrong."""
        pictures, errors = self._open(images)
        views: dict[int, V] = {}
        for row, (width, height) in enumerate(pictures.sizes.tolist()):
            if row not in errors:
                try:
                    with transforming(self.source.name(images[row])):
                        views[row] = self._view(places[row], width, height)
                except DecodeError as error:
                    errors[row] = error
        for row, problem in enumerate(self._render(pictures, views, out)):
            if problem and row not in errors:
                errors[row] = self._error(images[row], problem)
        return Rendered(views, errors)

    def _open(self, images: Sequence[int]) -> tuple[Pictures, dict[int, DecodeError]]:
        errors: dict[int, DecodeError] = {}
        items: list[Item] = []
        for row, image in enumerate(images):
            try:
                items.append(self._item(image))
            except DecodeError as error:
                errors[row] = error
                items.append(b"")
        if self._cache is not None:
            self._cache.fill(images, items, self.pool)
        pictures = self.pool.load(items)
        for row, image in enumerate(images):
            if row in errors:
                continue
            if pictures.problems[row]:
                errors[row] = self._error(image, str(pictures.problems[row]))
            elif pictures.needs_pillow[row]:
                try:
                    pixels = decode(pictures.data(row), self._channels, self.source.name(image))
                except DecodeError as error:
                    errors[row] = self._error(image, error.reason)
                    continue
                pictures.put(row, pixels)
                if self._cache is not None:
                    self._cache.put(image, pixels)
        return pictures, errors

    def _error(self, image: int, problem: str) -> DecodeError:
        """What is wrong with an image; ``read`` checks more than the threads, and may know the cause."""
        try:
            read(self.source, image, self.source.name(image))
        except DecodeError as error:
            return error
        return DecodeError(self.source.name(image), problem)

    def _item(self, image: int) -> Item:
        pixels = None if self._cache is None else self._cache.get(image)
        if pixels is not None:
            return pixels
        return place_or_bytes(self.source, image)

    def _view(self, place: Place, width: int, height: int) -> V:
        raise NotImplementedError

    def _render(self, pictures: Pictures, views: dict[int, V], out: Tensor) -> list[str | None]:
        raise NotImplementedError

    def _loaded(
        self,
        request: BatchRequest,
        images: Tensor,
        plan: Plan,
        bad: Sequence[BadImage] = (),
    ) -> Loaded:
        labels = torch.from_numpy(self.source.labels[request.indices])
        left = plan if self._normalisation is None else None
        return Loaded(images, labels, left, request, tuple(bad))


class NativeTrain(_NativeImages[View]):
    """Augmented images; one that is bad is replaced by another of its class, and reported.

    Args:
        source: the training set.
        channels: of an image, 1 or 3.
        recipe: draws the views.
        normalisation: given: batches are finished here; None: that is left to the device.
        threads: of the pool.
        pinned: whether batches lie in page-locked memory.
        seed: of the run.
        fill: colour of what rotation, shear and translation bring in, 0 to 255 per channel.
        erasing_mode: what erased rectangles hold; see ``RandomErasing``.
        cache: of decoded pictures.
    """

    def __init__(
        self,
        source: ImageSource,
        channels: int,
        recipe: Recipe,
        normalisation: Normalisation | None,
        threads: int,
        seed: int,
        fill: tuple[int, ...],
        erasing_mode: ErasingMode,
        *,
        pinned: bool = False,
        cache: DecodedCache | None = None,
    ) -> None:
        super().__init__(source, channels, normalisation, threads, pinned, cache)
        self._recipe = recipe
        self._seed = seed
        self._fill = fill
        self._erasing_mode = erasing_mode

    def __call__(self, request: BatchRequest) -> Loaded | DataError:
        """The batch of a request, or why there is none."""
        places = [Place(self._seed, request.epoch, *showing) for showing in request.showings()]
        out = self._buffers.take((len(places), self._channels, *self._recipe.at(request.epoch).size))
        views, errors = self._show(places, [place.image for place in places], out)
        bad: list[BadImage] = []
        for row, error in sorted(errors.items()):
            bad.append(BadImage(places[row].image, error.name, error.reason))
            view = self._show_another(places[row], out[row : row + 1], bad)
            if view is None:
                return no_image_left(self.source, places[row].image, bad[-1])
            views[row] = view
        plan = self._plan([views[row] for row in range(len(places))], out)
        return self._loaded(request, out, plan, bad)

    def _show_another(self, place: Place, out: Tensor, bad: list[BadImage]) -> View | None:
        """Render another image of the class of a bad one."""
        for image in islice(candidates(self.source, place), 1, None):
            views, errors = self._show([place], [image], out)
            if not errors:
                return views[0]
            bad.append(BadImage(image, errors[0].name, errors[0].reason))
        return None

    def _view(self, place: Place, width: int, height: int) -> View:
        return self._recipe.at(place.epoch).draw(width, height, draws.sample_rng(*place))

    def _render(self, pictures: Pictures, views: dict[int, View], out: Tensor) -> list[str | None]:
        crops = Crops.empty(len(out))
        for row, view in views.items():
            left, top, right, bottom = view.crop.box
            crops.limits[row] = view.crop.box
            crops.boxes[row] = left, top, right - left, bottom - top
            crops.filters[row] = view.crop.resample == _BICUBIC
            crops.shifts[row] = -view.crop.shift[0], -view.crop.shift[1]  # there: to the right and down
        if self._normalisation is None:
            return self.pool.render(pictures, crops, out)
        plan = self._plan([views.get(row, _NOTHING) for row in range(len(out))], out)
        return self.pool.render_augmented(
            pictures, crops, plan.operations, self._normalisation, plan.erasures, out
        )

    def _plan(self, views: Sequence[View], out: Tensor) -> Plan:
        size = out.shape[2], out.shape[3]
        return Plan(plan_operations(views, size, self._fill), plan_erasures(views, self._erasing_mode))


class NativeEval(_NativeImages[EvalView]):
    """Images as a model is shown them in evaluation; a bad one is an error, because metrics must be exact.

    Args:
        source: the validation set.
        channels: of an image, 1 or 3.
        recipe: what is shown of a picture.
        normalisation: given: batches are finished here; None: that is left to the device.
        threads: of the pool.
        pinned: whether batches lie in page-locked memory.
    """

    def __init__(
        self,
        source: ImageSource,
        channels: int,
        recipe: EvalRecipe,
        normalisation: Normalisation | None,
        threads: int,
        *,
        pinned: bool = False,
    ) -> None:
        super().__init__(source, channels, normalisation, threads, pinned)
        self._recipe = recipe

    def __call__(self, request: BatchRequest) -> Loaded | DataError:
        """The batch of a request, or why there is none."""
        places = [Place(0, 0, image) for image in request.indices.tolist()]
        out = self._buffers.take((len(places), self._channels, *self._recipe.size))
        _, errors = self._show(places, [place.image for place in places], out)
        if errors:
            return unusable_for_evaluation(errors[min(errors)])
        return self._loaded(request, out, Plan(None, None))

    def _view(self, place: Place, width: int, height: int) -> EvalView:
        return self._recipe.view(width, height)

    def _render(self, pictures: Pictures, views: dict[int, EvalView], out: Tensor) -> list[str | None]:
        crops = Crops.empty(len(out))
        for row, view in views.items():
            width, height = pictures.sizes[row].tolist()
            left, top, right, bottom = view.window
            x, y = width / view.sides[0], height / view.sides[1]  # pixels of the picture per resized pixel
            crops.limits[row] = 0, 0, width, height
            crops.boxes[row] = left * x, top * y, (right - left) * x, (bottom - top) * y
            crops.filters[row] = view.resample == _BICUBIC
        if self._normalisation is None:
            return self.pool.render(pictures, crops, out)
        return self.pool.render_augmented(pictures, crops, None, self._normalisation, None, out)
