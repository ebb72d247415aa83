"""References to secrets: by name, looked up only where they are used.

A `Secret` may be given wherever a decorator takes one. It travels, and is shown, as the
name that it is; the value is read by the worker that needs it, and nowhere else.

`scrub` takes the values that this process has read so far out of a text: for the
messages of whoever uses secrets.

What is no reference but the value itself, as keys among the options of a decorator are,
`withhold` keeps in this process: a job's call that holds it is refused.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

from entangle._seam.withheld import withheld, withhold
from entangle.errors import SecretError

__all__ = ["HIDDEN", "Secret", "env", "file", "known", "scrub", "withheld", "withhold"]

HIDDEN: Final = "…"
# What is shorter would be found in any text.
_LEAST: Final = 4

# What was read by this process, longest first, so that no part of one is left.
_known: tuple[str, ...] = ()


class Secret(ABC):
    """A secret by its name; equal to another one of that name. Thread-safe.

    Its text, and its pickle, are what is written in the program, never the value.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        """Refer to a secret; it need not be there yet, nor in this process."""
        given: Any = name
        if not isinstance(given, str) or not given or "\0" in given:
            raise ValueError(f"{name!r} names no secret")
        self.name = name

    def value(self) -> str:
        """Read the secret, here and now.

        Raises:
            SecretError: it can't be had in this process.
        """
        found = self._read()
        known(found)
        return found

    @abstractmethod
    def _read(self) -> str:
        """Return the value, or raise a SecretError."""

    def __eq__(self, other: object) -> bool:
        """Compare names."""
        if not isinstance(other, Secret):
            return NotImplemented
        return type(self) is type(other) and self.name == other.name

    def __hash__(self) -> int:
        """Hash the name."""
        return hash((type(self).__name__, self.name))

    def __repr__(self) -> str:
        """Show how it is written."""
        return f"{type(self).__name__.lower()}({self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name."""
        return type(self), (self.name,)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse, once it is made: it is compared and hashed."""
        if hasattr(self, "name"):
            raise AttributeError(f"a secret is immutable: cannot set {name!r}")
        super().__setattr__(name, value)


class Env(Secret):
    """An environment variable of the worker that uses it."""

    __slots__ = ()

    def _read(self) -> str:
        value = os.environ.get(self.name)
        if not value:
            state = "empty" if value == "" else "not set"
            raise SecretError(
                repr(self),
                f"the environment variable {self.name} is {state} in the process that "
                "needs it; set it before the run, or with @process(env=...)",
            )
        return value


class File(Secret):
    """The text of a file on the machine of the worker that uses it."""

    __slots__ = ()

    def _read(self) -> str:
        try:
            value = Path(self.name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise SecretError(repr(self), f"the file can't be read: {reason}") from None
        if not value:
            raise SecretError(repr(self), "the file is empty")
        return value


def env(name: str) -> Secret:
    """Refer to an environment variable.

    Args:
        name: The name of the variable.

    Returns:
        The reference; the variable is read where, and each time, it is used.
    """
    return Env(name)


def file(path: str | os.PathLike[str]) -> Secret:
    """Refer to the text of a file, as containers are given secrets.

    Args:
        path: The file, UTF-8; line ends after the text don't count.

    Returns:
        The reference; the file is read where, and each time, it is used.
    """
    return File(os.fspath(path))


def known(value: str) -> None:
    """Have `scrub` know a value that is as secret: another form of one, say.

    Args:
        value: The value. Less than four characters would be found in any text and
            are left alone.
    """
    global _known  # noqa: PLW0603 - what was read by the process is the process's
    if len(value) >= _LEAST and value not in _known:
        _known = tuple(sorted({*_known, value}, key=len, reverse=True))


def scrub(text: str) -> str:
    """Return a text with "…" in the place of every secret that was read here.

    Args:
        text: Any text.
    """
    for value in _known:
        if value in text:
            text = text.replace(value, HIDDEN)
    return text
