"""Resuming: bit-identical to a run that was never stopped."""

import json
import logging
import shutil
import zipfile
from pathlib import Path

import pytest
from faults import dies_before, flip_bit
from state_digest import newest_state, state_digest

from swin_train import load_config, train
from swin_train.errors import UserError


def final_state(folder):
    """The last training state's name and digest: model, averaged model and optimizer."""
    last = newest_state(folder)
    return last.name, state_digest(last)


RECIPE = {"TRAIN__EMA_DECAY": 0.9, "MODEL__DROP_RATE": 0.1, "SAVE_STEPS": 2}


@pytest.fixture
def undisturbed(tiny_opts, tmp_path):
    return train(load_config(None, tiny_opts(**RECIPE, OUTPUT=str(tmp_path / "undisturbed")))).folder


@pytest.mark.parametrize("step", [1, 3, 5, 8])  # before any save, in an epoch, at its end, in the next
def test_a_stopped_run_ends_bit_identical(tiny_opts, undisturbed, step):
    cfg = load_config(None, tiny_opts(**RECIPE))
    with dies_before(step + 1):
        train(cfg)

    resumed = train(cfg).folder

    assert final_state(resumed) == final_state(undisturbed)
    steps = [json.loads(line)["step"] for line in (resumed / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]  # each once; an evaluation at 5 and 10


def test_the_number_of_workers_changes_nothing(tiny_opts, undisturbed):
    resumed = train(load_config(None, tiny_opts(**RECIPE, DATA__NUM_WORKERS=2))).folder

    assert final_state(resumed) == final_state(undisturbed)


def test_another_seed_gives_another_run(tiny_opts, undisturbed):
    other = train(load_config(None, tiny_opts(**RECIPE, SEED=1))).folder

    assert final_state(other) != final_state(undisturbed)


def test_a_damaged_checkpoint_is_passed_over(tiny_opts, undisturbed, caplog):
    cfg = load_config(None, tiny_opts(**RECIPE))
    with dies_before(10):
        train(cfg)
    newest = sorted((undisturbed.parents[2] / "output/tiny/default/checkpoints").glob("step-*"))[-1]
    [state] = newest.glob("*.safetensors")
    flip_bit(state)

    resumed = train(cfg).folder

    assert "checkpoint passed over" in (resumed / "log.txt").read_text()
    assert f"{newest.name}/{state.name} has another SHA-256" in (resumed / "log.txt").read_text()
    assert final_state(resumed) == final_state(undisturbed)


OPTIMIZERS = ["sgd", "fused_lamb", "lookahead_adamw", "adafactor", "muon", "nadamw", "radam"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_kind_of_optimizer_resumes_bit_identical(tiny_opts, name):
    recipe = {"TRAIN__OPTIMIZER__NAME": name, "SAVE_STEPS": 3, "TRAIN__BASE_LR": 0.005}
    undisturbed = train(load_config(None, tiny_opts(**recipe, TAG="undisturbed"))).folder
    with dies_before(5):
        train(load_config(None, tiny_opts(**recipe)))

    resumed = train(load_config(None, tiny_opts(**recipe))).folder

    assert final_state(resumed) == final_state(undisturbed)


def test_a_finished_run_stays_as_it_is(tiny_opts):
    cfg = load_config(None, tiny_opts())
    folder = train(cfg).folder
    before = final_state(folder)

    again = train(cfg)

    assert again.evaluation is None
    assert final_state(folder) == before


def test_a_longer_run_goes_on_from_a_finished_one(tiny_opts):
    train(load_config(None, tiny_opts()))

    longer = train(load_config(None, tiny_opts(TRAIN__EPOCHS=3)))

    assert final_state(longer.folder)[0] == "step-00000015"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SEED": 7}, r"SEED was 0, now 7"),
        ({"AUG__MIX_GROUP": 4}, r"AUG.MIX_GROUP is 4, but .* started with groups of 8"),
        ({"TRAIN__GLOBAL_BATCH": 4}, r"TRAIN.GLOBAL_BATCH is 4, but .* started with 8"),
        ({"MODEL__SWIN__EMBED_DIM": 16}, r"MODEL.SWIN.EMBED_DIM was 8, now 16"),
        ({"MODEL__PADDING": "timm"}, r"MODEL.PADDING was reference, now timm"),
        ({"DATA__IMG_SIZE": [16, 20]}, r"DATA.IMG_SIZE was 16, now \[16, 20\]"),
        ({"DATA__MEAN": [0.5, 0.5, 0.5]}, r"DATA.MEAN was \[0.485, 0.456, 0.406\], now \[0.5"),
        ({"TRAIN__EMA_DECAY": 0.9}, r"TRAIN.EMA_DECAY it was saved with.* Missing: ema\."),
        ({"TRAIN__OPTIMIZER__NAME": "sgd"}, r"saved with the optimizer AdamW, this run's is SGD"),
        ({"TRAIN__FREEZE": "stages 1"}, r"optimizer state of .* that this run does not train"),
    ],
)
def test_what_identifies_a_run_cannot_change(tiny_opts, change, message):
    train(load_config(None, tiny_opts()))

    with pytest.raises(UserError, match=message):
        train(load_config(None, tiny_opts(**change, TRAIN__EPOCHS=3)))


def test_other_settings_take_effect_and_are_said(tiny_opts):
    train(load_config(None, tiny_opts()))

    folder = train(load_config(None, tiny_opts(TRAIN__EPOCHS=3, AUG__MIXUP=0.5, DATA__NUM_WORKERS=1))).folder

    said = [line for line in (folder / "log.txt").read_text().splitlines() if "settings changed" in line]
    assert len(said) == 1
    assert "since step-00000010 was saved: " in said[0]
    assert "TRAIN.EPOCHS was 2, now 3; AUG.MIXUP was 0.8, now 0.5" in said[0]


def test_a_finished_run_that_is_asked_for_less_says_that_nothing_is_left(tiny_opts):
    folder = train(load_config(None, tiny_opts())).folder
    before = (folder / "config.yaml").read_text()

    train(load_config(None, tiny_opts(TRAIN__LOSS="bce")))

    assert "nothing is left to train: raise TRAIN.EPOCHS (2)" in (folder / "log.txt").read_text()
    assert (folder / "config.yaml").read_text() == before  # what was trained


def test_images_of_other_names_are_refused(tiny_opts, digits, tmp_path):
    data = Path(shutil.copytree(digits, tmp_path / "data"))
    opts = tiny_opts(DATA__DATA_PATH=str(data), TRAIN__EPOCHS=3)
    train(load_config(None, tiny_opts(DATA__DATA_PATH=str(data))))
    image = data / "train/digit_0/0.png"
    image.rename(image.with_name("another.png"))

    with pytest.raises(UserError, match="the names, labels and sizes of the training images was"):
        train(load_config(None, opts))


def test_images_in_another_order_are_refused(tiny_opts, digits, tmp_path):
    """They are drawn by number, so the epoch that is under way would go on with others."""
    for split in ("train", "val"):
        names = sorted(str(path.relative_to(digits / split)) for path in (digits / split).glob("*/*.png"))
        with zipfile.ZipFile(tmp_path / f"{split}.zip", "w") as archive:
            for name in names:
                archive.write(digits / split / name, name)
        lines = [f"{name}\t{name[len('digit_')]}\n" for name in names]
        (tmp_path / f"{split}_map.txt").write_text("".join(lines))
    opts = {"DATA__DATA_PATH": str(tmp_path), "DATA__ZIP_MODE": True}
    train(load_config(None, tiny_opts(**opts)))
    in_order = tmp_path / "train_map.txt"
    in_order.write_text("".join(reversed(in_order.read_text().splitlines(keepends=True))))

    with pytest.raises(
        UserError, match="the order or the names, labels and sizes of the training images was"
    ):
        train(load_config(None, tiny_opts(**opts, TRAIN__EPOCHS=3)))


def test_other_images_are_refused(tiny_opts, digits, tmp_path):
    train(load_config(None, tiny_opts()))
    for split in ("train", "val"):
        (tmp_path / "fewer" / split).mkdir(parents=True)
        for label in range(3):
            (tmp_path / "fewer" / split / f"digit_{label}").symlink_to(digits / split / f"digit_{label}")

    with pytest.raises(
        UserError, match=r"the number of training images was 40, now 30; .*the classes was \['digit_0'"
    ):
        train(load_config(None, tiny_opts(DATA__DATA_PATH=str(tmp_path / "fewer"))))


def test_resume_by_name_goes_on_in_another_folder(tiny_opts, tmp_path):
    first = train(load_config(None, tiny_opts()))

    for source in (first.folder, first.folder / "checkpoints", first.folder / "checkpoints/step-00000010"):
        longer = train(
            load_config(
                None, tiny_opts(TAG=f"from_{source.name}", MODEL__RESUME=str(source), TRAIN__EPOCHS=3)
            )
        )
        assert [path.name for path in (longer.folder / "checkpoints").iterdir()] == ["step-00000015"]
        assert (longer.folder / "weights/best.safetensors").is_file()  # the other run's best is not here


def test_resume_from_weights_alone_is_an_error(tiny_opts):
    folder = train(load_config(None, tiny_opts())).folder

    with pytest.raises(
        UserError, match=r"no training state to go on from.*--pretrained \S+last\.safetensors"
    ):
        train(
            load_config(None, tiny_opts(TAG="other", MODEL__RESUME=str(folder / "weights/last.safetensors")))
        )


def test_resume_from_nowhere_is_an_error(tiny_opts):
    with pytest.raises(UserError, match=r"MODEL.RESUME: /nowhere does not exist"):
        train(load_config(None, tiny_opts(MODEL__RESUME="/nowhere")))


def test_logging_is_left_as_it_was(tiny_opts):
    package = logging.getLogger("swin_train")
    before = (package.level, package.propagate, list(package.handlers))

    train(load_config(None, tiny_opts()))

    assert (package.level, package.propagate, list(package.handlers)) == before
