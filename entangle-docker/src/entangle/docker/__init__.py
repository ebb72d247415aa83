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

from typing import TYPE_CHECKING, Any

from ._errors import (
    ContainerError,
    DockerError,
    EngineError,
    ImageError,
    PackagesError,
)

if TYPE_CHECKING:
    from ._decorator import docker
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


def __getattr__(name: str) -> Any:
    # Imported when it is used: the plugin's module is in this package, and is imported
    # wherever a run looks for plugins.
    if name == "docker":
        from ._decorator import docker

        return docker
    if name == "DockerExecutor":
        from ._executor import DockerExecutor

        return DockerExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
