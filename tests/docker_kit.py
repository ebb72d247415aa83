"""A real Docker Engine for tests: found or skipped, images, a guard for containers."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import docker
import docker_images
import pytest
from docker.errors import DockerException
from leaks import shutdown_pool
from life_kit import alive, until

from entangle.docker import _engine, _labels

GRACE = 10.0


def engine_or_skip():
    """Return a client of the engine that the environment leads to, or skip."""
    try:
        _engine._knock(_engine.address())  # the SDK would leave a socket open
        client = docker.from_env(timeout=300)
        client.ping()
    except (DockerException, OSError) as error:
        pytest.skip(f"no Docker Engine can be reached: {error}")
    return client


def image_or_skip(client, name):
    """Return the tag of an image of `docker_images`, made if need be, or skip."""
    try:
        return docker_images.build(client, name)
    except LookupError as error:
        pytest.skip(str(error))


def ours(client):
    """Return the containers that this process, or a program of its tests, has made.

    Others may use the engine at the same time. Programs of the tests are known by
    their folder for temporary files.
    """
    here = os.environ["TMPDIR"]
    found = client.api.containers(all=True, filters={"label": _labels.CALLER})
    return {
        container["Id"]: f"{container['Names'][0]} ({container['Status']})"
        for container in found
        if container["Labels"].get(_labels.CALLER) == _labels.caller_here()
        or container["Labels"].get(_labels.FOLDER, "").startswith(here)
    }


def until_as_before(client, before):
    """Wait until no container is left that was not there before; return those."""
    patience = time.monotonic() + GRACE
    while True:
        left = {key: name for key, name in ours(client).items() if key not in before}
        if not left or time.monotonic() > patience:
            return left
        time.sleep(0.05)


def end_containers(client, before):
    """End the pool, and fail if that leaves containers."""
    shutdown_pool()
    left = until_as_before(client, before)
    for container in left:
        client.api.remove_container(container, force=True)
    assert not left, f"containers are left: {', '.join(left.values())}"


class PrivateEngine:
    """An engine of the test's own, which may be stopped; without any network."""

    def __init__(self, folder):
        self.folder = folder
        self.address = f"unix://{folder}/docker.sock"
        self.process = None
        self.start()

    def start(self):
        """Start it, and wait until it answers."""
        command = ["dockerd", "--data-root", f"{self.folder}/data"]
        command += [
            "--exec-root",
            f"{self.folder}/exec",
            "--pidfile",
            f"{self.folder}/pid",
        ]
        # It must not touch what belongs to another engine of this machine.
        command += ["--bridge=none", "--iptables=false", "-H", self.address]
        with open(f"{self.folder}/log", "ab") as log:
            self.process = subprocess.Popen(
                # In a network of its own: without a bridge, an engine removes docker0.
                ["unshare", "--net", *command],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while True:
            # Not by the SDK, which leaves sockets open that don't connect.
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.connect(f"{self.folder}/docker.sock")
                probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                if probe.recv(100).split()[1:2] == [b"200"]:
                    break
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        self._client().close()

    def log(self):
        """Return what it has said."""
        return Path(self.folder, "log").read_text()[-2000:]

    def _client(self):
        return docker.DockerClient(self.address, version="auto", timeout=60)

    def load(self, name):
        """Make one of the tests' images there."""
        client = self._client()
        try:
            if name == "python":
                name = f"python:{docker_images.HERE}"
            return image_or_skip(client, name)
        finally:
            client.close()

    def containers(self):
        """Return the containers that it has."""
        client = self._client()
        try:
            return client.api.containers(all=True)
        finally:
            client.close()

    def stop(self, number=signal.SIGTERM):
        """End it, and wait until its containerd has ended too.

        A next engine believes in the process of this file as long as there is one of its
        number, be it one that is still ending or that nobody has reaped.
        """
        self.process.send_signal(number)
        self.process.wait(30)
        keeper = Path(self.folder, "exec/containerd/containerd.pid")
        with contextlib.suppress(FileNotFoundError):
            pid = int(keeper.read_text())
            until(lambda: not alive(pid), 30)
            keeper.unlink()

    def close(self):
        """End it and all that it has started, and remove what it has mounted."""
        if self.process.poll() is None:
            self.stop()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                # What keeps its containers is given its folder as an argument.
                if self.folder.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGKILL)
        mounted = [
            line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()
        ]
        for path in reversed(mounted):
            if path.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", path], check=False)


@contextlib.contextmanager
def private_engine():
    """Start an engine, or skip where none can be started."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("an engine of one's own needs root and dockerd")
    # Short: its sockets lie deep below.
    folder = tempfile.mkdtemp(prefix="e-", dir="/tmp")
    engine = PrivateEngine(folder)
    try:
        yield engine
    finally:
        engine.close()
        shutil.rmtree(folder, ignore_errors=True)
