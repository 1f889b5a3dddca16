"""How many patches and windows an image has: arithmetic alone, without torch."""

FUSED_HEAD_DIMS = (16, 32, 64)  # channels of a head that the Triton kernels of window attention take


def whole_windows(side: int, window: int) -> int:
    """The side of a map after padding: the smallest multiple of ``window`` that holds it."""
    return -(-side // window) * window


def stage_maps(img_size: tuple[int, int], patch_size: int, num_stages: int) -> list[tuple[int, int]]:
    """Height and width of each stage's map, in patches; each half of the one before, rounded up."""
    units = [patch_size * 2**stage for stage in range(num_stages)]
    return [(-(-img_size[0] // unit), -(-img_size[1] // unit)) for unit in units]


def fit_window(resolution: tuple[int, int], window: int, *, is_shifted: bool) -> tuple[int, int]:
    """Window and shift at a resolution: the smaller side bounds the window, which is then not shifted.

    Source: the official code, which bounds both sides of the window by the smaller side of the map.
    """
    side = min(resolution)
    if side <= window:
        return side, 0
    return window, window // 2 if is_shifted else 0
