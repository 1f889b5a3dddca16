"""Pictures of any size: maps that are no multiple of their windows, and evaluation at another size."""

import json
import math

import pytest
from safetensors import safe_open

from swin_train import evaluate, load_config, train
from swin_train.cli.main import main
from swin_train.weights.read import read_weights

# Maps of 11 x 13 and 6 x 7 patches under windows of 4. (Padding by as much as windows are shifted, 2, is one
# where the reference's and timm's order give the same.)
RECTANGLE = {"DATA__IMG_SIZE": [22, 26], "TRAIN__EPOCHS": 1, "TRAIN__WARMUP_EPOCHS": 0}
PADDINGS = ["reference", "timm", "masked"]


def last_weights(summary):
    return str(summary.folder / "weights/last.safetensors")


def metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_rectangle_trains_and_is_evaluated_at_its_own_and_at_other_sizes(tiny_opts, capsys, padding):
    recipe = RECTANGLE | {"MODEL__PADDING": padding, "AUG__CROP": "resized"}
    summary = train(load_config(None, tiny_opts(**recipe)))
    weights = {"MODEL__RESUME": last_weights(summary), "MODEL__PADDING": padding}
    capsys.readouterr()

    same = evaluate(load_config(None, tiny_opts(**weights, DATA__IMG_SIZE=[22, 26])))
    assert same == summary.evaluation
    assert "instead of" not in capsys.readouterr().err
    # The last three clamp the second window to 3 and to 2, and both windows to 2 and 1.
    for size in ([26, 22], 16, 33, [10, 64], 8, 4):
        other = evaluate(load_config(None, tiny_opts(**weights, DATA__IMG_SIZE=size)))
        assert other.num_images == 20
        assert math.isfinite(other.loss)
        assert f"evaluated with DATA.IMG_SIZE {size} instead of [22, 26]" in capsys.readouterr().err


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_a_checkpoint_folder_says_what_a_file_of_weights_says(tiny_opts, shape_of, family):
    model = shape_of(family) | {f"MODEL.{family.upper()}.APE": True}
    folder = train(load_config(None, tiny_opts(**RECTANGLE, **model))).folder

    step = read_weights(folder / "checkpoints/step-00000005")
    file = read_weights(folder / "weights/last.safetensors")

    assert step.geometry == file.geometry
    assert None not in (step.geometry.img_size, step.geometry.windows, step.geometry.window_size)
    of_the_file = {name: text for name, text in file.metadata.items() if name in step.metadata}
    assert step.metadata == of_the_file
    assert file.metadata.keys() - step.metadata.keys() == {"weights", "step", "epoch", "top1"}


def test_a_checkpoint_folder_says_its_size_too(tiny_opts, capsys):
    step = str(train(load_config(None, tiny_opts(**RECTANGLE))).folder / "checkpoints/step-00000005")
    capsys.readouterr()

    evaluate(load_config(None, tiny_opts(MODEL__RESUME=step, DATA__IMG_SIZE=[22, 26])))
    assert "instead of" not in capsys.readouterr().err
    evaluate(load_config(None, tiny_opts(MODEL__RESUME=step, DATA__IMG_SIZE=24, MODEL__PADDING="timm")))
    assert (
        "evaluated with DATA.IMG_SIZE 24 instead of [22, 26], MODEL.PADDING timm instead of reference"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("padding", PADDINGS)
def test_what_stands_beside_the_edge_matters_only_where_maps_are_padded(tiny_opts, capsys, padding):
    weights = {"MODEL__RESUME": last_weights(train(load_config(None, tiny_opts())))}
    capsys.readouterr()

    def loss(**changes):
        return evaluate(load_config(None, tiny_opts(**weights, **changes))).loss

    whole = loss(), loss(MODEL__PADDING=padding)
    assert "MODEL.PADDING" not in capsys.readouterr().err
    padded = loss(DATA__IMG_SIZE=22), loss(DATA__IMG_SIZE=22, MODEL__PADDING=padding)
    said = f"MODEL.PADDING {padding} instead of reference" in capsys.readouterr().err
    assert said == (padding != "reference")

    assert whole[0] == whole[1]
    assert (padded[0] == padded[1]) == (padding == "reference")


@pytest.mark.parametrize(("given", "written"), [(16, 16), ([16, 16], 16), ([12, 16], [12, 16])])
def test_weights_say_the_size_that_they_were_trained_at(tiny_opts, given, written):
    summary = train(load_config(None, tiny_opts(**RECTANGLE | {"DATA__IMG_SIZE": given})))

    facts = metadata(last_weights(summary))

    assert json.loads(facts["img_size"]) == written
    assert json.loads(facts["padding"]) == "reference"


@pytest.mark.parametrize(("before", "now"), [(16, [16, 16]), ([16, 16], 16)])
def test_a_run_goes_on_at_the_same_size_however_it_is_written(tiny_opts, before, now):
    train(load_config(None, tiny_opts(DATA__IMG_SIZE=before)))

    folder = train(load_config(None, tiny_opts(DATA__IMG_SIZE=now, TRAIN__EPOCHS=3))).folder

    said = [line for line in (folder / "log.txt").read_text().splitlines() if "settings changed" in line]
    assert len(said) == 1
    assert said[0].endswith(": TRAIN.EPOCHS was 2, now 3")


def test_a_model_trained_at_a_square_is_evaluated_at_a_rectangle_from_the_command_line(tiny_opts, capsys):
    weights = last_weights(train(load_config(None, tiny_opts())))
    opts = tiny_opts(DATA__IMG_SIZE=[16, 22], TEST__CROP=False)
    capsys.readouterr()

    status = main(["eval", "--cfg", "swin_tiny_patch4_window7_224", "--resume", weights, "--opts", *opts])

    said = capsys.readouterr()
    assert status == 0
    assert "(20 images)" in said.out
    assert "DATA.IMG_SIZE [16, 22] instead of 16" in said.err


def test_fine_tuning_from_a_square_to_a_rectangle(tiny_opts):
    weights = last_weights(train(load_config(None, tiny_opts())))

    tuned = train(load_config(None, tiny_opts(**RECTANGLE, MODEL__NAME="tuned", MODEL__PRETRAINED=weights)))

    assert tuned.evaluation.num_images == 20


@pytest.mark.parametrize("family", ["swinv2", "swin_mlp"])
def test_the_other_families_take_any_size_too(tiny_opts, shape_of, family):
    model = shape_of(family)
    summary = train(load_config(None, tiny_opts(**RECTANGLE, **model)))
    weights = {"MODEL__RESUME": last_weights(summary)}

    assert evaluate(load_config(None, tiny_opts(**RECTANGLE, **model, **weights))) == summary.evaluation
    for size in ([31, 17], 8) if family == "SWINV2" else ([31, 17],):  # at 8 maps bound the second window
        other = evaluate(load_config(None, tiny_opts(**model, **weights, DATA__IMG_SIZE=size)))
        assert math.isfinite(other.loss)
