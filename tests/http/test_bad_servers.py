"""Servers that misbehave: each is a clear error, in time, with nothing left behind."""

import contextlib
import gzip
import pickle
import re
import resource
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_kit import answer, serving, turns
from life_kit import until, within

from entangle.http import (
    BodyError,
    ConnectionFailedError,
    RedirectError,
    RequestError,
    RequestTimeoutError,
    StatusError,
    TooLargeError,
    request,
)
from entangle.process import process
from entangle.thread import thread

pytestmark = pytest.mark.process

HEAD = b"HTTP/1.1 200 OK\r\n"
PATIENCE = 30.0


def get(url, *, how=thread, kind="text", **options):
    """Make a task that asks once, and gives how much came."""

    @how
    @request(url=url, **{"retries": 0, "as_": kind, **options})
    def asked(data):
        return len(data)

    return asked


def failure(handler, error, words="", **options):
    """Return the error of a request to a server that behaves like this."""
    with serving(handler) as server, within(PATIENCE):
        with pytest.raises(error, match=words) as got:
            get(server.url, **options)()()
    check(got.value, f"GET {server.url}/: ")
    return got.value


def check(error, begin):
    """Check what every message says, and that the error travels."""
    text = str(error)
    assert text.startswith(begin), text
    status = "" if error.status is None else f"status {error.status}, "
    assert re.search(rf"\({status}attempt {error.attempt}, \d+\.\d\d s\)$", text), text
    assert error.elapsed >= 0
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.status) == (type(error), text, error.status)


def stay(sock):
    """Wait until the other side has gone."""
    with contextlib.suppress(OSError):
        while sock.recv(1 << 16):
            pass


def drained(data):
    """Return how much there was, whatever it came in."""
    if isinstance(data, Path):
        return data.stat().st_size
    return sum(map(len, data)) if isinstance(data, Iterator) else len(data)


def dribble(begin, piece, gone):
    """Make a handler that sends a little again and again until the client leaves."""

    def handler(_asked, sock):
        with contextlib.suppress(OSError):
            sock.sendall(begin)
            sock.settimeout(0.02)
            while True:
                sock.sendall(piece)
                with contextlib.suppress(TimeoutError):
                    if not sock.recv(1 << 16):
                        break
        gone.set()

    return handler


# -- no connection -------------------------------------------------------------------


def test_no_such_host(monkeypatch):
    """What the resolver says; its answer is forged, so that nobody outside is asked."""

    def unknown(host, *_, **__):
        raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: {host}")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectionFailedError, match="Name or service not known") as got:
        get("http://no-such-host.invalid/")()()
    check(got.value, "GET http://no-such-host.invalid/: there is no connection: ")


def test_a_resolver_that_does_not_answer(monkeypatch):
    """The time of a request is that of looking its host up, too."""
    resolve, answer, answered = socket.getaddrinfo, threading.Event(), threading.Event()

    def silent(host, *args, **kwargs):
        if host != "silent.test" or socket.AI_NUMERICHOST in args:
            return resolve(host, *args, **kwargs)
        answer.wait(PATIENCE)
        answered.set()
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    try:
        with pytest.raises(RequestTimeoutError, match=r"timeout of 0\.4 s"):
            get("http://silent.test/", timeout=0.4, retries=0)()()
        assert not answered.is_set()
    finally:
        answer.set()
    assert answered.wait(PATIENCE)


@pytest.mark.parametrize("host", ["a" * 64 + ".test", ".test", "a..b"])
def test_names_that_no_host_can_have(host):
    with pytest.raises(RequestError) as got:
        get(f"http://{host}/")()()
    assert isinstance(got.value, RequestError)


@pytest.fixture
def deaf():
    """An address that takes no connection and refuses none: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", port))
        yield port


def test_many_addresses_that_do_not_answer(deaf, monkeypatch):
    """All of them together have the time of one."""
    resolve = socket.getaddrinfo

    def many(host, *args, **kwargs):
        if host != "many.test":
            return resolve(host, *args, **kwargs)
        hosts = [f"127.0.0.{last}" for last in range(1, 201)]
        return [each for one in hosts for each in resolve(one, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", many)
    # If each had all of the time, it would be 80 seconds.
    with within(PATIENCE), pytest.raises(RequestTimeoutError):
        get(f"http://many.test:{deaf}/", timeout=0.4)()()


def test_the_second_address_is_tried(monkeypatch):
    resolve = socket.getaddrinfo
    with serving() as server:

        def two(host, *args, **kwargs):
            hosts = ["127.0.0.2", "127.0.0.1"] if host == "two.test" else [host]
            return [each for one in hosts for each in resolve(one, *args, **kwargs)]

        monkeypatch.setattr(socket, "getaddrinfo", two)
        assert get(f"http://two.test:{server.port}/")()()
        assert server.asked[0].headers["host"] == f"two.test:{server.port}"


def test_a_dribbling_proxy():
    """What comes before the request has its time, too."""
    gone = threading.Event()
    with serving(dribble(HEAD, b"X", gone)) as proxy, within(PATIENCE):
        with pytest.raises(RequestTimeoutError, match="timeout of 0.4 s"):
            get("https://127.0.0.1:9/", timeout=0.4, proxies={"https": proxy.url})()()
        assert gone.wait(PATIENCE)


@pytest.fixture
def nobody():
    """A port of loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_refused(nobody):
    """Another attempt is worthwhile whatever the method: nothing was sent."""
    with pytest.raises(ConnectionFailedError, match="Connection refused") as got:
        get(f"{nobody}/a?page=2")()()
    check(got.value, f"GET {nobody}/a?page=2: there is no connection")
    assert isinstance(got.value, ConnectionError)
    with pytest.raises(ConnectionFailedError, match=r"attempt 2") as got:
        get(nobody, method="POST", retries=1)()()
    assert got.value.attempt == 2


def test_closed_without_an_answer():
    failure(lambda *_: None, ConnectionFailedError, "the connection broke")


def test_reset_in_the_middle_of_the_body():
    def handler(_asked, sock):
        sock.sendall(HEAD + b"Content-Length: 1000\r\n\r\nbegin")
        # Closed with what came unread and no goodbye: a reset.
        linger = struct.pack("ii", 1, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    error = failure(handler, ConnectionFailedError, "the connection broke")
    assert error.status == 200


# -- slow ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", [thread, process])
@pytest.mark.parametrize("kind", ["text", "file", "chunks", "response"])
def test_a_dribbling_body(how, kind):
    """The timeout is for the whole, not for each byte; and the connection is closed."""
    gone = threading.Event()

    handler = dribble(HEAD + b"Content-Length: 100000\r\n\r\n", b"x", gone)
    with serving(handler) as server, within(PATIENCE):
        made = how(request(url=server.url, retries=0, timeout=0.4, as_=kind)(drained))
        with pytest.raises(RequestTimeoutError, match=r"its timeout of 0\.4 s") as got:
            made()()
        assert gone.wait(PATIENCE)
    assert isinstance(got.value, TimeoutError)
    assert got.value.elapsed < PATIENCE


def test_dribbling_headers():
    gone = threading.Event()
    handler = dribble(HEAD, b"X", gone)
    failure(handler, RequestTimeoutError, "timeout of 0.4 s", timeout=0.4)


def test_endless_interim_answers():
    gone = threading.Event()
    handler = dribble(b"", b"HTTP/1.1 100 Continue\r\n\r\n", gone)
    failure(handler, RequestTimeoutError, "timeout of 0.4 s", timeout=0.4)


def test_silence():
    """Nothing comes at all."""

    def handler(_asked, sock):
        stay(sock)

    failure(handler, RequestTimeoutError, "timeout of 0.3 s", timeout=0.3)


def test_a_reader_that_reads_nothing():
    """A large upload that the server does not take."""
    body = b"x" * (64 << 20)
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        made = get(url, method="PUT", data=body, timeout=0.5)
        with within(PATIENCE), pytest.raises(RequestTimeoutError):
            made()()


def test_the_time_of_a_function_is_not_the_requests():
    """A slow function between two chunks does not use the timeout up."""

    def handler(_asked, sock):
        sock.sendall(HEAD + b"Content-Length: 2\r\n\r\na")
        halfway.wait(PATIENCE)
        sock.sendall(b"b")
        stay(sock)

    halfway = threading.Event()
    with serving(handler) as server:

        @thread
        @request(url=server.url, timeout=0.5, retries=0)
        def slow(chunks: Iterator[bytes]):
            first = next(chunks)
            halfway.wait(0.8)
            halfway.set()
            return first + b"".join(chunks)

        assert slow()() == b"ab"


# -- wrong ---------------------------------------------------------------------------


def test_endless_headers():
    """More lines than anybody sends, and one line without an end."""
    gone = threading.Event()
    handler = dribble(HEAD, b"X-Line: y\r\n" * 100, gone)
    failure(handler, ConnectionFailedError, "more than 100 headers")
    handler = dribble(HEAD + b"X-Long: ", b"y" * (1 << 16), gone)
    failure(handler, ConnectionFailedError, "header line")


def test_no_http():
    """Somebody else is at the port."""
    failure(lambda *_: b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ConnectionFailedError, "SSH-2.0")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (b"Content-Length: 10\r\n", b"short"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nshort\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"zz\r\nshort\r\n0\r\n\r\n"),
    ],
)
def test_bodies_that_end_early(headers, body):
    def handler(*_):
        return HEAD + headers + b"Connection: close\r\n\r\n" + body

    error = failure(handler, ConnectionFailedError, "broke: ")
    assert error.status == 200


def test_a_body_that_is_longer_than_it_says():
    """What comes too much is no part of it, nor of the next answer."""
    long = (
        HEAD
        + b"Content-Length: 2\r\n\r\nokHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    )
    with serving(turns(long, answer("fine"))) as server:
        made = get(server.url)
        assert made()() == 2
        assert made()() == 4


@pytest.mark.parametrize("length", [b"abc", b"-5", b"9" * 400])
def test_lengths_that_are_none(length):
    """Not believed: the body ends with the connection, or it is too large."""

    def handler(*_):
        return (
            HEAD + b"Connection: close\r\nContent-Length: " + length + b"\r\n\r\nhello"
        )

    with serving(handler) as server, within(PATIENCE):
        try:
            assert get(server.url)()() == 5
        except RequestError as error:
            check(error, f"GET {server.url}/: ")


def test_broken_gzip():
    """Garbage, and one that is cut off."""

    def handler(*_):
        return answer(b"this is no gzip at all", Content_Encoding="gzip")

    failure(handler, BodyError, "can't be decompressed")


@pytest.mark.parametrize("kind", ["bytes", "chunks", "file"])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
def test_a_compressed_body_that_is_cut_off(coding, kind):
    """Of the length that it says, so that nothing but its own end is missing."""
    bits = {"gzip": 31, "deflate": 15, "raw deflate": -15}[coding]
    squeezer = zlib.compressobj(9, wbits=bits)
    whole = squeezer.compress(bytes(range(256)) * 500) + squeezer.flush()
    name = coding.rpartition(" ")[2]
    for length in (3, len(whole) // 2, len(whole) - 1):
        answered = answer(whole[:length], Content_Encoding=name)
        with serving(lambda *_, it=answered: it) as server:
            with pytest.raises(BodyError, match="can't be decompressed: it is cut off"):
                thread(request(url=server.url, as_=kind, retries=0)(drained))()()
    with serving(lambda *_: answer(whole, Content_Encoding=name)) as server:
        assert thread(request(url=server.url, as_=kind)(drained))()() == 128_000


@pytest.mark.parametrize(
    "end",
    [b"\0", b"\0" * 512, b"garbage", gzip.compress(b"b")],
    ids=["zero", "zeros", "garbage", "another"],
)
def test_what_may_follow_a_gzip(end):
    body = gzip.compress(b"a") + end
    with serving(lambda *_: answer(body, Content_Encoding="gzip")) as server:
        assert get(server.url)()() == (2 if end.startswith(b"\x1f") else 1)


def test_nothing_at_all_is_not_cut_off():
    with serving(lambda *_: answer(Content_Encoding="gzip")) as server:
        assert get(server.url)()() == 0
        assert get(server.url, method="HEAD")()() == 0


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://[::1", "what is no URL"),
        ("http://h:99999999/", "what is no URL"),
        ("\xff", "what is no URL"),
    ],
)
def test_redirects_to_what_is_no_url(location, error):
    failure(
        lambda *_: answer(status="302 Found", Location=location), RedirectError, error
    )


@pytest.mark.parametrize(
    ("head", "error", "words"),
    [
        (b"Content-Length: 1\r\nContent-Length: 2", ConnectionFailedError, "no sense"),
        (b"Transfer-Encoding: chunked", BodyError, "the body makes no sense"),
        (b"Content-Type: a/b; charset=\0", BodyError, "not known here"),
    ],
)
def test_what_the_server_has_said_wrong_is_not_ours(head, error, words):
    """It is not "can't be sent"."""

    def handler(_asked, sock):
        sock.sendall(HEAD + head + b"\r\nConnection: close\r\n\r\n-5\r\nabc")
        sock.shutdown(socket.SHUT_WR)

    failure(handler, error, words)


def bomb(mebibytes):
    """Compress that many MiB of zeros, without ever holding them."""
    squeezer = zlib.compressobj(9, wbits=31)
    block = bytes(1 << 20)
    pieces = [squeezer.compress(block) for _ in range(mebibytes)]
    return b"".join([*pieces, squeezer.flush()])


def test_a_gzip_bomb():
    """What counts is what comes out; the rest is never unpacked."""
    small = bomb(300)
    assert len(small) < 1 << 20
    with serving(lambda *_: answer(small, Content_Encoding="gzip")) as server:
        url = server.url

        @process(fresh=True)
        def grown():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                request_it(url)
            except TooLargeError as error:
                after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                return (after - before) / 1024, str(error)
            return None

        mebibytes, text = grown()()
    assert "beyond max_bytes=1,000,000" in text
    assert mebibytes < 100


def request_it(url):
    """Ask as a worker does, in this very process."""
    from entangle._graph.supplied import Supplied

    body = get(url, max_bytes=1_000_000).body
    assert isinstance(body, Supplied)
    return body(1)


@pytest.mark.parametrize(
    ("charset", "words"),
    [
        ("; charset=utf-8", "said to be 'utf-8', and it is no utf-8 at byte 2"),
        ("; charset=klingon", "said to be 'klingon', which is not known"),
        ("; charset=ascii", "no ascii at byte 2"),
        ("", "no charset is named"),
    ],
)
def test_wrong_charsets(charset, words):
    body = answer(b"ab\xff\xfe", Content_Type=f"text/plain{charset}")
    error = failure(lambda *_: body, BodyError, words)
    assert error.status == 200


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", "JSON is wanted, and the body is empty"),
        (answer(""), "the body is empty"),
        (
            answer("<html>", Content_Type="text/html"),
            "the body \\(text/html\\) is none",
        ),
        (answer("[" * 100_000), "is none"),
        (answer(b"\xff\xfe\xfd"), "is none"),
    ],
)
def test_json_that_is_none(reply, words):
    failure(lambda *_: reply, BodyError, words, kind="json")


# -- large ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "bytes", "json", "response", "file"])
def test_ten_gigabytes_where_one_megabyte_is_allowed(kind):
    """Known from the headers: nothing of it is read."""
    gone = threading.Event()

    def handler(_asked, sock):
        sock.sendall(HEAD + b"Content-Length: 10000000000\r\n\r\n")
        stay(sock)
        gone.set()

    error = failure(
        handler, TooLargeError, "10,000,000,000 bytes", kind=kind, max_bytes=1_000_000
    )
    assert gone.wait(PATIENCE)
    assert error.limit == 1_000_000
    assert error.retries == 0


@pytest.mark.parametrize("kind", ["text", "file"])
def test_a_body_without_an_end(kind):
    """Given up as soon as it is too much."""
    gone = threading.Event()
    piece = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    handler = dribble(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", piece, gone)
    failure(handler, TooLargeError, "goes on beyond", kind=kind, max_bytes=100_000)
    assert gone.wait(PATIENCE)


def test_memory_has_a_limit_of_its_own():
    """Where nothing is said: 256 MiB."""

    def handler(_asked, sock):
        sock.sendall(HEAD + b"Content-Length: 268435457\r\n\r\n")
        stay(sock)

    failure(handler, TooLargeError, "max_bytes=268,435,456")


def test_head_has_no_body_to_be_too_large():
    head = HEAD + b"Content-Length: 10000000000\r\n\r\n"
    with serving(lambda *_: head) as server:

        @thread
        @request(url=server.url, method="HEAD", max_bytes=10, as_="response")
        def length(response):
            return response.headers["Content-Length"]

        assert length()() == "10000000000"


# -- statuses and redirects ----------------------------------------------------------


def test_statuses():
    """Those of 400 and more are errors, with the begin of the body."""
    body = "no " * 1000
    error = failure(
        lambda *_: answer(body, "404 Not Found"), StatusError, "404 Not Found"
    )
    assert error.status == 404
    assert error.body == " ".join(body.split())[:500]

    with serving(lambda *_: answer({"code": 7}, "422 Odd")) as server:

        @thread
        @request(url=server.url, raise_for_status=False)
        def code(data: dict[str, Any]):
            return data["code"]

        assert code()() == 7


def test_what_a_server_says_does_nothing_to_a_terminal():
    body = "\x1b[2J\x07evil\r\nlines"
    error = failure(
        lambda *_: answer(body, "400 Bad\x1b[1m"), StatusError, "evil lines"
    )
    assert str(error).isprintable()


def test_a_full_disk(monkeypatch):
    """Is no reason to ask again."""
    with serving(lambda *_: answer("x" * 100_000)) as server:

        @process(fresh=True)
        @request(url=server.url)
        def stored(path: Path):
            return path.stat().st_size

        def limited():
            import signal

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            return stored.body(1)

        with pytest.raises(BodyError, match="can't be written to .*: File too large"):
            process(fresh=True)(limited)()()
        assert len(server.asked) == 1


def test_a_redirect_loop():
    def handler(asked, _sock):
        return answer(status="302 Found", Location=asked.target)

    failure(handler, RedirectError, "too many redirects")


def test_redirects_are_read_in_moderation():
    """The body of a redirect without an end is left."""
    gone = threading.Event()
    begin = (
        b"HTTP/1.1 302 Found\r\nLocation: /there\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    endless = dribble(begin, b"4000\r\n" + b"x" * 0x4000 + b"\r\n", gone)
    with serving(turns(endless, answer("there"))) as server, within(PATIENCE):
        assert get(server.url)()() == 5
        assert gone.wait(PATIENCE)


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"]
)
def test_redirects_to_other_schemes(target):
    def handler(*_):
        return answer(status="302 Found", Location=target)

    with serving(handler) as server, pytest.raises(RequestError) as got:
        get(server.url)()()
    assert "only http:// and https:// can be requested" in str(got.value)


def test_a_file_of_a_killed_worker_is_removed():
    """By the next one that makes such a file, or by `entangle sweep`."""
    import tempfile

    from entangle.http.plugin import entangle_sweep

    folder = Path(tempfile.gettempdir())
    with serving(lambda *_: answer("content")) as server:

        @process
        @request(url=server.url, retries=0)
        def dies(path: Path):
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)

        for _ in range(2):
            with pytest.raises(Exception, match="SIGKILL"):
                dies()()

        def swept():
            for found in entangle_sweep(older_than=0.0):
                found.remove()
            return not list(folder.glob("entangle-http-*"))

        assert list(folder.glob("entangle-http-*"))
        # The lock of a dead process is let go of a moment after it.
        until(swept)
