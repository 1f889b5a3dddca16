"""What memory there is: the machine's, or what control groups of either version leave of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swin_train.engine import host_memory
from swin_train.engine.host_memory import available_memory, peak_memory

KIB, MIB = 2**10, 2**20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with 4,000 MiB available and no control groups."""
    write(tmp_path / "proc/meminfo", "MemTotal:  8192000 kB\nMemFree:  100 kB\nMemAvailable:   4096000 kB\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_group(folder: Path, limit: object, usage: int, cache: int = 0, version: int = 2) -> None:
    names = {2: ("memory.max", "memory.current", "inactive_file")}
    names[1] = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    limit_name, usage_name, cache_name = names[version]
    write(folder / limit_name, f"{limit}\n")
    write(folder / usage_name, f"{usage}\n")
    write(folder / "memory.stat", f"anon 5\n{cache_name} {cache}\n")


def test_without_control_groups_it_is_what_the_machine_has(root: Path) -> None:
    assert available_memory(root) == 4000 * MIB


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_control_group_counts_with_its_page_cache_as_free(root: Path, version: int) -> None:
    mount = root / ("sys/fs/cgroup" if version == 2 else "sys/fs/cgroup/memory")
    line = "0::/job/step" if version == 2 else "9:cpu:/\n4:hugetlb,memory:/job/step"
    write(root / "proc/self/cgroup", f"{line}\n")
    write_group(mount / "job/step", "max" if version == 2 else 2**63 - 4096, 10 * MIB, version=version)
    write_group(mount / "job", 500 * MIB, 450 * MIB, 100 * MIB, version)
    write_group(mount, 3000 * MIB, 0, version=version)

    assert available_memory(root) == 150 * MIB


def test_in_a_container_the_group_is_the_mount_itself(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/of/the/host\n")
    write_group(root / "sys/fs/cgroup", 300 * MIB, 100 * MIB)

    assert available_memory(root) == 200 * MIB


def test_a_group_that_is_over_its_limit_leaves_nothing(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/\n")
    write_group(root / "sys/fs/cgroup", 100 * MIB, 300 * MIB)

    assert available_memory(root) == 0


def test_elsewhere_it_is_all_memory(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_here_it_is_less_than_all() -> None:
    assert 0 < available_memory() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_peak_of_a_process_is_its_own_and_stays_when_memory_is_given_back() -> None:
    ballast = bytearray(400 * MIB)  # getrusage would tell it of a child, too
    ballast[:: 4 * KIB] = b"x" * len(ballast[:: 4 * KIB])

    def peak_after(statement: str) -> int:
        code = f"import runpy; found = runpy.run_path({host_memory.__file__!r}); {statement}; "
        words = [sys.executable, "-c", code + "print(found['peak_memory']())"]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    plain, with_data = peak_after("pass"), peak_after(f"data = b'x' * {200 * MIB}; del data")

    assert plain < 200 * MIB
    assert with_data - plain == pytest.approx(200 * MIB, rel=0.05)
    assert peak_memory(os.getpid()) == pytest.approx(peak_memory(), rel=0.01)


def test_of_a_process_that_ended_nothing_is_known(root: Path) -> None:
    write(root / "proc/17/status", "Name:\tpython\nState:\tZ (zombie)\n")

    assert peak_memory(17, root) == 0
    assert peak_memory(18, root) == 0
    assert peak_memory(None, root) > MIB  # by getrusage
