"""Train, evaluate and fine-tune a small Swin on handwritten digits, by the commands that ImageNet uses."""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from swin_train.config import load_config, output_dir

TRAIN = "demo/digits"
FINETUNE = "demo/digits_finetune"
EXPECTED_TOP1 = 97.0  # percent; less means that something is broken


def main(folder: Path) -> int:
    """Run the demo in ``folder`` and print its closing table."""
    start = time.perf_counter()
    data = folder / "digits"
    run([sys.executable, "scripts/make_digits.py", str(data)])

    place = ["--data-path", str(data), "--output", str(folder)]
    main_py = [sys.executable, "main.py"]
    run([*main_py, "--cfg", TRAIN, *place])
    trained = run_folder(TRAIN, folder)
    best = trained / "weights" / "best.safetensors"
    run([*main_py, "--eval", "--cfg", TRAIN, *place, "--resume", str(best)])
    run([*main_py, "--cfg", FINETUNE, *place, "--pretrained", str(best)])
    runs = {"trained": trained, "fine-tuned": run_folder(FINETUNE, folder)}
    print_table(runs, time.perf_counter() - start)
    top1, tuned_top1 = (max(accuracies(run)) for run in runs.values())
    if not EXPECTED_TOP1 <= top1 <= tuned_top1:
        print(f"\nnot as expected: at least {EXPECTED_TOP1} % top-1, and no less after fine-tuning")
        return 1
    return 0


def run(command: list[str]) -> None:
    """Run ``command`` as a person would, showing it first; end with its status if it fails."""
    shown = ["python" if part == sys.executable else part for part in command]
    print(f"\n$ {shlex.join(shown)}", flush=True)
    status = subprocess.run(command, check=False).returncode
    if status:
        raise SystemExit(status)


def run_folder(config: str, output: Path) -> Path:
    """Return the folder in which the run of ``config`` keeps everything."""
    return output_dir(load_config(config, ["OUTPUT", str(output)]))


def records(folder: Path) -> list[dict[str, Any]]:
    """Return what a run wrote down."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def accuracies(folder: Path) -> list[float]:
    """Return a run's top-1 accuracy after each epoch, in percent."""
    return [record["top1"] for record in records(folder) if record["kind"] == "val"]


def print_table(runs: dict[str, Path], seconds: float) -> None:
    """Say how accurate and how fast the runs were, and where their files are."""
    table = Table(title=f"Swin on 360 held-out digits ({seconds:.0f} s)", title_justify="left")
    for column in ("run", "size", "best top-1 %", "last top-1 %", "images/s"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for name, folder in runs.items():
        top1 = accuracies(folder)
        speeds = [record["images_per_s"] for record in records(folder) if record["kind"] == "train"]
        facts = json.loads((folder / "run.json").read_text())
        size = facts["config"]["DATA"]["IMG_SIZE"]
        table.add_row(
            name,
            f"{size} px",
            f"{max(top1):.2f}",
            f"{top1[-1]:.2f}",
            f"{median(speeds):.0f}",
        )
    console = Console(width=max(100, Console().width))
    console.print(table)
    for name, folder in runs.items():
        console.print(f"{name}:", soft_wrap=True)
        console.print(f"  weights      {folder}/weights/best.safetensors", soft_wrap=True, highlight=False)
        console.print(f"  checkpoints  {folder}/checkpoints/", soft_wrap=True, highlight=False)
        console.print(f"  metrics      {folder}/metrics.jsonl", soft_wrap=True, highlight=False)
        console.print(
            f"  curves       tensorboard --logdir {folder}/tensorboard", soft_wrap=True, highlight=False
        )


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo_run")))
