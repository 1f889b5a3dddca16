"""``import swin_train`` is instant, and gives the public names when they are asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

import swin_train

REPO = Path(__file__).resolve().parents[3]


def test_import_has_no_side_effects() -> None:
    code = (
        "import sys, swin_train; swin_train.load_config; swin_train.list_models(); dir(swin_train);"
        "sys.exit('torch' in sys.modules)"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=60
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_public_names_are_listed() -> None:
    assert dir(swin_train) == sorted(swin_train.__all__)


@pytest.mark.parametrize(
    "name", ["Config", "ConfigError", "ModelCard", "UserError", "create_model", "list_models", "load_config"]
)
def test_a_public_name_is_the_one_of_its_package(name: str) -> None:
    assert getattr(swin_train, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'swin_train' has no attribute 'nonsense'"):
        _ = swin_train.nonsense


def test_the_version_is_text() -> None:
    assert swin_train.__version__[0].isdigit()
