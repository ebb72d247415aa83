"""The decorator ``docker``."""

from __future__ import annotations

from entangle import backend

from ._executor import DockerExecutor

docker = backend.infrastructure(DockerExecutor)
