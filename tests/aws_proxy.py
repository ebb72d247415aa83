"""A proxy in front of the stand-in: counts what is asked, and refuses what it is told to.

So a test can have answers that the stand-in never gives: no permission, throttling,
credentials that have expired.
"""

import contextlib
import http.client
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

_SCOPE = re.compile(r"([^=/\s]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_LAMBDA = (
    ("POST", r"/invocations$", "Invoke"),
    ("GET", r"/configuration$", "GetFunctionConfiguration"),
    ("POST", r"/functions/?$", "CreateFunction"),
    ("PUT", r"/concurrency$", "PutFunctionConcurrency"),
    ("DELETE", r"/concurrency$", "DeleteFunctionConcurrency"),
    ("GET", r"/functions/?$", "ListFunctions"),
    ("GET", r"/tags/", "ListTags"),
    ("POST", r"/tags/", "TagResource"),
    ("DELETE", r"/tags/", "UntagResource"),
)
_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "date"}


class Asked(NamedTuple):
    """One request: of which service, what, with whose key, for which region.

    Its form is that of services which are asked so, EC2 for one.
    """

    service: str
    operation: str
    key: str
    region: str
    path: str
    size: int
    form: dict


class Refusal(NamedTuple):
    """What is answered instead: how often, with which code and message."""

    operation: str
    code: str
    message: str
    status: int
    left: list


def asked_of(method, path, headers, body):
    """Return what a request asks."""
    parts = urlsplit(path)
    query = parse_qs(parts.query, keep_blank_values=True)
    signed = headers.get("Authorization") or query.get("X-Amz-Credential", [""])[0]
    found = _SCOPE.search(signed)
    key, region, service = found.groups() if found else ("", "", "")
    operation, form = "", {}
    if "X-Amz-Target" in headers:
        operation = headers["X-Amz-Target"].rpartition(".")[2]
    elif service in {"ec2", "sts", "iam"}:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        operation = form.get("Action", "")
    elif service == "lambda":
        for verb, pattern, name in _LAMBDA:
            if verb == method and re.search(pattern, parts.path):
                operation = name
    elif service == "s3":
        inside = "/" in parts.path.strip("/")
        if "delete" in query:
            operation = "DeleteObjects"
        elif "list-type" in query:
            operation = "ListObjectsV2"
        elif "publicAccessBlock" in query:
            operation = f"{method.title()}PublicAccessBlock"
        elif "lifecycle" in query:
            operation = f"{method.title()}BucketLifecycleConfiguration"
        else:
            operation = method.title() + ("Object" if inside else "Bucket")
    return Asked(service, operation, key, region, parts.path, len(body), form)


def said(service, code, message):
    """Return an error as each service says it."""
    inner = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    if service == "s3":
        return inner.encode(), "application/xml"
    if service == "ec2":
        text = f"<Response><Errors>{inner}</Errors><RequestID>r</RequestID></Response>"
        return text.encode(), "text/xml"
    if service in {"sts", "iam"}:
        text = f"<ErrorResponse>{inner}<RequestId>r</RequestId></ErrorResponse>"
        return text.encode(), "text/xml"
    text = json.dumps({"__type": code, "message": message, "Type": "User"})
    return text.encode(), "application/x-amz-json-1.1"


class LossError(Exception):
    """The network has lost a request."""


class Proxy:
    """Passes requests on to a stand-in. Thread-safe."""

    def __init__(self, url):
        self.asked = []
        self._behind = urlsplit(url).netloc
        self._refusals = []
        self._told = {}
        self._lost = {}
        self._slow = {}
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.proxy = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def refuse(self, operation, code, message="no", *, times=10**9, status=400):
        """Answer an operation so, for so many times."""
        with self._lock:
            made = Refusal(operation, code, message, status, [times])
            self._refusals.append(made)
        return made

    def tell(self, operation, text):
        """Answer an operation so, which the stand-in does not know."""
        with self._lock:
            self._told[operation] = text.encode()

    def lose(self, ending, *, times=10**9):
        """Close the connection of requests whose path ends so, without a word."""
        with self._lock:
            self._lost[ending] = times

    def slow(self, operation, seconds):
        """Have an operation take so long."""
        with self._lock:
            self._slow[operation] = seconds

    def losses(self, ending):
        """Return how many more will be lost."""
        with self._lock:
            return self._lost[ending]

    def allow(self):
        """Refuse nothing any more."""
        with self._lock:
            self._refusals.clear()

    def count(self, operation):
        """Return how often something was asked."""
        with self._lock:
            return sum(each.operation == operation for each in self.asked)

    def answer(self, method, path, headers, body):
        """Return status, headers and body for a request."""
        asked = asked_of(method, path, headers, body)
        with self._lock:
            self.asked.append(asked)
            for ending, times in self._lost.items():
                if times and asked.path.endswith(ending):
                    self._lost[ending] -= 1
                    raise LossError
            if asked.operation in self._told:
                return 200, {"Content-Type": "text/xml"}, self._told[asked.operation]
            for refusal in self._refusals:
                if refusal.operation == asked.operation and refusal.left[0]:
                    refusal.left[0] -= 1
                    text, kind = said(asked.service, refusal.code, refusal.message)
                    found = {"Content-Type": kind, "x-amzn-ErrorType": refusal.code}
                    return refusal.status, found, text
        self._closing.wait(self._slow.get(asked.operation, 0.0))
        behind = http.client.HTTPConnection(self._behind, timeout=600)
        try:
            kept = {n: v for n, v in headers.items() if n.lower() not in _HOP}
            behind.request(method, path, body, kept)
            answer = behind.getresponse()
            data = answer.read()
            kept = {n: v for n, v in answer.getheaders() if n.lower() not in _HOP}
            return answer.status, kept, data
        finally:
            behind.close()

    def close(self):
        """End it."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Server(ThreadingHTTPServer):
    # A hundred clients at once.
    request_queue_size = 128
    daemon_threads = False
    proxy = None

    def __init__(self, *args):
        self.open = set()
        super().__init__(*args)

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def close_request(self, request):
        self.open.discard(request)
        super().close_request(request)

    def server_close(self):
        """End the connections that clients keep for their next request."""
        for request in [*self.open]:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
        super().server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def _serve(self):
        body = self._body()
        try:
            status, headers, data = self.server.proxy.answer(
                self.command, self.path, self.headers, body
            )
        except LossError:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        with contextlib.suppress(ConnectionError):  # who has asked is gone
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body
