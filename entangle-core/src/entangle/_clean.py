"""Text from anywhere, made safe to show in a terminal or a picture.

Names, values and output of tasks may hold anything: escape sequences that move the
cursor or retitle the window, marks that turn the writing direction around, halves of
characters, ten megabytes without a line's end. What is shown of them must do nothing
but be seen.
"""

from __future__ import annotations

import re
from typing import Any, Final

# Colours of a log line are lost without a trace; any other sequence is made visible.
_COLOURS: Final = re.compile(r"\x1b\[[0-9;:]*m")
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufeff\ufffe\uffff]"
)
# For streams that can't write what people read best.
_ASCII: Final = str.maketrans(
    {"✗": "x", "✓": "+", "·": "-", "…": "...", "×": "x", "–": "-", "─": "-", "│": "|"}
    | {"├": "|", "└": "`", "●": "*", "○": "o", "■": "#", "→": "->", "↻": "~", "↺": "~"}
)
_PICTURES: Final = 0x2400  # of the control characters, in their order
_DELETE: Final = 0x7F
_LAST_LATIN: Final = 0xFF
_CUT: Final = "…"


def clean(text: str) -> str:
    """Return a text in which nothing is left that a terminal would act upon.

    Line ends and tabs stay; colours go; other control characters are shown as the
    pictures that Unicode has for them, whatever else is invisible as its escape.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_shown, _COLOURS.sub("", text.replace("\r\n", "\n")))


def one_line(text: str, most: int) -> str:
    """Return the beginning of a text in one line, made safe.

    Args:
        text: Anything; a long one is not looked at as a whole.
        most: How many columns of a terminal there are for it.
    """
    if len(text) <= most and text.isascii() and text.isprintable():
        return text
    # Colours and combining marks take no columns.
    whole = clean(text[: 8 * most + 64])
    return cut(" ".join(whole.split()), most)


def cut(text: str, most: int) -> str:
    """Cut a text that is safe to a number of columns, with a mark where it was cut."""
    if len(text) * 2 <= most or columns(text) <= most:
        return text
    left = most - 1
    for end, character in enumerate(text):
        left -= _columns_of(character)
        if left < 0:
            return text[:end] + _CUT
    return text


def fitting(text: str, stream: Any) -> str:
    """Return a text in the characters that a stream can write."""
    encoding = getattr(stream, "encoding", None)
    if encoding is None:
        return text  # it takes text as it is
    try:
        text.encode(encoding)
    except (UnicodeError, LookupError):
        return text.translate(_ASCII).encode("ascii", "backslashreplace").decode()
    return text


def columns(text: str) -> int:
    """Return how many columns of a terminal a text that is safe takes."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if character.isascii():
        return 1
    # Imported here: most text is plain.
    from unicodedata import category, east_asian_width

    if category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < ord(" "):
        return chr(_PICTURES + code)
    if code == _DELETE:
        return "␡"
    return f"\\x{code:02x}" if code <= _LAST_LATIN else f"\\u{code:04x}"
