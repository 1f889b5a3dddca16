"""Where configurations are found, and where a run writes."""

import difflib
from pathlib import Path

from swin_train.config.schema.root import Config

_PACKAGE = Path(__file__).resolve().parents[1]


def configs_folder() -> Path:
    """The folder of the configurations that come with this project, in a wheel or in a checkout."""
    in_wheel = _PACKAGE / "configs"
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / "configs"


def config_files() -> dict[str, Path]:
    """Every configuration that comes with this project, by name. Parts shared through BASE have none."""
    files = sorted(configs_folder().rglob("*.yaml"))
    return {file.stem: file for file in files if not file.parent.name.startswith("_")}


def find_config(path: str | Path, folder: Path | None = None) -> Path:
    """Find a configuration by its path, below ``folder`` if that is relative, or else by its name.

    A name is "swin_tiny_patch4_window7_224" or, with its folder, "demo/digits".

    Raises:
        FileNotFoundError: there is neither; the message says what comes near.
    """
    file = (folder or Path()) / path
    if _exists(file) and not file.is_dir():  # a pipe is as good as a file
        return file
    in_project = configs_folder() / f"{path}.yaml"  # "demo/digits"
    if _exists(in_project):
        return in_project
    named = config_files()
    if str(path) in named:
        return named[str(path)]
    name = Path(path).stem if str(path).endswith((".yaml", ".yml")) else Path(path).name
    near = difflib.get_close_matches(name, named, n=1, cutoff=0.45)  # "swin_tiny" finds the shortest one
    hint = f" Did you mean the name {near[0]}?" if near else ""
    problem = "is a folder" if _exists(file) else "no such file"
    raise FileNotFoundError(f"{file}: {problem}, and no configuration of that name.{hint}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is longer than the file system takes
        return False


def output_dir(cfg: Config) -> Path:
    """The folder that a run writes into: OUTPUT/NAME/TAG, where an empty OUTPUT is "output"."""
    return Path(cfg.OUTPUT or "output") / cfg.MODEL.NAME / cfg.TAG
