"""A stage that computes its blocks again gives the same gradients, and it alone does so."""

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor

from swin_train.models.hierarchical import HierarchicalModel

SUBSETS = [stages for count in range(4) for stages in combinations(range(3), count)]
THREE_STAGES = {"depths": (2, 1, 2), "num_heads": (2, 4, 4)}


@pytest.fixture
def make_model(make_model: Callable) -> Callable[..., HierarchicalModel]:
    """Makes a model of three stages with dropout everywhere and weights that hide nothing."""

    def make(family: type[HierarchicalModel], stages: tuple[int, ...]) -> HierarchicalModel:
        rates = {"drop_rate": 0.3, "attn_drop_rate": 0.3, "drop_path_rate": 0.5}
        if family.__name__ == "SwinMlp":
            del rates["attn_drop_rate"]
        model = make_model(family, **THREE_STAGES, **rates, checkpoint_stages=stages)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return model

    return make


@pytest.mark.parametrize("stages", SUBSETS[1:], ids=str)
def test_gradients_are_the_same_bits_whichever_stages_are_computed_again(
    family: type[HierarchicalModel], stages: tuple[int, ...], make_model: Callable, make_images: Callable
) -> None:
    def gradients(stages: tuple[int, ...]) -> dict[str, Tensor]:
        model = make_model(family, stages)
        torch.manual_seed(7)  # of dropout
        model(make_images(count=8), torch.arange(8)).square().sum().backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    torch.testing.assert_close(gradients(stages), gradients(()), rtol=0, atol=0)


@pytest.mark.parametrize("stages", SUBSETS, ids=str)
def test_the_blocks_of_these_stages_are_computed_again_and_no_others(
    family: type[HierarchicalModel], stages: tuple[int, ...], make_model: Callable, make_images: Callable
) -> None:
    model, calls = make_model(family, stages), []
    for number, stage in enumerate(model.layers):
        for block in stage.blocks:
            block.register_forward_pre_hook(lambda *_, number=number: calls.append(number))
    loss = model(make_images()).sum()
    assert sorted(calls) == [0, 0, 1, 2, 2]
    calls.clear()

    loss.backward()

    depths = THREE_STAGES["depths"]
    assert sorted(calls) == [number for number in stages for _ in range(depths[number])]


def test_a_stage_that_is_none_is_refused(family: type[HierarchicalModel], make_model: Callable) -> None:
    with pytest.raises(ValueError, match=r"checkpoint_stages \[0, 3\] must be numbers of stages, 0 to 2"):
        make_model(family, (0, 3))
