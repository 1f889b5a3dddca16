"""``main.py benchmark scaling``."""

from collections.abc import Sequence
from pathlib import Path

from swin_train.cli.arguments import ConfigParser
from swin_train.cli.benchmark_options import add_options, check_options, keep, prepare, say
from swin_train.cli.output import print_result

_DESCRIPTION = """\
Measure time and memory of an image by its size: of the model of --cfg, and of timm's ViT of about as many parameters,
forward and in training. Attention in windows costs as much for each pixel, whatever the size of the image; attention
over the whole image does not. The exponent of the time over the number of pixels is fitted to the larger sizes."""

_EXAMPLES = """\
  python main.py benchmark scaling --cfg swin_tiny_patch4_window7_224 --chart scaling.png
  python main.py benchmark scaling --cfg swin_tiny_patch4_window7_224 --sizes 224,448,896 --json scaling.json"""


def parser() -> ConfigParser:
    """The parser of ``main.py benchmark scaling``."""
    parser = ConfigParser("main.py benchmark scaling", _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "--sizes",
        metavar="N,...",
        help="sides of the images in pixels, multiples of 16 (224 to 1024; to 512 on a CPU; small with --quick)",
    )
    parser.add_argument(
        "--rounds", metavar="N", type=int, help="how often each is measured (5; 2 with --quick)"
    )
    parser.add_argument("--chart", metavar="FILE", type=Path, help="draw the lines there: .png, .svg or .pdf")
    add_options(parser, "three small sizes, and 2 rounds")
    return parser


def run(argv: Sequence[str]) -> int:
    """Run ``main.py benchmark scaling``."""
    command = parser()
    options = command.read(argv)
    check_options(command, options)
    sizes = options.sizes.split(",") if options.sizes else []
    if not all(size.isdecimal() for size in sizes):
        command.error(f"--sizes must be whole numbers with commas, such as 224,448; got {options.sizes}")
    setting = prepare(command, options, argv)

    from swin_train.benchmark.model.scaling import benchmark_scaling, default_sizes
    from swin_train.benchmark.model.scaling_result import as_text, draw

    result = benchmark_scaling(
        setting.cfg,
        setting.device,
        sizes=[int(size) for size in sizes] or default_sizes(setting.device, is_quick=options.quick),
        rounds=options.rounds or (2 if options.quick else 5),
        precision_dtype=setting.dtype,
        progress=say,
    )
    print_result(as_text(result))
    keep(options.json, ["scaling", *argv], result.as_dict())
    if options.chart is not None:
        draw(result, options.chart)
    return 0
