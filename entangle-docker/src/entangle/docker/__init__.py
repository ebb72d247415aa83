"""Run tasks in Docker containers: ``from entangle.docker import docker``.

>>> from entangle.process import process
>>> @process
... @docker(image="python:3.12-slim", packages=["numpy"])
... def norm(values):
...     import numpy
...     return float(numpy.linalg.norm(values))

What can go wrong on the way is a `DockerError`: `EngineError`, `ImageError`,
`PackagesError`, `ContainerError`.
"""

from __future__ import annotations

from entangle import backend

from ._errors import (
    ContainerError,
    DockerError,
    EngineError,
    ImageError,
    PackagesError,
)
from ._executor import DockerExecutor

__all__ = [
    "ContainerError",
    "DockerError",
    "DockerExecutor",
    "EngineError",
    "ImageError",
    "PackagesError",
    "docker",
]

docker = backend.infrastructure(DockerExecutor)
