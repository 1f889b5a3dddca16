import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from swin_train.data.formats.image_folder import ImageFolder
from swin_train.data.images import EvalImages
from swin_train.data.loader import EvalFeed, Finisher
from swin_train.data.pipelines.exact import ExactEval, Normalize
from swin_train.data.recipe.evaluation import EvalRecipe
from swin_train.data.recipe.view import FILTERS
from swin_train.data.sampler import EvalSampler
from swin_train.data.workers import WorkerOptions, Workers
from swin_train.errors import DataError
from swin_train.kernels.augment import Normalisation

_CPU = torch.device("cpu")
_MEAN, _STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
MakeFolder = Callable[..., Path]


def eval_feed(
    source: ImageFolder, rank: int = 0, world_size: int = 1, workers: int = 0, size: int = 12
) -> EvalFeed:
    recipe = EvalRecipe((size, size), True, FILTERS["bicubic"][0])
    images = EvalImages(source, ExactEval(recipe, Normalize(_MEAN, _STD)), 3)
    sampler = EvalSampler(source.num_images, world_size, rank, 4)
    prepared = Workers(images, sampler, WorkerOptions(workers, 2, pin_memory=False, timeout_s=60))
    finisher = Finisher(_CPU, Normalisation(torch.tensor(_MEAN), torch.tensor(_STD)))
    return EvalFeed(prepared, sampler, source, finisher=finisher)


@pytest.mark.parametrize("workers", [0, 2])
def test_four_processes_evaluate_ten_images_once_each(make_folder: MakeFolder, workers: int) -> None:
    source = ImageFolder(str(make_folder({"a": 4, "b": 6}, "val")), "val")

    ranks = [list(eval_feed(source, rank, 4, workers).batches()) for rank in range(4)]

    counted = torch.cat([batch.labels[batch.mask] for batches in ranks for batch in batches])
    assert sorted(counted.tolist()) == [0] * 4 + [1] * 6
    assert [len(batches) for batches in ranks] == [1] * 4
    assert eval_feed(source, 0, 4).num_batches == 1


def test_evaluation_is_the_same_at_every_pass(source: ImageFolder) -> None:
    feed = eval_feed(source, workers=1)

    first, second = [torch.cat([batch.images for batch in feed.batches()]) for _ in range(2)]

    assert torch.equal(first, second)
    assert len(first) == source.num_images


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_in_an_evaluation_is_an_error(source: ImageFolder, workers: int) -> None:
    path = Path(os.fsdecode(source._folder)) / "a/3.png"
    path.write_bytes(path.read_bytes()[:100].ljust(path.stat().st_size, b"\0"))

    try:
        list(eval_feed(source, workers=workers).batches())
    except DataError as error:  # pytest.raises would keep the error's frames, and so the workers
        message = str(error)

    assert message.startswith("train/a/3.png: cannot be decoded (")
    assert "an evaluation needs every image. Restore or delete the file." in message


@pytest.mark.parametrize("workers", [0, 1])
def test_an_elongated_image_in_an_evaluation_is_an_error_that_names_it(
    source: ImageFolder, workers: int
) -> None:
    path, elongated = Path(os.fsdecode(source._folder)) / "a/3.png", io.BytesIO()
    Image.new("RGB", (1, 4000)).save(elongated, "PNG")
    path.write_bytes(elongated.getvalue().ljust(path.stat().st_size, b"\0"))

    try:
        list(eval_feed(source, workers=workers, size=224).batches())
    except DataError as error:
        message, status = str(error), error.exit_status

    assert message.startswith("train/a/3.png: is 1 x 4000 pixels, too elongated to be resized to 256; an ")
    assert status == 5


def test_memory_that_runs_out_in_a_transform_names_the_image(
    source: ImageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(self: Normalize, image: Image.Image) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(Normalize, "__call__", exhausted)

    with pytest.raises(DataError, match=r"^train/a/0\.png: cannot be transformed \(MemoryError\); an eval"):
        list(eval_feed(source).batches())
