"""What was trained here goes to every other library, without a word about the model."""

import json

import pytest

from swin_train.cli.main import main
from swin_train.weights.read import read_weights


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_a_run_s_weights_are_converted_as_they_lie(
    family, tiny_opts, shape_of, assert_equal, tmp_path, capsys
):
    opts = tiny_opts(**shape_of(family), TRAIN__EMA_DECAY=0.5, TRAIN__EPOCHS=1, TRAIN__WARMUP_EPOCHS=0)
    assert main(["--cfg", "swin_tiny_patch4_window7_224", "--opts", *opts]) == 0
    run = tmp_path / "output/tiny/default"
    step = next((run / "checkpoints").iterdir())
    sources = [(run / "weights/last.safetensors", "raw"), (run / "weights/best_ema.safetensors", "ema")]

    for number, (source, which) in enumerate([*sources, (step, "raw"), (step, "ema")]):
        for layout in ("official", "timm", "torchvision", "huggingface"):
            out = tmp_path / f"{number}-{layout}.safetensors"
            assert main(["convert", str(source), str(out), "--to", layout, "--weights", which]) == 0
            assert_equal(read_weights(out, which).state, read_weights(source, which).state)
        folder = tmp_path / f"{number}-folder"
        assert main(["convert", str(source), str(folder), "--to", "huggingface", "--weights", which]) == 0
        found = read_weights(folder / "model.safetensors", which).state
        assert_equal(found, read_weights(source, which).state)
        config = json.loads((folder / "config.json").read_text())
        assert config["image_size"] == 16
        assert config["id2label"] == {str(digit): f"digit_{digit}" for digit in range(4)}
        assert (folder / "preprocessor_config.json").is_file()
    assert "error" not in capsys.readouterr().err
