import copy
import json
import sys
import types

import pytest
import torch
from timm.optim import Lamb, list_optimizers
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from swin_train.config import load_config
from swin_train.errors import UserError
from swin_train.optim import build_optimizer
from swin_train.optim.saved_state import fit_optimizer_state, save_optimizer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def build(
    name: str, *overrides: object, device: torch.device = CPU, model: nn.Module | None = None
) -> Optimizer:
    cfg = load_config(None, ["TRAIN.OPTIMIZER.NAME", name, *overrides])
    return build_optimizer(cfg, nn.Linear(3, 2) if model is None else model, base_lr=0.5, device=device)


def update(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def test_adamw_takes_its_numbers_from_the_configuration_and_is_fused() -> None:
    betas = ("TRAIN.OPTIMIZER.BETAS", (0.8, 0.9), "TRAIN.OPTIMIZER.EPS", 1e-5, "TRAIN.WEIGHT_DECAY", 0.3)

    optimizer = build("adamw", *betas)

    assert type(optimizer) is AdamW
    decay, no_decay = optimizer.param_groups
    assert (decay["lr"], decay["betas"], decay["eps"], decay["fused"]) == (0.5, (0.8, 0.9), 1e-5, True)
    assert (decay["weight_decay"], no_decay["weight_decay"]) == (0.3, 0.0)
    update(optimizer)


def test_adamw_is_not_fused_where_torch_does_not_offer_it() -> None:
    assert build("adamw", device=torch.device("meta")).param_groups[0]["fused"] is False


def test_sgd_has_nesterov_momentum() -> None:
    optimizer = build("sgd", "TRAIN.OPTIMIZER.MOMENTUM", 0.8)

    assert type(optimizer) is SGD
    assert optimizer.param_groups[0]["momentum"] == 0.8
    assert optimizer.param_groups[0]["nesterov"] is True
    update(optimizer)


def test_sgd_without_momentum_is_possible() -> None:
    update(build("SGD", "TRAIN.OPTIMIZER.MOMENTUM", 0.0))


@pytest.mark.parametrize("name", ["lamb", "lion", "adafactor", "lookahead_adamw"])
def test_other_names_are_timm_s(name: str) -> None:
    optimizer = build(name)

    assert type(optimizer).__module__.startswith("timm.optim")
    assert optimizer.param_groups[0]["names"] == ["weight"]
    update(optimizer)


@pytest.mark.parametrize(
    ("name", "fallback", "message"),
    [
        ("fused_adam", AdamW, "fused_adam: no NVIDIA apex on cuda; torch's AdamW is used instead"),
        ("fused_lamb", Lamb, "fused_lamb: no NVIDIA apex on cuda; timm's Lamb is used instead"),
    ],
)
def test_without_apex_its_optimizers_fall_back_and_say_so(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    fallback: type,
    message: str,
) -> None:
    monkeypatch.setitem(sys.modules, "apex", None)

    assert type(build(name, device=CUDA)) is fallback
    assert message in caplog.text


class FusedByApex(Optimizer):
    def __init__(self, groups: list, **settings: object) -> None:
        super().__init__(groups, settings)


@pytest.mark.parametrize(("name", "apex_name"), [("fused_adam", "FusedAdam"), ("fused_lamb", "FusedLAMB")])
def test_apex_is_used_where_nvidia_s_is_installed_on_cuda_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, apex_name: str
) -> None:
    module = types.ModuleType("apex.optimizers")
    setattr(module, apex_name, FusedByApex)
    monkeypatch.setitem(sys.modules, "apex", types.ModuleType("apex"))
    monkeypatch.setitem(sys.modules, "apex.optimizers", module)

    on_cuda, on_cpu = build(name, device=CUDA), build(name, device=CPU)

    assert type(on_cuda) is FusedByApex
    assert on_cuda.defaults == {"lr": 0.5, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05}
    assert type(on_cpu) is not FusedByApex


def test_an_unknown_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"no optimizer is called 'adamv'; did you mean 'adam.?'\?"):
        build("adamv")
    with pytest.raises(
        UserError, match=r"'foo_adam'.*Known are adamw, sgd, fused_adam, fused_lamb and those of"
    ):
        build("foo_adam")


def test_what_timm_cannot_make_here_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"timm cannot make 'sgdw' with these settings on this machine \(Nesterov"
    ):
        build("sgdw", "TRAIN.OPTIMIZER.MOMENTUM", 0.0)


@pytest.mark.parametrize("prefix", ["", "lookahead_"])
def test_an_optimizer_of_three_betas_is_refused(prefix: str) -> None:
    message = (
        f"'{prefix}adan' needs 3 betas, and TRAIN.OPTIMIZER.BETAS holds 2; choose another, such as adamw"
    )
    with pytest.raises(UserError, match=message):
        build(f"{prefix}adan")


@pytest.mark.parametrize("prefix", ["", "lookahead_"])
def test_an_optimizer_of_second_order_is_refused(prefix: str) -> None:
    message = f"'{prefix}adahessian' needs second derivatives, .*; choose another, such as adamw"
    with pytest.raises(UserError, match=message):
        build(f"{prefix}adahessian")


@pytest.mark.parametrize("name", ["bnbadam8bit", "fusednovograd", "lookahead_fusedlamb"])
def test_an_optimizer_for_cuda_is_refused_elsewhere(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' is from .*, which needs parameters on CUDA, not on cpu"):
        build(name)


@pytest.mark.filterwarnings("ignore:It is highly recommended")
def test_an_optimizer_whose_state_cannot_be_saved_is_refused() -> None:
    with pytest.raises(UserError, match="'kron' keeps rng_state, which no checkpoint holds; choose another"):
        build("kron")


_REFUSED = {"adahessian", "adan", "adanw", "cadan", "cadanw", "kron", "kronc", "kronw"}


@pytest.mark.parametrize("prefix", ["", "lookahead_"])
@pytest.mark.parametrize("name", sorted(set(list_optimizers(exclude_filters=["bnb*", "fused*"])) - _REFUSED))
def test_every_other_optimizer_of_timm_goes_on_from_its_saved_state(prefix: str, name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(4, 2))
    images = torch.randn(6, 5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    optimizer = build(prefix + name, model=model)
    train(model, optimizer, images[:3])
    resumed = copy.deepcopy(model)
    tensors, record = save_optimizer(optimizer, model)
    record = json.loads(json.dumps(record))
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    train(model, optimizer, images[3:])

    other = build(prefix + name, model=resumed)
    other.load_state_dict(fit_optimizer_state(other, resumed, tensors, record))
    train(resumed, other, images[3:])

    for parameter, expected in zip(resumed.parameters(), model.parameters(), strict=True):
        assert expected.isfinite().all()
        assert torch.equal(parameter, expected)


def train(model: nn.Module, optimizer: Optimizer, batches: torch.Tensor) -> None:
    for images in batches:
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()


def test_a_model_that_is_all_frozen_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"TRAIN.FREEZE is 'none': .*requires a gradient; leave something to train"
    ):
        build("adamw", model=nn.Linear(1, 1).requires_grad_(False))
