import random

import numpy as np
import pytest
import torch
from scipy import stats
from timm.data import mixup as timm_mixup

from swin_train.data.mixing import Mix, Mixer
from swin_train.errors import UserError
from swin_train.kernels.augment import mix_images


def make_mixer(**changes: object) -> Mixer:
    settings: dict[str, object] = {
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
        "cutmix_minmax": None,
        "prob": 1.0,
        "switch_prob": 0.5,
        "mode": "batch",
        "smoothing": 0.1,
        "num_classes": 5,
        "group": 4,
        "seed": 0,
    }
    return Mixer(**{**settings, **changes})  # type: ignore[arg-type]


def batch(size: int = 4, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, 3, side, side, generator=generator)
    return images, torch.randint(0, 5, (size,), generator=generator)


def mix(
    mixer: Mixer, images: torch.Tensor, labels: torch.Tensor, **place: int
) -> tuple[torch.Tensor, torch.Tensor]:
    size = images.shape[2], images.shape[3]
    plan = mixer.plan(size, len(images), **{"epoch": 0, "step": 0, "first_group": 0, **place})
    return mix_images(images.clone(), plan), mixer.targets(labels, plan)


def draws_of(mixer: Mixer, count: int, size: tuple[int, int] = (224, 224)) -> list[Mix]:
    rng = random.Random(0)
    return [mixer.draw(*size, rng) for _ in range(count)]


_MIXES = [
    Mix(1.0),
    Mix(0.3),
    Mix(1 - 6 * 5 / 256, (2, 8, 7, 12)),
    Mix(1.0, (4, 4, 3, 9)),
    Mix(0.0, (0, 16, 0, 16)),
    Mix(0.85),
]


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_images_and_targets_equal_timms_for_the_same_weights_and_boxes(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = batch(6)
    per_mix = {"batch": 1, "pair": 3, "elem": 6}[mode]
    for first in range(6) if mode == "batch" else [0]:
        mixes = _MIXES[first : first + per_mix]
        ours, theirs = iter(mixes), iter([m.box for m in mixes if m.box and m.weight != 1.0])
        weights = np.array([m.weight for m in mixes])
        cut = np.array([m.box is not None for m in mixes])
        monkeypatch.setattr(Mixer, "draw", lambda self, height, width, rng, ours=ours: next(ours))
        timm = timm_mixup.Mixup(0.8, 1.0, mode=mode, label_smoothing=0.1, num_classes=5)
        timm._params_per_batch = lambda weights=weights, cut=cut: (weights[0], cut[0])
        timm._params_per_elem = lambda size, weights=weights, cut=cut: (weights.copy(), cut)
        monkeypatch.setattr(
            timm_mixup,
            "cutmix_bbox_and_lam",
            lambda shape, lam, ratio_minmax, correct_lam, theirs=theirs: (next(theirs), lam),
        )

        our_images, our_targets = mix(make_mixer(mode=mode, group=6), images, labels)
        their_images, their_targets = timm(images.clone(), labels)

        assert torch.equal(our_images, their_images)
        # timm keeps the weights of elements and pairs in float32
        torch.testing.assert_close(our_targets, their_targets.float(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", [(224, 224), (96, 320)])
def test_the_laws_of_weight_and_box_are_timms(size: tuple[int, int]) -> None:
    for settings in (
        {"mixup_alpha": 0.0},
        {"cutmix_alpha": 0.0},
        {"cutmix_minmax": (0.2, 0.8), "mixup_alpha": 0.0},
    ):
        mixer = make_mixer(**settings)
        np.random.seed(0)
        timm = timm_mixup.Mixup(mixer.mixup_alpha, mixer.cutmix_alpha, mixer.cutmix_minmax)
        theirs = []
        for _ in range(3000):
            weight, cut = timm._params_per_batch()
            box = (0, 0, 0, 0)
            if cut:
                box, weight = timm_mixup.cutmix_bbox_and_lam(size, weight, mixer.cutmix_minmax)
            theirs.append([weight, *box])

        ours = [[m.weight, *(m.box or (0, 0, 0, 0))] for m in draws_of(mixer, 3000, size)]

        for mine, timms in zip(np.array(ours).T, np.array(theirs, dtype=float).T, strict=True):
            assert (
                stats.ks_2samp(mine, timms, method="asymp").pvalue > 1e-4
            )  # a right law fails once in 10^4 seeds


def test_mixup_alone_never_cuts_and_cutmix_alone_always_does() -> None:
    assert all(m.box is None for m in draws_of(make_mixer(cutmix_alpha=0.0), 200))
    assert all(m.box is not None for m in draws_of(make_mixer(mixup_alpha=0.0), 200))


def test_switch_probability() -> None:
    cuts = sum(m.box is not None for m in draws_of(make_mixer(switch_prob=0.3), 4000))

    assert 1084 < cuts < 1316  # 1200 expected, 4 standard deviations


def test_probability_of_mixing_at_all() -> None:
    mixed = sum(m != Mix(1.0) for m in draws_of(make_mixer(prob=0.25), 4000))

    assert 890 < mixed < 1110  # 1000 expected, 4 standard deviations


def test_the_weight_is_the_part_of_the_image_that_the_box_leaves() -> None:
    images, labels = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(4, 1, 1, 1).expand(4, 1, 16, 16), torch.arange(4)
    mixer = make_mixer(mixup_alpha=0.0, smoothing=0.0)

    for step in range(50):
        mixed, targets = mix(mixer, images, labels, step=step)

        left = 1 - mixed[0].mean()
        assert float(targets[0, 0]) == pytest.approx(float(left), abs=1e-6)  # float32 mean of 256 numbers


@pytest.mark.parametrize("minmax", [(0.3, 0.3), (0.0, 0.01), (1.0, 1.0)])
def test_a_narrow_minmax_never_crashes(minmax: tuple[float, float]) -> None:
    for m in draws_of(make_mixer(cutmix_minmax=minmax, mixup_alpha=0.0), 100, size=(7, 7)):
        assert 0 <= m.weight <= 1


def test_targets_sum_to_one_and_are_smoothed() -> None:
    images, labels = batch()

    _, targets = mix(make_mixer(prob=0.0), images, labels)

    torch.testing.assert_close(targets.sum(1), torch.ones(4), rtol=0, atol=1e-6)  # five float32 terms
    torch.testing.assert_close(targets.max(1).values, torch.full((4,), 1 - 0.1 + 0.1 / 5))
    assert targets.argmax(1).tolist() == labels.tolist()


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_mixing_does_not_depend_on_how_a_global_batch_is_split(mode: str) -> None:
    mixer, (images, labels) = make_mixer(mode=mode), batch(12)

    whole, whole_targets = mix(mixer, images, labels, step=3)
    parts = [mix(mixer, images[i : i + 4], labels[i : i + 4], step=3, first_group=i // 4) for i in (0, 4, 8)]

    assert torch.equal(torch.cat([part for part, _ in parts]), whole)
    assert torch.equal(torch.cat([targets for _, targets in parts]), whole_targets)


def test_groups_steps_epochs_and_seeds_draw_differently() -> None:
    images, labels = batch()
    places = [{}, {"first_group": 1}, {"step": 1}, {"epoch": 1}]

    results = [mix(make_mixer(), images, labels, **place)[0] for place in places]
    results.append(mix(make_mixer(seed=1), images, labels)[0])

    assert len({result.numpy().tobytes() for result in results}) == 5


@pytest.mark.parametrize("group", [0, 1, 5])
def test_an_odd_group_is_refused(group: int) -> None:
    with pytest.raises(UserError, match=rf"AUG\.MIX_GROUP .* is {group}; .* so it must be even"):
        make_mixer(group=group)
