"""``main.py convert`` writes weights for other libraries; what cannot be is one message and status 2."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_train.cli import convert
from swin_train.cli.main import main
from swin_train.config import load_config
from swin_train.models.build import build_model
from swin_train.weights.layouts import LAYOUTS
from swin_train.weights.read import read_weights
from swin_train.weights.write import write_weights


@pytest.fixture
def opts(shape_of: Callable) -> list[str]:
    """The overrides that make a tiny Swin v2."""
    keys = {"DATA.IMG_SIZE": 16, **shape_of("swinv2")}
    return [str(part) for pair in keys.items() for part in pair]


@pytest.fixture
def weights(opts: list[str], tmp_path: Path) -> Path:
    """A tiny Swin v2 in a file that tells nothing of its windows."""
    torch.manual_seed(0)
    model = build_model(load_config(None, opts), num_classes=3)
    write_weights(tmp_path / "w.safetensors", model.state_dict(), {"class_names": '["a", "b", "c"]'})
    return tmp_path / "w.safetensors"


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command, which must fail with one message; return the message."""

    def run(*words: object) -> str:
        assert main(["convert", *map(str, words)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        return captured.err.removeprefix("error: ").rstrip("\n")

    return run


def test_there_and_back_through_every_layout_gives_the_same_weights(
    weights: Path, opts: list[str], assert_equal: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, told = weights, ["--cfg", "swinv2_tiny_patch4_window8_256", "--opts", *opts]
    for number, layout in enumerate([*LAYOUTS, "official"]):
        out = tmp_path / f"{number}.safetensors"
        assert main(["convert", str(source), str(out), "--to", layout, *told]) == 0
        source, told = out, []  # from here on the files tell

    lines = capsys.readouterr().out.splitlines()
    before, after = read_weights(weights), read_weights(source)
    assert lines[0] == f"{tmp_path}/0.safetensors: 62 tensors, official layout (from official)"
    assert lines[2].startswith(f"{tmp_path}/2.safetensors: 65 tensors, torchvision layout (from timm)")
    assert len(lines) == len(LAYOUTS) + 1
    assert_equal(after.state, before.state)
    assert after.metadata["class_names"] == '["a", "b", "c"]'


def test_what_the_file_does_not_tell_is_asked_for(
    fail: Callable[..., str], weights: Path, tmp_path: Path
) -> None:
    message = fail(weights, tmp_path / "tv.pth", "--to", "torchvision")

    assert message.startswith(f"{weights}: cannot be written in the torchvision layout: ")
    assert message.endswith("--cfg")


def test_another_configuration_is_refused(fail: Callable[..., str], weights: Path, tmp_path: Path) -> None:
    message = fail(weights, tmp_path / "w.pth", "--to", "timm", "--cfg", "swinv2_tiny_patch4_window8_256")

    assert message.startswith(
        f"{weights}: is not of the model that --cfg describes. The file: Swin v2, embed_dim 8, "
    )


def test_a_file_that_exists_is_overwritten_only_when_asked(
    fail: Callable[..., str], weights: Path, tmp_path: Path
) -> None:
    words = [str(weights), str(tmp_path / "w.pth"), "--to", "timm"]
    (tmp_path / "w.pth").write_text("precious")

    message = fail(*words)

    assert message == f"{tmp_path}/w.pth: exists already; choose another name, or replace it with --overwrite"
    assert (tmp_path / "w.pth").read_text() == "precious"
    assert main(["convert", *words, "--overwrite"]) == 0
    assert read_weights(tmp_path / "w.pth").layout == "timm"


def test_averaged_weights_that_are_not_there_are_an_error(
    fail: Callable[..., str], weights: Path, tmp_path: Path
) -> None:
    message = fail(weights, tmp_path / "w.pth", "--to", "timm", "--weights", "ema")

    assert "w.safetensors: holds no averaged weights (ema); ask for raw ones" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            "main.py convert: the following arguments are required: IN, OUT, --to; see main.py convert --help",
        ),
        (["a", "b", "--to", "tim"], "main.py convert: argument --to: invalid choice: 'tim' (choose from "),
        (["a", "b", "--to", "timm", "--overwite"], "unknown flag --overwite, did you mean --overwrite?"),
        (["none.pth", "w.pth", "--to", "timm"], "none.pth: there is no such file; "),
        (
            ["none.pth", "w.pth", "--to", "timm", "--opts", "MODEL.TYPE", "swinv2"],
            "main.py convert: --opts changes keys of a configuration; name it with --cfg; see main.py convert --help",
        ),
        (
            ["none.pth", "w.pth", "--to", "timm", "--cfg", "swim"],
            "--cfg: swim: no such file, and no configuration",
        ),
    ],
)
def test_a_mistake_is_one_message(fail: Callable[..., str], words: list[str], message: str) -> None:
    assert message in fail(*words)


def test_a_url_is_downloaded_which_the_log_says(
    weights: Path, site: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = site.give("/w.safetensors", weights.read_bytes())

    assert main(["convert", url, str(tmp_path / "w.pth"), "--to", "timm"]) == 0

    captured = capsys.readouterr()
    assert captured.out.startswith(f"{tmp_path}/w.pth: 62 tensors, timm layout (from official)")
    assert f"INFO {url} is now {tmp_path}/torch_home/hub/checkpoints/" in captured.err
    assert "its name holds no hash to check it against" in captured.err


def test_the_layouts_on_offer_are_those_that_there_are() -> None:
    choices = next(action.choices for action in convert.parser()._actions if action.dest == "to")

    assert list(choices or ()) == list(LAYOUTS)


def test_the_examples_are_taken_by_the_parser() -> None:
    lines = (convert.parser().epilog or "").replace("\\\n", " ").splitlines()
    commands = [shlex.split(line.partition("main.py convert")[2]) for line in lines if "main.py" in line]

    assert commands
    for words in commands:
        options = convert.parser().read(words)
        assert options.cfg is None or load_config(options.cfg)


def test_its_help_says_what_a_pth_file_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--help"]) == 0

    text = capsys.readouterr().out
    assert "it computes the buffers that are left out" in text
    assert "timm, torchvision: bare, for load_state_dict" in text
    assert "huggingface: bare, under the names that transformers reads from disk" in text
