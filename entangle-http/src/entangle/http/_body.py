"""Bodies of responses, read within their limits."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ._failure import BodyProblemError, LargeBodyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from ._failure import Exchange

CHUNK: Final = 1 << 16
PREFIX: Final = "entangle-http-"


def chunks(response: requests.Response, exchange: Exchange) -> Iterator[bytes]:
    """Yield the body as it comes, decompressed.

    Raises:
        LargeBodyError: There is more than may be.
        Exception: What the libraries below raise.
    """
    length = response.headers.get("Content-Length", "")
    encoded = response.headers.get("Content-Encoding")
    if length.isascii() and length.isdigit() and not encoded:
        _check(float(length[:20]), exchange, exact=True)
    seen = 0
    for chunk in response.iter_content(CHUNK):
        seen += len(chunk)
        _check(seen, exchange)
        if exchange.clock.over:
            raise TimeoutError
        yield chunk


def _check(seen: float, exchange: Exchange, *, exact: bool = False) -> None:
    if seen > exchange.limit:
        found = f"of {seen:,.0f} bytes" if exact else "goes on"
        raise LargeBodyError(
            f"the body {found}, and max_bytes={exchange.limit:,.0f}"
            if exact
            else f"the body {found} beyond max_bytes={exchange.limit:,.0f}"
        )


def whole(response: requests.Response, exchange: Exchange) -> bytes:
    """Read the whole body into memory; as `chunks`."""
    body = b"".join(chunks(response, exchange))
    # Now it is as if it had been read by the library.
    response._content = body  # noqa: SLF001 - the public way has no limit
    response._content_consumed = True  # noqa: SLF001 - as above
    return body


def text(response: requests.Response, body: bytes) -> str:
    """Decode a body by the charset that it says, UTF-8 if it says none.

    Raises:
        BodyProblemError: It is no such text.
    """
    charset = _charset(response)
    if charset is None:
        said, charset = "no charset is named for the body", "utf-8-sig"
    else:
        said = f"the charset of the body is said to be {charset!r}"
    try:
        return body.decode(charset)
    except LookupError:
        problem = "which is not known here"
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        known_as = "UTF-8" if charset == "utf-8-sig" else charset
        problem = f"and it is no {known_as} at byte {start:,}"
    raise BodyProblemError(f"{said}, {problem}; ask for bytes, or for the response")


def _charset(response: requests.Response) -> str | None:
    """Return the charset that the headers name; None if they don't."""
    kind = response.headers.get("Content-Type", "")
    _, _, rest = kind.partition(";")
    for piece in rest.split(";"):
        name, _, value = piece.partition("=")
        if name.strip().lower() == "charset":
            found = value.strip().strip("\"'")
            # A signature at the begin is no part of the text.
            with suppress(LookupError):
                return "utf-8-sig" if codecs.lookup(found).name == "utf-8" else found
            return found or None
    return None


def parsed(response: requests.Response, body: bytes) -> Any:
    """Parse a body as JSON.

    Raises:
        BodyProblemError: It is none.
    """
    if not body.strip():
        raise BodyProblemError(
            "JSON is wanted, and the body is empty: ask for text, or for the response"
        )
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        kind = response.headers.get("Content-Type") or "no type"
        raise BodyProblemError(
            f"JSON is wanted, and the body ({kind}) is none: {error}"
        ) from None


@contextmanager
def on_disk(response: requests.Response, exchange: Exchange) -> Iterator[Path]:
    """Have the body in a temporary file; what is still there in the end is removed.

    The file is locked by this process meanwhile: if that is killed, the next one to
    make such a file removes it.
    """
    remove_abandoned()
    with _locked_file() as (path, file):
        for chunk in chunks(response, exchange):
            file.write(chunk)
        file.flush()
        response.close()
        exchange.clock.stop()
        yield path


@contextmanager
def _locked_file() -> Iterator[tuple[Path, Any]]:
    while True:
        number, name = tempfile.mkstemp(prefix=PREFIX)
        file = os.fdopen(number, "wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()  # somebody has taken it for an abandoned one
    path = Path(name)
    try:
        with file:
            yield path, file
            path.unlink(missing_ok=True)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def abandoned() -> Iterator[Path]:
    """Find files of processes that were killed while they had them."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError), path.open("rb") as file:
            if os.fstat(file.fileno()).st_uid == os.getuid():
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield path


def remove_abandoned() -> None:
    """Remove what `abandoned` finds."""
    for path in abandoned():
        path.unlink(missing_ok=True)
