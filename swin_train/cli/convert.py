"""``main.py convert``."""

from collections.abc import Sequence

from swin_train.cli.arguments import Parser
from swin_train.cli.output import print_result
from swin_train.config import load_config

_LAYOUTS = (
    "official",
    "timm",
    "torchvision",
    "huggingface",
)  # those of swin_train.weights.layouts, without torch

_DESCRIPTION = """\
Write weights in the layout of another library. Every value stays as it is, and what the target cannot express
is refused: converted weights give the logits of the original. Only where maps are padded may the other library
do it in its own way (see MODEL.PADDING); then the line that is printed says so.

IN is a file of weights in any of these layouts (.safetensors, .pth, .pt, .bin or .ckpt), a URL of one, the
checkpoint folder step-N of a run, or a folder of save_pretrained. OUT ends in
  .safetensors  the weights; class names, image size, mean and the like go along in the file's header
  .pth          the weights alone. official: under "model", as the reference's --resume and --pretrained read
                it; it computes the buffers that are left out. timm, torchvision: bare, for load_state_dict.
                huggingface: bare, under the names that transformers reads from disk; its version 5 has others
                in memory, so load_state_dict may refuse them: better write a folder
  nothing       with --to huggingface: a folder for from_pretrained, with config.json and, where it is known how
                images are prepared, preprocessor_config.json

A file does not always tell the windows and the image size that a layout depends on; --cfg names the
configuration that the weights belong to. It is checked against the file."""

_EXAMPLES = """\
  # a run's best weights, for timm
  python main.py convert output/NAME/TAG/weights/best.safetensors swin_timm.safetensors --to timm
  # the averaged weights of a checkpoint, as the reference reads them
  python main.py convert output/NAME/TAG/checkpoints/step-00001250 swin.pth --to official --weights ema
  # a published checkpoint, as a folder for transformers' from_pretrained
  python main.py convert swinv2_tiny_patch4_window8_256.pth swinv2_hf --to huggingface \\
      --cfg swinv2_tiny_patch4_window8_256"""


def parser() -> Parser:
    """The parser of ``main.py convert``."""
    convert = Parser("main.py convert", _DESCRIPTION, _EXAMPLES)
    convert.add_argument("source", metavar="IN", help="the weights: a file, a URL, or a run's step folder")
    convert.add_argument("out", metavar="OUT", help="the file or folder to write")
    convert.add_argument("--to", required=True, choices=_LAYOUTS, help="the layout to write")
    convert.add_argument(
        "--weights",
        choices=("raw", "ema"),
        default="raw",
        help="the trained weights (default), or their moving average where IN holds both",
    )
    convert.add_argument(
        "--cfg", metavar="FILE", help="YAML file or name of the configuration that the weights belong to"
    )
    convert.add_argument(
        "--opts",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY VALUE",
        help="any configuration keys with their values, on top of --cfg",
    )
    convert.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    return convert


def run(argv: Sequence[str]) -> int:
    """Run ``main.py convert``."""
    command = parser()
    options = command.read(argv)
    if options.opts and options.cfg is None:
        command.error("--opts changes keys of a configuration; name it with --cfg")
    cfg = None if options.cfg is None else load_config(options.cfg, options.opts)

    from swin_train.engine.convert import convert
    from swin_train.record.console import Console

    with Console(None, is_main=True):  # shows what is downloaded
        result = convert(
            options.source,
            options.out,
            options.to,
            which=options.weights,
            cfg=cfg,
            overwrite=options.overwrite,
        )
    print_result(str(result))
    return 0
