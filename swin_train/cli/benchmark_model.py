"""``main.py benchmark train-step`` and ``main.py benchmark inference``."""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_train.cli.arguments import ConfigParser
from swin_train.cli.benchmark_options import UNMIXED, Setting, add_options, check_options, keep, prepare, say
from swin_train.cli.output import print_result
from swin_train.config import Config

if TYPE_CHECKING:
    from swin_train.benchmark.model.compare import Effort, Kind

_DESCRIPTION = """\
Measure {what} of the model that --cfg describes, beside the same model of timm, of torchvision and, where
--reference names a checkout, of the authors' repository: each as it is and compiled by torch.compile.

All have the same weights, images, batch, dtype and, in training, optimizer (AdamW, fused; gradients clipped), in one
process. First each must compute what this project computes in float32; one that does not is not timed. Then they take
turns, in rounds: a ratio is the median over the rounds of the ratio in one round, with [least, most] beside it.
Images are random numbers on the device. The first step, in which a model is compiled, is told apart."""

_EXAMPLES = """\
  python main.py benchmark {kind} --cfg swin_tiny_patch4_window7_224
  # in a minute or two: nothing is compiled, and little repeated
  python main.py benchmark {kind} --cfg swin_tiny_patch4_window7_224 --quick
  # in bf16, against the reference too, kept as a file and as a picture
  python main.py benchmark {kind} --cfg swin_base_patch4_window7_224 --batch-size 128 \\
      --reference ~/Swin-Transformer --json result.json --chart result.png --opts AMP_DTYPE bf16"""


def run_train_step(argv: Sequence[str]) -> int:
    """Run ``main.py benchmark train-step``."""
    return _run("train-step", argv)


def run_inference(argv: Sequence[str]) -> int:
    """Run ``main.py benchmark inference``."""
    return _run("inference", argv)


def parser(kind: "Kind") -> ConfigParser:
    """The parser of either command."""
    what = {"train-step": "training steps", "inference": "forward passes in evaluation"}[kind]
    parser = ConfigParser(
        f"main.py benchmark {kind}", _DESCRIPTION.format(what=what), _EXAMPLES.format(kind=kind)
    )
    parser.add_argument("--only", metavar="NAME,...", help="what to measure, by the names in the table")
    parser.add_argument(
        "--reference",
        metavar="DIR",
        type=Path,
        help="a checkout of the authors' repository, to measure it too",
    )
    parser.add_argument(
        "--rounds", metavar="N", type=int, help="how often each is measured (7; 3 with --quick)"
    )
    parser.add_argument(
        "--steps", metavar="N", type=int, help="steps in a row of a round (20 on a GPU, 1 elsewhere)"
    )
    parser.add_argument(
        "--chart", metavar="FILE", type=Path, help="draw a bar chart there: .png, .svg or .pdf"
    )
    add_options(parser, "little: 3 rounds, nothing compiled, on a CPU batches of 2")
    return parser


def _run(kind: "Kind", argv: Sequence[str]) -> int:
    command = parser(kind)
    options = command.read(argv)
    check_options(command, options)
    setting = prepare(command, options, argv)
    effort = _effort(command, options, setting)

    from swin_train.benchmark.model.compare import compare
    from swin_train.benchmark.model.table import as_text, draw
    from swin_train.benchmark.model.variants import Maker
    from swin_train.engine.precision import choose_precision

    dtype = choose_precision(setting.cfg, setting.device).parameter_dtype
    maker = Maker(partial(_configured, kind, tuple(argv)), setting.device, dtype, options.reference)
    result = compare(kind, maker, setting.dtype, effort, say)
    print_result(as_text(result))
    keep(options.json, [kind, *argv], result.as_dict())
    if options.chart is not None:
        draw(result, options.chart)
    return 0


def _configured(kind: "Kind", argv: tuple[str, ...], changes: Mapping[str, Any]) -> Config:
    flags = [*UNMIXED, *((key, value, "benchmark") for key, value in changes.items())]
    return parser(kind).read_config(argv, flags)


def _effort(command: ConfigParser, options: argparse.Namespace, setting: Setting) -> "Effort":
    from swin_train.benchmark.model.compare import Effort
    from swin_train.benchmark.model.peers import REFERENCE
    from swin_train.benchmark.model.variants import VARIANTS, default_names

    has_reference = options.reference is not None
    names = (
        options.only.split(",")
        if options.only
        else default_names(setting.device, options.quick, has_reference)
    )
    for name in names:
        if name not in VARIANTS:
            command.error(f"--only: there is no {name!r}; there are {', '.join(VARIANTS)}")
        if VARIANTS[name].library == REFERENCE and not has_reference:
            command.error(f"--only {name} needs --reference, a checkout of the authors' repository")
    if has_reference and not (options.reference / "models").is_dir():
        command.error(
            f"--reference {options.reference}: has no folder models; give a checkout of the authors' repository"
        )
    is_gpu = setting.device.type == "cuda"
    return Effort(
        names=tuple(names),
        batch_size=setting.cfg.DATA.BATCH_SIZE,
        rounds=options.rounds or (3 if options.quick else 7),
        steps=options.steps or (20 if is_gpu else 1),
        warmup=10 if is_gpu else 1,
    )
