"""The flags, which are the reference's, and how they become a configuration.

A flag stands for one configuration key. It has no default of its own, so that it never hides what a YAML
file says, and no type: the configuration checks the value together with all others.
"""

import argparse
import difflib
import logging
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from swin_train.cli.output import flush_stdout
from swin_train.config import Config, load_config
from swin_train.errors import UserError

logger = logging.getLogger(__name__)


class Flag(NamedTuple):
    """One flag, the key that it sets, and the name of its value; without a name it sets ``const``.

    Its help is the key's sentence unless ``help`` says it better.
    """

    name: str
    key: str
    metavar: str | None = None
    const: Any = True
    help: str | None = None


FLAGS = (
    Flag("--batch-size", "DATA.BATCH_SIZE", "N"),
    Flag("--data-path", "DATA.DATA_PATH", "DIR"),
    Flag("--zip", "DATA.ZIP_MODE"),
    Flag("--cache-mode", "DATA.CACHE_MODE", "{no,full,part}"),
    Flag("--pretrained", "MODEL.PRETRAINED", "FILE"),
    Flag("--resume", "MODEL.RESUME", "FILE"),
    Flag("--accumulation-steps", "TRAIN.ACCUMULATION_STEPS", "N"),
    Flag("--use-checkpoint", "TRAIN.USE_CHECKPOINT"),
    Flag("--optim", "TRAIN.OPTIMIZER.NAME", "NAME"),
    Flag("--disable-amp", "AMP_ENABLE", const=False, help="Compute in float32."),
    Flag("--amp-opt-level", "AMP_OPT_LEVEL", "{O0,O1,O2}"),
    Flag("--fused-window-process", "FUSED_WINDOW_PROCESS"),
    Flag("--fused-layernorm", "FUSED_LAYERNORM"),
    Flag("--output", "OUTPUT", "DIR"),
    Flag("--tag", "TAG", "NAME"),
    Flag("--device", "DEVICE", "{auto,cuda,mps,cpu}"),
)
MODE_FLAGS = (
    Flag("--eval", "EVAL_MODE", help="Evaluate the checkpoint given by --resume, and stop."),
    Flag("--throughput", "THROUGHPUT_MODE", help="Measure the model's images per second, and stop."),
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are UserErrors, and which reads ``--a_b`` as ``--a-b``."""

    def __init__(self, prog: str, description: str, examples: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        # That of Python 3.14; older ones take -1e-3 for a flag.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print before it exits."""
        raise UserError(f"{self.prog}: {message}; see {self.prog} --help")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End after --help or --version, when their text is written and not only buffered."""
        flush_stdout()
        super().exit(status, message)

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse ``argv``. Raises UserError for an unknown flag or a stray word."""
        arguments, unknown = self.parse_known_args([_with_dashes(word) for word in argv])
        flags = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        if flags:
            self.error("; ".join(f"unknown flag {flag}{self._did_you_mean(flag)}" for flag in flags))
        if unknown:
            self.error(f"unexpected argument {unknown[0]!r}")
        return arguments

    def _did_you_mean(self, flag: str) -> str:
        known = [name for action in self._actions for name in action.option_strings]
        near = difflib.get_close_matches(flag, known, n=1, cutoff=0.7)
        return f", did you mean {near[0]}?" if near else ""


class ConfigParser(Parser):
    """A parser of everything that makes a configuration: --cfg, --opts and one flag for each of ``flags``."""

    def __init__(self, prog: str, description: str, examples: str, flags: Sequence[Flag] = FLAGS) -> None:
        super().__init__(prog, description, examples)
        meaning = {key: option.doc for key, option in Config.walk()}
        self.set_defaults(flags=[])
        self.add_argument(
            "--cfg",
            required=True,
            metavar="FILE",
            help="YAML file, or the name of a configuration that comes with the project, such as"
            " swin_tiny_patch4_window7_224",
        )
        self.add_argument(
            "--opts",
            nargs="+",
            action="extend",
            default=[],
            metavar="KEY VALUE",
            help="any configuration keys with their values; `main.py config help` lists them",
        )
        for flag in flags:
            setting = flag.key if flag.metavar else f"{flag.key} {flag.const}"
            self.add_argument(
                flag.name,
                action=_Collect,
                nargs=None if flag.metavar else 0,
                metavar=flag.metavar,
                const=flag,
                help=f"{flag.help or meaning[flag.key]} [{setting}]",
            )
        self.add_argument("--local-rank", metavar="N", help="ignored: torchrun's environment tells the rank")

    def read_config(self, argv: Sequence[str], flags: Sequence[tuple[str, Any, str]] = ()) -> Config:
        """Parse ``argv`` and load the configuration; ``flags`` are added to those that were typed.

        Raises:
            UserError: a flag is unknown or incomplete.
            ConfigError: the configuration is wrong.
        """
        arguments = self.read(argv)
        if arguments.local_rank is not None:
            logger.warning("--local-rank is ignored; the environment that torchrun sets tells the rank")
        if arguments.flags and any(key == "AMP_OPT_LEVEL" for key, _, _ in arguments.flags):
            logger.warning(
                "--amp-opt-level is apex's old flag: O0 turns mixed precision off, O1 and O2 do nothing"
            )
        return load_config(arguments.cfg, arguments.opts, [*arguments.flags, *flags])


class _Collect(argparse.Action):
    """Append (key, value, flag) to ``flags``, so that a value of 0 or '' counts as given too."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: Any = None,
    ) -> None:
        flag: Flag = self.const
        value = values if flag.metavar else flag.const
        namespace.flags = [*namespace.flags, (flag.key, value, option_string)]


def _with_dashes(word: str) -> str:
    """Spell a flag with dashes; the reference mixes both."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value
