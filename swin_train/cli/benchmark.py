"""``main.py benchmark``: its subcommands."""

import difflib
from collections.abc import Callable, Sequence

from swin_train.cli import benchmark_kernel, benchmark_loader, benchmark_model, benchmark_scaling
from swin_train.cli.output import print_result
from swin_train.errors import UserError

COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "train-step": (
        benchmark_model.run_train_step,
        "training steps, beside timm, torchvision and the reference",
    ),
    "inference": (benchmark_model.run_inference, "forward passes, beside the same"),
    "kernel": (benchmark_kernel.run_kernel, "window attention alone, by all implementations"),
    "roofline": (benchmark_kernel.run_roofline, "how fast a training step could be here"),
    "scaling": (benchmark_scaling.run, "time and memory by the size of the image, beside a ViT"),
    "loader": (benchmark_loader.run, "all ways to load your images"),
}


def run(argv: Sequence[str]) -> int:
    """Run ``main.py benchmark``."""
    if argv and argv[0] in COMMANDS:
        return COMMANDS[argv[0]][0](argv[1:])
    if argv and argv[0] in ("--help", "-h"):
        print_result(_help())
        return 0
    if not argv or argv[0].startswith("-"):
        raise UserError(f"main.py benchmark: it does not say of what; there are {', '.join(COMMANDS)}")
    near = difflib.get_close_matches(argv[0], COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
    raise UserError(f"main.py benchmark: unknown benchmark {argv[0]!r}; {hint}")


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: main.py benchmark WHAT ...",
            "",
            "Measure on this machine; main.py benchmark WHAT --help tells more.",
            "",
            *lines,
        ]
    )
