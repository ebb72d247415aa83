"""The kit again, over a container's standard streams, as with an engine elsewhere."""

import os

import pytest
from entangle.docker import DockerExecutor
from entangle.docker._engine import Engine

from entangle.testing import StreamConformance

pytestmark = [pytest.mark.process, pytest.mark.integration]


class TestAttachedDocker(StreamConformance):
    """What the kit asks of every executor, and of streams, through the engine."""

    @pytest.fixture
    def executor(self, image, tmp_path, monkeypatch):
        """Return one that takes its engine for another machine's."""
        monkeypatch.setattr(Engine, "local", False)
        with DockerExecutor(
            image=image(),
            network="none",
            calls=2,
            mounts={str(tmp_path): f"{tmp_path}:rw"},
            user=os.getuid(),
        ) as executor:
            yield executor
