"""Each recipe of configs/demo/recipes trains the demo for the epoch or two that it says."""

import runpy
from pathlib import Path

import pytest
from faults import dies_before
from run_records import records
from state_digest import state_digest

from swin_train import load_config, train
from swin_train.config.paths import configs_folder

REPO = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.stem for path in (configs_folder() / "demo/recipes").glob("*.yaml"))
STEPS = {  # of an epoch; the others make 1,437 // 64 = 22
    "digits_fraction": 2,
    "digits_classes": 6,
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    runpy.run_path(str(REPO / "scripts/make_digits.py"))["main"](folder)
    return folder


def test_every_recipe_has_a_configuration():
    assert len(RECIPES) == 10


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_the_demo(name, demo, tmp_path):
    opts = ["DATA.DATA_PATH", str(demo), "OUTPUT", str(tmp_path), "DEVICE", "cpu", "DATA.NUM_WORKERS", "0"]
    cfg = load_config(f"demo/recipes/{name}", opts)

    summary = train(cfg)

    last = records(summary.folder, "train")[-1]
    assert last["step"] == STEPS.get(name, 22) * cfg.TRAIN.EPOCHS
    assert last["loss"] < 10
    assert summary.evaluation.num_images == (109 if name == "digits_classes" else 360)


def test_a_run_of_all_recipes_that_can_go_together_resumes_bit_identical(tiny_opts):
    recipe = {
        "AUG__REPEATS": 2,
        "AUG__MIX_OFF_EPOCHS": 1,
        "AUG__AUTO_AUGMENT": "ta_wide",
        "DATA__PROGRESSIVE": [[0, 8], [1, 12]],
        "DATA__SHUFFLE": "blocks",
        "DATA__FRACTION": 0.8,
        "SAVE_STEPS": 2,
    }
    undisturbed = train(load_config(None, tiny_opts(**recipe, TAG="undisturbed"))).folder
    with dies_before(8):  # the last; four are in an epoch, and 6 are saved
        train(load_config(None, tiny_opts(**recipe)))
    resumed = train(load_config(None, tiny_opts(**recipe, DATA__NUM_WORKERS=1))).folder

    one, other = (state_digest(folder / "checkpoints/step-00000008") for folder in (undisturbed, resumed))
    assert one == other
