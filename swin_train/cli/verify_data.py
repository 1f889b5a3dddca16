"""``main.py verify-data``."""

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_train.cli.arguments import Parser
from swin_train.cli.output import print_result
from swin_train.cli.prepare_data import add_cache, cores
from swin_train.errors import DataError, StorageError, UserError

if TYPE_CHECKING:
    from swin_train.prepare.verify import Report

_DESCRIPTION = """\
Read and decode every image of a data set, and say what is broken, what is there twice, in one split or in both,
and what is unusual: tiny (a side below 32 pixels), huge (above 4096), 16 bits, CMYK, grey, with transparency, or
with the ending of another format. Training handles the unusual ones; broken ones it replaces, up to
DATA.MAX_BAD_IMAGES, and evaluation refuses them.

The exit status is 0 when every image can be used and 5 when one cannot, or when a file is not what prepare-data
wrote (--checksums)."""

_EXAMPLES = """\
  python main.py verify-data --data-path /data/imagenet
  # for programs, and the files that prepare-data wrote compared with its manifest
  python main.py verify-data --data-path /data/shards --checksums --json report.json"""

_SHOWN = 5  # names in a list
_WIDTH = 100
_TRAITS = ("tiny", "huge", "16 bits", "CMYK", "grey", "alpha", "other ending")


def parser() -> Parser:
    """The parser of ``main.py verify-data``."""
    verify = Parser("main.py verify-data", _DESCRIPTION, _EXAMPLES)
    verify.add_argument(
        "--data-path",
        required=True,
        metavar="DIR",
        help="the data set, in any layout; or the URL of shards or Parquet files, with --dataset and --cache-dir",
    )
    verify.add_argument("--dataset", metavar="NAME", help="its layout, as DATA.DATASET names it")
    verify.add_argument("--split", choices=("train", "val"), help="one split only")
    verify.add_argument(
        "--workers", metavar="N", type=int, default=cores(), help="threads (one for each core)"
    )
    add_cache(verify)
    verify.add_argument(
        "--json", metavar="FILE", type=Path, help="write the whole report there, with all names"
    )
    verify.add_argument(
        "--checksums", action="store_true", help="compare the files with the manifest of prepare-data too"
    )
    return verify


def run(argv: Sequence[str]) -> int:
    """Run ``main.py verify-data``."""
    command = parser()
    options = command.read(argv)
    if options.workers < 1:
        command.error(f"--workers must be 1 or more; got {options.workers}")
    if not options.cache_gb >= 0:
        command.error(f"--cache-gb must be 0 or more; got {options.cache_gb:g}")
    if not options.data_path:
        command.error("--data-path is empty (an unset variable?); give a path, . for the current folder")
    if options.json is not None:
        _check_writable(options.json)

    from swin_train.prepare.manifest import damaged_files, miscounts
    from swin_train.prepare.sources import open_splits
    from swin_train.prepare.verify import verify
    from swin_train.record.console import Console

    with Console(None, is_main=True):
        splits = _recorded(options.data_path, options.split) if options.checksums else {}
        sources = open_splits(
            options.data_path, options.split, options.dataset, options.cache_dir, options.cache_gb
        )
        report = verify(sources, options.workers)
        if options.checksums:
            found = damaged_files(Path(options.data_path), splits)
            damaged = {name: problem for name, problem in found if problem is not None}
            report.damaged_files = damaged | miscounts(splits, sources)
    print_result(as_text(report))
    if options.json is not None:
        _write(options.json, report.as_json())
    return 0 if report.is_clean else DataError.exit_status


def _recorded(path: str, split: str | None) -> dict[str, Any]:
    """What prepare-data has recorded of the splits that are looked at."""
    from swin_train.data.formats.remote import is_url, shown_path
    from swin_train.prepare.manifest import read_manifest

    if is_url(path):
        raise UserError(
            f"--checksums: {shown_path(path)} is a URL; manifest.json is compared with the files of a folder. Leave "
            "the flag out"
        )
    splits = read_manifest(Path(path))
    if not splits:
        raise UserError(
            f"--checksums: {path} has no manifest.json; prepare-data writes it. Leave the flag out"
        )
    if split is None:
        return splits
    if split not in splits:
        raise UserError(
            f"--checksums: {path}/manifest.json has no {split}; it has {', '.join(splits)}. Leave the flag out"
        )
    return {split: splits[split]}


def as_text(report: "Report") -> str:
    """The report for people, at most 100 columns wide."""
    names = list(report.splits)
    rows: list[tuple[str, ...]] = [("", *names)]
    rows += _rows(report)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
    for name, split in report.splits.items():
        lines += _listed(
            f"broken in {name}", [f"{image}: {reason}" for image, reason in split.broken.items()]
        )
        for trait in _TRAITS:
            if trait != "grey":
                lines += _listed(f"{trait} in {name}", split.traits.get(trait, []))
    lines += _listed("in more than one split", [" = ".join(group) for group in report.leaks])
    lines += _listed("twice in a split", [" = ".join(group) for group in report.duplicates])
    lines += _listed("the same bytes in different classes", [" = ".join(group) for group in report.conflicts])
    for name, classes in report.one_split_only.items():
        lines += _listed(f"classes in {name} only", classes)
    if report.damaged_files is not None:
        damaged = [f"{name} {problem}" for name, problem in report.damaged_files.items()]
        lines += _listed("damaged files", damaged) or ["", "checksums: every file is what prepare-data wrote"]
    return "\n".join([*lines, "", "clean" if report.is_clean else "not clean: see what is broken above"])


def _rows(report: "Report") -> list[tuple[str, ...]]:
    splits = report.splits.values()
    ratios = [split.largest_class[1] / max(1, split.smallest_class[1]) for split in splits]
    return [
        ("images", *(f"{split.images:,}" for split in splits)),
        ("MiB", *(f"{split.bytes / 2**20:,.1f}" for split in splits)),
        ("classes", *(f"{split.classes:,}" for split in splits)),
        ("smallest class", *(f"{split.smallest_class[1]:,}" for split in splits)),
        ("largest class", *(f"{split.largest_class[1]:,}" for split in splits)),
        ("largest : smallest", *(f"{ratio:.1f}" for ratio in ratios)),
        ("broken", *(f"{len(split.broken):,}" for split in splits)),
        *((trait, *(f"{len(split.traits.get(trait, [])):,}" for split in splits)) for trait in _TRAITS),
    ]


def _listed(title: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    lines = [textwrap.shorten(item, _WIDTH - 2, placeholder=" ...") for item in items[:_SHOWN]]
    more = [f"and {len(items) - _SHOWN:,} more (--json lists all)"] if len(items) > _SHOWN else []
    return ["", f"{title}: {len(items):,}", *(f"  {line}" for line in [*lines, *more])]


def _check_writable(path: Path) -> None:
    """Refuse a file that cannot be written before hours of work; a new one is left empty."""
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another --json FILE") from None


def _write(path: Path, report: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); give another --json FILE"
        ) from None
