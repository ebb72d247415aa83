"""What can go wrong between a task and its container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from entangle.errors import EntangleError

if TYPE_CHECKING:
    from collections.abc import Iterable


class DockerError(EntangleError):
    """The root of this distribution's errors.

    Attributes:
        reason: The message.
    """

    def __init__(self, reason: str) -> None:
        """Build the error from its message."""
        super().__init__(reason)
        self.reason = reason


class EngineError(DockerError):
    """No Docker Engine can be reached, it refuses this user, or it went away.

    Attributes:
        engine: Its address.
    """

    def __init__(self, reason: str, *, engine: str) -> None:
        """Build the error from its message and the engine's address."""
        super().__init__(reason)
        self.engine = engine


class ImageError(DockerError):
    """An image that is missing, can't be fetched, or holds no usable Python.

    Attributes:
        image: Its name.
    """

    def __init__(self, reason: str, *, image: str) -> None:
        """Build the error from its message and the image's name."""
        super().__init__(reason)
        self.image = image


class PackagesError(ImageError):
    """Packages that can't be installed into an image.

    Attributes:
        packages: What was asked for.
        output: The last that pip said.
    """

    def __init__(
        self, reason: str, *, image: str, packages: Iterable[str], output: str = ""
    ) -> None:
        """Build the error from its message and what was to be installed where."""
        said = f"; pip said:\n{output}" if output else ""
        super().__init__(f"{reason}{said}", image=image)
        self.packages = tuple(packages)
        self.output = output


class ContainerError(DockerError):
    """A container that can't be made or started, or in which no worker came up.

    Attributes:
        image: What it was to be made of.
        exit_code: What its first process exited with, or None.
        output: The last that was printed there.
    """

    def __init__(
        self,
        reason: str,
        *,
        image: str,
        exit_code: int | None = None,
        output: str = "",
    ) -> None:
        """Build the error from its message and what is known of the container."""
        said = f"; it said:\n{output}" if output else ""
        super().__init__(f"{reason}{said}")
        self.image = image
        self.exit_code = exit_code
        self.output = output
