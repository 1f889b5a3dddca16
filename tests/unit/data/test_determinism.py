"""Training batches, bit for bit: whatever makes them, wherever a pass begins, however many processes share it."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch

from swin_train.config import load_config
from swin_train.data.build import build_train_feed, open_datasets
from swin_train.data.loader import Batch
from swin_train.data.native.library import unavailable
from swin_train.data.sampler import BatchGeometry

MakeFolder = Callable[..., Path]
Step = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # images, targets and keys of a whole global batch

_EPOCH, _GLOBAL_BATCH, _STEPS = 3, 8, 5
_PIPELINES = ["exact", "portable", "native", "timm"]
_BACKENDS = [*((name, "host") for name in _PIPELINES), ("portable", "device"), ("native", "device")]


def steps(
    root: Path, backend: tuple[str, str], *, workers: int = 0, first_step: int = 0, world_size: int = 1
) -> list[Step]:
    """The global batches of an epoch with everything switched on, put together from the processes' shares."""
    pipeline, place = backend
    if pipeline == "native" and (problem := unavailable()):
        pytest.skip(f"the native extension {problem}")
    keys = {
        "DATA.DATA_PATH": str(root),
        "DATA.IMG_SIZE": 16,
        "DATA.BATCH_SIZE": 4,
        "DATA.NUM_WORKERS": workers,
        "DATA.PIPELINE": pipeline,
        "DATA.AUGMENT_ON": place if pipeline in ("portable", "native") else "auto",
        "DATA.INTERPOLATION": "random",
        "AUG.CROP": "resized",
        "AUG.REPROB": 0.5,
        "SEED": 7,
    }
    cfg = load_config(None, [part for item in keys.items() for part in item])
    source, _ = open_datasets(cfg, need_train=True)
    assert source is not None
    shares = []
    for rank in range(world_size):
        micro_batch = min(4, _GLOBAL_BATCH // world_size)
        geometry = BatchGeometry(source.num_images, _GLOBAL_BATCH, world_size, rank, micro_batch, 2, seed=7)
        feed = build_train_feed(cfg, source, geometry, torch.device("cpu"), source.num_classes)
        micro_batches = list(feed.batches(_EPOCH, first_step))
        shares.append(
            [
                micro_batches[i : i + geometry.micro_batches]
                for i in range(0, len(micro_batches), geometry.micro_batches)
            ]
        )
    return [_together(batch for share in step for batch in share) for step in zip(*shares, strict=True)]


def _together(batches: Iterable[Batch]) -> Step:
    images, targets, keys = zip(*((b.images, b.targets, b.drop_path_keys) for b in batches), strict=True)
    return torch.cat(images), torch.cat(targets), torch.cat(keys)


def digest(whole: list[Step]) -> str:
    """Of every bit, so that even a zero of another sign is another."""
    found = hashlib.sha256()
    for step in whole:
        for tensor in step:
            found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


@pytest.fixture
def root(make_folder: MakeFolder) -> Path:
    """43 images, so that three are left over in an epoch of five steps."""
    make_folder({"a": 1, "b": 1, "c": 1}, "val")
    return make_folder({"a": 15, "b": 14, "c": 14}, "train", side=24)


@pytest.fixture(params=_BACKENDS, ids="-".join)
def backend(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


def test_the_batches_hold_what_is_compared(root: Path, backend: tuple[str, str]) -> None:
    whole = steps(root, backend)

    assert len(whole) == _STEPS
    for images, targets, keys in whole:
        assert images.shape == (_GLOBAL_BATCH, 3, 16, 16)
        assert targets.shape == (_GLOBAL_BATCH, 3)
        assert len(set(keys.tolist())) == _GLOBAL_BATCH
    assert len({digest([step]) for step in whole}) == _STEPS


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_or_threads_changes_no_bit(
    root: Path, backend: tuple[str, str], workers: int
) -> None:
    assert digest(steps(root, backend, workers=workers)) == digest(steps(root, backend))


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_processes_changes_no_bit(
    root: Path, backend: tuple[str, str], world_size: int, workers: int
) -> None:
    assert digest(steps(root, backend, world_size=world_size, workers=workers)) == digest(
        steps(root, backend)
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_may_begin_at_any_step(root: Path, backend: tuple[str, str], workers: int) -> None:
    whole = steps(root, backend)

    for first_step in range(1, _STEPS + 1):
        rest = steps(root, backend, first_step=first_step, workers=workers)
        assert digest(rest) == digest(whole[first_step:])


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_seed_of_hashes_and_another_process_change_no_bit(root: Path, seed: str) -> None:
    repo = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": repo}

    found = subprocess.run(
        [sys.executable, __file__, str(root)], env=environment, capture_output=True, text=True, check=True
    )

    built = [backend for backend in _BACKENDS if backend[0] != "native" or not unavailable()]
    assert found.stdout.split() == [digest(steps(root, backend)) for backend in built]


if __name__ == "__main__":  # in a process of its own, for the test above
    for each in _BACKENDS:
        if each[0] != "native" or not unavailable():
            print(digest(steps(Path(sys.argv[1]), each, workers=1)))
