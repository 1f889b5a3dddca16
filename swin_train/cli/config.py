"""``main.py config show | help | check | folder``."""

from collections.abc import Sequence

from swin_train.cli.arguments import FLAGS, MODE_FLAGS, ConfigParser, Parser
from swin_train.cli.output import print_result
from swin_train.config import describe, output_dir, show
from swin_train.models.outline import check_is_trained

_DESCRIPTION = """\
Show, explain or check a configuration:
  show   every key with its value, and where it was set
  help   what the keys mean
  check  report everything that is wrong, without running anything
  folder where a run of it is"""

_EXAMPLES = """\
  python main.py config help
  python main.py config help TRAIN.LR_SCHEDULER
  python main.py config show --cfg swin_tiny_patch4_window7_224 --batch-size 64
  python main.py config check --cfg my.yaml --opts TRAIN.EPOCHS 100
  python main.py config folder --cfg my.yaml --tag second"""


def run(argv: Sequence[str]) -> int:
    """Run ``main.py config``."""
    action, rest = (argv[0], argv[1:]) if argv else ("", ())
    if action == "help":
        return _help(rest)
    if action == "show":
        return _show(rest)
    if action == "check":
        return _check(rest)
    if action == "folder":
        return _folder(rest)
    parser = Parser("main.py config", _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "action", choices=["show", "help", "check", "folder"], help="what to do; each has its own --help"
    )
    parser.read(argv)
    return 0


def _help(argv: Sequence[str]) -> int:
    parser = Parser("main.py config help", "Explain a key, a section, or everything.", _EXAMPLES)
    parser.add_argument("key", nargs="?", default="", help="such as TRAIN.EPOCHS or TRAIN")
    print_result(describe(parser.read(argv).key))
    return 0


def _show(argv: Sequence[str]) -> int:
    parser = ConfigParser(
        "main.py config show", "Show every key and where it was set.", _EXAMPLES, (*FLAGS, *MODE_FLAGS)
    )
    print_result(show(parser.read_config(argv)))
    return 0


def _check(argv: Sequence[str]) -> int:
    parser = ConfigParser(
        "main.py config check", "Report everything that is wrong.", _EXAMPLES, (*FLAGS, *MODE_FLAGS)
    )
    check_is_trained(parser.read_config(argv))
    print_result("no problems in the configuration")
    return 0


def _folder(argv: Sequence[str]) -> int:
    parser = ConfigParser(
        "main.py config folder", "Print the folder that a run of it is in.", _EXAMPLES, (*FLAGS, *MODE_FLAGS)
    )
    print_result(str(output_dir(parser.read_config(argv))))
    return 0
