"""Train, evaluate and fine-tune a small Swin on handwritten digits, by the commands that ImageNet uses."""

import json
import os
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
# Percent; less means that something is broken. Of the 360 images one is 0.3, and the standard deviation between
# machines, which round differently, is about 0.6: so the two runs are not held against each other.
EXPECTED_TOP1 = 97.0


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
    rows = {"trained": trained, "fine-tuned": run_folder(FINETUNE, folder)}
    summary = summarize(rows, time.perf_counter() - start)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print_table(summary)
    if any(row["best_top1"] < EXPECTED_TOP1 for row in summary["runs"]):
        print(f"\nnot as expected: at least {EXPECTED_TOP1} % top-1, in training and after fine-tuning")
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


def summarize(runs: dict[str, Path], seconds: float) -> dict[str, Any]:
    """Return what the closing table shows, and on what it was measured."""
    rows = []
    for name, folder in runs.items():
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        top1 = [record["top1"] for record in records if record["kind"] == "val"]
        facts = json.loads((folder / "run.json").read_text())
        row = {
            "run": name,
            "size": facts["config"]["DATA"]["IMG_SIZE"],
            "best_top1": max(top1),
            "last_top1": top1[-1],
            "images_per_s": median(record["images_per_s"] for record in records if record["kind"] == "train"),
            "folder": str(folder),
        }
        rows.append(row)
    machine = {"device": facts["device"], "cores": os.cpu_count(), **facts["launches"][-1]}
    return {"seconds": round(seconds), "runs": rows, "machine": machine}


def print_table(summary: dict[str, Any]) -> None:
    """Say how accurate and how fast the runs were, and where their files are."""
    table = Table(title=f"Swin on 360 held-out digits ({summary['seconds']} s)", title_justify="left")
    for column in ("run", "size", "best top-1 %", "last top-1 %", "images/s"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for row in summary["runs"]:
        accuracies = (f"{row['best_top1']:.2f}", f"{row['last_top1']:.2f}")
        table.add_row(row["run"], f"{row['size']} px", *accuracies, f"{row['images_per_s']:.0f}")
    console = Console(width=max(100, Console().width), highlight=False)
    console.print(table)
    for row in summary["runs"]:
        folder = row["folder"]
        for line in (
            f"{row['run']}:",
            f"  weights      {folder}/weights/best.safetensors",
            f"  checkpoints  {folder}/checkpoints/",
            f"  metrics      {folder}/metrics.jsonl",
            f"  curves       tensorboard --logdir {folder}/tensorboard",
        ):
            console.print(line, soft_wrap=True)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo_run")))
