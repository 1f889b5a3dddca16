"""Measure what saving costs: memory beside the state, and time, for a state of Swin-L's size.

    PYTHONPATH=.:tests python scripts/checkpoint_memory.py [--json OUT] [--cfg NAME] [CASE ...]

The state is of the model and of AdamW's two moments, with random values. Each case runs in processes of its own, and
is saved as a training run saves. Memory is the peak of a process's resident memory while it saves, less that before;
pages that the system keeps of the written files are not in it. Ends with 1 where it is above ``LIMIT`` times the bytes
of the state that the process holds.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from ranks import clean_environment, free_port, launcher_environment

from swin_train.benchmark.machine import machine_facts
from swin_train.config import load_config
from swin_train.distributed import choose_spread, launch, parallelize
from swin_train.distributed.parallelize import own_part
from swin_train.engine.checkpoint import Checkpointer
from swin_train.engine.identity import run_facts
from swin_train.engine.plan import make_plan
from swin_train.engine.precision import choose_precision
from swin_train.engine.run_folder import RunFolder
from swin_train.engine.state import TrainState
from swin_train.models.build import build_model
from swin_train.optim.optimizers import build_optimizer

LIMIT = 1.3
CASES = {  # processes, DIST.STRATEGY, SAVE_ASYNC
    f"{processes}-{strategy}-{'async' if is_async else 'sync'}": (processes, strategy, is_async)
    for processes, strategy in ((1, "ddp"), (2, "ddp"), (2, "fsdp"))
    for is_async in (False, True)
}
MODEL = "swin_large_patch4_window7_224_22k"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--cfg", default=MODEL)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = {name: measure(options.cfg, name) for name in options.cases or CASES}
    for name, ranks in rows.items():
        for rank, row in enumerate(ranks):
            print(f"{name} rank {rank}: {row}", flush=True)
    if options.json:
        result = {"cfg": options.cfg, "limit": LIMIT, "cases": rows, "machine": machine_facts()}
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(any(row["extra_per_state"] > LIMIT for ranks in rows.values() for row in ranks))


def measure(cfg_name: str, case: str) -> list[dict[str, Any]]:
    """Run one case, and return what each of its processes measured."""
    world_size, port = CASES[case][0], free_port()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--one", cfg_name, case, folder],
                env=clean_environment() | launcher_environment(rank, world_size, port),
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(world_size)
        ]
        said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"{case}: a process failed")
    return [json.loads(text.splitlines()[-1]) for text in said]


def measure_one(cfg_name: str, case: str, output: str) -> dict[str, Any]:
    """Save a state in this process, which is one of a case's."""
    _, strategy, is_async = CASES[case]
    keys = {"OUTPUT": output, "SAVE_ASYNC": str(is_async), "DIST.STRATEGY": strategy, "DEVICE": "cpu"}
    cfg = load_config(cfg_name, [part for pair in keys.items() for part in pair])
    with launch(cfg) as runtime, RunFolder(cfg, runtime) as folder:
        state = make_state(cfg, runtime)
        facts = run_facts(state.plan, tuple(str(i) for i in range(state.plan.num_classes)), "none")
        held = [own_part(tensor) for tensor in state.tensors().values()]
        state_bytes = sum(tensor.numel() * tensor.element_size() for tensor in held)
        del held
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is from here
        before = memory("VmRSS")
        start = time.perf_counter()
        with Checkpointer(cfg, folder, runtime) as checkpoints:
            checkpoints.save(state, facts, {})
            waited = time.perf_counter() - start
        total = time.perf_counter() - start
        extra = memory("VmHWM") - before
    return {
        "state_mb": round(state_bytes / 1e6, 1),
        "extra_mb": round(extra / 1e6, 1),
        "extra_per_state": round(extra / state_bytes, 3),
        "training_waited_s": round(waited, 2),
        "total_s": round(total, 2),
    }


def make_state(cfg: Any, runtime: Any) -> TrainState:
    """Return a state after one update by random gradients."""
    plan = make_plan(
        cfg, world_size=runtime.world_size, num_images=1_281_167, num_classes=1000, recorded=None
    )
    torch.manual_seed(0)
    model = build_model(cfg, num_classes=plan.num_classes)
    wrapped = parallelize(model, choose_spread(cfg, runtime))
    optimizer = build_optimizer(cfg, model, base_lr=plan.base_lr, device=runtime.device)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    scale = choose_precision(cfg, runtime.device).loss_scale(runtime.device)
    return TrainState(model=wrapped, optimizer=optimizer, loss_scale=scale, plan=plan, step=1)


def memory(name: str) -> int:
    """Return a figure of this process in bytes: VmRSS, what it holds now, or VmHWM, the most it has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure_one(*sys.argv[2:])))
        sys.stdout.flush()
        os._exit(0)  # as run_and_leave does: threads of a gloo group may abort the end of the interpreter
    sys.exit(main())
