"""What an image costs by its size: what is run, what is counted, and what is made of it."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from swin_train.benchmark.model import scaling
from swin_train.benchmark.model.scaling import benchmark_scaling
from swin_train.benchmark.model.scaling_result import (
    KINDS,
    Case,
    Point,
    ScalingResult,
    as_text,
    draw,
    exponent,
)
from swin_train.benchmark.model.work import Batches, make_batches
from swin_train.config import Config, load_config
from swin_train.errors import UserError

CPU = torch.device("cpu")
SWIN, VIT = "small_one", "vit_tiny_patch16"
TINY = {
    "DATA.IMG_SIZE": 32,
    "MODEL.NAME": SWIN,
    "MODEL.NUM_CLASSES": 4,
    "MODEL.SWIN.EMBED_DIM": 8,
    "MODEL.SWIN.DEPTHS": "[2, 1]",
    "MODEL.SWIN.NUM_HEADS": "[1, 2]",
    "MODEL.SWIN.WINDOW_SIZE": 4,
}


@pytest.fixture(scope="module")
def cfg() -> Config:
    return load_config(None, [part for pair in TINY.items() for part in pair])


def run(cfg: Config, sizes: Sequence[int], rounds: int = 1) -> ScalingResult:
    return benchmark_scaling(
        cfg, CPU, sizes=sizes, rounds=rounds, precision_dtype=torch.float32, progress=lambda _: None
    )


def made_up() -> ScalingResult:
    """A Swin that is linear, a ViT that is quadratic, and one size that the ViT does not fit in training."""
    result = ScalingResult("swin", "cpu", "float32", 1, 3, 1, "bytes")
    for size in (32, 64, 128, 256):
        pixels = size**2 / 32**2
        for kind in KINDS:
            result.points[Case("swin", size, kind)] = Point(2, [0.002 * pixels] * 3, 4e6 * pixels)
            result.points[Case("vit", size, kind)] = Point(2, [0.001 * pixels**2] * 3, 1e6 * pixels**2)
    result.points[Case("vit", 256, "training")] = Point(2)
    return result


def test_both_models_are_measured_at_all_sizes_forward_and_backward(cfg: Config) -> None:
    result = run(cfg, [64, 48], rounds=2)

    assert result.models == [SWIN, VIT]
    assert result.sizes == [48, 64]
    assert len(result.points) == 2 * 2 * 2
    for case, point in result.points.items():
        assert point.batch_size == 224**2 // case.img_size**2
        assert point.seconds is not None
        assert len(point.seconds) == 2
        assert min(point.seconds) > 0
        assert (point.memory_bytes is not None) == (case.kind == "training")
    restored = json.loads(json.dumps(result.as_dict()))
    assert restored["models"][SWIN]["training"]["sizes"]["64"]["ms"]["median"] > 0
    assert restored["machine"]["torch"] == torch.__version__.partition("+")[0]


def test_memory_of_windows_is_linear_and_the_same_each_time(cfg: Config) -> None:
    """96 and 192 pixels are whole windows at both stages: four times the pixels are four times the bytes."""
    first, second = (run(cfg, [96, 192]).memories(SWIN, "training") for _ in range(2))

    assert first == second
    assert exponent(first) == pytest.approx(1.0, abs=0.01)  # tables of biases and the loss are constant


def test_rounds_alternate_and_seconds_are_per_image(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def seconds_of(step: Callable[[int], None], times: int, device: torch.device) -> float:
        calls.append(id(step.__self__))  # type: ignore[attr-defined]
        return float(len(calls))

    monkeypatch.setattr(scaling, "seconds_of", seconds_of)

    result = run(cfg, [112], rounds=3)

    warm, *rounds = (calls[start : start + 4] for start in range(0, len(calls), 4))
    assert len(set(warm)) == 4
    assert rounds == [warm, warm[::-1], warm]
    # Calls 5, 12 and 13 of four images; the warm-up does not count.
    assert result.points[Case(SWIN, 112, "inference")].seconds == [5 / 4, 12 / 4, 13 / 4]
    assert result.ms(Case(SWIN, 112, "inference")) == (3000.0, 1250.0, 3250.0)


@pytest.mark.parametrize("is_training", [False, True])
def test_training_goes_backward_and_inference_does_not(is_training: bool) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(3 * 8 * 8, 5))
    work = scaling._Work(model, make_batches(2, 3, (8, 8), 5, CPU), nullcontext, is_training)

    work.seconds(1, CPU)

    assert model.training is is_training
    assert all((p.grad is not None) == is_training for p in model.parameters())


class ScaledExp(nn.Module):
    """Autograd keeps its input, for the weight's gradient, and its result, for the input's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).exp()


def test_saved_bytes_are_those_of_distinct_storages_beyond_weights_and_images() -> None:
    batches = make_batches(2, 3, (8, 8), 5, CPU)

    def saved(*layers: nn.Module) -> float:
        model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
        found = scaling._Work(model, batches, nullcontext, is_training=True).memory_bytes(CPU)
        assert found is not None
        return found

    loss_alone = saved()  # the linear layer keeps images and weights, which are there anyway
    assert 0 < loss_alone <= 4 * 5 * 4  # a few tensors of five classes in float32
    image = 4 * 3 * 8 * 8
    # A result is kept by the layer itself and, some as a view, by the next one: counted once.
    assert saved(ScaledExp()) - loss_alone == image
    assert saved(ScaledExp(), ScaledExp()) - loss_alone == 2 * image


def test_what_does_not_fit_is_told_and_the_others_go_on(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = scaling.loss_of

    def loss_of(
        model: nn.Module, batches: Batches, i: int, autocast: Callable[[], nullcontext[None]]
    ) -> Tensor:
        if batches.images.shape[-1] == 64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return computed(model, batches, i, autocast)

    monkeypatch.setattr(scaling, "loss_of", loss_of)

    result = run(cfg, [48, 64, 80])

    missing = {case for case, point in result.points.items() if point.seconds is None}
    assert missing == {Case(SWIN, 64, "training"), Case(VIT, 64, "training")}
    assert list(result.times(VIT, "training")) == [48, 80]
    assert result.as_dict()["models"][VIT]["training"]["sizes"][64]["is_out_of_memory"] is True
    assert as_text(result).count("out of memory") == 2


def test_a_case_that_runs_out_of_memory_in_a_later_round_is_void(
    cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []

    def seconds_of(step: Callable[[int], None], times: int, device: torch.device) -> float:
        calls.append(None)
        if len(calls) == 4 + 4 + 1:  # the first of the second round, which begins with the last case
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return 1.0

    monkeypatch.setattr(scaling, "seconds_of", seconds_of)

    result = run(cfg, [64], rounds=3)

    rounds = {case: point.seconds and len(point.seconds) for case, point in result.points.items()}
    assert rounds.pop(Case(VIT, 64, "training")) is None
    assert set(rounds.values()) == {3}
    assert len(calls) == 4 + 4 + 4 + 3


def test_nothing_that_fits_is_an_error_and_other_errors_stay_what_they_are(
    cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(error: Exception) -> None:
        def seconds_of(step: Callable[[int], None], times: int, device: torch.device) -> float:
            raise error

        monkeypatch.setattr(scaling, "seconds_of", seconds_of)

    refuse(MemoryError())
    with pytest.raises(UserError, match="holds none of the sizes"):
        run(cfg, [64])
    refuse(RuntimeError("a size does not match"))
    with pytest.raises(RuntimeError, match="a size does not match"):
        run(cfg, [64])


@pytest.mark.parametrize("size", [100, 0, -16])
def test_a_size_that_the_vit_cannot_cut_into_patches_is_refused(cfg: Config, size: int) -> None:
    with pytest.raises(UserError, match=f"multiples of 16, the ViT's patch; got {size}"):
        run(cfg, [64, size])


def test_the_vit_is_of_about_as_many_parameters() -> None:
    swin = load_config("swin_tiny_patch4_window7_224")

    assert list(scaling._models(swin, CPU)) == ["swin_tiny_patch4_window7_224", "vit_small_patch16"]


def test_the_exponent_is_that_of_the_larger_half_of_the_sizes() -> None:
    linear = {side: 3.0 * side**2 for side in (16, 32, 64, 128)}
    bent = linear | {side: 0.01 * side**4 for side in (64, 128)}

    assert exponent(linear) == pytest.approx(1.0)
    assert exponent(bent) == pytest.approx(2.0)
    assert exponent({32: 5.0, 64: 5.0}) == pytest.approx(0.0)
    # Three sizes: the larger two; five: the larger three, which lie on no line.
    assert exponent({16: 1e9, 32: 1.0, 64: 4.0}) == pytest.approx(1.0)
    assert exponent({1: 1e9, 2: 1e9, 4: 1.0, 8: 1.0, 16: 16.0}) == pytest.approx(1.0)
    assert exponent({32: 5.0}) is None


def test_the_table_shows_times_memory_and_powers() -> None:
    text = as_text(made_up())

    cells = [line.split() for line in text.splitlines()]
    assert ["256", "px", "2", "128", "[128,", "128]", "4096", "[4096,", "4096]"] in cells
    assert ["256", "px", "2", "128", "[128,", "128]", "out", "of", "memory"] in cells
    assert ["32", "px", "4.0", "1.0"] in cells
    powers = [line[-2:] for line in cells if line[:1] == ["grows"]]
    assert powers == [["1.00", "2.00"]] * (len(KINDS) + 2)  # of times, and of memory
    assert max(map(len, text.splitlines())) <= 110


def test_the_chart_has_a_line_for_each_model_and_kind_and_tells_the_powers(tmp_path: Path) -> None:
    path = tmp_path / "scaling.svg"

    draw(made_up(), path)

    text = " ".join(path.read_text(encoding="utf-8").split())
    for name in ("swin, inference (power 1.00)", "vit, inference (power 2.00)"):
        assert f"<!-- {name} -->" in text
        assert f"<!-- {name.replace('inference', 'training')} -->" in text
