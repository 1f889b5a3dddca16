"""Configurations are found by path and by name; a run's folder follows from its configuration."""

import os
from pathlib import Path

import pytest

from swin_train.config import load_config, output_dir
from swin_train.config.paths import config_files, configs_folder, find_config

NAME = "swin_tiny_patch4_window7_224"


@pytest.mark.parametrize("name", [NAME, f"swin/{NAME}"])
def test_a_name_is_found_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert find_config(name) == configs_folder() / "swin" / f"{NAME}.yaml"


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).touch()

    assert find_config(NAME) == Path(NAME)


@pytest.mark.parametrize("name", [NAME, "demo/digits"])
def test_a_folder_of_that_name_does_not_hide_the_configuration(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir(parents=True)

    assert find_config(name).is_relative_to(configs_folder())


def test_a_pipe_is_taken_for_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert find_config(tmp_path / "pipe") == tmp_path / "pipe"


def test_parts_of_configurations_have_no_name() -> None:
    assert "finetune_1k" not in config_files()
    with pytest.raises(FileNotFoundError, match="no such file, and no configuration of that name"):
        find_config("finetune_1k")


def test_names_are_unique() -> None:
    files = [file for file in configs_folder().rglob("*.yaml") if file.parent.name != "_recipes"]

    assert len(files) == len(config_files())


@pytest.mark.parametrize(("output", "root"), [("", "output"), ("/somewhere", "/somewhere")])
def test_output_folder_is_root_name_tag(output: str, root: str) -> None:
    cfg = load_config(None, ["OUTPUT", output, "MODEL.NAME", "m", "TAG", "t"])

    assert output_dir(cfg) == Path(root) / "m" / "t"
