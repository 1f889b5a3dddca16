"""Errors meant for the person at the keyboard, not for a debugger.

``main.py`` prints the message without a traceback and exits with ``exit_status``. A message reads
*where: what is wrong, with the value; what would be right.*
"""

from swin_train.redact import redacted


class UserError(Exception):
    """The run cannot start or go on because of something the user can mend. Its text shows no credentials."""

    exit_status = 2

    def __str__(self) -> str:
        return redacted(super().__str__())


class NumericsError(UserError):
    """The numbers of the run went bad: a loss or a gradient that is not finite."""

    exit_status = 4


class DataError(UserError):
    """Damaged data met while running."""

    exit_status = 5


class StorageError(UserError):
    """A checkpoint, a log or a result could not be written."""

    exit_status = 28
