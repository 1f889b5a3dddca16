"""Other loaders, measured where they are installed. Both stop after resize and flip: neither has this recipe."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from swin_train.benchmark.loading.bench import Bench, Load
from swin_train.benchmark.loading.chains import open_picture
from swin_train.benchmark.loading.excerpt import Excerpt, whole_file
from swin_train.benchmark.rounds import Pass
from swin_train.errors import UserError

_FFCV_QUALITY = 90  # of its documentation; a .beton file holds pictures encoded anew


def dali_pass(bench: Bench, load: Load) -> Pass:
    """NVIDIA DALI on the CPU: region decode, antialiased cubic resize, flip; uint8 batches.

    Raises:
        UserError: DALI is not installed, or the images are no files of their own.
    """
    try:
        from nvidia.dali import fn, pipeline_def, types  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise UserError(f"DALI is not installed ({error})") from None
    cfg = bench.configure({})
    images = Excerpt(bench.source, bench.num_images * load.threads)
    files = [whole_file(images, index) for index in range(images.num_images)]
    if None in files:
        raise UserError("DALI is measured on image folders only")
    (height, width), batch = cfg.DATA.img_size, min(cfg.DATA.BATCH_SIZE, len(files))

    @pipeline_def(
        batch_size=batch, num_threads=load.threads, device_id=None, prefetch_queue_depth=cfg.DATA.PREFETCH
    )
    def graph() -> Any:
        encoded, labels = fn.readers.file(
            files=[str(file) for file in files],
            labels=images.labels.tolist(),
            random_shuffle=not bench.is_eval,
        )
        cubic = {"interp_type": types.INTERP_CUBIC, "antialias": True}
        if bench.is_eval:
            whole = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
            covered = fn.resize(
                whole, size=(256 * height // 224, 256 * width // 224), mode="not_smaller", **cubic
            )
            return fn.crop(covered, crop=(height, width)), labels
        part = fn.decoders.image_random_crop(
            encoded,
            device="cpu",
            output_type=types.RGB,
            random_area=list(cfg.AUG.SCALE),
            random_aspect_ratio=list(cfg.AUG.RATIO),
            num_attempts=10,
        )
        resized = fn.resize(part, size=(height, width), **cubic)
        return fn.flip(resized, horizontal=fn.random.coin_flip(probability=cfg.AUG.HFLIP)), labels

    pipeline = graph()
    pipeline.build()
    return lambda number: sum(len(pipeline.run()[0]) for _ in range(len(files) // batch))


def ffcv_pass(bench: Bench, load: Load) -> Pass:
    """FFCV: its own file of pictures encoded anew, whole decode, area resize, flip; uint8 batches.

    Raises:
        UserError: FFCV is not installed.
    """
    try:
        from ffcv import loader, transforms, writer  # type: ignore[import-not-found, unused-ignore]
        from ffcv.fields import IntField, RGBImageField, decoders  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise UserError(f"FFCV is not installed ({error})") from None
    cfg = bench.configure({})
    folder = tempfile.TemporaryDirectory(prefix="ffcv-")
    beton = Path(folder.name) / "images.beton"
    pictures = _Pictures(Excerpt(bench.source, bench.num_images * load.threads))
    fields = {"image": RGBImageField(write_mode="jpg", jpeg_quality=_FFCV_QUALITY), "label": IntField()}
    writer.DatasetWriter(str(beton), fields, num_workers=1).from_indexed_dataset(pictures)
    if bench.is_eval:
        decoder = decoders.CenterCropRGBImageDecoder(cfg.DATA.img_size, ratio=224 / 256)
        steps = [decoder]
    else:
        decoder = decoders.RandomResizedCropRGBImageDecoder(cfg.DATA.img_size, cfg.AUG.SCALE, cfg.AUG.RATIO)
        steps = [decoder, transforms.RandomHorizontalFlip(cfg.AUG.HFLIP)]
    chain = [*steps, transforms.ToTensor(), transforms.ToTorchImage()]
    batches = loader.Loader(
        str(beton),
        batch_size=min(cfg.DATA.BATCH_SIZE, len(pictures)),
        num_workers=load.threads,
        order=loader.OrderOption.SEQUENTIAL if bench.is_eval else loader.OrderOption.RANDOM,
        drop_last=not bench.is_eval,
        pipelines={"image": chain, "label": [decoders.IntDecoder(), transforms.ToTensor()]},
    )
    return _Kept(batches, folder)


@dataclass(frozen=True)
class _Pictures:
    images: Excerpt

    def __len__(self) -> int:
        return self.images.num_images

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return open_picture(self.images.read(index), "RGB"), int(self.images.labels[index])


@dataclass(frozen=True)
class _Kept:
    """A pass over ``batches`` that keeps their folder."""

    batches: Any
    folder: tempfile.TemporaryDirectory

    def __call__(self, number: int) -> int:
        return sum(len(batch[0]) for batch in self.batches)
