"""The Docker Engine: the one place that knows the SDK.

Everything else asks an `Engine`, whose errors say what to do.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ._errors import ContainerError, DockerError, EngineError, ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TIMEOUT: Final = 60
_SOCKET: Final = "unix://"


class Engine:
    """A Docker Engine, asked by any thread.

    It is the one that the command `docker` would use: ``DOCKER_HOST``, the current
    context, or the default socket; with the registries' logins that Docker keeps.

    Attributes:
        address: Where it is.
        api: The SDK's client.
    """

    def __init__(self) -> None:
        """Connect.

        Raises:
            EngineError: there is no engine there, or it refuses this user.
        """
        docker = _sdk()
        self.address = address()
        try:
            client = docker.from_env(timeout=_TIMEOUT, use_ssh_client=True)
        except (docker.errors.DockerException, OSError, ValueError) as error:
            raise _unreachable(error, self.address) from None
        self.api: Any = client.api

    @property
    def local(self) -> bool:
        """Whether it is likely to share this machine's files: a socket leads to it."""
        return self.address.startswith(_SOCKET)

    def platform(self) -> str:
        """Return what its machine runs by itself, as ``os/architecture``.

        Raises:
            DockerError: it can't be asked.
        """
        with self.asked():
            about = self.api.version()
        return f"{about.get('Os')}/{about.get('Arch')}"

    @contextmanager
    def asked(self, image: str = "") -> Iterator[None]:
        """Have what the engine says raised as our errors.

        Args:
            image: What the request is about.

        Raises:
            EngineError: it can't be reached any more.
            ImageError: it has no such image.
            ContainerError: it refused for another reason.
        """
        docker = _sdk()
        try:
            yield
        except docker.errors.APIError as error:
            said = " ".join(str(error.explanation or error).split())
            if isinstance(error, docker.errors.ImageNotFound):
                raise ImageError(said, image=image) from None
            raise ContainerError(said, image=image) from None
        except (docker.errors.DockerException, OSError) as error:
            # What the SDK's own libraries raise are OSErrors, too.
            raise _unreachable(error, self.address) from None

    def describe(self, image: str) -> Mapping[str, Any] | None:
        """Return what the engine knows of an image; None if it has none.

        Raises:
            DockerError: it can't be asked.
        """
        docker = _sdk()
        with self.asked(image):
            try:
                found: Mapping[str, Any] = self.api.inspect_image(image)
            except docker.errors.ImageNotFound:
                return None
        return found

    def remove(self, container: str) -> None:
        """Kill and remove a container; one that is gone is no error.

        Raises:
            DockerError: the engine can't do it.
        """
        docker = _sdk()
        with self.asked():
            try:
                self.api.remove_container(container, v=True, force=True)
            except docker.errors.NotFound:
                pass
            except docker.errors.APIError as error:
                # It is being removed already, by the engine itself.
                if error.status_code != errno.ENOTCONN and not _in_progress(error):
                    raise

    def close(self) -> None:
        """Close all connections; the engine is not to be used after that."""
        self.api.close()


def address() -> str:
    """Return where the engine is that this user's `docker` command would ask."""
    docker = _sdk()
    host = os.environ.get("DOCKER_HOST")
    if not host:
        try:
            host = docker.ContextAPI.kwargs_from_context().get("base_url")
        except (docker.errors.DockerException, OSError, ValueError, KeyError):
            host = None
    return str(host or "unix:///var/run/docker.sock")


def _in_progress(error: Any) -> bool:
    return "already in progress" in str(error.explanation)


_importing = threading.Lock()


def _sdk() -> Any:
    """Import the SDK, which takes a tenth of a second."""
    with _importing:
        import docker
        import docker.errors

    return docker


def _unreachable(error: BaseException, where: str) -> DockerError:
    """Say why there is no engine, and what to do about it."""
    code = _errno(error)
    if code in {errno.EACCES, errno.EPERM}:
        reason = (
            f"this user may not talk to the Docker Engine at {where}: join the group "
            "that owns the socket (`sudo usermod -aG docker $USER`, then log in anew), "
            "or use a rootless engine"
        )
    elif code in {errno.ENOENT, errno.ECONNREFUSED, errno.ENOTSOCK}:
        reason = (
            f"no Docker Engine answers at {where}: install or start one (`sudo "
            "systemctl start docker`), or say by DOCKER_HOST where it is"
        )
    else:
        said = " ".join(str(error).split()) or type(error).__name__
        reason = (
            f"the Docker Engine at {where} can't be asked: {said}; see whether `docker "
            "version` can, and `entangle doctor`"
        )
    return EngineError(reason, engine=where)


def _errno(error: BaseException | None) -> int | None:
    """Find the system's error under what the SDK's libraries wrapped it in."""
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        found = pending.pop()
        if id(found) in seen or not isinstance(found, BaseException):
            continue
        seen.add(id(found))
        if isinstance(found, OSError) and found.errno is not None:
            return found.errno
        pending += [found.__cause__, found.__context__, *found.args]
        pending.append(getattr(found, "reason", None))
    return None
