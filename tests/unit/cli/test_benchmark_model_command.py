"""``main.py benchmark train-step`` and ``inference`` on a model of two stages."""

import json
from pathlib import Path

import pytest
from PIL import Image

from swin_train.cli.main import main

_MODEL = """\
DEVICE: cpu
DATA: {IMG_SIZE: 32}
MODEL:
  NAME: small
  NUM_CLASSES: 5
  SWIN: {EMBED_DIM: 16, DEPTHS: [2, 2], NUM_HEADS: [1, 2], WINDOW_SIZE: 4}
"""


@pytest.fixture
def cfg(tmp_path: Path) -> list[str]:
    (tmp_path / "small.yaml").write_text(_MODEL)
    return ["--cfg", str(tmp_path / "small.yaml")]


@pytest.mark.parametrize("kind", ["train-step", "inference"])
def test_it_measures_shows_keeps_and_draws(
    kind: str, cfg: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "result.json"), "--chart", str(tmp_path / "result.png")]

    assert main(["benchmark", kind, *cfg, "--quick", *files]) == 0

    output = capsys.readouterr()
    assert "of small, 32 x 32 pixels, batch 2, float32 on cpu" in output.out
    assert "swin_train / torchvision" in output.out
    assert "benchmark: round 3 of 3" in output.err
    kept = json.loads((tmp_path / "result.json").read_text())
    assert kept["command"][:3] == ["main.py", "benchmark", kind]
    assert list(kept["variants"]) == ["swin_train", "timm", "torchvision"]
    assert (kept["kind"], kept["batch_size"], kept["dtype"]) == (kind, 2, "float32")
    assert {"processor", "torch", "commit"} <= set(kept["machine"])
    with Image.open(tmp_path / "result.png") as picture:
        assert picture.width > 400


def test_the_kernels_are_measured_at_each_size_of_the_model(
    cfg: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kernel.json"

    assert main(["benchmark", "kernel", *cfg, "--quick", "--json", str(file)]) == 0

    output = capsys.readouterr().out
    assert "stage 1: 2 x 8 x 8 x 16, 1 heads, window 4, shift 2" in output
    assert "not timed: triton: MODEL.ATTENTION triton cannot run: it needs an NVIDIA GPU" in output
    kept = json.loads(file.read_text())
    assert kept["command"][:3] == ["main.py", "benchmark", "kernel"]
    assert [list(shape["implementations"]) for shape in kept["shapes"]] == [["reference", "sdpa"]] * 3
    assert main(["benchmark", "kernel", *cfg, "--only", "xformers"]) == 2
    assert "there is no 'xformers'; there are reference, sdpa" in capsys.readouterr().err


def test_the_roofline_is_counted_and_its_ceilings_measured(
    cfg: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "roofline.json"

    assert main(["benchmark", "roofline", *cfg, "--quick", "--json", str(file)]) == 0

    output = capsys.readouterr().out
    assert "MFU is the share of" in output
    assert "stage 2 fc2" in output
    kept = json.loads(file.read_text())
    assert set(kept["plans"]) == {"fused", "compiled"}
    assert kept["batch_size"] == 2
    assert len(kept["products"]) == 3 * (4 + 1 + 4)  # directions of the layers of two stages and a merging


def test_scaling_is_measured_and_drawn(
    cfg: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "scaling.json"), "--chart", str(tmp_path / "scaling.png")]

    assert main(["benchmark", "scaling", *cfg, "--sizes", "32,64", "--rounds", "1", *files]) == 0

    assert "small" in capsys.readouterr().out
    assert json.loads((tmp_path / "scaling.json").read_text())["machine"]["cores"] > 0
    with Image.open(tmp_path / "scaling.png") as picture:
        assert picture.width > 400
    assert main(["benchmark", "scaling", *cfg, "--sizes", "32,x"]) == 2
    assert "--sizes must be whole numbers with commas, such as 224,448; got 32,x" in capsys.readouterr().err
    assert main(["benchmark", "scaling", *cfg, "--sizes", "30"]) == 2
    assert "sizes must be multiples of 16" in capsys.readouterr().err


def test_what_is_not_read_is_told_and_what_changes_ours_alone_is_kept(
    cfg: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--only",
        "swin_train",
        "--rounds",
        "1",
        "--batch-size",
        "1",
        "--json",
        str(tmp_path / "result.json"),
    ]
    opts = ["--optim", "sgd", "--opts", "MODEL.DROP_PATH_MODE", "kept", "TRAIN.CLIP_GRAD", "1"]

    assert main(["benchmark", "train-step", *cfg, *flags, *opts]) == 0

    output = capsys.readouterr()
    assert "benchmark: not read: TRAIN.CLIP_GRAD, TRAIN.OPTIMIZER.NAME\n" in output.err
    assert "of swin_train alone: MODEL.DROP_PATH_MODE kept" in output.out
    assert json.loads((tmp_path / "result.json").read_text())["ours_alone"] == {
        "MODEL.DROP_PATH_MODE": "kept"
    }


def test_a_chart_of_others_alone_is_drawn(cfg: list[str], tmp_path: Path) -> None:
    flags = ["--only", "timm", "--rounds", "1", "--chart", str(tmp_path / "timm.png")]

    assert main(["benchmark", "inference", *cfg, *flags]) == 0

    assert (tmp_path / "timm.png").stat().st_size > 0


def test_what_a_library_cannot_make_is_left_out(cfg: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    opts = ["--opts", "MODEL.SWIN.APE", "True", "MODEL.SWIN.MLP_RATIO", "2"]

    assert main(["benchmark", "inference", *cfg, "--quick", *opts]) == 0

    output = capsys.readouterr().out
    assert "not measured: timm: it failed: ValueError: " in output


def test_a_batch_that_is_given_is_taken_and_a_dtype_is_said(
    cfg: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--only", "swin_train", "--rounds", "1", "--batch-size", "4", "--opts", "AMP_DTYPE", "bf16"]

    assert main(["benchmark", "inference", *cfg, *given]) == 0

    assert "batch 4, bfloat16 on cpu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train-step", "--only", "tim"], "--only: there is no 'tim'; there are swin_train, "),
        (["train-step", "--only", "reference"], "--only reference needs --reference, a checkout"),
        (
            ["train-step", "--reference", "nowhere"],
            "--reference nowhere: has no folder models; give a checkout",
        ),
        (
            ["train-step", "--opts", "AMP_DTYPE", "fp64"],
            "AMP_DTYPE fp64 is not measured; take bf16, fp16 or fp32",
        ),
        (["inference", "--json", "."], "--json .: is a folder; name a file in it"),
        (
            ["roofline", "--opts", "MODEL.TYPE", "swin_mlp"],
            "MODEL.TYPE is swin_mlp; the roofline counts swin and",
        ),
        (
            ["kernel", "--opts", "MODEL.TYPE", "swin_mlp"],
            "MODEL.TYPE is swin_mlp, which has no window attention",
        ),
        (["inference", "--rounds", "0"], "--rounds must be at least 1; got 0"),
        (["inference", "--json", "nowhere/x.json"], "--json nowhere/x.json: there is no folder nowhere"),
        (["inference", "--chart", "nowhere/x.png"], "nowhere/x.png: there is no folder nowhere"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    words: list[str], message: str, cfg: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", words[0], *cfg, *words[1:]]) == 2

    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "main.py benchmark: it does not say of what; there are train-step, inference"),
        (["--cfg", "x"], "main.py benchmark: it does not say of what"),
        (["trainstep"], "unknown benchmark 'trainstep'; did you mean train-step?"),
        (["zzz"], "unknown benchmark 'zzz'; there are train-step, inference"),
    ],
)
def test_an_unknown_benchmark_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *words]) == 2

    assert message in capsys.readouterr().err


def test_help_lists_what_can_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--help"]) == 0
    output = capsys.readouterr().out
    assert "loader      all ways to load your images" in output
    assert main(["benchmark", "train-step", "--help"]) == 0
    assert "--reference DIR" in capsys.readouterr().out
