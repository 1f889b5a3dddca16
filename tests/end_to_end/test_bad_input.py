"""What a user can mend ends with one clear message and its exit status, without a traceback."""

import json
import shutil
from pathlib import Path

import pytest

from swin_train.cli.main import main


@pytest.fixture
def data(digits: Path, tmp_path: Path) -> Path:
    """A copy of the digits to spoil."""
    return Path(shutil.copytree(digits, tmp_path / "data"))


@pytest.fixture
def fail(tiny_opts, data, capsys):
    """Run main.py in this process with the spoilt data; return its exit status and its message."""

    def run(*flags: str, **changes: object) -> tuple[int, str]:
        opts = tiny_opts(**{"DATA__DATA_PATH": str(data), **changes})
        status = main(["--cfg", "swin_tiny_patch4_window7_224", *flags, "--opts", *opts])
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert error.count("error: ") == 1
        return status, error.split("error: ")[1]

    return run


def test_a_data_path_that_is_missing(fail):
    status, message = fail(DATA__DATA_PATH="/nowhere/images")

    assert status == 2
    assert "DATA.DATA_PATH" in message
    assert "/nowhere/images" in message


def test_a_data_path_that_is_not_given(fail):
    status, message = fail(DATA__DATA_PATH="")

    assert status == 2
    assert "DATA.DATA_PATH" in message


def test_a_folder_without_train(fail, data):
    shutil.rmtree(data / "train")

    status, message = fail()

    assert status == 2
    assert "train" in message
    assert "val" in message  # what is there instead


def test_an_empty_class(fail, data):
    for file in (data / "train/digit_2").iterdir():
        file.unlink()

    status, message = fail()

    assert status == 2
    assert "digit_2" in message


def test_class_sets_that_differ(fail, data):
    (data / "val/digit_3").rename(data / "val/digit_three")

    status, message = fail()

    assert status == 2
    assert "digit_3" in message
    assert "digit_three" in message


def test_a_class_count_that_disagrees(fail):
    status, message = fail(MODEL__NUM_CLASSES=1000)

    assert status == 2
    assert "MODEL.NUM_CLASSES is 1000 (--opts)" in message
    assert "holds 4 classes" in message


def test_class_weights_that_do_not_fit(fail):
    status, message = fail(TRAIN__CLASS_WEIGHTS=[1, 2])

    assert status == 2
    assert "TRAIN.CLASS_WEIGHTS has 2 numbers" in message
    assert "holds 4 classes" in message


def test_a_training_image_that_cannot_be_decoded(fail, data):
    (data / "train/digit_1/3.png").write_bytes(b"not an image")

    status, message = fail(DATA__MAX_BAD_IMAGES=0)

    assert status == 5
    assert "train/digit_1/3.png" in message
    assert "DATA.MAX_BAD_IMAGES allows 0" in message


def test_bad_training_images_are_replaced_up_to_the_limit_and_listed(tiny_opts, data, tmp_path, capsys):
    (data / "train/digit_1/3.png").write_bytes(b"not an image")
    opts = tiny_opts(DATA__DATA_PATH=str(data), OUTPUT=str(tmp_path / "run"))

    status = main(["--cfg", "swin_tiny_patch4_window7_224", "--opts", *opts])

    error = capsys.readouterr().err
    assert status == 0
    assert error.count("train/digit_1/3.png") == 1  # when it was met
    assert "1 training image(s) could not be used" in error
    [listed] = (tmp_path / "run").rglob("bad_images.jsonl")
    [bad] = map(json.loads, listed.read_text().splitlines())
    assert bad["name"] == "train/digit_1/3.png"
    assert "not an image of a supported format" in bad["reason"]


def test_a_validation_image_that_cannot_be_decoded(fail, data):
    (data / "val/digit_1/10.png").write_bytes(b"not an image")

    status, message = fail(DATA__MAX_BAD_IMAGES=100)

    assert status == 5
    assert "val/digit_1/10.png" in message


def test_a_training_set_smaller_than_a_batch(fail):
    status, message = fail(DATA__BATCH_SIZE=64)

    assert status == 2
    assert "has 40 images, fewer than one update takes (64)" in message


def test_an_odd_batch_with_mixup(fail):
    status, message = fail(DATA__BATCH_SIZE=5)

    assert status == 2
    assert "5" in message
    assert "even" in message


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (0, "DATA.IMG_SIZE must be >= 1; got 0"),
        ([16, -16], "DATA.IMG_SIZE must be >= 1; got [16, -16]"),
        ([16, 16, 16], "DATA.IMG_SIZE must be an integer or a list of 2 integers; got [16, 16, 16]"),
    ],
)
def test_an_image_size_that_is_none(fail, size, problem):
    status, message = fail(DATA__IMG_SIZE=size)

    assert status == 2
    assert problem in message


def test_more_warmup_than_epochs(fail):
    status, message = fail(TRAIN__WARMUP_EPOCHS=20)

    assert status == 2
    assert "TRAIN.EPOCHS is 2" in message
    assert "TRAIN.WARMUP_EPOCHS" in message


def test_eval_without_a_checkpoint(fail):
    status, message = fail("--eval")

    assert status == 2
    assert "--resume" in message


def test_a_checkpoint_of_another_architecture_names_both(fail, tiny_opts, data, tmp_path, capsys):
    opts = tiny_opts(DATA__DATA_PATH=str(data))
    assert main(["--cfg", "swin_tiny_patch4_window7_224", "--opts", *opts]) == 0
    capsys.readouterr()
    checkpoint = tmp_path / "output/tiny/default/weights/last.safetensors"

    for flags in (["--eval", "--resume"], ["--tag", "other", "--pretrained"]):
        status, message = fail(*flags, str(checkpoint), MODEL__SWIN__DEPTHS=[2, 3])

        assert status == 2
        assert "depths [2, 1]" in message
        assert "depths [2, 3]" in message


def test_pretrained_weights_without_a_matching_tensor(fail, tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.safetensors")

    status, message = fail("--pretrained", str(tmp_path / "resnet.safetensors"))

    assert status == 2
    assert "not a Swin; its names begin with conv1" in message


@pytest.mark.parametrize("flag", ["--resume", "--pretrained"])
def test_a_checkpoint_that_is_missing(fail, flag):
    status, message = fail(flag, "/nowhere/swin.pth")

    assert status == 2
    assert "/nowhere/swin.pth" in message


@pytest.mark.parametrize("flags", [["--eval", "--resume"], ["--resume"], ["--pretrained"]])
def test_a_name_that_is_longer_than_the_file_system_takes(fail, flags):
    status, message = fail(*flags, f"/{'x' * 300}.pth")

    assert status == 2
    assert f"/{'x' * 300}.pth" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("argv", [["IN", "out.pth"], ["in.pth", "OUT"]])
def test_names_that_are_too_long_to_convert(capsys, argv):
    long = f"/{'x' * 300}.pth"

    status = main(["convert", *(long if word.isupper() else word for word in argv), "--to", "timm"])

    assert status == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {long}")
    assert message.endswith(
        ": cannot be used (File name too long); give another path, or see to its permissions\n"
    )


def test_a_local_rank_that_is_missing(fail, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)

    status, message = fail()

    assert status == 2
    assert "LOCAL_RANK and MASTER_ADDR and MASTER_PORT not set; start with torchrun" in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"DATA__ZIP_MODE": True}, "has no file val.zip. Expected: DATA_PATH/train.zip, train_map.txt"),
        ({"DATA__DATASET": "imagenet22K"}, "has no file ILSVRC2011fall_whole_map_val.txt"),
        ({"DATA__DATASET": "cifar10"}, "holds no CIFAR-10. Expected: DATA_PATH/cifar-10-batches-bin/"),
    ],
)
def test_data_of_another_layout(fail, changes, expected):
    status, message = fail(**changes)

    assert status == 2
    assert expected in message


def test_models_of_a_later_version(capsys, data, tmp_path):
    status = main(
        [
            "--cfg",
            "swin_moe_small_patch4_window12_192_16expert_32gpu_22k",
            "--data-path",
            str(data),
            "--output",
            str(tmp_path / "out"),
            "--batch-size",
            "8",
            "--device",
            "cpu",
            "--opts",
            *("DATA.NUM_WORKERS", "0", "DATA.DATASET", "imagenet"),
        ]
    )

    assert status == 2
    assert (
        "MODEL.TYPE is 'swin_moe', which is configured but not built by this version yet"
        in capsys.readouterr().err
    )


def test_several_mistakes_are_said_at_once(fail):
    status, message = fail(TRAIN__EPOCHS="many", TRAIN__BASE_LR=-1.0, TRAIN__EPOCH=3)

    assert status == 2
    assert message.startswith("3 problems in the configuration")
    assert "TRAIN.EPOCHS" in message
    assert "TRAIN.BASE_LR" in message
    assert "TRAIN.EPOCH" in message
