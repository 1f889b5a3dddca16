"""How names of files and classes are shown, and the first look at a data path."""

import os
import re

from swin_train.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a log is shown on terminals
_NAMED = 10  # names shown in a message before "and N more"


def printable(name: str) -> str:
    r"""``name`` with every byte that is not UTF-8 shown as \xNN, so that logs and JSON files stay valid."""
    return shown(os.fsencode(name))


def shown(name: bytes) -> str:
    r"""``name`` as text, every byte that is not UTF-8 as \xNN, and controls of a terminal likewise."""
    text = name.decode("utf-8", "backslashreplace")
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def listing(names: list[str]) -> str:
    """The first ten names, and how many more there are."""
    first = ", ".join(printable(name) for name in names[:_NAMED])
    return first + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def is_image(name: str) -> bool:
    """Whether a file is taken for an image, by its extension."""
    return name.lower().endswith(EXTENSIONS)


def check_data_path(root: str, layout: str) -> str:
    """The data path, absolute; ``layout`` says what it should hold, for messages.

    Raises:
        UserError: it is empty, does not exist, or is something else.
    """
    if not root:
        raise UserError(f"DATA.DATA_PATH is empty; give the data folder (--data-path DIR). {layout}.")
    if not os.path.isdir(root):  # noqa: PTH112
        problem = "is not a folder" if os.path.exists(root) else "does not exist"  # noqa: PTH110
        raise UserError(f"DATA.DATA_PATH: {printable(root)} {problem}. {layout}.")
    return os.path.join(os.getcwd(), root)  # noqa: PTH109, PTH118  (.. stays: it may follow a link)


def entries(folder: str) -> list[os.DirEntry[str]]:
    """What a folder holds.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise UserError(
            f"{printable(folder)}: cannot be listed ({error.strerror}); make the folder readable."
        ) from error
