"""Which pictures can be resized at all."""

import math

from swin_train.data.decode import MAX_PIXELS

Size = tuple[int, int]  # height and width of the model's input, in pixels

_ELONGATED = 16  # times as long as wide: taken at any size of the input


class TooElongated(ValueError):
    """The picture cannot be resized without unpacking far more pixels than it has."""


def check_resizable(picture: tuple[int, int], sides: tuple[int, int], asked: Size) -> None:
    """Refuse a resize that needs too much memory on the way.

    Args:
        picture: width and height of what is resized.
        sides: width and height that it is resized to.
        asked: height and width of the model's input, on the way to which this happens.

    Raises:
        TooElongated: more pixels would be held than any picture may have.
    """
    if picture == sides:
        return
    (width, height), (new_width, new_height) = picture, sides
    # One side is resized after the other; the weights take as much room for a picture that lies as for one
    # that stands, so both orders count. Inputs of thousands of pixels have a limit of their own.
    limit = max(MAX_PIXELS, _ELONGATED * math.prod(asked))
    if max(new_width * new_height, new_width * height, width * new_height) > limit:
        wanted = f"{asked[1]} x {asked[0]}" if asked[0] != asked[1] else f"{asked[0]}"
        raise TooElongated(f"is {width} x {height} pixels, too elongated to be resized to {wanted}")
