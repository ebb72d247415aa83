"""Sessions of SSM: what its service and its agents do, for instances in containers.

An agent is a thread here: for a session it joins a connection of the loopback to a port
of the instance's own loopback, which nothing else leads to. On the client's side
`aws_session_plugin.py` stands for AWS's plugin.
"""

import contextlib
import secrets
import socket
import struct
import sys
import threading
from pathlib import Path

import docker.errors
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ssm.responses import SimpleSystemManagerResponse

DOCUMENT = "AWS-StartSSHSession"
TOKEN = 32
_ALL = {"Key": "InstanceIds", "Values": []}

# What an agent does in its instance. If the client is gone without a word it does not
# close the connection: that takes the service twenty minutes.
RELAY = """
import os, socket, sys, threading
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def up():
    while True:
        data = os.read(0, 65536)
        if not data:
            return
        s.sendall(data)
threading.Thread(target=up, daemon=True).start()
while True:
    data = s.recv(65536)
    if not data:
        break
    while data:
        data = data[os.write(1, data):]
"""


class TargetNotConnected(ServiceException):
    code = "TargetNotConnected"


class Sessions:
    """Answers what is asked of SSM about instances, and joins sessions to them."""

    def __init__(self, stand_in):
        self._stand_in = stand_in
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = []
        self._open = {}
        self._waiting = {}
        self._lock = threading.Lock()
        self.started = []
        self.registers = True
        self.frozen = threading.Event()
        for name in ("describe_instance_information", "start_session"):
            stand_in.add(SimpleSystemManagerResponse, name, self._method(name))
        self._thread(self._accept)

    def _method(self, name):
        answer = getattr(self, f"_{name}")
        return lambda response: ActionResult(answer(response))

    def _connected(self, name):
        return self.registers and self._stand_in.instances.managed(name)

    def _describe_instance_information(self, response):
        (wanted,) = response._get_param("Filters") or [_ALL]
        assert wanted["Key"] == "InstanceIds"
        return {
            "InstanceInformationList": [
                {"InstanceId": name, "PingStatus": "Online", "PlatformType": "Linux"}
                for name in wanted["Values"]
                if self._connected(name)
            ]
        }

    def _start_session(self, response):
        name = response._get_param("Target")
        assert response._get_param("DocumentName") == DOCUMENT
        (port,) = response._get_param("Parameters")["portNumber"]
        if not self._connected(name):
            raise TargetNotConnected(f"{name} is not connected.")
        token = secrets.token_hex(TOKEN // 2)
        with self._lock:
            self._waiting[token] = name, port
        self.started.append(name)
        host, number = self._listener.getsockname()
        return {
            "SessionId": f"somebody-{token[:8]}",
            "TokenValue": token,
            "StreamUrl": f"ws://{host}:{number}",
        }

    # -- the agents --------------------------------------------------------------------

    def _thread(self, work, *args):
        thread = threading.Thread(target=work, args=args)
        thread.start()
        with self._lock:
            self._threads.append(thread)

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._thread(self._join, connection)

    def _join(self, connection):
        with connection:
            token = b""
            while len(token) < TOKEN:
                part = connection.recv(TOKEN - len(token))
                if not part:
                    return
                token += part
            with self._lock:
                name, port = self._waiting.pop(token.decode(), (None, None))
            container = self._stand_in.instances.container(name)
            if container is None:
                return
            api = self._stand_in.engine.api
            try:
                made = api.exec_create(
                    container.id, ["python3", "-c", RELAY, port], stdin=True
                )["Id"]
                far = api.exec_start(made, socket=True)
            except docker.errors.APIError:
                return
            raw = getattr(far, "_sock", far)
            with self._lock:
                self._open[raw] = connection
            self._thread(self._up, connection, raw)
            with contextlib.suppress(OSError):
                self._down(connection, raw)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._open.pop(raw, None)
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)
            # Of the SDK's three wrappers each thinks that it is another's to close.
            with contextlib.suppress(OSError, ValueError):
                far._response.close()
            far.close()
            raw.close()

    def _up(self, connection, raw):
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                if not self.frozen.is_set():
                    raw.sendall(data)

    def _down(self, connection, raw):
        data = b""
        while True:
            while len(data) >= 8:
                kind, size = struct.unpack(">BxxxL", data[:8])
                if len(data) < 8 + size:
                    break
                if kind == 1 and not self.frozen.is_set():
                    connection.sendall(data[8 : 8 + size])
                data = data[8 + size :]
            part = raw.recv(65536)
            if not part:
                return
            data += part

    def cut(self):
        """End the sessions that are open, as the service does when it is tired."""
        with self._lock:
            connections = list(self._open.values())
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def rest(self):
        """End what is open."""
        self.frozen.clear()
        self.registers = True
        self.started.clear()
        self.cut()
        with self._lock:
            raws = list(self._open)
        for raw in raws:
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)
        # The first accepts, until `close`.
        for thread in self._threads[1:]:
            thread.join(30)
        del self._threads[1:]

    def close(self):
        """End it all."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(30)


def install_plugin(folder, version="1.2.707.0"):
    """Put a stand-in for AWS's plugin into a folder, to be put on the PATH."""
    program = Path(__file__).with_name("aws_session_plugin.py").read_text()
    path = Path(folder, "session-manager-plugin")
    path.write_text(f"#!{sys.executable} -IS\nVERSION = {version!r}\n{program}")
    path.chmod(0o755)
    return path
