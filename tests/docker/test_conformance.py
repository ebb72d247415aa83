"""`DockerExecutor` is judged by the kit, on a real engine, over both of its streams."""

import os

import pytest
from entangle.docker import DockerExecutor
from entangle.docker._engine import Engine

from entangle.testing import ExecutorConformance

pytestmark = [pytest.mark.process, pytest.mark.integration]


class TestDocker(ExecutorConformance):
    """What the kit asks of every executor, over a socket in a private folder."""

    @pytest.fixture
    def executor(self, image, tmp_path):
        """Return one whose calls see the test's folder, as its owner."""
        with DockerExecutor(
            image=image(),
            network="none",
            calls=2,
            mounts={str(tmp_path): f"{tmp_path}:rw"},
            user=os.getuid(),
        ) as executor:
            yield executor


class TestAttachedDocker(ExecutorConformance):
    """The same over standard streams, as with an engine of another machine."""

    @pytest.fixture
    def executor(self, image, monkeypatch):
        """Return one that takes its engine for another machine's."""
        monkeypatch.setattr(Engine, "local", False)
        with DockerExecutor(image=image(), network="none", calls=2) as executor:
            yield executor

    @pytest.fixture
    def folder(self):
        """Containers have file systems of their own."""
