"""`DockerExecutor` is judged by the kit, on a real engine."""

import os

import pytest
from entangle.docker import DockerExecutor

from entangle.testing import StreamConformance

pytestmark = [pytest.mark.process, pytest.mark.integration]


class TestDocker(StreamConformance):
    """What the kit asks of every executor, and of streams, over a socket."""

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
