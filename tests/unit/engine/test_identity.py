"""What makes a run another run, and what may change while it goes on."""

import json

import pytest

from swin_train.config import load_config, to_dict
from swin_train.engine.identity import compare_runs

FACTS = {"seed": 0, "num_images": 40, "images": "a hash", "class_names": ["a", "b"]}


def recorded(*overrides):
    """Return a configuration as a checkpoint holds it."""
    return json.loads(json.dumps(to_dict(load_config(None, overrides))))


def compare(now, before, facts=FACTS):
    return compare_runs(load_config(None, now), facts, recorded(*before), FACTS)


@pytest.mark.parametrize(
    ("now", "before", "difference"),
    [
        (["DATA.IMG_SIZE", [224, 256]], [], "DATA.IMG_SIZE was 224, now [224, 256]"),
        (["DATA.IMG_SIZE", 192], ["DATA.IMG_SIZE", [256, 320]], "DATA.IMG_SIZE was [256, 320], now 192"),
        (["MODEL.PADDING", "masked"], [], "MODEL.PADDING was reference, now masked"),
        (["MODEL.SWIN.WINDOW_SIZE", 8], [], "MODEL.SWIN.WINDOW_SIZE was 7, now 8"),
        (["MODEL.TYPE", "swinv2"], [], "MODEL.TYPE was swin, now swinv2"),
        (["AUG.REPEATS", 3], [], "AUG.REPEATS was 1, now 3"),
        (["DATA.SAMPLING", "balanced"], [], "DATA.SAMPLING was uniform, now balanced"),
        (["DATA.SHUFFLE", "blocks"], [], "DATA.SHUFFLE was full, now blocks"),
        (["DATA.SHUFFLE_WINDOW", 8], [], "DATA.SHUFFLE_WINDOW was 16, now 8"),
    ],
)
def test_another_model_or_input_is_another_run(now, before, difference):
    differences, changes = compare(now, before)

    assert differences == changes == [difference]


@pytest.mark.parametrize(("now", "before"), [(224, [224, 224]), ([224, 224], 224), ([256, 320], [256, 320])])
def test_a_square_is_the_same_size_however_it_is_written(now, before):
    assert compare(["DATA.IMG_SIZE", now], ["DATA.IMG_SIZE", before]) == ([], [])


def test_other_settings_may_change_and_are_said():
    assert compare(["AUG.MIXUP", 0.5], []) == ([], ["AUG.MIXUP was 0.8, now 0.5"])


def test_where_and_how_a_run_computes_is_not_compared():
    changes = ["OUTPUT", "elsewhere", "DATA.NUM_WORKERS", 1, "MODEL.RESUME", "x", "DATA.RAM_CACHE_GB", 1]

    assert compare(changes, []) == ([], [])


@pytest.mark.parametrize("now", [[], ["MODEL.PADDING", "timm"]])
def test_a_checkpoint_of_before_a_key_came_goes_on(now):
    """Without the key no map was padded, so any padding goes on with it."""
    before = recorded()
    del before["MODEL"]["PADDING"]

    assert compare_runs(load_config(None, now), FACTS, before, FACTS) == ([], [])


def test_other_images_are_another_run():
    differences, changes = compare([], [], FACTS | {"num_images": 30})

    assert differences == ["the number of training images was 40, now 30"]
    assert changes == []


def test_images_of_another_fingerprint_are_another_run():
    differences, _ = compare([], [], FACTS | {"images": "another hash"})

    assert differences == [
        "the order or the names, labels and sizes of the training images was a hash, now another hash"
    ]
