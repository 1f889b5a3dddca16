import pytest
import torch
from torch import Tensor

from swin_train.kernels.window_attention import attention_mask, on_windows, window_attention
from swin_train.kernels.window_attention.maps import partition


def attend_token_by_token(
    qkv: Tensor,
    bias: Tensor,
    *,
    num_heads: int,
    window: int,
    shift: int,
    padding: str = "reference",
    pad_token: Tensor | None = None,
    cosine: bool = False,
    scale: float | Tensor = 0.3,
) -> Tensor:
    """The contract, written once more with a loop over windows and heads and explicit coordinates."""
    B, H, W, C3 = qkv.shape
    Hp, Wp = (-(-side // window) * window for side in (H, W))
    head_dim = C3 // 3 // num_heads
    scales = torch.as_tensor(scale).expand(num_heads, 1, 1)
    out = torch.zeros(B, H, W, C3 // 3, dtype=qkv.dtype)
    outside = torch.zeros(C3, dtype=qkv.dtype) if pad_token is None else pad_token

    def region(at: int, side: int) -> int:
        return (at >= side - window) + (at >= side - shift)

    def source(at: int, side: int, padded: int) -> int:
        """Where a place of the rolled map comes from; from ``side`` on it is padding."""
        if padding == "timm":
            return (at + shift) % side if at < side else at
        return (at + shift) % padded

    for top in range(0, Hp, window):
        for left in range(0, Wp, window):
            rolled = [(top + i, left + j) for i in range(window) for j in range(window)]
            at = [(source(y, H, Hp), source(x, W, Wp)) for y, x in rolled]
            is_real = [y < H and x < W for y, x in at]
            rows = [
                qkv[:, y, x] if real else outside.expand(B, -1)
                for (y, x), real in zip(at, is_real, strict=True)
            ]
            tokens = torch.stack(rows, dim=1).view(B, -1, 3, num_heads, head_dim)
            regions = [(region(y, Hp), region(x, Wp)) if shift else (0, 0) for y, x in rolled]
            apart = torch.tensor([[-100.0 * (a != b) for b in regions] for a in regions])
            if padding == "masked":
                apart[:, [not real for real in is_real]] = float("-inf")
            for head in range(num_heads):
                q, k, v = tokens[:, :, :, head].unbind(2)
                if cosine:
                    q, k = (x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12) for x in (q, k))
                weights = (q @ k.mT * scales[head] + bias[head] + apart).softmax(-1)
                for n, (y, x) in enumerate(at):
                    if is_real[n]:
                        out[:, y, x, head * head_dim : (head + 1) * head_dim] = (weights @ v)[:, n]
    return out


def make_inputs(
    height: int = 6, width: int = 9, num_heads: int = 2, window: int = 3
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, height, width, 3 * 4 * num_heads, generator=generator)
    return qkv, torch.randn(num_heads, window**2, window**2, generator=generator)


@pytest.mark.parametrize("size", [(6, 9), (7, 10)])  # in whole windows; padded
@pytest.mark.parametrize("padding", ["reference", "timm", "masked"])
@pytest.mark.parametrize("shift", [0, 1, 2])
@pytest.mark.parametrize("use_sdpa", [False, True])
def test_every_implementation_keeps_the_contract(
    use_sdpa: bool, shift: int, padding: str, size: tuple[int, int]
) -> None:
    qkv, bias = make_inputs(*size)
    token = torch.randn(24, generator=torch.Generator().manual_seed(1))
    options = {"num_heads": 2, "window": 3, "shift": shift, "padding": padding, "pad_token": token}

    mask = attention_mask(*size, 3, shift, padding)
    out = window_attention(qkv, bias, scale=0.3, mask=mask, use_sdpa=use_sdpa, **options)

    assert out.shape == (2, *size, 8)
    torch.testing.assert_close(out, attend_token_by_token(qkv, bias, **options))


def test_masked_padding_is_never_attended_to() -> None:
    qkv, bias = make_inputs(7, 10)
    mask = attention_mask(7, 10, 3, 1, "masked")

    def out(token: Tensor) -> Tensor:
        return window_attention(
            qkv,
            bias,
            num_heads=2,
            window=3,
            shift=1,
            scale=0.3,
            padding="masked",
            pad_token=token,
            mask=mask,
        )

    torch.testing.assert_close(out(torch.full((24,), 50.0)), out(torch.zeros(24)), rtol=0, atol=0)


def test_padded_tokens_pass_gradients_to_their_token() -> None:
    qkv, bias = make_inputs(7, 9)
    token = torch.randn(24, dtype=torch.float64, requires_grad=True)

    def out(token: Tensor) -> Tensor:
        return window_attention(
            qkv.double(), bias.double(), num_heads=2, window=3, shift=0, scale=0.3, pad_token=token
        )

    assert torch.autograd.gradcheck(out, token)
    gradient = torch.autograd.grad(out(token).square().sum(), token)[0]
    assert not gradient[:8].any()  # the queries of padded tokens are cut off
    assert gradient[8:].all()


@pytest.mark.parametrize("use_sdpa", [False, True])
def test_cosine_attention_compares_directions_by_a_factor_for_each_head(
    use_sdpa: bool,
) -> None:
    qkv, bias = make_inputs(7, 9)
    options = {"num_heads": 2, "window": 3, "shift": 1, "cosine": True}
    scale = torch.tensor([2.0, 30.0]).view(2, 1, 1)

    mask = attention_mask(7, 9, 3, 1)
    out = window_attention(qkv, bias, scale=scale, mask=mask, use_sdpa=use_sdpa, **options)
    longer = torch.cat([qkv[..., :16] * 5, qkv[..., 16:]], dim=-1)  # q and k

    torch.testing.assert_close(out, attend_token_by_token(qkv, bias, scale=scale, **options))
    same = window_attention(longer, bias, scale=scale, mask=mask, use_sdpa=use_sdpa, **options)
    torch.testing.assert_close(same, out)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_padded_key_of_zeros_has_a_direction_in_half_precision_too(dtype: torch.dtype) -> None:
    qkv, bias = make_inputs(7, 9)

    out = window_attention(
        qkv.to(dtype), bias, num_heads=2, window=3, shift=0, scale=torch.ones(2, 1, 1), cosine=True
    )

    assert out.dtype == dtype
    assert out.isfinite().all()


def test_sdpa_and_reference_have_the_same_gradients() -> None:
    qkv, bias = make_inputs()
    mask = attention_mask(6, 9, 3, 1)

    def gradients(use_sdpa: bool) -> tuple[Tensor, ...]:
        x, b = qkv.clone().requires_grad_(), bias.clone().requires_grad_()
        out = window_attention(x, b, num_heads=2, window=3, shift=1, scale=0.3, mask=mask, use_sdpa=use_sdpa)
        return torch.autograd.grad(out.square().sum(), (x, b))

    torch.testing.assert_close(gradients(True), gradients(False))


def test_splitting_large_calls_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    qkv, bias = make_inputs()
    q, k, v = partition(qkv, num_heads=2, window=3)
    whole = on_windows.sdpa_attention(q, k, v, bias, scale=0.3, mask=None, dropout=0.0)

    monkeypatch.setattr(on_windows, "_MAX_PER_CALL", 5)
    split = on_windows.sdpa_attention(q, k, v, bias, scale=0.3, mask=None, dropout=0.0)

    torch.testing.assert_close(split, whole, rtol=0, atol=0)


def test_half_precision_keeps_its_dtype_and_softmax_in_float32() -> None:
    qkv, bias = make_inputs()
    exact = window_attention(qkv, bias, num_heads=2, window=3, shift=0, scale=0.3)

    out = window_attention(qkv.bfloat16(), bias, num_heads=2, window=3, shift=0, scale=0.3)

    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.05)  # 8 bits of mantissa


def test_what_a_mask_leaves_is_no_number_that_processors_are_slow_with() -> None:
    """exp(-100), which is below the smallest normal number of float32, in neither pass."""
    logits = torch.tensor([[0.0, 1.0, -100.0]], requires_grad=True)
    assert 0 < logits.detach().softmax(-1)[0, 2] < torch.finfo(torch.float32).tiny

    weights = on_windows._flushed_softmax(logits)
    (gradient,) = torch.autograd.grad((weights * torch.tensor([3.0, 2.0, 1.0])).sum(), logits)
    with torch.no_grad():
        without_gradients = on_windows._flushed_softmax(logits)

    assert torch.equal(weights, without_gradients)
    assert weights[0, 2] == gradient[0, 2] == 0
    (expected,) = torch.autograd.grad((logits.softmax(-1) * torch.tensor([3.0, 2.0, 1.0])).sum(), logits)
    torch.testing.assert_close(weights, logits.softmax(-1), rtol=0, atol=1e-37)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-37)


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
        ({"window": 4}, r"bias has shape \(2, 9, 9\), expected \(2, 16, 16\)"),
        ({"num_heads": 5}, "24 channels do not hold q, k, v of 5 heads"),
        ({"shift": 3}, r"shift 3 is outside 0\.\.2"),
        ({"num_heads": 4}, r"bias has shape \(2, 9, 9\), expected \(4, 9, 9\)"),
        ({"shift": 1}, r"mask has shape None, expected \(6, 9, 9\) for shift 1"),
        (
            {"window": 4, "bias": torch.zeros(2, 16, 16), "padding": "masked"},
            r"mask has shape None, expected \(6, 16, 16\) for shift 0 and a map of 6 x 9",
        ),
        ({"mask": torch.zeros(6, 9, 9)}, r"mask has shape \(6, 9, 9\), expected None for shift 0"),
    ],
)
def test_shapes_that_break_the_contract_are_refused(change: dict, message: str) -> None:
    qkv, bias = make_inputs()

    with pytest.raises(ValueError, match=message):
        window_attention(
            qkv, **{"bias": bias, "num_heads": 2, "window": 3, "shift": 0, "scale": 0.3, **change}
        )
