"""The search for a micro-batch: its law with a meter that computes, and real updates on the CPU."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from swin_train.config import Config, load_config
from swin_train.engine import fit as fit_module
from swin_train.engine.fit import Fit, Trial, fit, list_candidates, search
from swin_train.engine.fit_meter import Measurement
from swin_train.engine.plan import RunPlan, make_plan
from swin_train.errors import UserError

LOADS_NOTHING = "peak memory is that of a process that loads no images; loading them takes more"
NO_MIXING = ["AUG.MIXUP", 0, "AUG.CUTMIX", 0]
LISTS = [list(range(1, 41)), list(range(8, 129, 8)), list_candidates(96, 0), [1], [4, 64, 65, 1000]]


class FakeMeter:
    """A device on which an image takes 10 bytes, and whose speed peaks at 12 images."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.plans: list[RunPlan] = []

    def measure(self, cfg: Config, plan: RunPlan) -> Measurement:
        assert cfg.DATA.BATCH_SIZE == plan.micro_batch
        self.plans.append(plan)
        peak = 10 * plan.micro_batch
        return Measurement(peak, 100.0 - abs(plan.micro_batch - 12) if peak <= self.limit_bytes else None)


@pytest.fixture
def fake_fit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Fit, FakeMeter]]:
    def run(
        *overrides: object, limit: int = 10**9, processes: int = 1, **options: object
    ) -> tuple[Fit, FakeMeter]:
        meter = FakeMeter(limit)
        monkeypatch.setattr(fit_module, "choose_meter", lambda device, memory_gb, processes: meter)
        cfg = load_config(None, ["DEVICE", "cpu", *overrides])
        return fit(cfg, processes=processes, **options), meter

    return run


@pytest.mark.parametrize("candidates", LISTS, ids=len)
def test_the_largest_that_fits_is_found_and_the_next_is_seen_to_fail(candidates: list[int]) -> None:
    for limit in range(max(candidates) + 2):
        trials = search(candidates, lambda n, limit=limit: Trial(n, 1, n, 1.0 if n <= limit else None))

        tried = [trial.micro_batch for trial in trials]
        fitting, failing = ([t.micro_batch for t in trials if t.fits is wanted] for wanted in (True, False))
        assert max(fitting, default=None) == max((n for n in candidates if n <= limit), default=None)
        assert min(failing, default=None) == min((n for n in candidates if n > limit), default=None)
        assert len(set(tried)) == len(tried) <= 2 * len(candidates).bit_length() + 1


def test_it_rises_by_doubling_and_then_halves_the_gap() -> None:
    trials = search(range(1, 101), lambda n: Trial(n, 1, n, 1.0 if n <= 20 else None))

    assert [trial.micro_batch for trial in trials] == [1, 2, 4, 8, 16, 32, 24, 20, 22, 21]


@pytest.mark.parametrize(
    ("rank_batch", "mix_group", "expected"),
    [
        (5, 1, [1, 2, 3, 4, 5]),
        (32, 8, [8, 16, 24, 32]),
        (24, 0, [2, 4, 6, 8, 12, 24]),  # the micro-batch is the group: none may be ragged or odd
    ],
)
def test_candidates_keep_mixing_groups_whole(rank_batch: int, mix_group: int, expected: list[int]) -> None:
    assert list_candidates(rank_batch, mix_group) == expected


@pytest.mark.parametrize(
    ("overrides", "processes"),
    [
        ([*NO_MIXING, "TRAIN.GLOBAL_BATCH", 24], 1),
        ([*NO_MIXING, "TRAIN.GLOBAL_BATCH", 24], 3),
        (["AUG.MIX_GROUP", 4, "TRAIN.GLOBAL_BATCH", 48], 2),
        (["DATA.BATCH_SIZE", 12, "TRAIN.ACCUMULATION_STEPS", 2], 2),  # the group is the micro-batch
    ],
    ids=str,
)
def test_the_settings_make_a_plan_of_the_same_update(
    overrides: list[object], processes: int, fake_fit: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    for limit in (40, 60, 80, 120, 240):
        found, meter = fake_fit(*overrides, limit=limit, processes=processes)

        def plan(*settings: object) -> RunPlan:
            cfg = load_config(None, [*overrides, *settings])
            return make_plan(cfg, world_size=processes, num_images=10**6, num_classes=1000)

        before = plan()
        for trial in (found.largest, found.fastest):
            after = plan(*itertools.chain(*found.settings(trial).items()))
            assert (after.global_batch, after.base_lr) == (before.global_batch, before.base_lr)
            assert (after.micro_batch, after.accumulation) == (trial.micro_batch, trial.accumulation)
        assert all(plan.global_batch == before.global_batch for plan in meter.plans)
        assert all(plan.world_size == processes for plan in meter.plans)
    assert not [record for record in caplog.records if record.name == "swin_train.engine.plan"]


def test_the_fastest_need_not_be_the_largest(fake_fit: Callable) -> None:
    found, _ = fake_fit(*NO_MIXING, "TRAIN.GLOBAL_BATCH", 24, limit=200)

    assert (found.largest.micro_batch, found.fastest.micro_batch) == (20, 8)  # of those that were tried
    assert (found.largest.images_per_s, found.fastest.images_per_s) == (92.0, 96.0)


def test_each_trial_is_told(fake_fit: Callable) -> None:
    said: list[str] = []

    fake_fit(*NO_MIXING, "TRAIN.GLOBAL_BATCH", 3, limit=25, say=said.append)

    assert said == [
        "1 images: 0.00 GiB, 89.0 images/s",
        "2 images: 0.00 GiB, 90.0 images/s",
        "3 images: do not fit, 0.00 GiB reached",
    ]


def test_nothing_fits_is_an_error_that_says_what_would_help(fake_fit: Callable) -> None:
    with pytest.raises(UserError) as error:
        fake_fit("AUG.MIX_GROUP", 4, limit=30)
    with pytest.raises(UserError) as other:
        fake_fit(*NO_MIXING, "TRAIN.USE_CHECKPOINT", True, "AMP_DTYPE", "bf16", limit=5)

    assert error.value.exit_status == 2
    assert str(error.value) == (
        "main.py fit: nothing fits: 4 image(s) at a time, the fewest that can be, reached 0.00 GiB before they failed, "
        "and a process may take 0.00 GiB of cpu; what would help: TRAIN.USE_CHECKPOINT True, AMP_DTYPE bf16, a smaller "
        "DATA.IMG_SIZE (now 224), a smaller AUG.MIX_GROUP (now 4), or more memory, where --memory-gb and --processes "
        "say that there is"
    )
    assert "what would help: a smaller DATA.IMG_SIZE (now 224), or more memory" in str(other.value)


@pytest.mark.parametrize(
    ("overrides", "processes", "message"),
    [
        ([*NO_MIXING, "TRAIN.GLOBAL_BATCH", 12], 5, r"12 images .* among 5 process\(es\); .*can: 1, 2, 3"),
        (["TRAIN.GLOBAL_BATCH", 15], 1, r"15 images .* groups of 2 images; process counts that can: none"),
        (["AUG.MIX_GROUP", 8, "TRAIN.GLOBAL_BATCH", 20], 1, r"20 images .* groups of 8 images"),
        (["MODEL.TYPE", "swin_moe"], 1, "MODEL.TYPE is 'swin_moe', which is configured but not built"),
    ],
    ids=str,
)
def test_a_training_that_is_not_possible_is_refused(
    overrides: list[object], processes: int, message: str, fake_fit: Callable
) -> None:
    with pytest.raises(UserError, match=message):
        fake_fit(*overrides, processes=processes)


def test_it_is_one_process(fake_fit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RANK": 0,
        "LOCAL_RANK": 0,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "a",
        "MASTER_PORT": 1,
    }.items():
        monkeypatch.setenv(name, str(value))

    with pytest.raises(UserError, match=r"start one, without it, and say how many .* --processes N"):
        fake_fit()


def test_classes_are_those_of_the_data_where_there_is_any(digits: Path, fake_fit: Callable) -> None:
    small = [*NO_MIXING, "TRAIN.GLOBAL_BATCH", 2]

    _, with_data = fake_fit(*small, "DATA.DATA_PATH", str(digits))
    _, without = fake_fit(*small)
    _, given = fake_fit(*small, "MODEL.NUM_CLASSES", 7)

    assert [meter.plans[0].num_classes for meter in (with_data, without, given)] == [4, 1000, 7]
    assert with_data.plans[0].num_images == 40


def test_an_update_of_more_images_than_the_data_has_is_refused(digits: Path, fake_fit: Callable) -> None:
    with pytest.raises(UserError, match="the training set has 40 images, fewer than one update takes"):
        fake_fit(*NO_MIXING, "TRAIN.GLOBAL_BATCH", 48, "DATA.DATA_PATH", str(digits))


def test_what_is_not_counted_is_said(fake_fit: Callable) -> None:
    mixed, _ = fake_fit("TRAIN.GLOBAL_BATCH", 8, processes=2)
    plain, _ = fake_fit(*NO_MIXING, "TRAIN.GLOBAL_BATCH", 8)

    assert [note.partition(";")[0].partition(",")[0] for note in mixed.notes] == [
        "AUG.MIX_GROUP is 0",
        "measured in one process",
        "peak memory is that of a process that loads no images",
    ]
    assert plain.notes == (LOADS_NOTHING,)


def test_a_tiny_training_is_measured_on_the_cpu(
    tiny_opts: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = load_config(None, tiny_opts(AUG__MIX_GROUP=4, TRAIN__EMA_DECAY=0.9, TRAIN__GLOBAL_BATCH=8))

    found = fit(cfg)

    assert [(trial.micro_batch, trial.accumulation) for trial in found.trials] == [(4, 2), (8, 1)]
    assert all(trial.fits and trial.images_per_s > 0 for trial in found.trials)
    assert all(2**26 < trial.peak_bytes < found.limit_bytes for trial in found.trials)  # torch alone is more
    assert (found.device, found.precision, found.global_batch) == ("cpu", "fp32", 8)
    assert list(tmp_path.iterdir()) == []
