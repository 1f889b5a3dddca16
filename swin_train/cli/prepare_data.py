"""``main.py prepare-data``."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swin_train.cli.arguments import Parser
from swin_train.cli.output import print_result

_LAYOUTS = ("folder", "zip", "shards", "packed")  # those of swin_train.prepare.targets
_MIB = 2**20
_QUALITY = 90
_SHOWN = 10  # bad images

_DESCRIPTION = """\
Write one split of a data set in another layout. Every image keeps its bytes (packed: its pixels), its label and
its name. SOURCE is
  ILSVRC2012_img_train.tar   the official archive, which is not unpacked
  ILSVRC2012_img_val.tar     the same, with --labels
  a folder                   with train/CLASS/* and val/CLASS/*, or with CLASS/*; with train.zip and train_map.txt;
                             with tar shards or Parquet files; packed; --dataset tells it where looking does not
  a URL                      of tar shards or Parquet files (s3://, gs://, https://), with --dataset and --cache-dir
and OUT becomes
  folder   OUT/SPLIT/CLASS/FILE, and OUT/SPLIT.sha256 for sha256sum -c
  zip      OUT/SPLIT.zip and OUT/SPLIT_map.txt, as the reference reads them
  shards   OUT/SPLIT-000000.tar and so on, as webdataset reads them, classes mixed
  packed   shards of losslessly tiled JPEGs with an index, the fastest to read here; needs the native extension
           (main.py build-native)
with OUT/manifest.json: counts, checksums, settings. Give the same OUT for the other split.

A command that was interrupted, at any moment and by anything, goes on when it is given again; until it has come to
its end, the split is refused by all that reads it here. SOURCE must stay as it is meanwhile: other names, classes
and sizes of images are noticed, other bytes of the same size are not. Nothing that exists is overwritten. Every
image is decoded once: those that cannot be are named, and copied as they are unless --skip-bad leaves them out."""

_EXAMPLES = """\
  python main.py prepare-data ILSVRC2012_img_train.tar /data/imagenet --to packed
  python main.py prepare-data ILSVRC2012_img_val.tar /data/imagenet --to packed --split val \\
      --labels ILSVRC2012_devkit_t12.tar.gz
  # tar shards from a folder, on 16 threads
  python main.py prepare-data /data/imagenet /data/shards --to shards --split val --workers 16
  # smaller pictures: another recipe than the published one
  python main.py prepare-data /data/imagenet /data/imagenet500 --to packed --max-side 500 --quality 90"""


def parser() -> Parser:
    """The parser of ``main.py prepare-data``."""
    prepare = Parser("main.py prepare-data", _DESCRIPTION, _EXAMPLES)
    prepare.add_argument("source", metavar="SOURCE", help="what to read")
    prepare.add_argument("out", metavar="OUT", help="the folder to write")
    prepare.add_argument("--to", required=True, choices=_LAYOUTS, help="the layout to write")
    prepare.add_argument("--split", choices=("train", "val"), default="train", help="which split (train)")
    prepare.add_argument("--dataset", metavar="NAME", help="layout of SOURCE, as DATA.DATASET names it")
    prepare.add_argument(
        "--labels",
        metavar="FILE",
        type=Path,
        help="the classes of the archive's images: LOC_val_solution.csv, lines NAME SYNSET, or the development kit"
        " (.tar.gz or folder; needs scipy)",
    )
    prepare.add_argument(
        "--workers", metavar="N", type=int, default=cores(), help="threads (one for each core)"
    )
    prepare.add_argument(
        "--shard-mb",
        metavar="N",
        type=float,
        default=1024.0,
        help="MiB of images in a shard (1024); less means that less is done again after a kill",
    )
    prepare.add_argument(
        "--max-side",
        metavar="N",
        type=int,
        help="shrink pictures with a side above N pixels and encode them again; this changes the recipe",
    )
    prepare.add_argument(
        "--quality", metavar="Q", type=int, help=f"JPEG quality of these, 1 to 100 ({_QUALITY})"
    )
    add_cache(prepare)
    prepare.add_argument("--skip-bad", action="store_true", help="leave out what cannot be read or decoded")
    return prepare


def run(argv: Sequence[str]) -> int:
    """Run ``main.py prepare-data``."""
    command = parser()
    options = command.read(argv)
    _check(command, options)

    from swin_train.prepare.images import Recoding
    from swin_train.prepare.job import Settings, prepare
    from swin_train.prepare.sources import check_apart, open_source
    from swin_train.record.console import Console

    recoding = None if options.max_side is None else Recoding(options.max_side, options.quality or _QUALITY)
    shard_bytes = max(1, int(options.shard_mb * _MIB))
    settings = Settings(options.to, options.split, shard_bytes, recoding, options.skip_bad)
    check_apart(options.source, options.out, options.split)
    out = Path(options.out)
    with Console(None, is_main=True):
        source = open_source(
            options.source,
            options.split,
            options.dataset,
            options.labels,
            options.cache_dir,
            options.cache_gb,
        )
        entry = prepare(source, out, settings, options.workers)
    print_result(as_text(out, options.split, entry))
    return 0


def _check(command: Parser, options: argparse.Namespace) -> None:
    if options.quality is not None and options.max_side is None:
        command.error("--quality is that of pictures which --max-side shrinks; give both")
    for flag, value, low, high in (
        ("--workers", options.workers, 1, 1024),
        ("--max-side", options.max_side, 1, 65500),
        ("--quality", options.quality, 1, 100),
        ("--shard-mb", options.shard_mb, 0.001, 2**20),
        ("--cache-gb", options.cache_gb, 0, 10**9),
    ):
        if value is not None and not low <= value <= high:
            command.error(f"{flag} must be {low} to {high}; got {value:g}")


def as_text(out: Path, split: str, entry: dict[str, Any]) -> str:
    """What was written, for people."""
    settings, bad = entry["settings"], entry["bad"]
    lines = [
        f"{out}: {split} as {settings['to']}: {entry['images']:,} images ({entry['bytes'] / _MIB:,.1f} MiB) in "
        f"{len(entry['images_per_class']):,} classes; counts and checksums in manifest.json"
    ]
    if "tiled" in entry:
        kept = entry["images"] - entry["tiled"]
        lines.append(
            f"{entry['tiled']:,} are losslessly tiled JPEGs; {kept:,} cannot be tiled and stay as they are"
        )
    if settings["max_side"] is not None:
        lines.append(
            f"This changes the recipe: {entry['changed']:,} pictures were shrunk to {settings['max_side']} pixels "
            f"and encoded again with quality {settings['quality']}. Accuracies are not those of the originals."
        )
    if bad:
        done = "left out" if settings["skip_bad"] else "copied as they are (--skip-bad leaves such out)"
        lines.append(f"{len(bad):,} images cannot be decoded and were {done}:")
        lines += [f"  {name}: {reason}" for name, reason in list(bad.items())[:_SHOWN]]
        if len(bad) > _SHOWN:
            lines.append(f"  and {len(bad) - _SHOWN:,} more, listed in {out / 'manifest.json'}")
    return "\n".join(lines)


def add_cache(command: Parser) -> None:
    """Add the flags of the cache for shards."""
    command.add_argument(
        "--cache-dir",
        metavar="DIR",
        default="",
        help="where shards from object storage, and what is unpacked from Parquet, are kept [DATA.CACHE_DIR]",
    )
    command.add_argument(
        "--cache-gb",
        metavar="N",
        type=float,
        default=0.0,
        help="how much that may hold, in 10^9 bytes; 0 is no limit [DATA.CACHE_GB]",
    )


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
