"""The two-layer perceptron of a transformer block."""

from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear, exact GELU, Linear, each followed by dropout; over the last dimension.

    Args:
        dim: channels in and out.
        hidden_dim: channels between.
        drop: probability of dropout.
    """

    def __init__(self, dim: int, hidden_dim: int, drop: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] to [..., dim]."""
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
