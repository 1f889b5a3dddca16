import copy
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from swin_train.models.layers.cached_tensor import CachedTensor


class Doubled(nn.Module):
    """x + 2 * weight, with the product kept; counts how often that was computed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.cache = CachedTensor()
        self.num_computed = 0

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cache.get([self.weight], None, self.compute)

    def compute(self) -> Tensor:
        self.num_computed += 1
        return 2 * self.weight


@pytest.fixture
def module() -> Doubled:
    return Doubled()


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


X = torch.zeros(2)


def test_it_is_computed_again_for_another_key_or_source() -> None:
    cache, source = CachedTensor(), torch.ones(2)

    assert cache.get([source], 1, lambda: source * 2).tolist() == [2, 2]
    assert cache.get([source], 1, lambda: source * 3).tolist() == [2, 2]  # kept
    assert cache.get([source], 2, lambda: source * 4).tolist() == [4, 4]
    assert cache.get([source.clone()], 2, lambda: source * 5).tolist() == [5, 5]


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("fused", [False, True])
def test_it_follows_an_optimizer(module: Doubled, make: type[torch.optim.Optimizer], fused: bool) -> None:
    optimizer = make(module.parameters(), lr=0.5, fused=fused)
    with torch.enable_grad():
        module(X).sum().backward()
    before = module(X)  # between the gradients and the step
    optimizer.step()

    torch.testing.assert_close(module(X), 2 * module.weight, rtol=0, atol=0)
    assert not torch.equal(module(X), before)


def test_it_follows_other_data_which_never_lies_where_the_last_lay() -> None:
    array = np.ones(2)
    memory = weakref.ref(array)
    cache, source = CachedTensor(), torch.from_numpy(array)
    del array
    cache.get([source], None, source.clone)

    source.data = torch.zeros(2)

    assert memory() is not None  # still taken: later data at its address would be mistaken for the first
    assert cache.get([source], None, source.clone).tolist() == [0, 0]
    assert memory() is None


def test_it_follows_another_tensor_in_the_same_memory() -> None:
    cache, source = CachedTensor(), torch.ones(2)
    source.add_(1)  # its first counted change
    cache.get([source], None, source.clone)
    other = source.data
    other.add_(1)  # its first, too

    assert cache.get([other], None, other.clone).tolist() == [3, 3]


@pytest.mark.parametrize(
    "transform",
    [
        lambda function, weight: torch.func.vmap(function)(weight[None])[0],
        lambda function, weight: torch.func.jvp(function, (weight,), (weight,))[0],
        lambda function, weight: torch.func.functionalize(function)(weight),
    ],
    ids=["vmap", "jvp", "functionalize"],
)
def test_nothing_is_kept_of_a_transformed_source(
    module: Doubled, transform: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
) -> None:
    def twice(weight: Tensor) -> Tensor:
        torch.func.functional_call(module, {"weight": weight}, X)
        return torch.func.functional_call(module, {"weight": weight}, X)

    assert transform(twice, torch.full((2,), 3.0)).tolist() == [6, 6]
    assert module.num_computed == 2


def test_a_fake_result_is_not_kept(module: Doubled) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True), warnings.catch_warnings():
        warnings.simplefilter("error")  # as of asking for a fake tensor's address
        module(X)

    assert type(module(X)) is Tensor


def export(module: nn.Module) -> nn.Module:
    return torch.export.export(module, (X,)).module()


def trace(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        return torch.jit.trace(module, X)


def compile_eagerly(module: nn.Module) -> nn.Module:
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    compiled(X)
    return compiled


@pytest.mark.parametrize("record", [export, trace, compile_eagerly])
def test_a_recorded_module_computes(module: Doubled, record: Callable[[nn.Module], nn.Module]) -> None:
    module(X)
    recorded = record(module)
    weight = next(recorded.parameters())
    weight.data.add_(1.0)

    assert recorded(X).tolist() == [4, 4]


def test_a_captured_cuda_graph_computes(module: Doubled, monkeypatch: pytest.MonkeyPatch) -> None:
    module(X)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)

    module(X)
    module(X)

    assert module.num_computed == 3


def test_threads_get_their_own_results() -> None:
    cache, source = CachedTensor(), torch.ones(2)

    def compute_other() -> None:
        with torch.no_grad():
            cache.get([source], "other", lambda: source * 3)

    class Interrupted:
        """A key that is compared while another thread asks for another result."""

        def __hash__(self) -> int:
            return 0

        def __eq__(self, other: object) -> bool:
            if isinstance(other, Interrupted):
                thread = threading.Thread(target=compute_other)
                thread.start()
                thread.join()
            return isinstance(other, Interrupted)

    for _ in range(2):
        assert cache.get([source], Interrupted(), lambda: source * 2).tolist() == [2, 2]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_and_pickles_hold_nothing(module: Doubled, copied: Callable, mode: type) -> None:
    with mode():
        module(X)

    other = copied(module)

    assert vars(other.cache) == vars(CachedTensor())
    assert other(X).tolist() == [2, 2]
