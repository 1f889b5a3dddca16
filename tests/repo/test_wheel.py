"""The package as pip installs it: complete, and usable from any folder."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which nothing but the built wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(folder),
        str(REPO),
    ]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("swin_train-*.whl")
    install = ["install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)]
    subprocess.run([*pip, *install], check=True)
    return folder / "site"


def run(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(site / "bin/swin-train"), *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_configuration_is_found_by_name_from_any_folder(site, tmp_path):
    result = run(site, tmp_path, "config", "show", "--cfg", "swin_tiny_patch4_window7_224")

    assert result.returncode == 0, result.stderr
    assert "MODEL.NAME" in result.stdout
    assert "swin_tiny_patch4_window7_224" in result.stdout


def test_the_installed_command_trains(site, tmp_path, tiny_opts):
    result = run(
        site, tmp_path, "--cfg", "swin_tiny_patch4_window7_224", "--opts", *tiny_opts(TRAIN__EPOCHS=2)
    )

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "output/tiny/default/weights/best.safetensors").is_file()


def test_the_wheel_carries_every_configuration(site):
    in_checkout = {path.relative_to(REPO / "configs") for path in (REPO / "configs").rglob("*.yaml")}
    in_wheel = {
        path.relative_to(site / "swin_train/configs")
        for path in (site / "swin_train/configs").rglob("*.yaml")
    }

    assert in_wheel == in_checkout
    assert len(in_checkout) >= 46


def test_what_the_package_needs_is_what_the_tests_install():
    """requirements.txt holds every dependency of the package, with the same lower bound."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    lines = (REPO / "requirements.txt").read_text().splitlines()
    installed = {line.partition("#")[0].strip() for line in lines} - {""}

    assert set(project["dependencies"]) <= installed
