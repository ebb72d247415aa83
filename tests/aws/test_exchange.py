"""Invocations on the wire: signed by boto3, sent and waited for by the exchange."""

import contextlib
import hashlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback

import pytest
import trustme
from http_kit import answer, serving
from life_kit import until

from entangle.aws import AwsError, RemoteFunctionError, _exchange, aws, lmbda
from entangle.aws._proxy import LambdaProxyExecutor
from entangle.errors import ProcessTerminatedException
from entangle.task import gather, shutdown

FORK = """
import os, sys
from entangle.aws import aws, lmbda

@aws(keys=["access", "secret"], region="us-east-1", endpoint_url=sys.argv[1])
@lmbda(function="there")
def there(): ...

print(there(1)(), flush=True)
if not os.fork():
    print(there(1)(), flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
LONG = "arn:aws:lambda:us-east-1:123456789012:function:there:alias"


@pytest.fixture(autouse=True)
def sessions(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr("entangle.aws._sdk._sessions", {})
    yield
    shutdown()


def there(url, function="there", **options):
    @aws(keys=["access", "secret"], region="us-east-1", endpoint_url=url)
    @lmbda(function=function, **options)
    def there(): ...

    return there


def said(text="1", **headers):
    return answer(text.encode(), Content_Type="application/json", **headers)


def test_a_request_is_sent_as_it_was_signed():
    """Its path above all: signatures are of what is escaped."""
    with serving(lambda *_: said('{"a": 1}')) as server:
        assert there(server.url, LONG)({"b": 2})() == {"a": 1}
        [asked] = server.asked
    assert asked.method == "POST"
    assert asked.target == (
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3A"
        "function%3Athere%3Aalias/invocations"
    )
    assert asked.body == b'{"b": 2}'
    headers = asked.headers
    assert headers["host"] == server.url.removeprefix("http://")
    assert headers["content-length"] == str(len(asked.body))
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0]
    assert set(signed.split(";")) <= set(headers)
    assert headers["x-amz-log-type"] == "Tail"
    assert "entangle" in headers["user-agent"]
    digest = hashlib.sha256(asked.body).hexdigest()
    assert headers.get("x-amz-content-sha256", digest) == digest


def test_connections_are_used_again():
    with serving(lambda *_: said()) as server:
        for _ in range(5):
            assert there(server.url)(1)() == 1
        assert server.connections == 1
        # One that the other side has closed meanwhile is not.
        with server._lock:
            for sock in server._open:
                sock.shutdown(socket.SHUT_RDWR)
        until(lambda: not server._open)
        assert there(server.url)(1)() == 1
        assert server.connections == 2


def test_quiet_connections_show_that_they_are_alive(monkeypatch):
    """Else they are dropped on the way, after six minutes of a call, say."""
    seen = []
    made = socket.socket.setsockopt

    def spy(self, *option):
        seen.append(option)
        return made(self, *option)

    monkeypatch.setattr(socket.socket, "setsockopt", spy)
    with serving(lambda *_: said()) as server:
        there(server.url)(1)()
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in seen
    assert (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60) in seen


@pytest.mark.parametrize("known", [True, False])
def test_certificates(known, tmp_path, monkeypatch):
    authority = trustme.CA()
    bundle = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(bundle)
    if known:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    monkeypatch.setattr("entangle.aws._invoking._PAUSE", 0.0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(lambda *_: said('"safe"'), tls=context) as server:
        if known:
            assert there(server.url)(1)() == "safe"
        else:
            with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
                there(server.url)(1)()
            assert not server.asked


class Slow:
    """Answers when it may, and tells of each request that has come."""

    def __init__(self):
        self.gate = threading.Event()
        self.come = threading.Semaphore(0)

    def __call__(self, asked, sock):
        del asked, sock
        self.come.release()
        self.gate.wait(30)
        return said()


class Tunnel:
    """A proxy that joins who asks for it to where it wants to go."""

    def __init__(self):
        self.asked = []
        self.ends = []

    def __call__(self, asked, sock):
        self.asked.append(asked)
        host, _, port = asked.target.rpartition(":")
        with socket.create_connection((host, int(port))) as end:
            self.ends.append(end)
            sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=carry, args=(end, sock))
            back.start()
            carry(sock, end)
            back.join()


def carry(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def test_a_proxy_of_the_environment(tmp_path, monkeypatch):
    authority, tunnel = trustme.CA(), Tunnel()
    bundle = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(lambda *_: said('"safe"'), tls=context) as server:
        with serving(tunnel) as proxy:
            place = proxy.url.removeprefix("http://")
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%40ss@{place}")
            assert there(server.url)(1)() == "safe"
            [asked] = tunnel.asked
            assert asked.method == "CONNECT"
            assert asked.headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
            shutdown()
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            assert there(server.url)(2)() == "safe"
            assert len(tunnel.asked) == 1
            shutdown()


def test_a_proxy_that_refuses(monkeypatch):
    """It says why, and its password is not shown."""
    monkeypatch.setattr("entangle.aws._invoking._PAUSE", 0.0)
    refusal = answer("", "407 Proxy Authentication Required")
    with serving(lambda *_: refusal) as proxy:
        place = proxy.url.removeprefix("http://")
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{place}")
        with pytest.raises(Exception, match=f"proxy URL.*{place}") as caught:
            there("https://127.0.0.1:9")(1)()
    shown = "".join(traceback.format_exception(caught.value))
    assert "407 Proxy Authentication Required" in shown
    assert "secret" not in shown


def test_who_can_not_be_reached_is_tried_again(monkeypatch):
    """Nothing was sent, so it may be sent."""
    pauses = []
    monkeypatch.setattr("entangle.aws._invoking._PAUSE", 0.001)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    send = _exchange.Exchange.send

    async def counted(self, request):
        pauses.append(time.monotonic())
        return await send(self, request)

    monkeypatch.setattr(_exchange.Exchange, "send", counted)
    with pytest.raises(Exception, match=f"127.0.0.1:{port}"):
        there(f"http://127.0.0.1:{port}")(1)()
    assert len(pauses) == 4


def test_an_answer_that_breaks_off():
    def handler(asked, sock):
        del asked
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"half')

    with serving(handler) as server:
        with pytest.raises(AwsError, match="may have run"):
            there(server.url)(1)()
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "match"),
    [
        ("500 Internal Server Error", '{"Message": "oh"}', "500|ServiceException|oh"),
        ("502 Bad Gateway", "<html>no</html>", "502"),
        ("400 Bad Request", "not even JSON", "400"),
    ],
)
def test_what_aws_answers_besides(status, body, match):
    with serving(
        lambda *_: said(body) if not status else answer(body, status)
    ) as server:
        with pytest.raises(AwsError, match=match):
            there(server.url)(1)()
        assert len(server.asked) == 1


def test_an_error_of_the_function():
    text = '{"errorType": "ValueError", "errorMessage": "no", "stackTrace": []}'
    headers = {"X_Amz_Function_Error": "Unhandled", "X_Amz_Log_Result": "bGluZQ=="}
    with serving(lambda *_: said(text, **headers)) as server:
        with pytest.raises(RemoteFunctionError, match="ValueError: no") as caught:
            there(server.url)(1)()
    assert "line" in str(caught.value.__notes__)
    assert not isinstance(caught.value, ProcessTerminatedException)


def test_what_nobody_wants_any_more_is_not_sent(monkeypatch):
    """And whose request is on its way has its connection closed."""
    monkeypatch.setattr("entangle.aws._proxy.AT_ONCE", 3)
    slow = Slow()
    with serving(slow) as server:
        function = there(server.url)
        future = gather(*[function(number) for number in range(20)]).submit()
        for _ in range(3):
            slow.come.acquire()
        future.cancel()
        with pytest.raises(BaseException):  # noqa: B017, PT011 - not what this is about
            future.result(30)
        slow.gate.set()
        shutdown()
        assert len(server.asked) == 3


def test_a_session_that_is_closed_leaves_nothing():
    """No thread, no connection, while a call is under way that was given up."""
    slow = Slow()
    with serving(slow) as server:
        future = there(server.url)(1).submit()
        slow.come.acquire()
        future.cancel()
        shutdown()
        until(lambda: not ours())
        slow.gate.set()


def test_who_was_told_of_the_last_end_may_close(monkeypatch):
    """All is closed then, though the thread that told it has not gone on yet."""
    gate, tell = threading.Event(), LambdaProxyExecutor._tell

    def slowly(*given):
        tell(*given)
        gate.wait(30)

    monkeypatch.setattr(LambdaProxyExecutor, "_tell", slowly)
    with serving(lambda *_: said()) as server:
        assert there(server.url)(1)() == 1
        shutdown()
        assert "entangle-aws" not in [thread.name for thread in ours()]
        gate.set()
    until(lambda: not ours())


def test_nobody_waits_for_an_address_at_the_end(monkeypatch):
    """What looks it up may take as long as it likes."""
    gate, asked = threading.Event(), threading.Event()
    found = socket.getaddrinfo

    def slow(host, *given, **more):
        if host in {"slow.test", b"slow.test"}:
            asked.set()
            gate.wait(30)
            raise socket.gaierror("no such host")
        return found(host, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    future = there("http://slow.test")(1).submit()
    assert asked.wait(30)
    future.cancel()
    shutdown()
    looking = [t for t in threading.enumerate() if t.name.startswith("entangle-aws-")]
    assert all(thread.daemon for thread in looking)
    gate.set()
    until(lambda: not ours())


def test_a_forked_child_has_connections_of_its_own():
    """Its parent's thread is not there to wait for an answer."""
    with serving(lambda *_: said()) as server:
        assert there(server.url)(1)() == 1
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FORK, server.url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stdout.split() == ["1", "1", "0"], done.stderr


def ours():
    return [t for t in threading.enumerate() if t.name.startswith("entangle-aws")]
