"""`DockerExecutor` is judged by the kit, on a real engine, over both of its streams."""

import os

import pytest
from entangle.docker import DockerExecutor
from entangle.docker._engine import Engine

from entangle.testing import ExecutorConformance

pytestmark = [pytest.mark.process, pytest.mark.integration]


def seeing(image, folder):
    """Return an executor whose calls see a folder of the test's, as its owner."""
    return DockerExecutor(
        image=image(),
        network="none",
        calls=2,
        mounts={str(folder): f"{folder}:rw"},
        user=os.getuid(),
    )


class TestDocker(ExecutorConformance):
    """What the kit asks of every executor, over a socket in a private folder."""

    @pytest.fixture
    def executor(self, image, tmp_path):
        """Return one that its workers reach by a socket."""
        with seeing(image, tmp_path) as executor:
            yield executor


class TestAttachedDocker(ExecutorConformance):
    """The same over standard streams, as with an engine of another machine."""

    @pytest.fixture
    def executor(self, image, tmp_path, monkeypatch):
        """Return one that takes its engine for another machine's."""
        monkeypatch.setattr(Engine, "local", False)
        with seeing(image, tmp_path) as executor:
            yield executor
