"""Runs whose model is compiled."""

import json
from pathlib import Path

import pytest
import torch
from faults import dies_before
from state_digest import newest_state, state_digest

from swin_train import load_config, train
from swin_train.distributed import compilation

RECIPE = {"TRAIN__EMA_DECAY": 0.9, "SAVE_STEPS": 2}


@pytest.fixture(autouse=True)
def same_bits(monkeypatch):
    """Graphs run by PyTorch's own operations."""
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")


def final(folder: Path) -> str:
    return state_digest(newest_state(folder))


@pytest.mark.skipif(
    torch.__version__ < "2.14", reason="graphs of older torch sum some gradients in another order"
)
@pytest.mark.parametrize("how", ["blocks", "model"])
def test_a_compiled_run_ends_as_one_that_is_not(tiny_opts, tmp_path, how):
    plain = train(load_config(None, tiny_opts(**RECIPE, OUTPUT=str(tmp_path / "plain")))).folder

    cfg = load_config(None, tiny_opts(**RECIPE, TRAIN__COMPILE=how))
    with dies_before(4):
        train(cfg)
    compiled = train(cfg).folder

    assert final(compiled) == final(plain)
    lines = [json.loads(line) for line in (compiled / "metrics.jsonl").read_text().splitlines()]
    seconds = {line["step"]: line.get("compile_s") for line in lines if line["kind"] == "train"}
    assert seconds[1] > 0
    assert seconds[10] is None  # nothing new
    assert "compiling took" in (compiled / "log.txt").read_text()
