"""Servers on loopback for what Docker and pip fetch: an image registry, an index."""

import base64
import contextlib
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@contextlib.contextmanager
def serving(answer):
    """Serve what ``answer(handler)`` writes to GET and HEAD; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            # Who asked may have gone meanwhile.
            with contextlib.suppress(OSError):
                answer(self)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

        def give(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    server.block_on_close = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Registry:
    """Serves one image as registries do; layers can be held back.

    Attributes:
        gate: While it is not set, no more than half of a layer is sent.
        asked: Set when a layer is asked for.
        given_up: Set when who asked for a layer went away.
        refuses: Whether everything is denied.
    """

    def __init__(self, layer):
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()
        self.given_up = threading.Event()
        self.refuses = False
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as archive:
            entry = tarfile.TarInfo("content")
            entry.size = len(layer)
            archive.addfile(entry, io.BytesIO(layer))
        self.blobs = {}
        digest = self._keep(raw.getvalue())
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["python3"]},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        }
        kind = "application/vnd.docker.image.rootfs.diff.tar"
        self.layer = digest
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "size": len(json.dumps(config)),
                    "digest": self._keep(json.dumps(config).encode()),
                },
                "layers": [
                    {
                        "mediaType": kind,
                        "size": len(raw.getvalue()),
                        "digest": digest,
                    }
                ],
            }
        ).encode()

    def _keep(self, data):
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return digest

    def answer(self, handler):
        """Answer one request."""
        last = handler.path.rpartition("/")[2]
        if self.refuses:
            denied = {"errors": [{"code": "DENIED", "message": "not for you"}]}
            handler.give(403, json.dumps(denied).encode())
        elif handler.path == "/v2/":
            handler.give(200, b"{}")
        elif "/manifests/nothing" in handler.path:
            unknown = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown"}]}
            handler.give(404, json.dumps(unknown).encode())
        elif "/manifests/" in handler.path:
            digest = f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"
            handler.give(
                200,
                self.manifest,
                Content_Type=MANIFEST,
                Docker_Content_Digest=digest,
            )
        elif last == self.layer and handler.command == "GET":
            self._layer(handler)
        else:
            handler.give(200, self.blobs[last], Docker_Content_Digest=last)

    def _layer(self, handler):
        data = self.blobs[self.layer]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        half = len(data) // 2
        handler.wfile.write(data[:half])
        self.asked.set()
        while not self.gate.wait(0.05):
            handler.connection.setblocking(False)
            try:
                if handler.connection.recv(1) == b"":
                    self.given_up.set()
                    return
            except BlockingIOError:
                pass
            finally:
                handler.connection.setblocking(True)
        handler.wfile.write(data[half:])


def make_wheel(folder, name, source, *, requires=()):
    """Write a wheel of one module, and return its path."""
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    about += "".join(f"Requires-Dist: {each}\n" for each in requires)
    wheel = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    path = Path(folder, f"{name}-1.0-py3-none-any.whl")
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", source)
        archive.writestr(f"{info}/METADATA", about)
        archive.writestr(f"{info}/WHEEL", wheel)
        archive.writestr(f"{info}/RECORD", "")
    return path


class Index:
    """Serves wheels of a folder as package indexes do, to those with the password.

    Attributes:
        authorization: What has to come along; empty for nothing.
        asked: How often a wheel was fetched.
    """

    def __init__(self, folder, user="", password=""):
        self.folder = folder
        secret = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.authorization = f"Basic {secret}" if password else ""
        self.asked = 0

    def answer(self, handler):
        """Answer one request."""
        if handler.headers.get("Authorization", "") != self.authorization:
            handler.give(401, WWW_Authenticate='Basic realm="wheels"')
            return
        parts = handler.path.strip("/").split("/")
        if parts[-1].endswith(".whl"):
            self.asked += handler.command == "GET"
            handler.give(200, Path(self.folder, parts[-1]).read_bytes())
            return
        found = sorted(Path(self.folder).glob(f"{parts[-1].replace('-', '_')}-*.whl"))
        links = "".join(f'<a href="/files/{p.name}">{p.name}</a>\n' for p in found)
        handler.give(200 if found else 404, links.encode(), Content_Type="text/html")
