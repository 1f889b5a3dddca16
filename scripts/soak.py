"""Kill a tiny run again and again, at any moment, and see that it ends as one that nothing happened to.

The ranks are forked (tests/ranks.py), so that a launch takes a second. A kill takes one rank, or all; half of the kills
wait for a moment at which a checkpoint is being written, beside the training as by default. After each, everything
that was committed must be whole, and no committed step may be lost.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from ranks import Job, Ranks
from state_digest import newest_state, state_digest

from swin_train.benchmark.machine import machine_facts
from swin_train.weights.manifest import verify_folder

FOLDER = Path(__file__).resolve().parents[1] / "output/soak"
UPDATES_PER_KILL = 6  # a launch that has committed so many is killed: some are left for every kill
UPDATES_PER_EPOCH = 24
SHORTEST_LIFE_S, LONGEST_LIFE_S = 0.05, 4.0  # a launch takes 1.5 s to its first update
LAST_MOMENT_OF_A_SAVE_S = 0.2
SHAPE = {"PATCH_SIZE": 2, "EMBED_DIM": 8, "DEPTHS": [2, 1], "NUM_HEADS": [1, 2], "WINDOW_SIZE": 4}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--strategy", choices=("ddp", "fsdp", "hsdp"), default="ddp")
    options = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    make_images(FOLDER / "images")
    epochs = -(-options.kills * UPDATES_PER_KILL // UPDATES_PER_EPOCH) + 1
    start = time.monotonic()
    ranks = Ranks(FOLDER / "ranks")
    try:
        soak = Soak(ranks, options.ranks, options.strategy, epochs, random.Random(options.seed))
        while soak.kills < options.kills:
            soak.kill_once()
        killed = soak.finish("killed")
        undisturbed = soak.finish("undisturbed")
    finally:
        ranks.close()
    result = {
        "kills": soak.kills,
        "killed": dict(soak.who),
        "where": dict(soak.where),
        "launches": soak.launches,
        "updates": epochs * UPDATES_PER_EPOCH,
        "ranks": options.ranks,
        "strategy": options.strategy,
        "seed": options.seed,
        "digest": killed,
        "digest_undisturbed": undisturbed,
        "is_equal": killed == undisturbed,
        "seconds": round(time.monotonic() - start, 1),
        "machine": machine_facts(),
    }
    (FOLDER / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0 if killed == undisturbed else 1


class Soak:
    """The run that is killed.

    Args:
        ranks: starts its launches.
        world_size: ranks of a launch.
        strategy: DIST.STRATEGY; another one adds in another order, so it is the same in all launches.
        epochs: of the run.
        draw: decides who is killed, and when.
    """

    def __init__(
        self, ranks: Ranks, world_size: int, strategy: str, epochs: int, draw: random.Random
    ) -> None:
        self._ranks, self._world_size, self._epochs, self._draw = ranks, world_size, epochs, draw
        self._strategy = strategy
        self._checkpoints = FOLDER / "runs/tiny/killed/checkpoints"
        self.kills = self.launches = 0
        self.who: Counter[str] = Counter()
        self.where: Counter[str] = Counter()

    def kill_once(self) -> None:
        """Start a launch, kill one rank or all, and look at what it leaves."""
        before = self._last_step()
        job = self._start("killed")
        victims = self._draw.choice(
            [[rank] for rank in range(self._world_size)] + [list(range(self._world_size))]
        )
        self._wait_for_the_moment(job, before)
        where = self._where(job)
        for rank in victims:
            job.signal(rank, signal.SIGKILL)
            job.until_ended(rank)
        if not any(job.status(rank) == -signal.SIGKILL for rank in victims):
            raise SystemExit(f"soak: a launch ended by itself: {job.output(victims[0])[-3000:]}")
        if where == "starting":
            job.kill()  # as torchrun does; until all have met, a rank waits for the others, and rightly
        else:
            job.wait(60)  # without torchrun, a rank that is left finds out by itself
        for folder in self._checkpoints.glob("step-*"):
            verify_folder(folder)
        if self._last_step() < before:
            raise SystemExit(
                f"soak: step {before} was committed, and is lost; the newest is {self._last_step()}"
            )
        self.kills += 1
        self.who["all ranks" if len(victims) > 1 else f"rank {victims[0]}"] += 1
        self.where[where] += 1
        if self.kills % 10 == 0:
            print(f"{self.kills} kills, step {self._last_step()}: {dict(self.where)}", flush=True)

    def finish(self, tag: str) -> str:
        """Run to the end, and return the digest of the last state."""
        results = self._start(tag).wait(1800)
        if any(result.status for result in results):
            raise SystemExit(f"soak: the last launch failed:\n{results[0].stderr[-4000:]}")
        last = newest_state(FOLDER / "runs/tiny" / tag)
        assert last.name == f"step-{self._epochs * UPDATES_PER_EPOCH:08d}", last
        return state_digest(last)

    def _start(self, tag: str) -> Job:
        self.launches += tag == "killed"
        return self._ranks.start(
            self._world_size, arguments(self._epochs, self._world_size, self._strategy, tag)
        )

    def _wait_for_the_moment(self, job: Job, before: int) -> None:
        """Wait for a random time, or for a save and a part of it; not longer than for the updates of one launch."""
        deadline = time.monotonic() + self._draw.uniform(SHORTEST_LIFE_S, LONGEST_LIFE_S)
        is_for_a_save = self._draw.random() < 0.5
        while len(job.running()) == self._world_size and self._last_step() < before + UPDATES_PER_KILL:
            if is_for_a_save and self._is_saving(job):
                time.sleep(self._draw.uniform(0, LAST_MOMENT_OF_A_SAVE_S))
                return
            if not is_for_a_save and time.monotonic() > deadline:
                return

    def _where(self, job: Job) -> str:
        if self._is_saving(job):
            return "saving"
        return "training" if _has_begun(job) else "starting"

    def _is_saving(self, job: Job) -> bool:
        """Whether the launch has left a folder half written, or an old one half deleted."""
        return any(self._checkpoints.glob(".*")) and _has_begun(
            job
        )  # before, they are of the launch that was killed

    def _last_step(self) -> int:
        return max(
            (int(path.name.removeprefix("step-")) for path in self._checkpoints.glob("step-*")), default=0
        )


def _has_begun(job: Job) -> bool:
    """Whether an update was made."""
    return " step " in job.output(0)


def arguments(epochs: int, world_size: int, strategy: str, tag: str) -> list[str]:
    """Return main.py's arguments of the run: Swin V1 of two stages, averaged weights, a save every 3 updates."""
    batch = 4
    keys = {
        "DATA.DATA_PATH": str(FOLDER / "images"),
        "DATA.IMG_SIZE": 16,
        "DATA.BATCH_SIZE": batch,
        "DATA.NUM_WORKERS": 0,
        "MODEL.NAME": "tiny",
        "MODEL.TYPE": "swin",
        "MODEL.DROP_PATH_RATE": 0.2,
        **{f"MODEL.SWIN.{name}": size for name, size in SHAPE.items()},
        "TRAIN.EPOCHS": epochs,
        "TRAIN.WARMUP_EPOCHS": 1,
        "TRAIN.EMA_DECAY": 0.9,
        "TRAIN.GLOBAL_BATCH": batch * world_size,
        "AUG.MIX_GROUP": 2,
        "SAVE_STEPS": 3,
        "PRINT_FREQ": 1,
        "DIST.STRATEGY": strategy,
        "DEVICE": "cpu",
        "OUTPUT": str(FOLDER / "runs"),
        "TAG": tag,
    }
    texts = [part if isinstance(part, str) else json.dumps(part) for pair in keys.items() for part in pair]
    return ["--cfg", "swin_tiny_patch4_window7_224", "--opts", *texts]


def make_images(folder: Path) -> None:
    """Write noise, in four classes."""
    pixels = np.random.default_rng(1)
    for i in range(8 * UPDATES_PER_EPOCH):
        path = folder / "train" / f"class_{i % 4}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    shutil.copytree(folder / "train/class_0", folder / "val/class_0", dirs_exist_ok=True)
    for i in range(1, 4):
        path = folder / "val" / f"class_{i}"
        path.mkdir()
        Image.fromarray(pixels.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path / "0.png")


if __name__ == "__main__":
    sys.exit(main())
