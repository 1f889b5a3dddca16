"""What makes a run another run, and what may change while it goes on."""

import json

import pytest

from swin_train.config import load_config, to_dict
from swin_train.distributed import Runtime
from swin_train.distributed.channel import Channel
from swin_train.engine.identity import check_same_facts, compare_runs
from swin_train.errors import DataError

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


def test_a_run_of_schema_1_is_compared_by_its_own_fingerprint():
    """It recorded none that sees the order."""
    before = {name: fact for name, fact in FACTS.items() if name != "images"} | {"images_in_any_order": "old"}
    config = load_config(None)

    same, _ = compare_runs(config, FACTS | {"images_in_any_order": "old"}, recorded(), before)
    other, _ = compare_runs(config, FACTS | {"images_in_any_order": "another"}, recorded(), before)

    assert same == []
    assert other == ["the names, labels and sizes of the training images was old, now another"]


class Said(Channel):
    """What the processes of a run say to each other, by rank."""

    def __init__(self, *facts):
        object.__setattr__(self, "facts", facts)

    def gather(self, value):
        assert value in self.facts
        return list(self.facts)


def test_processes_that_see_the_same_begin():
    check_same_facts(FACTS, Runtime("cpu", files=Said(FACTS, dict(FACTS))))
    check_same_facts(FACTS, Runtime("cpu"))


@pytest.mark.parametrize("own_rank", [0, 1, 2])
def test_every_process_names_the_first_that_sees_other_data_and_in_what(own_rank):
    facts = [FACTS, FACTS, FACTS | {"num_images": 39, "images": "another"}]
    message = (
        r"^rank 2: it sees other data than rank 0, in the number of training images, the order or the names, labels "
        r"and sizes of the training images; see to it that DATA\.DATA_PATH holds the same on every machine$"
    )

    with pytest.raises(DataError, match=message):
        check_same_facts(facts[own_rank], Runtime("cpu", rank=own_rank, files=Said(*facts)))


@pytest.mark.parametrize(
    ("fact", "value", "label"), [("seed", 1, "SEED"), ("class_names", ["a"], "the classes")]
)
def test_another_seed_and_other_classes_are_named_too(fact, value, label):
    with pytest.raises(DataError, match=f"^rank 1: it sees other data than rank 0, in {label}; "):
        check_same_facts(FACTS, Runtime("cpu", files=Said(FACTS, FACTS | {fact: value})))
