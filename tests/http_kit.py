"""A server on loopback that does what a test says, however wrong that is."""

import contextlib
import json
import socket
import threading
from typing import NamedTuple


class Asked(NamedTuple):
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Server:
    """Listens on 127.0.0.1; each request is given to a function.

    That returns the bytes to send, or None after it has sent what it wants by itself;
    `close` instead of bytes, or after them, ends the connection.
    """

    def __init__(self, handler, tls=None, host="127.0.0.1"):
        self.handler = handler
        self.asked = []
        self.connections = 0
        self._tls = tls
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://{host}:{self.port}"
        self._open = set()
        self._threads = []
        self._lock = threading.Lock()
        self._start(self._accept)

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args, name="test-server")
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(sock)
                self.connections += 1
            self._start(self._serve, sock)

    def _serve(self, sock):
        plain = sock
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(
                    sock, server_side=True, do_handshake_on_connect=False
                )
                with self._lock:
                    self._open.add(sock)  # the plain one is nothing any more
                sock.do_handshake()
            with sock.makefile("rb") as file:
                while self._answer(sock, file):
                    pass
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open -= {plain, sock}
            sock.close()
            plain.close()

    def _answer(self, sock, file):
        asked = read_request(file)
        if asked is None:
            return False
        self.asked.append(asked)
        answer = self.handler(asked, sock)
        if answer is None:
            return False
        sock.sendall(answer)
        return b"Connection: close" not in answer.partition(b"\r\n\r\n")[0]

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            open_now = list(self._open)
        for sock in open_now:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)


def read_request(file):
    """Read a request; None where the connection ends."""
    line = file.readline()
    if not line.strip():
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers = {}
    while (line := file.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(file.readline(), 16):
            body += file.read(size)
            file.readline()
        file.readline()
    else:
        body = file.read(int(headers.get("content-length", 0)))
    return Asked(method, target, headers, body)


def answer(body=b"", status="200 OK", **headers):
    """Put an answer together; names of headers with underscores for hyphens."""
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("Content_Type", "application/json")
    headers.setdefault("Content_Type", "text/plain; charset=utf-8")
    headers.setdefault("Content_Length", len(body))
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines])
    return f"{head}\r\n\r\n".encode("latin-1") + body


def echo(asked, _sock=None):
    """Answer with what was asked."""
    return answer(
        {
            "method": asked.method,
            "target": asked.target,
            "headers": asked.headers,
            "body": asked.body.decode("latin-1"),
        }
    )


@contextlib.contextmanager
def serving(handler=echo, **options):
    """Run a server for the length of a block."""
    server = Server(handler, **options)
    try:
        yield server
    finally:
        server.close()


def turns(*answers):
    """Make a handler that gives its answers in turn, the last one for ever.

    Each is bytes or itself a handler.
    """
    waiting = list(answers)

    def handler(asked, sock):
        given = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return given(asked, sock) if callable(given) else given

    return handler
