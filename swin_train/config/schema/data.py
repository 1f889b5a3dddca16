"""DATA: which images, and how they reach the device."""

from typing import Literal

from swin_train.config.node import Section, opt


class Data(Section):
    """Which images, and how they reach the device."""

    BATCH_SIZE: int = opt(128, "Images per process and forward pass.", ge=1)
    DATA_PATH: str = opt("", "Folder of the data set, such as one that holds train/ and val/.", any_text=True)
    DATASET: Literal[
        "imagenet", "imagenet22K", "cifar10", "cifar100", "synthetic", "packed", "shards", "parquet"
    ] = opt(
        "imagenet",
        "Layout of the data set: imagenet is any folder with train/CLASS/ and val/CLASS/ (or the 50,000 validation"
        " images side by side, with a labels file), imagenet22K the reference's lists, cifar10 and cifar100 the"
        " binary versions, synthetic made-up pictures to measure with, packed what main.py prepare-data packs,"
        " shards tar files as webdataset writes them, parquet tables as Hugging Face writes them.",
    )
    IMG_SIZE: int | tuple[int, int] = opt(
        224, "Height and width of the input, in pixels: [256, 320]; one number is a square.", ge=1
    )
    PROGRESSIVE: tuple[tuple[int, int], ...] = opt(
        (),
        "Training at other sizes: [[0, 128], [100, 192]] is 128 pixels square from epoch 0 on, 192 from epoch 100"
        " to the end. Before the first of these it is IMG_SIZE; evaluation always is.",
        ge=0,
    )
    INTERPOLATION: Literal["bicubic", "bilinear", "random"] = opt(
        "bicubic", "How images are resized; random draws bicubic or bilinear per training image."
    )
    CLASSES: tuple[str, ...] = opt(
        (),
        "Names of the classes to train and evaluate on, numbered anew in the order of the data set; [] is all.",
    )
    FRACTION: float = opt(
        1.0,
        "Share of the training set to train on: of every class that share, but at least one image; which, follows"
        " from SEED, and a larger share holds the smaller ones.",
        gt=0,
        le=1,
    )
    SAMPLING: Literal["uniform", "balanced"] = opt(
        "uniform",
        "What an epoch shows: every image once, or, in as many steps, every class equally often, by images drawn"
        " with replacement.",
    )
    SHUFFLE: Literal["full", "blocks"] = opt(
        "full",
        "Order of an epoch: fully random; or blocks (the shards; where there are none, 1,024 neighbouring images)"
        " in random order and the images of SHUFFLE_WINDOW blocks at a time, for a set that does not fit on the"
        " machine.",
    )
    SHUFFLE_WINDOW: int = opt(16, "Blocks whose images are shuffled among themselves.", ge=1)
    ZIP_MODE: bool = opt(
        False, "Read train.zip and val.zip with train_map.txt and val_map.txt instead of folders."
    )
    CACHE_MODE: Literal["no", "full", "part"] = opt(
        "part",
        "Of zip archives: full asks the system to read them into its page cache at the start; part and no leave"
        " it to keep what has been read. All processes of a node share that cache, none holds a copy.",
    )
    CACHE_DIR: str = opt(
        "",
        "Folder for shards fetched from object storage and for tables made ready to be read, best on a disk of"
        " the node; the processes of a node share it.",
        any_text=True,
    )
    CACHE_GB: float = opt(0.0, "How much CACHE_DIR may hold, in 10^9 bytes; 0 is no limit.", ge=0)
    RAM_CACHE_GB: float = opt(
        0.0,
        "Memory of each process for decoded training images, in 10^9 bytes; only where PIPELINE is native. 500 x 375"
        " pixels take half a megabyte.",
        ge=0,
    )
    PIPELINE: Literal["auto", "exact", "portable", "native", "timm"] = opt(
        "auto",
        "What prepares images: native (C, threads; main.py build-native), portable (no compiler), exact (Pillow,"
        " the specification), timm (its own chain and draws); auto is native where it is built, else portable.",
    )
    AUGMENT_ON: Literal["auto", "host", "device"] = opt(
        "auto", "Where native and portable augment and normalise; auto is the device if it is a GPU."
    )
    PIN_MEMORY: bool = opt(True, "Keep batches in page-locked memory, from which copies to a GPU are faster.")
    NUM_WORKERS: int = opt(
        8,
        "Processes (native: threads) per rank that decode and augment; 0 does it in the training process.",
        ge=0,
    )
    PREFETCH: int = opt(2, "Batches that each worker prepares ahead.", ge=1)
    TIMEOUT_S: int = opt(
        240,
        "Seconds to wait for a batch before the worker that prepares it is said to hang; shorter than DIST.TIMEOUT_S.",
        ge=1,
    )
    MAX_BAD_IMAGES: int | None = opt(
        None,
        "Unusable training images to replace by others of their class before the run stops: different ones"
        " in one launch, counted by each process at once and over all at the end of every epoch. null is one"
        " in 10,000, and 10 at least.",
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
