"""`entangle cache`: lists what is kept on disk, makes room."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from entangle.errors import CacheDirectoryError, OptionError

from .exits import INVALID, OK, UsageError
from .main import examples
from .terminal import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from entangle._cache.listing import Listed

_SORTS: Final[dict[str, Callable[[Listed], object]]] = {
    "used": lambda each: -each.used,
    "size": lambda each: -each.nbytes,
    "age": lambda each: each.made,
    "hits": lambda each: -each.hits,
    "function": lambda each: each.function,
}
_SPANS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NEVER: Final = float("-inf")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `entangle cache`."""
    examples(
        parser,
        "cache",
        "cache ls --sort size -n 10",
        "cache prune --unused-for 30d",
        "cache clear",
    )
    parser.epilog = (
        "ls lists, prune removes what was not used for long, what is damaged and what "
        "is nobody's, clear removes everything. Programs may go on meanwhile: one that "
        "has a value keeps it. ENTANGLE_CACHE_DIR says where, ENTANGLE_CACHE_SIZE how "
        "much may be kept."
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("ls", "prune", "clear"),
        default="ls",
        help="what to do (ls)",
    )
    parser.add_argument(
        "--sort",
        choices=tuple(_SORTS),
        default="used",
        help="ls: the order; by default what was used last comes first",
    )
    parser.add_argument(
        "-n", type=int, metavar="N", help="ls: only the first N of them"
    )
    parser.add_argument("--json", action="store_true", help="ls: print it as JSON")
    parser.add_argument(
        "--size",
        metavar="BYTES",
        help="prune: to this many bytes (500MB, 2GiB; the limit if left out)",
    )
    parser.add_argument(
        "--unused-for",
        metavar="TIME",
        help="prune: what was not used for so long (seconds, or 90m, 12h, 30d, 8w)",
    )


def execute(arguments: argparse.Namespace) -> int:
    """List, prune or clear, and return the exit code."""
    from entangle._cache import directory

    action: str = arguments.action
    given = {
        "ls": ("n",),
        "prune": ("size", "unused_for"),
    }
    if arguments.json and action != "ls":
        raise UsageError("--json belongs to `entangle cache ls`")
    for owner, names in given.items():
        for name in names:
            if owner != action and getattr(arguments, name) is not None:
                option = "-n" if name == "n" else f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} belongs to `entangle cache {owner}`")
    try:
        folder = directory.existing()
        if folder is None and arguments.json:
            _as_data(str(directory.path()), [], 0)
            return OK
        if folder is None:
            print(f"nothing is kept in {directory.path()}")
            return OK
        if action == "clear":
            return _clear(folder)
        if action == "prune":
            return _prune(folder, arguments)
    except (CacheDirectoryError, OptionError) as error:
        say(f"entangle: {error}")
        return INVALID
    return _list(folder, arguments)


def _list(folder: str, arguments: argparse.Namespace) -> int:
    from entangle._cache import listing

    found = list(listing.entries(folder))
    rows = [each for each in found if not isinstance(each, str)]
    rows.sort(key=_SORTS[arguments.sort])  # type: ignore[arg-type] # each is of one kind
    if arguments.json:
        _as_data(folder, rows[: arguments.n], len(found) - len(rows))
        return OK
    now = time.time()
    if rows:
        print(f"{'SIZE':>9} {'AGE':>6} {'USED':>6} {'HITS':>7}  FUNCTION")
    for row in rows[: arguments.n]:
        print(
            f"{_size(row.nbytes):>9} {_span(now - row.made):>6} "
            f"{_span(now - row.used):>6} {row.hits:>7,}  {row.function}"
        )
    total = sum(row.nbytes for row in rows)
    count = "1 value" if len(rows) == 1 else f"{len(rows):,} values"
    print(f"{count}, {_size(total)}, in {folder}")
    damaged = len(found) - len(rows)
    if damaged:
        print(f"{damaged:,} damaged: `entangle cache prune` removes them")
    return OK


def _as_data(folder: str, rows: list[Listed], damaged: int) -> None:
    from .data import printed

    values = [
        {
            "function": row.function,
            "bytes": row.nbytes,
            "made": row.made,
            "used": row.used,
            "hits": row.hits,
        }
        for row in rows
    ]
    printed({"folder": folder, "values": values, "damaged": damaged})


def _prune(folder: str, arguments: argparse.Namespace) -> int:
    from entangle._cache import directory, listing

    most = directory.size()
    if arguments.size is not None:
        most = min(most, directory.parsed_size(arguments.size, "--size"))
    before = _NEVER
    if arguments.unused_for is not None:
        before = time.time() - _seconds(arguments.unused_for)
    done = listing.prune(folder, most, before)
    print(
        f"removed {done.unused:,} unused and {done.damaged:,} damaged or stray; "
        f"{_size(done.left)} left"
    )
    return OK


def _clear(folder: str) -> int:
    from entangle._cache import listing

    count = listing.clear(folder)
    print(f"removed {count:,} {'value' if count == 1 else 'values'} from {folder}")
    return OK


def _seconds(text: str) -> float:
    unit = _SPANS.get(text[-1:].lower())
    try:
        seconds = float(text[:-1]) * unit if unit is not None else float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(
            f"--unused-for {text}: give seconds, or a number with m, h, d or w"
        )
    return seconds


def _size(nbytes: int) -> str:
    value = float(nbytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004 - where the next unit begins
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _span(seconds: float) -> str:
    shown = "now"
    for unit, length in _SPANS.items():
        if seconds >= length:
            shown = f"{seconds / length:.0f}{unit}"
    return shown
