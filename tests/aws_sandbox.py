"""One sandbox of a Lambda function: a container with AWS's own runtime client in it.

The client asks a small server of this process for events and answers it, as it would
ask the service: so what is run is the function's own zip, in a container with its
memory, for its time, without a writable disk.
"""

import contextlib
import importlib.util
import io
import json
import os
import queue
import shutil
import tempfile
import threading
import time
import uuid
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LARGEST = 6 * 1024 * 1024
BOOT = 120.0  # seconds until the runtime must have asked for an event
SITE = "/opt/runtime"
CLIENT = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")


def client_mounts():
    """Return the volumes that bring AWS's runtime client into a container."""
    mounts = {}
    for name in CLIENT:
        spec = importlib.util.find_spec(name)
        path = Path(spec.origin)
        path = path.parent if path.name == "__init__.py" else path
        mounts[str(path)] = {"bind": f"{SITE}/{path.name}", "mode": "ro"}
    return mounts


class Handler(BaseHTTPRequestHandler):
    """What the runtime asks: the next event; what it says: an answer, an error."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        sandbox = self.server.sandbox
        invocation = sandbox.events.get()
        if invocation is None:
            self.close_connection = True
            return
        invocation.begun = time.monotonic()
        sandbox.current = invocation
        deadline = int((time.time() + sandbox.function.timeout) * 1000)
        self.send_response(200)
        for name, value in {
            "Lambda-Runtime-Aws-Request-Id": invocation.name,
            "Lambda-Runtime-Deadline-Ms": str(deadline),
            "Lambda-Runtime-Invoked-Function-Arn": sandbox.function.function_arn,
            "Content-Type": "application/json",
            "Content-Length": str(len(invocation.event)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(invocation.event)

    def do_POST(self):
        body = self._body()
        sandbox = self.server.sandbox
        large = len(body) > LARGEST
        self.send_response(413 if large else 202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if "init/error" in self.path:
            sandbox.broken = body
            return
        invocation, sandbox.current = sandbox.current, None
        if invocation is None:
            return
        if large:
            text = (
                "Response payload size exceeded maximum allowed payload size "
                f"({LARGEST} bytes)."
            )
            body = said("Function.ResponseSizeTooLarge", text)
        failed = large or self.path.endswith("/error")
        invocation.end(body, failed=failed)

    def _body(self):
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


class Server(ThreadingHTTPServer):
    daemon_threads = True
    sandbox = None


def said(kind, message):
    found = {"errorMessage": message}
    if kind:
        found["errorType"] = kind
    return json.dumps(found).encode()


class Invocation:
    """One event and what becomes of it."""

    def __init__(self, event):
        self.name = str(uuid.uuid4())
        self.event = event
        self.begun = None
        self.body = b""
        self.failed = False
        self.done = threading.Event()

    def end(self, body, *, failed):
        self.body, self.failed = body, failed
        self.done.set()


class Sandbox:
    """A container that serves one invocation after the other."""

    def __init__(self, engine, image, function, environment, labels, volumes):
        self.function = function
        self.events = queue.Queue()
        self.current = None
        self.broken = None
        self.shown = 0
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.sandbox = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()
        self._folder = tempfile.mkdtemp(prefix="sandbox-")
        os.chmod(self._folder, 0o755)
        zipfile.ZipFile(io.BytesIO(function.code_bytes)).extractall(self._folder)
        memory = f"{function.memory_size}m"
        self.container = engine.containers.run(
            image,
            ["python3", "-m", "awslambdaric", function.handler],
            detach=True,
            # The first process of a container can't be killed from inside.
            init=True,
            network_mode="host",
            environment={
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
                "_HANDLER": function.handler,
                "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
                "LAMBDA_TASK_ROOT": "/var/task",
                "PYTHONPATH": f"/var/task:{SITE}",
                **environment,
                **(function.environment_vars or {}),
            },
            volumes={
                self._folder: {"bind": "/var/task", "mode": "ro"},
                **client_mounts(),
                **volumes,
            },
            working_dir="/var/task",
            mem_limit=memory,
            memswap_limit=memory,
            read_only=True,
            tmpfs={"/tmp": "rw,size=512m,mode=1777"},
            user="65534",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            labels=labels,
        )

    def invoke(self, event):
        """Run one event; return the invocation, its log, whether the sandbox lives."""
        invocation = Invocation(event)
        self.events.put(invocation)
        began = time.monotonic()
        alive = True
        look = 0
        while not invocation.done.wait(0.01):
            now = time.monotonic()
            over = None
            if self.broken is not None:
                over = self.broken
            elif invocation.begun is None and now - began > BOOT:
                over = said("Sandbox.Timedout", "the runtime has not started")
            elif invocation.begun and now - invocation.begun > self.function.timeout:
                text = f"Task timed out after {self.function.timeout:.2f} seconds"
                over = said("Sandbox.Timedout", f"RequestId: {invocation.name} {text}")
            else:
                look += 1
                if look % 10 == 0:
                    over = self._death(invocation)
            if over is not None:
                invocation.end(over, failed=True)
                alive = False
        logs = self.container.logs()
        new, self.shown = logs[self.shown :], len(logs)
        return invocation, new, alive

    def _death(self, invocation):
        self.container.reload()
        if self.container.status != "exited":
            return None
        state = self.container.attrs["State"]
        if state["OOMKilled"]:
            kind, why = "Runtime.OutOfMemory", "signal: killed"
        else:
            kind, why = "Runtime.ExitError", f"exit status {state['ExitCode']}"
        text = f"RequestId: {invocation.name} Error: Runtime exited with error: {why}"
        return said(kind, text)

    def close(self):
        """End the container and its server."""
        with contextlib.suppress(Exception):
            self.container.remove(force=True)
        self.events.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)
