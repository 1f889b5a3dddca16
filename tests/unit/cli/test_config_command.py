"""``main.py config`` shows, explains and checks."""

import pytest

from swin_train.cli.main import main

CFG = ["--cfg", "swin_tiny_patch4_window7_224"]


def test_show_prints_values_and_origins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", *CFG, "--tag", "x"]) == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["TAG", "=", "x", "#", "--tag"] in lines
    assert ["SEED", "=", "0"] in lines


def test_help_explains_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "help", "TRAIN.EPOCHS"]) == 0
    assert "Passes over the training set." in capsys.readouterr().out


def test_check_passes_a_good_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", *CFG]) == 0
    assert capsys.readouterr().out == "no problems in the configuration\n"


def test_check_reports_a_bad_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", *CFG, "--opts", "TRAIN.EPOCHS", "1", "DATA.IMG_SIZE", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: 2 problems in the configuration:\n  - ")


def test_check_says_that_a_family_is_not_built_yet(capsys: pytest.CaptureFixture[str]) -> None:
    name = "swin_moe_small_patch4_window12_192_8expert_32gpu_22k"

    assert main(["config", "check", "--cfg", name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: MODEL.TYPE is 'swin_moe', which is configured but not built")


def test_check_says_that_pre_training_is_not_there_yet(capsys: pytest.CaptureFixture[str]) -> None:
    name = "simmim_pretrain__swin_base__img192_window6__800ep"

    assert main(["config", "check", "--cfg", name]) == 2
    assert capsys.readouterr().err.startswith("error: DATA.MASK_RATIO or DATA.MASK_PATCH_SIZE is set: SimMIM")


def test_check_warns_of_a_key_that_does_nothing(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["config", "check", *CFG, "--opts", "MODEL.SWINV2.WINDOW_SIZE", "8"]) == 0
    assert len(caplog.messages) == 1
    assert capsys.readouterr().out == "no problems in the configuration\n"


def test_folder_is_where_a_run_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "folder", *CFG, "--output", "/shared", "--tag", "x"]) == 0
    assert capsys.readouterr().out == "/shared/swin_tiny_patch4_window7_224/x\n"


@pytest.mark.parametrize("argv", [[], ["shwo"], ["help", "EPOCH"], ["help", "a", "b"], ["show"], ["folder"]])
def test_a_mistake_is_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", *argv]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_its_help_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--help"]) == 0
    assert "main.py config help TRAIN.LR_SCHEDULER" in capsys.readouterr().out
