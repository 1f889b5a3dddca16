"""``main.py describe``."""

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from swin_train.cli.arguments import ConfigParser
from swin_train.cli.output import print_result
from swin_train.config import Config
from swin_train.kernels.windows import whole_windows
from swin_train.models.describe import Description, StageDescription, describe
from swin_train.models.memory import TrainingMemory

_EXAMPLES = """\
  python main.py describe --cfg swin_tiny_patch4_window7_224
  # at another size; what is padded is said
  python main.py describe --cfg swin_tiny_patch4_window7_224 --opts DATA.IMG_SIZE "[240, 320]"
  # does it fit: memory of a training step, with each block computed again in the backward pass
  python main.py describe --cfg swinv2_large_patch4_window12to24_192to384_22kto1k_ft --batch-size 64 \\
      --use-checkpoint
  # for programs
  python main.py describe --cfg swin_base_patch4_window7_224 --json"""

_MIB, _GIB = 2**20, 2**30
_WIDTH = 100
_DEVICES = {"cuda": "a GPU", "mps": "Apple's GPU", "cpu": "the CPU"}
_HEADINGS = ("stage", "map", "padded to", "channels", "heads", "depth", "window", "shift")
_COST_HEADINGS = ("parameters", "GFLOPs", "merged to")


def parser() -> ConfigParser:
    """The parser of ``main.py describe``."""
    parser = ConfigParser(
        "main.py describe",
        "Tell a model's parameters, FLOPs, activations, shapes and memory; nothing is built or run.",
        _EXAMPLES,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def run(argv: Sequence[str]) -> int:
    """Run ``main.py describe``."""
    is_json = parser().read(argv).json
    cfg = parser().read_config(argv)
    description, notes = describe(cfg), _notes(cfg)
    if is_json:
        print_result(json.dumps({**asdict(description), "notes": notes}, indent=2))
    else:
        print_result(as_text(description, notes))
    return 0


def as_text(model: Description, notes: Sequence[str] = ()) -> str:
    """The description for people, at most 100 columns wide."""
    lines = [
        f"{model.name}: {model.family}, {_size(model.img_size)} pixels, {model.num_classes} classes",
        "",
        f"parameters   {model.parameters:>15,}",
        f"multiply-adds{model.multiply_adds / 1e9:>13.3f} G  FLOPs as the papers count them: padding is free",
        f"FLOPs        {model.flops / 1e9:>13.3f} G  2 for each multiply-add that is executed, with padding",
        f"activations  {model.activations / 1e6:>13.3f} M  elements given by matrix products and convolutions",
        "",
        *_table(model),
        "",
        *_memory(model),
        *("\n" + textwrap.fill(f"note: {note}", _WIDTH) for note in notes),
    ]
    return "\n".join(lines)


def _notes(cfg: Config) -> list[str]:
    """What could be taken for something else."""
    notes = []
    if cfg.is_pretraining:
        notes.append(
            "this configuration is for SimMIM pre-training; described is its encoder with a head for classes. "
            "The pre-training model has a mask token and a decoder instead of the head."
        )
    return notes


def _table(model: Description) -> list[str]:
    rows = [(*_HEADINGS, *_COST_HEADINGS), *(_row(i, stage) for i, stage in enumerate(model.stages))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [*lines, *_padding(model)]


def _row(number: int, stage: StageDescription) -> tuple[str, ...]:
    return (
        str(number),
        _size(stage.map),
        _padded(stage),
        str(stage.channels),
        str(stage.heads),
        str(stage.depth),
        str(stage.window),
        str(stage.shift),
        f"{stage.parameters / 1e6:.3f} M",
        f"{stage.flops / 1e9:.3f}",
        "-" if stage.merged is None else _size(stage.merged),
    )


def _padded(stage: StageDescription) -> str:
    sizes = [stage.padded, stage.padded_shifted if stage.shift else stage.padded]
    names = ["-" if size == stage.map else _size(size) for size in sizes]
    return names[0] if names[0] == names[1] else "/".join(names)


def _padding(model: Description) -> list[str]:
    """Lines about what is padded, if anything is."""
    lines = []
    whole = [whole_windows(side, model.patch_size) for side in model.img_size]
    if whole != list(model.img_size):
        lines.append(f"images are padded to {whole[0]}x{whole[1]} pixels, to whole patches")
    if model.family == "swin_mlp" and any(stage.shift for stage in model.stages):
        lines.append("maps are padded with zeros to whole windows, after the slash in shifted blocks")
    elif any(stage.padded != stage.map for stage in model.stages):
        padding = "with zeros" if model.family == "swin_mlp" else f"as MODEL.PADDING {model.padding} says"
        lines.append(f"maps are padded to whole windows, {padding}")
    odd = [_size(stage.map) for stage in model.stages if stage.merged and any(side % 2 for side in stage.map)]
    if odd:
        lines.append(
            f"maps with an odd side are padded by one row or column before merging: {', '.join(odd)}"
        )
    return lines


def _memory(model: Description) -> list[str]:
    memory = model.training_memory
    kept = memory.total - memory.parameters
    return [
        f"memory of a training step: {memory.total / _GIB:.2f} GiB, an estimate for one process "
        f"on {_DEVICES[memory.device]}",
        f"  {memory.parameters / _GIB:8.2f} GiB  weights, gradients, averages of {memory.optimizer}, "
        f"in {'float64' if memory.precision == 'float64' else 'float32'}",
        f"  {kept / _GIB:8.2f} GiB  kept for the backward pass: {memory.batch_size} images x "
        f"{memory.activations_per_image / _MIB:.1f} MiB, and {memory.activations_once / _MIB:.1f} MiB once",
        *(f"  {line}" for line in _formula(model, memory)),
    ]


def _formula(model: Description, memory: TrainingMemory) -> list[str]:
    is_frozen = memory.trained_parameters < model.parameters
    trained = f", {memory.trained_parameters:,} of them trained" if is_frozen else ""
    attention = f", attention by {memory.attention}" if memory.attention else ""
    again = [f"blocks of {_stages(model, memory)} are computed again"] if memory.checkpointing else []
    return [
        f"{memory.parameters / model.parameters:.4g} bytes for each of {model.parameters:,} parameters{trained}",
        "a block of T tokens (P with padding) with C channels, in windows of N tokens, keeps in bytes",
        f"  {memory.block_formula}",
        *again,
        f"products in {memory.precision}{attention}; the whole of it: python -m pydoc swin_train.models.memory",
        "not counted: temporary tensors, the batch, what CUDA and its allocator hold back",
    ]


def _stages(model: Description, memory: TrainingMemory) -> str:
    if len(memory.checkpointing) == len(model.stages):
        return "all stages"
    return f"stage {', '.join(map(str, memory.checkpointing))}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
