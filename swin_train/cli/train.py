"""``main.py train``, and the form without a command that the reference has."""

from collections.abc import Sequence

import swin_train
from swin_train.cli.arguments import FLAGS, MODE_FLAGS, ConfigParser
from swin_train.cli.output import print_result
from swin_train.config import Config
from swin_train.errors import UserError

_EXAMPLES = """\
  # Swin-T on ImageNet, 8 GPUs
  torchrun --nproc_per_node 8 main.py train --cfg swin_tiny_patch4_window7_224 --data-path /data/imagenet \\
      --batch-size 128
  # your own images, one process, from published weights
  python main.py train --cfg swin_tiny_patch4_window7_224 --data-path my_images --batch-size 32 \\
      --pretrained swin_tiny_patch4_window7_224.pth --opts TRAIN.EPOCHS 30 TRAIN.WARMUP_EPOCHS 5"""

_FLAT_DESCRIPTION = """\
Train, evaluate and fine-tune Swin Transformers.

Without a command this takes the command lines of the reference implementation: it trains, or with --eval
evaluates, or with --throughput measures speed. Commands, each with its own --help:
  train         train, or go on with a training that was interrupted
  eval          evaluate a checkpoint
  convert       write weights for timm, torchvision, Hugging Face or the reference
  config        show, explain or check a configuration
  describe      tell a model's parameters, FLOPs, shapes and memory
  fit           find the micro-batch that fits the memory, and the fastest one
  build-native  compile the extension that loads images fast
  prepare-data  write a data set in another layout
  verify-data   say what is broken or odd in a data set
  benchmark     measure the ways of loading images"""

_FLAT_EXAMPLES = """\
  # train, 8 GPUs
  torchrun --nproc_per_node 8 main.py --cfg configs/swin/swin_tiny_patch4_window7_224.yaml \\
      --data-path /data/imagenet --batch-size 128
  # evaluate, 1 GPU or the CPU
  python main.py --eval --cfg configs/swin/swin_tiny_patch4_window7_224.yaml \\
      --resume swin_tiny_patch4_window7_224.pth --data-path /data/imagenet
  # images per second
  python main.py --throughput --cfg swin_tiny_patch4_window7_224 --batch-size 64
  # any key of the configuration
  python main.py --cfg swin_tiny_patch4_window7_224 --data-path my_images --opts TRAIN.EMA_DECAY 0.999"""


def parser() -> ConfigParser:
    """The parser of ``main.py train``."""
    return ConfigParser("main.py train", "Train, or go on with a training that was interrupted.", _EXAMPLES)


def flat_parser() -> ConfigParser:
    """The parser of ``main.py`` without a command."""
    flat = ConfigParser("main.py", _FLAT_DESCRIPTION, _FLAT_EXAMPLES, (*FLAGS, *MODE_FLAGS))
    flat.add_argument("--version", action="version", version=f"swin_train {swin_train.__version__}")
    return flat


def run(argv: Sequence[str]) -> int:
    """Run ``main.py train``."""
    cfg = parser().read_config(argv)
    if not cfg.is_training:
        raise UserError(
            "main.py train: EVAL_MODE or THROUGHPUT_MODE is set; leave both out, or leave out `train`"
        )
    return run_mode(cfg)


def run_flat(argv: Sequence[str]) -> int:
    """Run ``main.py`` without a command."""
    return run_mode(flat_parser().read_config(argv))


def run_mode(cfg: Config) -> int:
    """Do what EVAL_MODE and THROUGHPUT_MODE say; torch is imported here, after everything was checked."""
    if cfg.EVAL_MODE:
        from swin_train.engine.evaluate import evaluate

        print_result(str(evaluate(cfg)))
    elif cfg.THROUGHPUT_MODE:
        from swin_train.benchmark.model.throughput import throughput

        print_result(f"{throughput(cfg):.1f} images/s")
    else:
        from swin_train.engine.train import train

        train(cfg)
    return 0
