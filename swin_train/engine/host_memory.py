"""Memory of this machine, and of a process on it; what a control group allows counts where it is less."""

import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that a new process could take without swapping, within the limits of this process's control groups.

    Args:
        root: of the file system that holds proc and sys.
    """
    meminfo = root / "proc/meminfo"
    if not meminfo.exists():  # other systems than Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([_kilobytes(meminfo, "MemAvailable"), *_rooms(root)])


def peak_memory(pid: int | None = None, root: Path = Path("/")) -> int:
    """The most bytes of memory that a process had so far; 0 where it has ended or nobody tells.

    Args:
        pid: its number; None is this process.
        root: of the file system that holds proc.
    """
    # Not getrusage's maximum, which a process inherits from the one that it was before exec.
    status = root / "proc" / ("self" if pid is None else str(pid)) / "status"
    try:
        return _kilobytes(status, "VmHWM")
    except OSError:
        pass
    if pid is not None:
        return 0
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _kilobytes(file: Path, name: str) -> int:
    found = re.search(
        rf"^{name}:\s+(\d+) kB", file.read_text(encoding="ascii", errors="replace"), re.MULTILINE
    )
    return int(found[1]) * 2**10 if found else 0  # a process that has ended tells nothing


def _rooms(root: Path) -> Iterator[int]:
    """What each control group of this process, and each one above it, still allows, in bytes."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text(encoding="utf-8").splitlines() if groups.exists() else []:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _rooms_below(
                root / "sys/fs/cgroup", path, ("memory.max", "memory.current", "inactive_file")
            )
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _rooms_below(root / "sys/fs/cgroup/memory", path, names)


def _rooms_below(mount: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    limit_name, usage_name, reclaimable_name = names
    inside = PurePosixPath(path.lstrip("/"))
    for group in (
        inside,
        *inside.parents,
    ):  # in a container, the path may be that of the host and not be there
        folder = mount / group
        try:
            limit = (folder / limit_name).read_text(encoding="ascii").strip()
            usage = int((folder / usage_name).read_text(encoding="ascii"))
            stat = (folder / "memory.stat").read_text(encoding="ascii")
        except OSError:
            continue
        if limit != "max":
            cache = re.search(rf"^{reclaimable_name} (\d+)$", stat, re.MULTILINE)
            yield max(0, int(limit) - usage + (int(cache[1]) if cache else 0))
