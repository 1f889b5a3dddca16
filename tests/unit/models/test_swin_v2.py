import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.utils import prune

from swin_train.kernels.relative_position import gather_bias
from swin_train.models.swin_v2 import CosineWindowAttention, SwinTransformerV2


@pytest.fixture
def make_model(make_model: Callable) -> Callable[..., SwinTransformerV2]:
    return partial(make_model, SwinTransformerV2)


def first_attention(model: SwinTransformerV2) -> CosineWindowAttention:
    attention = model.layers[0].blocks[0].mixer
    assert isinstance(attention, CosineWindowAttention)
    return attention


def test_branches_start_as_nothing_and_weights_as_the_paper_s(make_model: Callable) -> None:
    model = make_model()

    for stage in model.layers:
        for block in stage.blocks:
            assert not any(p.any() for norm in (block.norm1, block.norm2) for p in norm.parameters())
    attention = first_attention(model)
    assert attention.scale().flatten().tolist() == pytest.approx([10.0, 10.0])
    assert attention.cpb_mlp[0].weight.std().item() == pytest.approx(0.02, rel=0.1)  # 1,024 values


@pytest.mark.parametrize("pretrained", [(), (1, 1)])
def test_a_window_of_one_token_gives_numbers(
    pretrained: tuple[int, ...], make_model: Callable, make_images: Callable
) -> None:
    model = make_model(img_size=4, pretrained_window_sizes=pretrained)  # maps of 2 x 2 and 1 x 1
    assert [stage.window for stage in model.layers] == [2, 1]

    model(make_images(4, 4)).sum().backward()

    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_the_scale_of_the_logits_is_bounded_by_a_hundred(make_model: Callable) -> None:
    attention = first_attention(make_model())
    with torch.no_grad():
        attention.logit_scale.fill_(50.0)

    assert attention.scale().flatten().tolist() == pytest.approx([100.0, 100.0])


def test_keys_have_no_bias(make_model: Callable) -> None:
    attention = first_attention(make_model())
    torch.nn.init.ones_(attention.q_bias)
    torch.nn.init.ones_(attention.v_bias)

    qkv, pad_token = attention.project(torch.zeros(1, 1, 1, 8))

    assert qkv.flatten().tolist() == pad_token.tolist() == [1.0] * 8 + [0.0] * 8 + [1.0] * 8


def test_without_bias_there_are_no_bias_parameters(make_model: Callable, make_images: Callable) -> None:
    model = make_model(qkv_bias=False)

    assert not any(name.endswith(("q_bias", "v_bias", "qkv.bias")) for name in model.state_dict())
    model(make_images()).sum().backward()


@pytest.mark.parametrize("windows", [(6,), (12, 12, 6)])
def test_windows_of_the_pre_training_are_one_for_each_stage(
    windows: tuple[int, ...], make_model: Callable
) -> None:
    with pytest.raises(
        ValueError, match=rf"pretrained_window_sizes \[{windows[0]}.*one window for each of the 2"
    ):
        make_model(pretrained_window_sizes=windows)


def test_biases_are_computed_in_full_precision_under_autocast(make_model: Callable) -> None:
    attention = first_attention(make_model())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        table = attention.bias_table()

    torch.testing.assert_close(table, attention.bias_table(), rtol=0, atol=0)


class TestBiasesInEvaluation:
    """The biases are computed once, and again exactly when they would come out otherwise."""

    @pytest.fixture
    def model(self, make_model: Callable) -> SwinTransformerV2:
        return make_model().eval()

    @pytest.fixture
    def count(self, model: SwinTransformerV2) -> list[int]:
        """Grows with each computation in the first block."""
        computed: list[int] = []
        first_attention(model).cpb_mlp.register_forward_hook(lambda *_: computed.append(1))
        return computed

    def bias(self, model: SwinTransformerV2) -> Tensor:
        attention = first_attention(model)
        return attention.bias(attention.relative_position_index)

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_are_computed_once(
        self, model: SwinTransformerV2, count: list[int], mode: type, make_images: Callable
    ) -> None:
        with mode():
            for _ in range(3):
                model(make_images())

        assert len(count) == 1

    def test_are_computed_each_time_with_gradients(
        self, model: SwinTransformerV2, count: list[int], make_images: Callable
    ) -> None:
        for _ in range(2):
            model(make_images()).sum().backward()

        assert len(count) == 2
        assert first_attention(model).cpb_mlp[0].weight.grad is not None

    def is_up_to_date(self, model: SwinTransformerV2) -> bool:
        attention = first_attention(model)
        now = gather_bias(attention.bias_table(), attention.relative_position_index)
        return torch.equal(self.bias(model), now)

    def test_follow_a_fused_optimizer_s_step_in_the_same_mode(self, model: SwinTransformerV2) -> None:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, fused=True)
        first_attention(model).bias_table().sum().backward()
        with torch.no_grad():
            before = self.bias(model)
        optimizer.step()

        with torch.no_grad():
            assert self.is_up_to_date(model)
            assert not torch.equal(self.bias(model), before)

    @pytest.mark.parametrize("assign", [False, True])
    def test_follow_loaded_weights(self, model: SwinTransformerV2, assign: bool) -> None:
        with torch.no_grad():
            before = self.bias(model)
            changed = {name: value + 0.1 for name, value in model.state_dict().items()}
            model.load_state_dict(changed, assign=assign)

            assert self.is_up_to_date(model)
            assert not torch.equal(self.bias(model), before)

    def test_follow_changes_made_in_inference_mode_and_of_data(self, model: SwinTransformerV2) -> None:
        last = first_attention(model).cpb_mlp[2].weight

        with torch.inference_mode():
            assert self.is_up_to_date(model)
            last.add_(1.0)
            assert self.is_up_to_date(model)
            last.data = last.data * 2
            assert self.is_up_to_date(model)

    def test_follow_another_table_of_coordinates(self, model: SwinTransformerV2) -> None:
        attention = first_attention(model)

        with torch.no_grad():
            assert self.is_up_to_date(model)
            attention.relative_coords_table.mul_(2)
            assert self.is_up_to_date(model)
            attention.relative_coords_table = attention.relative_coords_table * 2
            assert self.is_up_to_date(model)

    def test_follow_a_pruned_network(self, model: SwinTransformerV2) -> None:
        with torch.no_grad():
            assert self.is_up_to_date(model)
            prune.l1_unstructured(first_attention(model).cpb_mlp[2], "weight", amount=0.5)
            assert self.is_up_to_date(model)

    @pytest.mark.parametrize("is_training", [False, True])
    def test_are_forgotten_when_the_mode_is_set(self, model: SwinTransformerV2, is_training: bool) -> None:
        with torch.no_grad():
            self.bias(model)
            first_attention(model).cpb_mlp[2].weight.data.add_(1.0)  # a change that is not counted
            model.train(is_training)

            assert self.is_up_to_date(model)

    def test_follow_another_type_of_number(self, model: SwinTransformerV2) -> None:
        with torch.no_grad():
            self.bias(model)
            assert self.bias(model.double()).dtype == torch.float64

    def test_are_a_copy_s_own(self, model: SwinTransformerV2) -> None:
        with torch.no_grad():
            before = self.bias(model)
            other = copy.deepcopy(model)
            first_attention(other).cpb_mlp[2].weight.add_(1.0)

            assert not torch.equal(self.bias(other), before)
            torch.testing.assert_close(self.bias(model), before, rtol=0, atol=0)

    def test_made_in_inference_mode_are_not_used_outside_of_it(self, model: SwinTransformerV2) -> None:
        with torch.inference_mode():
            self.bias(model)
        with torch.no_grad():
            assert not self.bias(model).is_inference()

    def test_fit_the_window_of_another_map(self, model: SwinTransformerV2) -> None:
        with torch.no_grad():
            for side in (16, 4, 16):
                assert model(torch.zeros(1, 3, side, side)).isfinite().all()

    def test_of_a_model_made_in_inference_mode_are_never_kept(self, make_model: Callable) -> None:
        with torch.inference_mode():
            model = make_model().eval()
            before = self.bias(model)
            first_attention(model).cpb_mlp[2].weight.add_(1.0)  # a change that is not counted

            assert not torch.equal(self.bias(model), before)
