"""requirements.lock is requirements.txt at fixed versions, with the hashes of the wheels, and scripts install it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).resolve().parents[2]
LOCK = (REPO / "requirements.lock").read_text(encoding="utf-8")


def entries() -> list[tuple[Requirement, list[str]]]:
    """Each requirement of the lock with its hashes."""
    joined = LOCK.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith(("#", "--"))]
    split = [re.split(r"\s+--hash=", line) for line in lines]
    return [(Requirement(requirement.strip()), hashes) for requirement, *hashes in split]


def wanted() -> list[Requirement]:
    """What requirements.txt asks for."""
    lines = (REPO / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_every_requirement_is_locked_at_a_version_that_satisfies_it(requirement: Requirement) -> None:
    found = [
        locked
        for locked, _ in entries()
        if canonicalize_name(locked.name) == canonicalize_name(requirement.name)
    ]
    versions = [re.fullmatch(r"==(\S+)", str(locked.specifier)) for locked in found]

    assert found, f"{requirement} is not in requirements.lock; run scripts/lock.sh"
    assert all(version and requirement.specifier.contains(version[1]) for version in versions), (
        f"requirements.lock has {', '.join(map(str, found))}, not {requirement}; run scripts/lock.sh"
    )


def test_every_locked_package_has_one_version_and_sha_256_hashes() -> None:
    for locked, hashes in entries():
        assert re.fullmatch(r"==[^,*]+", str(locked.specifier)), locked
        assert locked.url is None
        assert hashes, locked
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest.strip()) for digest in hashes), locked
    assert len(entries()) > len(wanted())


def test_the_lock_names_no_place_to_take_packages_from() -> None:
    assert not re.findall(r"\S*(?://|--index|--find-links|--extra|--trusted|@ )\S*", LOCK)


def test_wheels_alone_are_installed() -> None:
    """A source package would run its own code to be built, and fetch what it builds with, unhashed."""
    assert "--only-binary :all:" in LOCK.splitlines()


FAKE_PYTHON = """#!/bin/sh
# As "python -m venv FOLDER" it makes a python of the same kind; as that one it notes what it is asked to do.
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *) echo "$@" >>"$LOG" ;;
esac
"""


@pytest.mark.parametrize("venv", ["{checkout}/.venv", ".venv"])
def test_the_scripts_install_the_lock_by_its_hashes_and_again_when_it_changed(
    tmp_path: Path, venv: str
) -> None:
    checkout, log = tmp_path / "checkout", tmp_path / "log"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(REPO / "scripts/venv.sh", checkout / "scripts")
    python = tmp_path / "fake python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    venv = venv.format(checkout=checkout)
    env = {"PATH": os.environ["PATH"], "PYTHON": str(python), "VENV": venv, "LOG": str(log)}

    def source() -> list[str]:
        """Source venv.sh; return the calls of pip since the beginning."""
        command = ["bash", "-c", 'source "$0" >&2 && command -v python', str(checkout / "scripts/venv.sh")]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(checkout / ".venv/bin/python")
        return log.read_text().splitlines()

    (checkout / "requirements.lock").write_text("a==1 --hash=sha256:1\n")
    (call,) = source()
    assert call == "-m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock"
    assert source() == [call]
    (checkout / "requirements.lock").write_text("a==1 --hash=sha256:2\n")
    assert source() == source() == [call, call]
