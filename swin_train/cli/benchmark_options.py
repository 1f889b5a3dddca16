"""What the benchmarks of models have in common on their command lines."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swin_train.cli.arguments import ConfigParser
from swin_train.config import Config

if TYPE_CHECKING:
    import torch

UNMIXED = (
    ("AUG.MIXUP", 0.0, "benchmark"),
    ("AUG.CUTMIX", 0.0, "benchmark"),
)  # which would want an even batch
_READ = re.compile(
    r"BASE|DEVICE|AMP_\w+|MODEL\.(?!RESUME|PRETRAINED)\S+|DATA\.(IMG_SIZE|BATCH_SIZE)|AUG\.(MIXUP|CUTMIX)"
    r"|FUSED_LAYERNORM|TRAIN\.(USE_CHECKPOINT|CHECKPOINT_STAGES)"
)

_BATCH_ELSEWHERE, _QUICK_BATCH = 8, 2  # where there is no GPU, whose batch is the configuration's


class Setting(NamedTuple):
    """Where and in what a benchmark computes.

    Attributes:
        cfg: the configuration; its batch is as was given, or small on a CPU.
        device: as DEVICE says.
        dtype: of the matrix products, as AMP_DTYPE says.
    """

    cfg: Config
    device: "torch.device"
    dtype: "torch.dtype"


def add_options(parser: ConfigParser, quick: str) -> None:
    """Add the flags; ``quick`` says what --quick does."""
    parser.add_argument("--threads", metavar="N", type=int, help="threads of the CPU (as torch chooses)")
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers of all rounds there")


def check_options(command: ConfigParser, options: argparse.Namespace) -> None:
    """Refuse what is wrong before anything is measured.

    Raises:
        UserError: a number is below 1, a folder is missing, or charts cannot be drawn.
    """
    for name in ("rounds", "steps", "threads"):
        value = getattr(options, name, None)
        if value is not None and value < 1:
            command.error(f"--{name} must be at least 1; got {value}")
    check_json(command, options.json)
    if getattr(options, "chart", None) is not None:
        from swin_train.benchmark.charts import check_chart

        check_chart(options.chart)


def check_json(command: ConfigParser, file: Path | None) -> None:
    """Refuse a file that cannot be written. Raises UserError."""
    if file is not None and not file.parent.is_dir():
        command.error(f"--json {file}: there is no folder {file.parent}")
    if file is not None and file.is_dir():
        command.error(f"--json {file}: is a folder; name a file in it")


def prepare(command: ConfigParser, options: argparse.Namespace, argv: Sequence[str]) -> Setting:
    """Read the configuration, choose the device, and set the number of threads; keys that nothing reads are told.

    Raises:
        UserError: the device cannot compute as the configuration says, or in float64, which libraries differ in.
    """
    cfg = command.read_config(argv, UNMIXED)
    if cfg.AMP_DTYPE == "fp64" and cfg.amp_enabled:
        command.error("AMP_DTYPE fp64 is not measured; take bf16, fp16 or fp32")
    idle = [key for key, where in cfg.origins.items() if where.startswith("--") and not _READ.fullmatch(key)]
    if idle:
        say(f"not read: {', '.join(idle)}")

    import torch

    from swin_train.distributed.launch import choose_device
    from swin_train.engine.precision import choose_precision

    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(cfg.DEVICE, 0)
    if device.type != "cuda" and not cfg.is_given("DATA.BATCH_SIZE"):
        batch_size = _QUICK_BATCH if options.quick else _BATCH_ELSEWHERE
        cfg = command.read_config(argv, [*UNMIXED, ("DATA.BATCH_SIZE", batch_size, "benchmark")])
    return Setting(cfg, device, choose_precision(cfg, device).input_dtype)


def keep(file: Path | None, argv: Sequence[str], numbers: dict[str, Any]) -> None:
    """Write the numbers to a file, with the command that gave them."""
    if file is not None:
        facts = {"command": ["main.py", "benchmark", *argv], **numbers}
        file.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def say(what: str) -> None:
    """Tell on stderr what begins."""
    print(f"benchmark: {what}", file=sys.stderr, flush=True)
