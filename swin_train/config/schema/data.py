"""DATA: which images, and how they reach the device."""

from typing import Literal

from swin_train.config.node import Section, opt


class Data(Section):
    """Which images, and how they reach the device."""

    BATCH_SIZE: int = opt(128, "Images per process and forward pass.", ge=1)
    DATA_PATH: str = opt("", "Folder of the data set; it holds train/ and val/.", any_text=True)
    DATASET: Literal["imagenet", "imagenet22K"] = opt(
        "imagenet", "Layout of the data set; imagenet is any folder with train/CLASS/ and val/CLASS/."
    )
    IMG_SIZE: int | tuple[int, int] = opt(
        224, "Height and width of the input, in pixels: [256, 320]; one number is a square.", ge=1
    )
    INTERPOLATION: Literal["bicubic", "bilinear", "random"] = opt(
        "bicubic", "How images are resized; random draws bicubic or bilinear per training image."
    )
    ZIP_MODE: bool = opt(False, "Read train.zip and val.zip with their map files instead of folders.")
    CACHE_MODE: Literal["no", "full", "part"] = opt(
        "part", "What a process keeps of a zip archive in memory: nothing, everything, or its own share."
    )
    PIN_MEMORY: bool = opt(True, "Keep batches in page-locked memory, from which copies to a GPU are faster.")
    NUM_WORKERS: int = opt(
        8, "Processes per rank that decode and augment; 0 does it in the training one.", ge=0
    )
    PREFETCH: int = opt(2, "Batches that each worker prepares ahead.", ge=1)
    MAX_BAD_IMAGES: int = opt(
        0,
        "Unusable training images to replace by others of their class before the run stops: different ones"
        " in one launch, counted by each process at once and over all at the end of every epoch.",
        ge=0,
    )
    MEAN: tuple[float, ...] = opt(
        (0.485, 0.456, 0.406), "Mean of each input channel, in [0, 1]; the default is ImageNet's."
    )
    STD: tuple[float, ...] = opt(
        (0.229, 0.224, 0.225), "Standard deviation of each input channel; the default is ImageNet's.", gt=0
    )
    MASK_PATCH_SIZE: int = opt(32, "SimMIM: side of a masked square, in pixels.", ge=1)
    MASK_RATIO: float = opt(0.6, "SimMIM: share of the squares that is masked.", ge=0, le=1)

    @property
    def img_size(self) -> tuple[int, int]:
        """Height and width of the input, in pixels."""
        return (self.IMG_SIZE, self.IMG_SIZE) if isinstance(self.IMG_SIZE, int) else self.IMG_SIZE
