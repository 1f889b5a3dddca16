from collections.abc import Callable

import torch

from swin_train.models.layers.place import block_places
from swin_train.models.swin_mlp import SpatialMlp, SwinMlp


def make_mixer(resolution: tuple[int, int], *, is_shifted: bool) -> SpatialMlp:
    torch.manual_seed(0)
    [places] = block_places(4, [resolution], [2], [2], window_size=3, drop_path_rate=0.0)
    return SpatialMlp(places[is_shifted])


def test_each_head_mixes_the_tokens_of_a_window_by_its_own_weights() -> None:
    mixer = make_mixer((3, 3), is_shifted=False)
    x = torch.randn(2, 3, 3, 4)

    tokens = x.view(2, 9, 2, 2)  # tokens, heads, channels of a head
    weight, bias = mixer.weight.view(2, 9, 9), mixer.bias.view(2, 9)
    expected = torch.einsum("hnm,bmhd->bnhd", weight, tokens) + bias.T[None, :, :, None]
    torch.testing.assert_close(mixer(x), expected.reshape(2, 3, 3, 4))


def test_a_shift_moves_the_map_inside_zeros() -> None:
    shifted, plain = make_mixer((6, 9), is_shifted=True), make_mixer((9, 12), is_shifted=False)
    assert (shifted.window, shifted.shift) == (3, 1)
    x = torch.randn(2, 6, 9, 4)

    moved = torch.zeros(2, 9, 12, 4)
    moved[:, 2:8, 2:11] = x

    torch.testing.assert_close(shifted(x), plain(moved)[:, 2:8, 2:11])


def test_the_map_s_borders_never_meet() -> None:
    mixer = make_mixer((6, 6), is_shifted=True)
    x = torch.zeros(1, 6, 6, 4)
    still = mixer(x)

    x[:, 0, 0] = 1.0
    changed = (mixer(x) != still).any(dim=-1)[0]

    assert changed[0, 0]
    assert not changed[1:].any()
    assert not changed[:, 1:].any()


def test_every_weight_is_trained(make_model: Callable, make_images: Callable) -> None:
    model = make_model(SwinMlp)

    assert model.layers[0].blocks[1].spatial_mlp.weight.shape == (2 * 16, 16, 1)
    model(make_images()).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
