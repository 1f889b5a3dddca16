"""What the authors published: accuracies, and where the weights are."""

import fnmatch
from dataclasses import dataclass

_RELEASES = "https://github.com/SwinTransformer/storage/releases/download"


@dataclass(frozen=True)
class ModelCard:
    """A classifier that comes as a configuration.

    Attributes:
        name: of the configuration; ``create_model`` takes it.
        top1: published accuracy on the 50,000 validation images of ImageNet-1K, in percent; None where there is
            none, as for models with the classes of ImageNet-22K.
        top5: likewise.
        img_size: side of the images, in pixels.
        parameters: number of them, in millions.
        trained_on: data of the last training.
        pretrained_on: data of the training before that; None for training from scratch.
        weights: URL of the authors' file, which ``create_model`` takes as ``pretrained``; None where they give none.
    """

    name: str
    top1: float | None
    top5: float | None
    img_size: int
    parameters: float
    trained_on: str
    pretrained_on: str | None
    weights: str | None


def _card(
    name: str,
    accuracy: tuple[float | None, float | None],
    img_size: int,
    parameters: float,
    data: tuple[str, str | None],
    file: str | None,
) -> ModelCard:
    """``data`` is of the last training and of the one before; "*" in ``file`` stands for the name."""
    weights = file and f"{_RELEASES}/{file.replace('*', name)}.pth"
    return ModelCard(name, *accuracy, img_size, parameters, *data, weights)


_1K, _22K = "ImageNet-1K", "ImageNet-22K"
_SCRATCH, _LARGE, _TUNED = (_1K, None), (_22K, None), (_1K, _22K)
_SIMMIM = (_1K, "ImageNet-1K without labels (SimMIM)")
_NONE = (None, None)

_CARDS = (
    _card("swin_tiny_patch4_window7_224", (81.2, 95.5), 224, 28.3, _SCRATCH, "v1.0.0/*"),
    _card("swin_small_patch4_window7_224", (83.2, 96.2), 224, 49.6, _SCRATCH, "v1.0.0/*"),
    _card("swin_base_patch4_window7_224", (83.5, 96.5), 224, 87.8, _SCRATCH, "v1.0.0/*"),
    _card(
        "swin_base_patch4_window12_384_finetune",
        (84.5, 97.0),
        384,
        87.9,
        (_1K, "ImageNet-1K at 224 pixels"),
        "v1.0.0/swin_base_patch4_window12_384",
    ),
    _card("swin_tiny_c24_patch4_window8_256", (81.6, 95.7), 256, 28.3, _SCRATCH, "v1.0.5/*"),
    _card("swin_tiny_patch4_window7_224_22k", _NONE, 224, 44.3, _LARGE, "v1.0.8/*"),
    _card("swin_small_patch4_window7_224_22k", _NONE, 224, 65.6, _LARGE, "v1.0.8/*"),
    _card("swin_base_patch4_window7_224_22k", _NONE, 224, 109.1, _LARGE, "v1.0.0/*"),
    _card("swin_large_patch4_window7_224_22k", _NONE, 224, 228.6, _LARGE, "v1.0.0/*"),
    _card("swin_tiny_patch4_window7_224_22kto1k_finetune", (80.9, 96.0), 224, 28.3, _TUNED, "v1.0.8/*"),
    _card("swin_small_patch4_window7_224_22kto1k_finetune", (83.2, 97.0), 224, 49.6, _TUNED, "v1.0.8/*"),
    _card(
        "swin_base_patch4_window7_224_22kto1k_finetune",
        (85.2, 97.5),
        224,
        87.8,
        _TUNED,
        "v1.0.0/swin_base_patch4_window7_224_22kto1k",
    ),
    _card(
        "swin_base_patch4_window12_384_22kto1k_finetune",
        (86.4, 98.0),
        384,
        87.9,
        _TUNED,
        "v1.0.0/swin_base_patch4_window12_384_22kto1k",
    ),
    _card(
        "swin_large_patch4_window7_224_22kto1k_finetune",
        (86.3, 97.9),
        224,
        196.5,
        _TUNED,
        "v1.0.0/swin_large_patch4_window7_224_22kto1k",
    ),
    _card(
        "swin_large_patch4_window12_384_22kto1k_finetune",
        (87.3, 98.2),
        384,
        196.7,
        _TUNED,
        "v1.0.0/swin_large_patch4_window12_384_22kto1k",
    ),
    _card("swinv2_tiny_patch4_window8_256", (81.8, 95.9), 256, 28.3, _SCRATCH, "v2.0.0/*"),
    _card("swinv2_small_patch4_window8_256", (83.7, 96.6), 256, 49.7, _SCRATCH, "v2.0.0/*"),
    _card("swinv2_base_patch4_window8_256", (84.2, 96.9), 256, 87.9, _SCRATCH, "v2.0.0/*"),
    _card("swinv2_tiny_patch4_window16_256", (82.8, 96.2), 256, 28.3, _SCRATCH, "v2.0.0/*"),
    _card("swinv2_small_patch4_window16_256", (84.1, 96.8), 256, 49.7, _SCRATCH, "v2.0.0/*"),
    _card("swinv2_base_patch4_window16_256", (84.6, 97.0), 256, 87.9, _SCRATCH, "v2.0.0/*"),
    _card("swinv2_base_patch4_window12_192_22k", _NONE, 192, 109.3, _LARGE, "v2.0.0/*"),
    _card("swinv2_large_patch4_window12_192_22k", _NONE, 192, 228.8, _LARGE, "v2.0.0/*"),
    _card("swinv2_base_patch4_window12to16_192to256_22kto1k_ft", (86.2, 97.9), 256, 87.9, _TUNED, "v2.0.0/*"),
    _card(
        "swinv2_large_patch4_window12to16_192to256_22kto1k_ft", (86.9, 98.0), 256, 196.7, _TUNED, "v2.0.0/*"
    ),
    _card("swinv2_base_patch4_window12to24_192to384_22kto1k_ft", (87.1, 98.2), 384, 87.9, _TUNED, "v2.0.0/*"),
    _card(
        "swinv2_large_patch4_window12to24_192to384_22kto1k_ft", (87.6, 98.3), 384, 196.7, _TUNED, "v2.0.0/*"
    ),
    _card("swin_mlp_tiny_c24_patch4_window8_256", (79.4, 94.6), 256, 20.4, _SCRATCH, "v1.0.5/*"),
    _card("swin_mlp_tiny_c12_patch4_window8_256", (79.6, 94.7), 256, 21.2, _SCRATCH, "v1.0.5/*"),
    _card("swin_mlp_tiny_c6_patch4_window8_256", (79.7, 94.9), 256, 22.7, _SCRATCH, "v1.0.5/*"),
    _card("swin_mlp_base_patch4_window7_224", (81.3, 95.3), 224, 60.7, _SCRATCH, "v1.0.5/*"),
    _card("simmim_finetune__swin_base__img224_window7__800ep", (84.0, None), 224, 87.8, _SIMMIM, None),
    _card("simmim_finetune__swinv2_base__img224_window14__800ep", (85.0, None), 224, 87.9, _SIMMIM, None),
)


def list_models(pattern: str = "*") -> list[ModelCard]:
    """The classifiers whose names fit a pattern such as "swinv2_*256*"; all of them without one.

    Source: the tables in MODELHUB.md of the official repository and in the README of SimMIM's.
    """
    return [card for card in _CARDS if fnmatch.fnmatchcase(card.name, pattern)]
