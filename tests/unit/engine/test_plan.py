"""The derived numbers of a run."""

import pytest

from swin_train.config import load_config
from swin_train.engine.plan import make_plan
from swin_train.errors import UserError

NO_MIXING = ["AUG.MIXUP", "0", "AUG.CUTMIX", "0"]


def plan(*overrides, world_size=1, num_images=1_281_167, recorded=None):
    cfg = load_config("swin_tiny_patch4_window7_224", list(overrides))
    return make_plan(cfg, world_size=world_size, num_images=num_images, num_classes=1000, recorded=recorded)


def test_the_papers_recipe_on_8_processes():
    made = plan(world_size=8)

    assert (made.global_batch, made.accumulation, made.steps_per_epoch) == (1024, 1, 1251)
    assert (made.total_steps, made.warmup_steps, made.mix_group) == (375_300, 25_020, 128)
    assert (made.base_lr, made.warmup_lr, made.min_lr) == pytest.approx((1e-3, 1e-6, 1e-5), rel=1e-12)


def test_global_batch_is_batch_times_processes_times_accumulation():
    made = plan("DATA.BATCH_SIZE", "64", "TRAIN.ACCUMULATION_STEPS", "2", world_size=8)

    assert (made.global_batch, made.micro_batch, made.accumulation) == (1024, 64, 2)


def test_a_recorded_batch_holds_on_another_number_of_processes():
    made = plan(world_size=2, recorded={"global_batch": 1024, "mix_group": 128})

    assert (made.global_batch, made.accumulation, made.base_lr) == (1024, 4, pytest.approx(1e-3))


def test_accumulation_that_does_not_fit_the_recorded_batch_is_said(caplog):
    plan("TRAIN.ACCUMULATION_STEPS", "2", world_size=1, recorded={"global_batch": 1024, "mix_group": 128})

    assert "TRAIN.ACCUMULATION_STEPS is 2, but 1024 images an update on 1 process(es) take 8" in caplog.text


def test_a_batch_size_that_does_not_divide_leaves_a_ragged_tail():
    made = plan(*NO_MIXING, "DATA.BATCH_SIZE", "48", "TRAIN.GLOBAL_BATCH", "256", world_size=2)

    assert (made.micro_batch, made.accumulation) == (48, 3)  # 48 + 48 + 32


def test_process_counts_that_divide_are_named():
    with pytest.raises(UserError, match=r"12 images .* among 5 process\(es\); .*can: 1, 2, 3, 4, 6, 12$"):
        plan(*NO_MIXING, "TRAIN.GLOBAL_BATCH", "12", world_size=5)


def test_process_counts_keep_mixing_groups_whole():
    with pytest.raises(UserError, match=r"1024 .*recorded.* among 16 .* groups of 128 .*can: 1, 2, 4, 8$"):
        plan(world_size=16, recorded={"global_batch": 1024, "mix_group": 128})


def test_another_global_batch_on_resume_is_an_error():
    with pytest.raises(UserError, match=r"TRAIN.GLOBAL_BATCH is 512, but .* started with 1024"):
        plan("TRAIN.GLOBAL_BATCH", "512", recorded={"global_batch": 1024, "mix_group": 128})


def test_a_batch_that_splits_mixing_groups_is_an_error():
    with pytest.raises(UserError, match=r"DATA.BATCH_SIZE is 96, .*groups of 128 \(recorded with the run\)"):
        plan("DATA.BATCH_SIZE", "96", world_size=8, recorded={"global_batch": 1024, "mix_group": 128})


def test_a_batch_that_leaves_a_ragged_mixing_group_is_an_error():
    """Silently smaller groups would be another recipe."""
    with pytest.raises(
        UserError, match=r"256 images an update .* groups of 100 .*can: none; or choose AUG.MIX_GROUP"
    ):
        plan("DATA.BATCH_SIZE", "100", "TRAIN.GLOBAL_BATCH", "256")

    made = plan("DATA.BATCH_SIZE", "96", "TRAIN.GLOBAL_BATCH", "256", "AUG.MIX_GROUP", "32")
    assert (made.mix_group, made.accumulation) == (32, 3)  # 96 + 96 + 64


def test_an_odd_mixing_group_is_an_error():
    with pytest.raises(UserError, match="groups of 3, an odd number"):
        plan("DATA.BATCH_SIZE", "6", "TRAIN.GLOBAL_BATCH", "3")


def test_a_training_set_smaller_than_an_update_is_an_error():
    with pytest.raises(UserError, match=r"has 100 images, fewer than one update takes \(128\)"):
        plan(num_images=100)


def test_without_a_warm_up_the_plan_says_nothing_of_one():
    assert "learning rate 0.001 -> 1e-05" in str(plan("TRAIN.WARMUP_EPOCHS", "0", world_size=8))


def test_the_plan_reads_as_a_sentence():
    text = str(plan(world_size=8))

    assert "300 epochs x 1251 updates = 375300 updates" in text
    assert "1024 images an update = 8 process(es) x 1 accumulation step(s) x up to 128 images" in text
    assert "mixed in groups of 128" in text
    assert "1e-06 -> 0.001 in 25020 updates -> 1e-05" in text
