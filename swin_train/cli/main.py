"""Find the command, run it, and turn errors into one message and an exit status."""

import difflib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from swin_train.cli import (
    benchmark,
    build_native,
    config,
    convert,
    describe,
    evaluate,
    fit,
    prepare_data,
    train,
    verify_data,
)
from swin_train.errors import UserError, as_user_error
from swin_train.exit_report import exit_status, print_error, report_to_launcher

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train.run,
    "eval": evaluate.run,
    "convert": convert.run,
    "config": config.run,
    "describe": describe.run,
    "fit": fit.run,
    "benchmark": benchmark.run,
    "build-native": build_native.run,
    "prepare-data": prepare_data.run,
    "verify-data": verify_data.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, by default this process's, and return its exit status."""
    _show_warnings()
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
    except SystemExit as done:  # after --help or --version, or when the reader of stdout has left
        return exit_status(done)
    except BaseException as error:
        explained = as_user_error(error)
        report_to_launcher(error)
        if explained is not None:
            print_error(explained)
        elif isinstance(error, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
        else:
            raise
        return exit_status(error)
    if status == 0:
        report_to_launcher(None)
    return status


def run_and_leave() -> NoReturn:
    """Run this process's command line and end it with the status."""
    try:
        status = main()
    except BaseException as error:  # nobody foresaw it
        traceback.print_exception(error)
        status = exit_status(error)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # At the end of the interpreter, threads of a gloo group that lost a peer may abort the process.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)
    sys.exit(status)


def _run(argv: Sequence[str]) -> int:
    if not argv:
        train.flat_parser().print_help(sys.stderr)
        return UserError.exit_status
    command = argv[0]
    if command in COMMANDS:
        return COMMANDS[command](argv[1:])
    if command.startswith("-"):
        return train.run_flat(argv)
    near = difflib.get_close_matches(command, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
    raise UserError(f"main.py: unknown command {command!r}; {hint}")


def _show_warnings() -> None:
    """Let warnings appear on stderr until the run's Recorder installs handlers of its own."""
    if logging.lastResort:
        logging.lastResort.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        logging.lastResort.setLevel(logging.WARNING if os.environ.get("RANK", "0") == "0" else logging.ERROR)
