"""``main.py fit``."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swin_train.cli.arguments import ConfigParser
from swin_train.cli.output import print_result
from swin_train.errors import StorageError, UserError

if TYPE_CHECKING:
    from swin_train.engine.fit import Fit, Trial

_DESCRIPTION = """\
Find the micro-batch (DATA.BATCH_SIZE) that fits the memory of this machine's device, and the fastest one; the global
batch, and with it the learning rate, stays as it is, and accumulation follows. Real updates are made, with the model,
optimizer and precision of the configuration, on images that are made up: no data set is needed, but one that is
given says how many classes there are. Nothing is written, but for --json.

On a GPU the limit is where CUDA has no more, on a CPU --memory-gb; there each try is a process of its own."""

_EXAMPLES = """\
  # a training on 8 GPUs with 1,024 images an update; run it on one of them
  python main.py fit --cfg swin_base_patch4_window7_224 --processes 8 --opts TRAIN.GLOBAL_BATCH 1024 AUG.MIX_GROUP 8
  # leave room on the GPU; with the blocks of the first two stages computed again; for programs
  python main.py fit --cfg swinv2_base_patch4_window16_256 --memory-gb 70 --json fit.json \\
      --opts TRAIN.GLOBAL_BATCH 1024 AUG.MIX_GROUP 8 TRAIN.CHECKPOINT_STAGES "[0, 1]"
"""

_GIB = 2**30
_HEADINGS = ("micro-batch", "accumulation", "peak memory", "images/s")


def parser() -> ConfigParser:
    """The parser of ``main.py fit``."""
    parser = ConfigParser("main.py fit", _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "--processes", metavar="N", type=_count, default=1, help="of the training that is meant (1)"
    )
    parser.add_argument(
        "--memory-gb",
        metavar="X",
        type=_size,
        help="what one process may take, in 2^30 bytes (on a GPU all that is free; on a CPU 80%% of what is available,"
        " divided among the processes)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the result there, too")
    return parser


def run(argv: Sequence[str]) -> int:
    """Run ``main.py fit``."""
    command = parser()
    options = command.read(argv)
    if options.json is not None and not options.json.parent.is_dir():
        command.error(f"--json {options.json}: there is no folder {options.json.parent}")
    cfg = parser().read_config(argv)
    if not cfg.is_training:
        raise UserError(
            "main.py fit: EVAL_MODE or THROUGHPUT_MODE is set; it is about training, so leave both out"
        )

    from swin_train.engine.fit import fit

    result = fit(cfg, processes=options.processes, memory_gb=options.memory_gb, say=_say)
    if options.json is not None:
        _write(options.json, result)
    print_result(as_text(result))
    return 0


def as_text(result: "Fit") -> str:
    """The result for people."""
    rows = [_HEADINGS, *(_row(trial) for trial in sorted(result.trials, key=lambda t: t.micro_batch))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    chosen = {"largest that fits": result.largest, "fastest that fits": result.fastest}
    return "\n".join(
        [
            f"{result.global_batch} images an update on {result.processes} process(es), each with up to "
            f"{result.limit_bytes / _GIB:.2f} GiB of {result.device}, in {result.precision}; images/s of one process",
            "",
            *table,
            "",
            *(f"{name}: --opts {_typed(result.settings(trial))}" for name, trial in chosen.items()),
            *(f"note: {note}" for note in result.notes),
        ]
    )


def _row(trial: "Trial") -> tuple[str, ...]:
    peak = f"{trial.peak_bytes / _GIB:.2f} GiB"
    speed = "does not fit" if trial.images_per_s is None else f"{trial.images_per_s:.1f}"
    return str(trial.micro_batch), str(trial.accumulation), peak if trial.fits else f"> {peak}", speed


def _typed(settings: dict[str, int]) -> str:
    return " ".join(f"{key} {value}" for key, value in settings.items())


def _write(path: Path, result: "Fit") -> None:
    try:
        path.write_text(json.dumps(result.as_dict(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); give another --json FILE"
        ) from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1; got {text!r}")
    return int(text)


def _size(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0; got {text!r}")
    return number


def _say(what: str) -> None:
    print(f"fit: {what}", file=sys.stderr, flush=True)
