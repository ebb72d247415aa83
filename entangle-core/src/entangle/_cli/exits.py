"""The exit codes that scripts may rely on."""

from typing import Final

OK: Final = 0
NODE_FAILED: Final = 1
USAGE: Final = 2
INVALID: Final = 3
INTERRUPTED: Final = 130


class UsageError(Exception):
    """The command line asks for something that can't be; the message says what can."""


class InvalidError(Exception):
    """A file or setting can't be used; the message says why."""
