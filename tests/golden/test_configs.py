"""The configuration holds every key of the reference with its default, and every one of its 46 files."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from swin_train.cli.train import flat_parser
from swin_train.config import Config, load_config
from swin_train.config.paths import configs_folder
from swin_train.config.schema.root import DIFFERENT_DEFAULTS

REPO = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent
OFFICIAL_DEFAULTS = json.loads((GOLDEN / "official_defaults.json").read_text())
OFFICIAL_CONFIGS = json.loads((GOLDEN / "official_configs.json").read_text())
OURS = sorted(
    str(f.relative_to(REPO)) for f in configs_folder().rglob("*.yaml") if f.parent.name != "_recipes"
)

# The reference gives this model the base model's name, so that both write into one folder.
CORRECTED = {
    "configs/swinv2/swinv2_large_patch4_window12to16_192to256_22kto1k_ft.yaml": {
        "MODEL.NAME": "swinv2_large_patch4_window12to16_192to256_22kto1k_ft"
    }
}


def as_tuples(value: Any) -> Any:
    return tuple(as_tuples(item) for item in value) if isinstance(value, list) else value


def test_every_official_key_exists_with_its_default() -> None:
    defaults = Config().flat()

    different = {key for key, value in OFFICIAL_DEFAULTS.items() if defaults[key] != as_tuples(value)}

    assert different == set(DIFFERENT_DEFAULTS)


def test_defaults_have_the_official_types() -> None:
    defaults = Config().flat()

    for key, value in OFFICIAL_DEFAULTS.items():
        assert type(defaults[key]) is type(as_tuples(value)), key


@pytest.mark.parametrize("path", OFFICIAL_CONFIGS)
def test_every_official_file_resolves_to_the_same_values(path: str) -> None:
    expected = OFFICIAL_DEFAULTS | OFFICIAL_CONFIGS[path] | CORRECTED.get(path, {})

    values = load_config(REPO / path).flat()

    assert {key: values[key] for key in expected} == {
        key: as_tuples(value) for key, value in expected.items()
    }


def test_official_files_set_only_official_keys() -> None:
    for path in OFFICIAL_CONFIGS:
        assert set(load_config(REPO / path).origins) <= set(OFFICIAL_DEFAULTS), path


def test_no_two_files_share_an_output_folder() -> None:
    folders = [(cfg.MODEL.NAME, cfg.TAG) for cfg in (load_config(REPO / path) for path in OURS)]

    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("path", OURS)
def test_a_file_opens_with_source_expectation_cost_and_command(path: str) -> None:
    header = read_header(path)

    assert re.search(r"^Source: +\S", header, re.MULTILINE)
    assert re.search(r"^Expected: .*(%|none|no accuracy)", header, re.MULTILINE)
    assert re.search(r"^Cost: .*(parameters|FLOPs)", header, re.MULTILINE)
    assert re.search(r"^Command: .*\n +(torchrun|python) ", header, re.MULTILINE)


@pytest.mark.parametrize("path", OURS)
def test_the_command_is_one_that_the_program_takes(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPO)
    command = read_header(path).partition("Command:")[2].partition("\n")[2]
    _, _, arguments = " ".join(shlex.split(command.replace("\\\n", " "))).partition("main.py ")

    cfg = flat_parser().read_config(arguments.split())

    assert set(load_config(path).origins.items()) <= set(cfg.origins.items())
    assert cfg.is_given("DATA.DATA_PATH")


@pytest.mark.parametrize("path", [path for path in OFFICIAL_CONFIGS if "finetune" in path or "_ft" in path])
def test_the_command_of_a_fine_tuning_names_its_weights(path: str) -> None:
    assert "--pretrained " in read_header(path)


@pytest.mark.parametrize("path", OFFICIAL_CONFIGS)
def test_the_command_says_its_global_batch_truly(path: str) -> None:
    header = read_header(path)
    images = int(re.findall(r"= (\d+) images per update", header)[0])

    def flag(name: str) -> int:
        found = re.findall(rf"--{name} (\d+)", header)
        return int(found[0]) if found else 1

    per_process = flag("batch-size") * flag("accumulation-steps")
    assert images == per_process * flag("nnodes") * flag("nproc_per_node")


def read_header(path: str) -> str:
    """The comment that opens a file, without its comment signs."""
    lines = (REPO / path).read_text().splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line.removeprefix("# ") for line in lines[:end])
