"""``main.py benchmark kernel`` and ``main.py benchmark roofline``."""

from collections.abc import Sequence

from swin_train.cli.arguments import ConfigParser
from swin_train.cli.benchmark_options import add_options, check_options, keep, prepare, say
from swin_train.cli.output import print_result

_KERNEL = """\
Measure window attention alone, forward and backward, at each size at which the model of --cfg attends: every
implementation that can run here (MODEL.ATTENTION), and the reference compiled by torch.compile. One that does not give
the reference's outputs and gradients in float64 is not timed. Times stand beside what a copy and a large matrix product
reach on this machine, measured in the same run."""

_ROOFLINE = """\
How fast a training step of the model of --cfg could be on this machine: its floating-point operations and the bytes
that must move, counted, at the speed of a copy and of a large matrix product, measured. "fused" has one kernel for
window attention; in "compiled" the attention's weights go through memory. The model's matrix products are measured
too."""


def kernel_parser() -> ConfigParser:
    """The parser of ``main.py benchmark kernel``."""
    parser = ConfigParser(
        "main.py benchmark kernel",
        _KERNEL,
        "  python main.py benchmark kernel --cfg swin_tiny_patch4_window7_224 --batch-size 128 --json kernel.json",
    )
    parser.add_argument("--only", metavar="NAME,...", help="what to measure, by the names in the table")
    add_options(parser, "few images and rounds, small ceilings, and nothing compiled")
    return parser


def roofline_parser() -> ConfigParser:
    """The parser of ``main.py benchmark roofline``."""
    parser = ConfigParser(
        "main.py benchmark roofline",
        _ROOFLINE,
        "  python main.py benchmark roofline --cfg swin_base_patch4_window7_224 --batch-size 128 --opts AMP_DTYPE bf16",
    )
    add_options(parser, "small ceilings, and the products of few images")
    return parser


def run_kernel(argv: Sequence[str]) -> int:
    """Run ``main.py benchmark kernel``."""
    command = kernel_parser()
    options = command.read(argv)
    check_options(command, options)
    setting = prepare(command, options, argv)

    from swin_train.benchmark.model.attention import COMPILED, IMPLEMENTATIONS, shapes_of
    from swin_train.benchmark.model.ceilings import measure_ceilings
    from swin_train.benchmark.model.kernel import as_text, measure_kernels

    names = [name for name in IMPLEMENTATIONS if not (options.quick and name == COMPILED)]
    if options.only:
        names = options.only.split(",")
        for name in names:
            if name not in IMPLEMENTATIONS:
                command.error(f"--only: there is no {name!r}; there are {', '.join(IMPLEMENTATIONS)}")
    shapes_of(setting.cfg, 1)  # which refuses a model without window attention
    say("the ceilings")
    ceilings = measure_ceilings(setting.device, setting.dtype, quick=options.quick)
    result = measure_kernels(
        setting.cfg, ceilings, setting.device, setting.dtype, names=names, quick=options.quick, progress=say
    )
    print_result(as_text(result))
    keep(options.json, ["kernel", *argv], result.as_dict())
    return 0


def run_roofline(argv: Sequence[str]) -> int:
    """Run ``main.py benchmark roofline``."""
    command = roofline_parser()
    options = command.read(argv)
    check_options(command, options)
    setting = prepare(command, options, argv)

    from swin_train.benchmark.machine import machine_facts
    from swin_train.benchmark.model.ceilings import as_text as ceilings_as_text
    from swin_train.benchmark.model.ceilings import measure_ceilings, measure_products
    from swin_train.benchmark.model.roofline import as_text, check_is_counted, roofline
    from swin_train.models.outline import outline

    check_is_counted(setting.cfg)
    say("the ceilings")
    ceilings = measure_ceilings(setting.device, setting.dtype, quick=options.quick)
    result = roofline(setting.cfg, ceilings)
    say("the matrix products of the model")
    cfg, model = setting.cfg, outline(setting.cfg, setting.cfg.num_classes)
    products = measure_products(
        model, cfg.DATA.BATCH_SIZE, setting.device, setting.dtype, quick=options.quick
    )
    numbers = {
        "machine": machine_facts(),
        **result.as_dict(),
        "products": [each.as_dict() for each in products],
    }
    print_result(f"{as_text(result)}\n\n{ceilings_as_text(ceilings, products)}")
    keep(options.json, ["roofline", *argv], numbers)
    return 0
