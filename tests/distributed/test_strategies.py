"""However a run is spread over processes: the same images, the same numbers, the same state."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import Ranks, check_statuses
from run_records import losses, records
from safetensors.torch import load_file
from state_digest import newest_state, read_state, state_digest

# 10 updates of the small model, with everything on that draws or averages.
RECIPE = {
    "TRAIN__EPOCHS": 2,
    "TRAIN__EMA_DECAY": 0.9,
    "DATA__BATCH_SIZE": 2,
    "SAVE_STEPS": 10,
    "SAVE_KEEP": 20,
}
SPREADS = {
    "ddp 2": (2, {}),
    "ddp 4": (4, {}),
    "fsdp 2": (2, {"DIST__STRATEGY": "fsdp"}),
    "fsdp 4": (4, {"DIST__STRATEGY": "fsdp"}),
    "hsdp 2x2": (4, {"DIST__STRATEGY": "hsdp", "DIST__SHARD_SIZE": 2}),
}
# Sums over processes in another order. Losses of 20 updates: the rounding of each goes into the next.
BOUNDS = {"fp32": 1e-6, "fp64": 1e-12}


@pytest.fixture
def run(several_opts: Callable, ranks: Ranks, tmp_path: Path) -> Callable[..., Path]:
    """Trains on some processes and returns the folder of the run."""

    def train(world_size: int, tag: str, prelude: str = "", **changes: Any) -> Path:
        results = ranks.run(world_size, several_opts(**RECIPE | changes, TAG=tag), prelude=prelude)
        check_statuses(results, *[0] * world_size)
        return tmp_path / "output/tiny" / tag

    return train


ONE_OF_EACH = ("ddp 4", "fsdp 2", "hsdp 2x2")


@pytest.mark.parametrize(
    ("precision", "family", "names"),
    [
        pytest.param("fp64", "swin", SPREADS, id="fp64"),  # the strictest: weights too
        pytest.param("fp32", "swin", ONE_OF_EACH, id="fp32"),
        pytest.param("fp32", "swin", SPREADS, id="fp32 all", marks=pytest.mark.long),
        pytest.param("fp32", "swinv2", ONE_OF_EACH, id="fp32 v2", marks=pytest.mark.long),
        pytest.param("fp64", "swinv2", ONE_OF_EACH, id="fp64 v2", marks=pytest.mark.long),
    ],
)
def test_a_spread_trains_as_one_process_does(
    run: Callable, shape_of: Callable, precision: str, family: str, names: Iterable[str]
) -> None:
    """Losses and evaluations of 20 updates; both kinds of weights, by a tolerance of their own."""
    shape = {name.replace(".", "__"): value for name, value in shape_of(family).items()}
    recipe = {"TRAIN__EPOCHS": 4, "SAVE_STEPS": 0, "SAVE_FREQ": 4, "AMP_DTYPE": precision} | shape
    one = run(1, "one", **recipe)
    assert len(losses(one)) == 20
    for name in names:
        world_size, changes = SPREADS[name]
        spread = run(world_size, name.replace(" ", "-"), **recipe, **changes)

        assert losses(spread) == pytest.approx(losses(one), rel=BOUNDS[precision]), name
        for found, expected in zip(records(spread, "val"), records(one, "val"), strict=True):
            for loss in ("loss", "ema_loss"):
                assert found[loss] == pytest.approx(expected[loss], rel=BOUNDS[precision]), name
        state, alone = (read_state(newest_state(folder)) for folder in (spread, one))
        assert state.keys() == alone.keys()
        if precision == "fp64":  # in float32 Adam turns the rounding of gradients near zero into whole steps
            for tensor, value in alone.items():
                torch.testing.assert_close(state[tensor], value, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(
    torch.__version__ < "2.14", reason="graphs of older torch sum some gradients in another order"
)
@pytest.mark.parametrize("name", ["ddp 2", "fsdp 2"])
def test_compiled_blocks_change_no_bit_of_a_run(run: Callable, name: str) -> None:
    world_size, changes = SPREADS[name]
    compiled = {"TRAIN__COMPILE": "blocks", **changes}
    backend = "from swin_train.distributed import compilation; compilation.BACKEND = 'aot_eager'"

    plain, other = (
        run(world_size, "plain", **changes),
        run(world_size, "compiled", prelude=backend, **compiled),
    )

    assert state_digest(newest_state(other)) == state_digest(newest_state(plain))
    assert any("compile_s" in record for record in records(other, "train"))


def test_the_op_of_window_attention_is_one_of_many_to_ddp_and_fsdp(run: Callable) -> None:
    """As on GPUs; on CPUs its steps are written out, and it has to be let in."""
    let_in = (
        "from swin_train.kernels.window_attention import choice; choice.triton_obstacle = lambda *_: None"
    )
    recipe = {"AMP_DTYPE": "fp64", "TRAIN__USE_CHECKPOINT": True}
    one = run(1, "one", **recipe)
    for name in ("ddp 2", "fsdp 2"):
        world_size, changes = SPREADS[name]
        with_op = {"MODEL__ATTENTION": "triton", **recipe, **changes}

        spread = run(world_size, name.replace(" ", "-"), prelude=let_in, **with_op)

        assert losses(spread) == pytest.approx(losses(one), rel=BOUNDS["fp64"]), name


def test_a_state_is_bit_identical_across_every_reshard(
    several_opts: Callable, ranks: Ranks, tmp_path: Path
) -> None:
    """Saved by one spread, resumed by each other one, and saved again before anything is changed.

    The first launch is stopped behind the last update of an epoch, the others as its evaluation begins.
    """

    def save(world_size: int, tag: str, prelude: str, **changes: Any) -> Path:
        opts = several_opts(**RECIPE | changes, TAG=tag)
        results = ranks.run(world_size, opts, prelude=f"import faults, signal\n{prelude}")
        check_statuses(results, *[143] * world_size)
        return newest_state(tmp_path / "output/tiny" / tag)

    source = save(1, "source", "faults.at(5, faults.kill(signal.SIGTERM))")
    expected = state_digest(source)
    names = ["fsdp 2", "ddp 2", "hsdp 2x2", "fsdp 4", "ddp 4", "fsdp 2", "hsdp 2x2", "ddp 2"]
    for number, name in enumerate(names):
        world_size, changes = SPREADS[name]
        again = "faults.before_call('swin_train.engine.train.evaluate_model', faults.kill(signal.SIGTERM))"
        source = save(world_size, str(number), again, MODEL__RESUME=str(source), **changes)

        assert source.name == "step-00000005"
        assert state_digest(source) == expected, name


@pytest.mark.parametrize("spread", ["ddp 2", "fsdp 2", "hsdp 2x2"])
def test_a_run_goes_on_bit_identical_after_a_stop_in_mid_epoch(
    run: Callable, several_opts: Callable, ranks: Ranks, tmp_path: Path, spread: str
) -> None:
    world_size, changes = SPREADS[spread]
    undisturbed = run(world_size, "undisturbed", **changes)
    prelude = "import faults, signal; faults.at(8, faults.kill(signal.SIGTERM), rank=1)"

    stopped = ranks.run(world_size, several_opts(**RECIPE | changes, TAG="stopped"), prelude=prelude)
    check_statuses(stopped, *[143] * world_size)
    resumed = run(world_size, "stopped", **changes)

    assert state_digest(newest_state(resumed)) == state_digest(newest_state(undisturbed))


def test_the_world_size_may_change_in_mid_epoch(opts: Callable, ranks: Ranks, folder: Callable) -> None:
    """Two processes, then four, then one: the losses are those of a run that was left alone, to rounding."""
    alone = {"AMP_DTYPE": "fp64", "DATA__BATCH_SIZE": 2}
    check_statuses(ranks.run(1, opts(TAG="alone", **alone)), 0)
    for world_size, step in ((2, 4), (4, 8)):
        prelude = f"import faults, signal; faults.at({step}, faults.kill(signal.SIGTERM), rank=1)"
        check_statuses(
            ranks.run(world_size, opts(TAG="changing", **alone), prelude=prelude), *[143] * world_size
        )
    check_statuses(ranks.run(1, opts(TAG="changing", **alone)), 0)

    found, expected = (losses(folder(tag)) for tag in ("changing", "alone"))
    assert len(found) == 15
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("spread", ["fsdp 2", "hsdp 2x2"])
def test_weights_for_use_elsewhere_are_whole(run: Callable, spread: str) -> None:
    world_size, changes = SPREADS[spread]
    folder = run(world_size, "sharded", **changes)

    state = read_state(newest_state(folder))
    last = load_file(folder / "weights/last.safetensors")
    assert last
    assert all(torch.equal(value, state[f"model.{name}"]) for name, value in last.items())


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_bf16_travels_where_it_is_asked_for(run: Callable, strategy: str) -> None:
    """The gradients are rounded on their way, so the numbers differ, and only by that rounding."""
    plain = run(2, "plain", DIST__STRATEGY=strategy)
    rounded = run(2, "rounded", DIST__STRATEGY=strategy, DIST__REDUCE_DTYPE="bf16")

    assert losses(rounded)[0] == losses(plain)[0]  # before the first update
    assert losses(rounded) != losses(plain)
    assert losses(rounded) == pytest.approx(losses(plain), rel=2e-2)  # bf16 has 8 bits


def test_blocks_can_be_gathered_in_bf16(run: Callable) -> None:
    plain = run(2, "plain", DIST__STRATEGY="fsdp", AMP_DTYPE="bf16")
    rounded = run(2, "rounded", DIST__STRATEGY="fsdp", AMP_DTYPE="bf16", DIST__GATHER_DTYPE="bf16")

    assert losses(rounded) == pytest.approx(losses(plain), rel=2e-2)  # bf16 has 8 bits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"DIST__STRATEGY": "hsdp", "DIST__SHARD_SIZE": 3},
            "DIST.SHARD_SIZE: 2 processes cannot be divided into groups of 3; choose a divisor of 2",
        ),
        (
            {"DIST__STRATEGY": "fsdp", "DIST__GATHER_DTYPE": "bf16"},
            "DIST.GATHER_DTYPE is bf16, but this run computes in torch.float32; set AMP_DTYPE bf16, or gather in fp32",
        ),
        (
            {"DIST__STRATEGY": "fsdp", "TRAIN__OPTIMIZER__NAME": "lamb"},
            "TRAIN.OPTIMIZER.NAME is the text 'lamb'; it is not known to work on parameters that are spread over "
            "processes: take adamw or sgd, or DIST.STRATEGY ddp",
        ),
    ],
)
def test_what_cannot_be_spread_is_said(
    several_opts: Callable, ranks: Ranks, changes: dict[str, Any], message: str
) -> None:
    results = ranks.run(2, several_opts(**changes))

    check_statuses(results, 2, 2)
    assert message in results[0].stderr
