"""Facts of the machine and of the libraries, which a result means nothing without."""

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from PIL import features

import swin_train

_LIBRARIES = ("torch", "torchvision", "timm", "pillow", "simplejpeg", "numpy")


def machine_facts() -> dict[str, Any]:
    """Processor, cores, memory, load, and versions."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "swin_train": swin_train.__version__,
        "commit": _commit(),
        **{name: metadata.version(name) for name in _LIBRARIES},
        "libjpeg_turbo_of_pillow": features.version_feature("libjpeg_turbo"),
    }


def _commit() -> str | None:
    """Of the checkout that this runs from, with "+" where it was changed since; None without one."""
    folder = Path(swin_train.__file__).parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", *words], cwd=folder, capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "-uno"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
