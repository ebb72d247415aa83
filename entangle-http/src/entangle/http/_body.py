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

from urllib3.exceptions import DecodeError

from ._failure import BodyProblemError, LargeBodyError
from ._transport import consumed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import requests

    from ._failure import Exchange

CHUNK: Final = 1 << 16
PREFIX: Final = "entangle-http-"


def chunks(
    response: requests.Response, exchange: Exchange, *, soon: bool = False
) -> Iterator[bytes]:
    """Yield the body piece by piece, decompressed.

    Args:
        response: Whose body.
        exchange: What there may be of it, in which time.
        soon: Whether pieces are wanted as they come, however small.

    Raises:
        LargeBodyError: There is more than may be.
        Exception: What the libraries below raise.
    """
    most = f"max_bytes={exchange.limit:,.0f}"
    length = response.headers.get("Content-Length", "")
    encoded = response.headers.get("Content-Encoding")
    if exchange.method != "HEAD" and length.isascii() and length.isdigit():
        announced = float(length)
        if announced > exchange.limit and not encoded:
            raise LargeBodyError(f"the body has {announced:,.0f} bytes, and {most}")
    seen = 0
    for chunk in _at_once(response) if soon else response.iter_content(CHUNK):
        seen += len(chunk)
        if seen > exchange.limit:
            raise LargeBodyError(f"the body goes on beyond {most}")
        if exchange.clock.over:
            raise TimeoutError
        yield chunk
    if _cut_off(response):
        raise DecodeError("it is cut off")


def _cut_off(response: requests.Response) -> bool:
    """Tell whether a compressed body ends before its end, which nobody below minds."""
    raw: Any = response.raw
    decoder: Any = getattr(raw, "_decoder", None)
    if decoder is None or not raw.tell():
        return False
    for each in getattr(decoder, "_decoders", [decoder]):
        # After the first part of a gzip there may be anything.
        first = getattr(each, "_state", 0) == 0
        if first and getattr(getattr(each, "_obj", None), "eof", None) is False:
            return True
    return False


def _at_once(response: requests.Response) -> Iterator[bytes]:
    """Yield what has come, without waiting for more."""
    raw: Any = response.raw
    kept = hasattr(response, "from_cache")  # CacheControl has to see whole reads
    if kept or getattr(raw, "chunked", False) or not hasattr(raw, "read1"):
        yield from response.iter_content(CHUNK)  # of chunks, each as it comes
        return
    while chunk := raw.read1(CHUNK, decode_content=True):
        yield chunk


def whole(response: requests.Response, exchange: Exchange) -> bytes:
    """Read the whole body into memory; as `chunks`."""
    body = b"".join(chunks(response, exchange))
    consumed(response, body)
    return body


def text(response: requests.Response, body: bytes) -> str:
    """Decode a body by the charset that it says, UTF-8 if it says none.

    Raises:
        BodyProblemError: It is no such text.
    """
    named = _charset(response)
    said = f"the charset of the body is said to be {named!r}"
    if named is None:
        said = "no charset is named for the body"
    charset = named or "utf-8"
    try:
        # A signature at the begin is no part of the text.
        signed = codecs.lookup(charset).name == "utf-8"
        return body.decode("utf-8-sig" if signed else charset)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        problem = f"and it is no {charset} at byte {start:,}"
    except (LookupError, ValueError):
        problem = "which is not known here"
    raise BodyProblemError(f"{said}, {problem}; ask for bytes, or for the response")


def _charset(response: requests.Response) -> str | None:
    """Return the charset that the headers name; None if they don't."""
    kind = response.headers.get("Content-Type", "")
    _, _, rest = kind.partition(";")
    for piece in rest.split(";"):
        name, _, value = piece.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or None
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
def on_disk(response: requests.Response, exchange: Exchange) -> Generator[Path]:
    """Have the body in a temporary file; what is still there in the end is removed.

    The file is locked by this process meanwhile: if that is killed, the next one to
    make such a file removes it.
    """
    remove_abandoned()
    with _locked_file() as (path, file):
        for chunk in chunks(response, exchange):
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                raise BodyProblemError(
                    f"the body can't be written to {path.parent}: {error.strerror}"
                ) from None
        response.close()
        exchange.clock.stop()
        yield path


@contextmanager
def _locked_file() -> Generator[tuple[Path, Any]]:
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
