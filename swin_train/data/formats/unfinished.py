"""What prepare-data has begun and not finished is no data set: it may look like a whole one with fewer images."""

import os

from swin_train.data.formats.names import printable
from swin_train.data.formats.remote import is_url
from swin_train.errors import UserError

JOURNALS = ".prepare"  # the folder in OUT that holds SPLIT.json until the split is complete


def refuse_unfinished(root: str, split: str) -> None:
    """Refuse a split of a local folder that prepare-data has begun and not finished.

    Raises:
        UserError: it is such a one; the message names the command that finishes it.
    """
    if is_url(root) or not os.path.exists(os.path.join(root, JOURNALS, f"{split}.json")):  # noqa: PTH110, PTH118
        return
    where = printable(root)
    raise UserError(
        f"{where}: holds only a part of {split}: prepare-data was interrupted there. Give the same command again to "
        f"finish it: python main.py prepare-data SOURCE {where} --split {split}, with its other flags"
    )
