"""``main.py benchmark loader``."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_train.cli.arguments import ConfigParser
from swin_train.cli.benchmark_options import check_json
from swin_train.cli.output import print_result
from swin_train.cli.prepare_data import cores
from swin_train.config import Config

if TYPE_CHECKING:
    from swin_train.benchmark.loading.bench import Bench
    from swin_train.benchmark.loading.loader import Effort

_DESCRIPTION = """\
Measure on your own images and machine which way to load them is the fastest, and what limits it: every back end
(DATA.PIPELINE; -device leaves all after the resize to the device, -host does it on the CPU), the reference's
loader, timm's with its prefetcher, and DALI and FFCV where they are installed.

All are measured in the same interleaved rounds. What counts is images per core-second: per second of CPU time of
all processes and threads. A ratio is the median over the rounds of the ratio in one round; [least, most] stand
beside it. Nothing is copied to a device, and mixing, which all leave to it, is not counted. Files are read from
the page cache: a pass before the first round fills it."""

_EXAMPLES = """\
  python main.py benchmark loader --cfg swin_tiny_patch4_window7_224 --data-path /data/imagenet
  # with the same images packed by prepare-data, 10 epochs under watch, kept as a file
  python main.py benchmark loader --cfg swin_tiny_patch4_window7_224 --data-path /data/imagenet \\
      --packed /data/packed --threads 1,2,4,8 --memory-epochs 10 --json loader.json
  # evaluation; a few ways only
  python main.py benchmark loader --cfg swin_tiny_patch4_window7_224 --data-path /data/imagenet --eval \\
      --only official,portable-device,native-device"""


def parser() -> ConfigParser:
    """The parser of ``main.py benchmark loader``."""
    parser = ConfigParser("main.py benchmark loader", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("--eval", action="store_true", help="measure the evaluation transform on val/")
    parser.add_argument(
        "--packed", metavar="DIR", help="the same images as prepare-data --to packed wrote them"
    )
    parser.add_argument("--only", metavar="NAME,...", help="what to measure, by the names in the table")
    parser.add_argument("--rounds", metavar="N", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument(
        "--images", metavar="N", type=int, default=512, help="images per thread in a round (512)"
    )
    parser.add_argument(
        "--threads", metavar="N,...", help="worker processes or threads (1, 2, 4 and so on, to all cores)"
    )
    parser.add_argument(
        "--memory-epochs",
        metavar="N",
        type=int,
        default=3,
        help="passes under watch for their memory (3); 0: none",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers of all rounds there")
    return parser


def run(argv: Sequence[str]) -> int:
    """Run ``main.py benchmark loader``."""
    argv = tuple(argv)
    command = parser()
    options = command.read(argv)
    effort = _effort(command, options)
    check_json(command, options.json)

    from swin_train.benchmark.loading.loader import benchmark_loader
    from swin_train.benchmark.loading.table import as_text

    result = benchmark_loader(partial(open_bench, argv), effort, _say)
    if options.json is not None:
        facts = {"command": ["main.py", "benchmark", "loader", *argv], **result.as_dict()}
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print_result(as_text(result))
    return 0


def open_bench(argv: tuple[str, ...]) -> "Bench":
    """What the command line says to measure. Processes that watch memory open it for themselves.

    Raises:
        UserError: the configuration or the data is wrong.
    """
    from swin_train.benchmark.loading.bench import Bench
    from swin_train.benchmark.loading.excerpt import without_bad
    from swin_train.data.formats import open_split
    from swin_train.data.formats.packed import PackedFolder
    from swin_train.distributed.launch import choose_device

    options, cfg = parser().read(argv), _configured(argv, {})
    data, split = cfg.DATA, "val" if options.eval else "train"
    source = open_split(
        data.DATASET,
        data.DATA_PATH,
        split,
        zip_mode=data.ZIP_MODE,
        cache_mode=data.CACHE_MODE,
        cache_dir=data.CACHE_DIR,
        cache_gb=data.CACHE_GB,
    )
    packed = PackedFolder(options.packed, split) if options.packed else None
    return Bench(
        configure=partial(_configured, argv),
        source=without_bad(source, options.images),
        packed=without_bad(packed, options.images) if packed else None,
        is_eval=options.eval,
        num_images=options.images,
        device=choose_device(cfg.DEVICE, 0),
    )


def _configured(argv: tuple[str, ...], changes: Mapping[str, Any]) -> Config:
    return parser().read_config(argv, [(key, value, "benchmark") for key, value in changes.items()])


def _effort(command: ConfigParser, options: argparse.Namespace) -> "Effort":
    from swin_train.benchmark.loading.contenders import CONTENDERS
    from swin_train.benchmark.loading.loader import Effort

    for flag, value, least in (
        ("--rounds", options.rounds, 1),
        ("--images", options.images, 1),
        ("--memory-epochs", options.memory_epochs, 0),
    ):
        if value < least:
            command.error(f"{flag} must be at least {least}; got {value}")
    names = tuple(options.only.split(",")) if options.only else tuple(CONTENDERS)
    for name in names:
        if name not in CONTENDERS:
            command.error(f"--only: there is no {name!r}; there are {', '.join(CONTENDERS)}")
    threads = options.threads.split(",") if options.threads else _powers_of_two(cores())
    if not all(number.isdecimal() and int(number) for number in threads):
        command.error(
            f"--threads must be whole numbers from 1 with commas, such as 1,2,4; got {options.threads}"
        )
    return Effort(
        names, tuple(sorted({int(number) for number in threads})), options.rounds, options.memory_epochs
    )


def _powers_of_two(most: int) -> list[str]:
    return [str(2**power) for power in range(most.bit_length())]


def _say(what: str) -> None:
    print(f"benchmark loader: {what}", file=sys.stderr, flush=True)
