import pytest
import torch
from torch import Tensor

from swin_train.kernels import window_attention as kernels
from swin_train.kernels.window_attention import attention_mask, window_attention


def attend_token_by_token(qkv: Tensor, bias: Tensor, *, num_heads: int, window: int, shift: int) -> Tensor:
    """The contract, written once more with a loop over windows and heads and explicit coordinates."""
    B, H, W, C3 = qkv.shape
    head_dim = C3 // 3 // num_heads
    out = torch.zeros(B, H, W, C3 // 3, dtype=qkv.dtype)

    def region(at: int, side: int) -> int:
        return (at >= side - window) + (at >= side - shift)

    for top in range(0, H, window):
        for left in range(0, W, window):
            rolled = [(top + i, left + j) for i in range(window) for j in range(window)]
            at = [((y + shift) % H, (x + shift) % W) for y, x in rolled]
            tokens = torch.stack([qkv[:, y, x] for y, x in at], dim=1).view(B, -1, 3, num_heads, head_dim)
            regions = [(region(y, H), region(x, W)) if shift else (0, 0) for y, x in rolled]
            apart = torch.tensor([[-100.0 * (a != b) for b in regions] for a in regions])
            for head in range(num_heads):
                q, k, v = tokens[:, :, :, head].unbind(2)
                weights = (q @ k.mT * 0.3 + bias[head] + apart).softmax(-1)
                for n, (y, x) in enumerate(at):
                    out[:, y, x, head * head_dim : (head + 1) * head_dim] = (weights @ v)[:, n]
    return out


def make_inputs(
    height: int = 6, width: int = 9, num_heads: int = 2, window: int = 3
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, height, width, 3 * 4 * num_heads, generator=generator)
    return qkv, torch.randn(num_heads, window**2, window**2, generator=generator)


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("attend", [kernels.reference_attention, kernels.fused_attention])
def test_every_implementation_keeps_the_contract(
    monkeypatch: pytest.MonkeyPatch, attend: object, shift: int
) -> None:
    monkeypatch.setattr(kernels, "reference_attention", attend)
    qkv, bias = make_inputs()
    mask = attention_mask(6, 9, 3, shift) if shift else None

    out = window_attention(qkv, bias, num_heads=2, window=3, shift=shift, scale=0.3, mask=mask)

    expected = attend_token_by_token(qkv, bias, num_heads=2, window=3, shift=shift)
    torch.testing.assert_close(out, expected)


def test_fused_and_reference_have_the_same_gradients() -> None:
    qkv, bias = make_inputs()
    mask = attention_mask(6, 9, 3, 1)

    def gradients(attend: object) -> tuple[Tensor, ...]:
        x, b = qkv.clone().requires_grad_(), bias.clone().requires_grad_()
        q, k, v = kernels._partition(x, num_heads=2, window=3, shift=1)
        out = attend(q, k, v, b, scale=0.3, mask=mask, dropout=0.0)
        return torch.autograd.grad(out.square().sum(), (x, b))

    torch.testing.assert_close(gradients(kernels.fused_attention), gradients(kernels.reference_attention))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("shift", [0, 1])
def test_the_gpu_s_choice_agrees_with_the_cpu_s(shift: int) -> None:
    mask = attention_mask(6, 9, 3, shift) if shift else None

    def outputs(device: str) -> list[Tensor]:
        qkv, bias = (t.to(device).requires_grad_() for t in make_inputs())
        on_device = None if mask is None else mask.to(device)
        out = window_attention(qkv, bias, num_heads=2, window=3, shift=shift, scale=0.3, mask=on_device)
        gradients = torch.autograd.grad(out.square().sum(), (qkv, bias))
        return [t.detach().cpu() for t in (out, *gradients)]

    # TF32 where the kernel uses it: 10 bits of mantissa
    torch.testing.assert_close(outputs("cuda"), outputs("cpu"), rtol=5e-3, atol=5e-3)


def test_splitting_large_calls_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    qkv, bias = make_inputs()
    q, k, v = kernels._partition(qkv, num_heads=2, window=3, shift=0)
    whole = kernels.fused_attention(q, k, v, bias, scale=0.3, mask=None, dropout=0.0)

    monkeypatch.setattr(kernels, "_MAX_PER_CALL", 5)
    split = kernels.fused_attention(q, k, v, bias, scale=0.3, mask=None, dropout=0.0)

    torch.testing.assert_close(split, whole, rtol=0, atol=0)


def test_half_precision_keeps_its_dtype_and_softmax_in_float32() -> None:
    qkv, bias = make_inputs()
    exact = window_attention(qkv, bias, num_heads=2, window=3, shift=0, scale=0.3)

    out = window_attention(qkv.bfloat16(), bias, num_heads=2, window=3, shift=0, scale=0.3)

    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.05)  # 8 bits of mantissa


def test_dropout_drops_attention_weights() -> None:
    qkv, bias = make_inputs()

    out = window_attention(qkv, bias, num_heads=2, window=3, shift=0, scale=0.3, dropout=1.0)

    assert not out.any()


def test_mask_of_swin_tiny_s_first_stage_parts_the_last_windows_only() -> None:
    mask = attention_mask(56, 56, 7, 3)

    assert mask.shape == (64, 49, 49)
    assert not mask[0].any()
    assert set(mask.unique().tolist()) == {-100.0, 0.0}
    assert (mask[-1] == 0).sum() == 16**2 + 2 * 12**2 + 9**2  # four regions: 4x4, 4x3, 3x4, 3x3 tokens


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 4}, "a 6 x 9 map is no multiple of the window 4"),
        ({"num_heads": 5}, "24 channels do not hold q, k, v of 5 heads"),
        ({"shift": 3}, r"shift 3 is outside 0\.\.2"),
        ({"num_heads": 4}, r"bias has shape \(2, 9, 9\), expected \(4, 9, 9\)"),
        ({"shift": 1}, r"mask has shape None, expected \(6, 9, 9\) for shift 1"),
        ({"mask": torch.zeros(6, 9, 9)}, r"mask has shape \(6, 9, 9\), expected None for shift 0"),
    ],
)
def test_shapes_that_break_the_contract_are_refused(change: dict, message: str) -> None:
    qkv, bias = make_inputs()

    with pytest.raises(ValueError, match=message):
        window_attention(qkv, bias, **{"num_heads": 2, "window": 3, "shift": 0, "scale": 0.3, **change})
