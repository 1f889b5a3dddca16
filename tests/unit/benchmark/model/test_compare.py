"""Models of several libraries beside each other: same weights, a gate before the clock, ratios by round."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from swin_train.benchmark.model import compare as module
from swin_train.benchmark.model import peers
from swin_train.benchmark.model.compare import Effort, Measured, compare
from swin_train.benchmark.model.gate import Outcome, judge, outcome
from swin_train.benchmark.model.peers import libraries
from swin_train.benchmark.model.table import as_text
from swin_train.benchmark.model.variants import VARIANTS, Maker, default_names, rivals
from swin_train.benchmark.model.work import forward_pass, make_batches, training_step
from swin_train.config import Config, load_config
from swin_train.distributed import compilation
from swin_train.errors import UserError

CPU = torch.device("cpu")
TINY = {
    "DATA.IMG_SIZE": 32,
    "MODEL.NUM_CLASSES": 5,
    "MODEL.SWIN.EMBED_DIM": 16,
    "MODEL.SWIN.DEPTHS": [2, 2],
    "MODEL.SWIN.NUM_HEADS": [1, 2],
    "MODEL.SWIN.WINDOW_SIZE": 4,
}
V2 = {"MODEL.TYPE": "swinv2"} | {key.replace("SWIN.", "SWINV2."): value for key, value in TINY.items()}
EFFORT = Effort(("swin_train", "timm", "torchvision"), batch_size=3, rounds=3, steps=1, warmup=1)


def maker(tiny: Mapping[str, Any] = TINY, reference: Path | None = None) -> Maker:
    def configure(changes: Mapping[str, Any]) -> Config:
        return load_config(None, [part for item in {**tiny, **changes}.items() for part in item])

    return Maker(configure, CPU, torch.float32, reference)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose model is this project's, under the authors' name and arguments."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/swin_transformer.py").write_text(
        "from swin_train.models.swin import SwinTransformer\n", encoding="utf-8"
    )
    return tmp_path


class TestGate:
    @pytest.mark.parametrize("tiny", [TINY, V2], ids=["swin", "swinv2"])
    @pytest.mark.parametrize("name", ["swin_train", "timm", "torchvision"])
    def test_the_same_model_of_another_library_passes(self, name: str, tiny: dict[str, Any]) -> None:
        make = maker(tiny)
        weights, batches = make.weights(), make_batches(2, 3, (32, 32), 5, CPU)
        expected = outcome(make.make(VARIANTS["swin_train"], weights), batches)

        verdict = judge(outcome(make.make(VARIANTS[name], weights), batches), expected, is_mixed=False)

        assert verdict.is_passed, str(verdict)

    def test_a_model_with_another_weight_fails(self) -> None:
        make = maker()
        weights, batches = make.weights(), make_batches(2, 3, (32, 32), 5, CPU)
        expected = outcome(make.make(VARIANTS["swin_train"], weights), batches)
        with torch.no_grad():
            weights.layers[0].blocks[1].mixer.relative_position_bias_table.add_(
                torch.randn_like(weights.layers[0].blocks[1].mixer.relative_position_bias_table)
            )

        found = outcome(make.make(VARIANTS["timm"], weights), batches)

        assert not judge(found, expected, is_mixed=False).is_passed

    def test_what_is_not_finite_fails(self) -> None:
        right = Outcome(1.0, 2.0, torch.ones(3))
        for wrong in (
            right._replace(loss=float("nan")),
            right._replace(grad_norm=float("inf")),
            right._replace(image_gradient=torch.full((3,), torch.nan)),
        ):
            assert not judge(wrong, right, is_mixed=True).is_passed
        assert judge(right, right, is_mixed=False).is_passed

    def test_nothing_of_it_is_left_in_the_model(self) -> None:
        make = maker()
        model = make.weights()

        outcome(model, make_batches(2, 3, (32, 32), 5, CPU))

        assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["train-step", "inference"])
def test_every_library_is_measured_in_every_round(kind: str) -> None:
    said: list[str] = []

    result = compare(kind, maker(), torch.float32, EFFORT, said.append)

    kept = result.as_dict()
    assert list(kept["variants"]) == list(EFFORT.names)
    assert all(len(one["seconds"]) == 3 for one in kept["variants"].values())
    assert said[-1] == "round 3 of 3"
    mine, timms = (result.measured[name].seconds for name in ("swin_train", "timm"))
    ratios = sorted(b / a for a, b in zip(mine, timms, strict=True))
    assert kept["variants"]["swin_train"]["ratio"]["timm"] == {
        "median": pytest.approx(ratios[1]),
        "low": pytest.approx(ratios[0]),
        "high": pytest.approx(ratios[2]),
    }
    assert kept["variants"]["timm"]["ratio"] == {}
    mine = kept["variants"]["swin_train"]
    per_s = 3 / sorted(mine["seconds"])[1]
    assert mine["tflops"] == pytest.approx(per_s * kept["flops_per_image"] / 1e12)
    assert mine["mfu"] == pytest.approx(mine["tflops"] / kept["ceilings"]["matmul_tflops"]["median"])
    assert kept["mfu_of"] in as_text(result)
    assert f"of {result.config}, 32 x 32 pixels, batch 3, float32 on cpu" in as_text(result)


def test_training_counts_three_times_the_operations_of_a_forward_pass() -> None:
    effort = Effort(("swin_train",), 2, 1, 1, 1)

    counts = [
        compare(kind, maker(), torch.float32, effort, str).flops_per_image
        for kind in ("inference", "train-step")
    ]

    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        maker().weights()(torch.zeros(1, 3, 32, 32))
    assert counts == [counter.get_total_flops(), 3 * counter.get_total_flops()]


def test_what_computes_something_else_or_cannot_be_made_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(cfg: Config, ours: nn.Module) -> nn.Module:
        model = peers._make_torchvision(cfg, ours)
        nn.init.normal_(model.norm.weight)
        return model

    def refuse(cfg: Config, ours: nn.Module) -> nn.Module:
        raise UserError("timm has no such model")

    real = libraries(None)
    monkeypatch.setattr(
        "swin_train.benchmark.model.variants.libraries",
        lambda reference: (
            real | {"torchvision": peers.Library("torchvision", wrong), "timm": peers.Library("timm", refuse)}
        ),
    )

    result = compare("inference", maker(), torch.float32, EFFORT, str)

    assert list(result.measured) == ["swin_train"]
    assert result.left_out["timm"] == "timm has no such model"
    assert result.left_out["torchvision"].startswith("it computes something else: loss")
    assert "not measured: timm: timm has no such model" in as_text(result)
    with pytest.raises(
        UserError, match=r"inference: nothing can be measured \(timm: timm has no such model\)"
    ):
        compare("inference", maker(), torch.float32, Effort(("timm",), 2, 1, 1, 1), str)


def test_what_is_compiled_tells_its_first_step_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    effort = Effort(("swin_train", "swin_train blocks"), 2, 2, 1, 1)

    kept = compare("train-step", maker(), torch.float32, effort, str).as_dict()["variants"]

    assert kept["swin_train"]["compile_s"] is None
    assert kept["swin_train blocks"]["compile_s"] > 0


def test_the_reference_is_measured_where_there_is_a_checkout(checkout: Path, tmp_path: Path) -> None:
    effort = Effort(("swin_train", "reference"), 2, 1, 1, 1)

    result = compare("inference", maker(reference=checkout), torch.float32, effort, str)

    assert list(result.ratios("swin_train")) == ["reference"]
    with pytest.raises(UserError, match=r"--reference: there is no .*swin_transformer\.py; give a checkout"):
        libraries(tmp_path / "nowhere")["reference"].make(maker().configure({}), maker().weights())
    (checkout / "models/swin_transformer.py").write_text("import nothing_like_it\n", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be imported: No module named 'nothing_like_it'"):
        libraries(checkout)["reference"].make(maker().configure({}), maker().weights())


def test_rivals_are_the_other_libraries_in_the_same_mode() -> None:
    names = list(VARIANTS)

    assert rivals("swin_train", names) == ["timm", "torchvision", "reference"]
    assert rivals("swin_train blocks", names) == [
        "timm compiled",
        "torchvision compiled",
        "reference compiled",
    ]
    assert rivals("timm", names) == []
    assert default_names(CPU, True, False) == ["swin_train", "timm", "torchvision"]
    assert "swin_train sdpa" in default_names(torch.device("cuda"), False, False)


@pytest.mark.parametrize(("make", "changes"), [(training_step, True), (forward_pass, False)])
def test_a_step_trains_and_a_forward_pass_does_not(make: Callable, changes: bool) -> None:
    import contextlib

    model = maker().weights()
    before = model.head.weight.clone()
    work = make(model, make_batches(2, 3, (32, 32), 5, CPU), contextlib.nullcontext)

    work(0)

    assert torch.equal(model.head.weight, before) != changes
    assert model.training == changes


def test_the_memory_of_a_step_is_in_the_table() -> None:
    result = compare("train-step", maker(), torch.float32, Effort(("swin_train",), 2, 1, 1, 1), str)
    result.measured["swin_train"] = Measured([0.5], 0.6, 3 * 2**20, result.measured["swin_train"].verdict)

    row = next(line for line in as_text(result).splitlines() if line.startswith("swin_train "))

    assert row.split()[1:4] == ["4.0", "[4.0,", "4.0]"]
    assert row.split()[6:] == ["3", "0.6", "0e+00"]
    assert module.Comparison is type(result)
