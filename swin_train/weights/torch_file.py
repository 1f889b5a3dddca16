"""A file of ``torch.save`` as data: what more it would do is refused, and named."""

import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from swin_train.errors import UserError
from swin_train.weights.damage import describe_damage
from swin_train.weights.pickle_growth import maker_by_number
from swin_train.weights.pickle_names import is_archive, pickle_names

# Published checkpoints hold these two as objects. As ordered dicts they are data, and nothing of theirs runs.
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (OrderedDict, "yacs.config.CfgNode"),
    (OrderedDict, "argparse.Namespace"),
]
_DEFAULT_PROTOCOL = 2  # of torch.save; torch's weights-only reader knows little of others

# What files that are data alone look up; torch itself tells it of its zip archives of the default protocol.
_OF_DATA = re.compile(
    r"torch\.(\w*Storage|Size|device|bool|[a-z]+\d+)|torch\._utils\._rebuild_\w+|torch\.nn\.parameter\.Parameter"
    r"|collections\.OrderedDict|builtins\.set|_codecs\.encode|yacs\.config\.CfgNode|argparse\.Namespace"
)


def load_as_data(file: Path) -> Any:
    """Load what ``torch.save`` wrote, on the CPU, running nothing that the file brings along.

    Raises:
        UserError: it asks for more than data, is of a pickle protocol that is not read, is damaged, or would take
            far more memory than the file is large.
    """
    _refuse_swelling(file)
    with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol")  # said below where it matters
        try:
            return torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251
        except Exception as error:  # a damaged file makes torch.load raise nearly anything
            raise UserError(f"{file}: {_refusal(file, error)}") from error


def _refuse_swelling(file: Path) -> None:
    """Refuse what torch would make far larger than it is: what it writes itself takes as much memory as disk."""
    try:
        _refuse_packed(file)
        maker = maker_by_number(file)
    except UserError:
        raise
    except Exception as error:  # a damaged file makes its readers raise nearly anything
        raise UserError(f"{file}: {_refusal(file, error)}") from error
    if maker:
        raise UserError(
            f"{file}: refused, because it calls {maker}, which makes values that the file does not hold, perhaps more "
            "than the memory does. Save its weights alone, best as .safetensors, where you trust it"
        )


def _refuse_packed(file: Path) -> None:
    if not is_archive(file):
        return
    with zipfile.ZipFile(file) as archive:
        size, total = file.stat().st_size, sum(member.file_size for member in archive.infolist())
    if total > size:
        raise UserError(
            f"{file}: refused, because it would unpack {size} bytes to {total}; torch.save packs nothing, so "
            "save the weights again with it, or as .safetensors, where you trust them"
        )


def _refusal(file: Path, error: Exception) -> str:
    protocol, names = pickle_names(file)
    refused = _beyond_data(file, names)
    if refused:
        return (
            f"refused, because reading it would run code: {', '.join(refused)}. "
            "Save its weights alone, best as .safetensors, where you trust it"
        )
    if names and protocol != _DEFAULT_PROTOCOL:
        return (
            f"was saved with pickle protocol {protocol}, which the safe reader does not take; save it again with "
            "torch.save's default, or as .safetensors, where you trust it"
        )
    return f"{describe_damage(file, error)}; copy or download it again (delete it first)"


def _beyond_data(file: Path, names: list[str]) -> list[str]:
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:  # an older file, another protocol, or damage
        return sorted(name for name in names if not _OF_DATA.fullmatch(name))
