"""What the environment says of where calls run, whatever their tasks say."""

from __future__ import annotations

from typing import Final

from entangle._environ import variable
from entangle.errors import OptionError

INLINE: Final = "ENTANGLE_INLINE"
TARGETS: Final = "ENTANGLE_TARGETS"
LOCAL: Final = "local"
ANY: Final = "*"


def inline() -> bool:
    """Tell whether everything is to run in the calling thread."""
    return variable(INLINE) not in {"", "0"}


def replacements() -> dict[str, str]:
    """Return what replaces which target, by name.

    Raises:
        OptionError: the variable makes no sense.
    """
    text = variable(TARGETS)
    if not text:
        return {}
    pairs: dict[str, str] = {}
    for item in text.split(","):
        if not item.strip():
            continue
        name, equals, place = (part.strip() for part in item.partition("="))
        sound = (name == ANY or name.isidentifier()) and place.isidentifier()
        if not equals or not sound:
            raise OptionError(
                f"{TARGETS}={text!r}: {item.strip()!r} is not of the form name=place, "
                "where name is a decorator's, or * for all others, and place is local "
                "or an executor's name",
                decorator="",
                option=TARGETS,
            )
        if pairs.setdefault(name, place) != place:
            raise OptionError(
                f"{TARGETS}={text!r} replaces {name} twice: keep one",
                decorator="",
                option=TARGETS,
            )
    return pairs
