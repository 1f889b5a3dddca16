"""``main.py eval``."""

from collections.abc import Sequence

from swin_train.cli.arguments import ConfigParser
from swin_train.cli.train import run_mode

_EXAMPLES = """\
  # 8 GPUs; the result is the same on any number
  torchrun --nproc_per_node 8 main.py eval --cfg swin_tiny_patch4_window7_224 \\
      --resume swin_tiny_patch4_window7_224.pth --data-path /data/imagenet
  # the averaged weights of a checkpoint
  python main.py eval --cfg swin_tiny_patch4_window7_224 --resume CHECKPOINT --data-path /data/imagenet \\
      --opts TEST.WEIGHTS ema"""


def parser() -> ConfigParser:
    """The parser of ``main.py eval``."""
    return ConfigParser("main.py eval", "Evaluate exactly the checkpoint given by --resume.", _EXAMPLES)


def run(argv: Sequence[str]) -> int:
    """Run ``main.py eval``."""
    return run_mode(parser().read_config(argv, [("EVAL_MODE", True, "eval")]))
