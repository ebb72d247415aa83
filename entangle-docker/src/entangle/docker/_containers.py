"""The containers of one place: made of its image, started, connected to."""

from __future__ import annotations

import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from . import _images, _labels, _packages, _settings
from ._abort import Aborted, Aborts
from ._advice import refusal
from ._attached import Attached
from ._door import CONNECT, NAME, NO_WAY, Door
from ._engine import Engine
from ._errors import ContainerError, ImageError
from ._log import log
from ._packages import PYTHONS
from ._streams import AttachedStream, Container, SocketStream
from ._watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from entangle.backend import Stream

    from ._images import Image
    from ._settings import Settings

_NOT_FOUND: Final = 127
_NOT_RUN: Final = 126
_GPU_RUNTIME: Final = "nvidia"
_NO_GPUS: Final = frozenset({"", "none", "void"})


class Containers:
    """Makes containers for one place; used by any thread.

    Nothing is asked of the engine before the first is opened.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._aborts = Aborts()
        self._preparing = threading.Lock()
        self._engine: Engine | None = None
        self._watch: Watch | None = None
        self._image: Image | None = None
        self._gpus = False
        self._python = 0  # which of the names is the one
        self._by_socket = True

    def open(self, command: Sequence[str], run: str) -> Stream:
        """Start a command of Python's in a new container; blocks.

        Args:
            command: The interpreter, what it is told, and a program, as its last.
            run: What the container is first made for.

        Raises:
            DockerError: it can't be done; which kind says whose fault it is.
        """
        try:
            while True:
                engine, watch, image = self._prepared()
                try:
                    stream = self._try(engine, watch, image, command, run)
                except ImageError:
                    # It may have been removed since it was looked for.
                    if engine.describe(image.id) is not None:
                        raise
                    self._image = None
                    continue
                if stream is not None:
                    return stream
        except Aborted:
            raise ContainerError(
                f"no container of {self._settings.image!r} is made: nobody wants it any "
                "more",
                image=self._settings.image,
            ) from None

    def abort(self) -> None:
        """End whatever is being opened; nothing can be opened after that."""
        self._aborts.abort()

    def close(self) -> None:
        """Let go of the engine, when all streams are closed."""
        self._aborts.abort()
        with self._preparing:
            watch, self._watch = self._watch, None
            engine, self._engine = self._engine, None
        if watch is not None:
            watch.close()
        if engine is not None:
            engine.close()

    def _prepared(self) -> tuple[Engine, Watch, Image]:
        """Return the engine and the image, both looked for once."""
        with self._preparing:
            if self._aborts.aborted:
                raise Aborted
            if self._engine is not None and self._watch is not None and self._watch.lost:
                # It was started anew, perhaps.
                self._watch.close()
                self._watch = None
            if self._engine is None:
                self._engine = Engine()
            engine = self._engine
            if self._watch is None:
                self._watch = Watch(engine, _labels.caller_here())
            if self._image is None:
                self._image = provide(engine, self._settings, self._aborts)
                self._gpus = grants_gpus(engine, self._image)
            return engine, self._watch, self._image

    def _try(
        self,
        engine: Engine,
        watch: Watch,
        image: Image,
        command: Sequence[str],
        run: str,
    ) -> Stream | None:
        """Make a container and connect to it; None if that is to be tried otherwise."""
        python = self._settings.python or PYTHONS[self._python]
        door = Door() if self._by_socket and engine.local else None
        try:
            program = [python, *command[1:]]
            if door is not None:
                path = f"{_settings.DOOR}/{NAME}"
                program[-1:] = [CONNECT, path, command[-1]]
            folder = door.folder if door is not None else ""
            config = _settings.request(
                self._settings,
                image,
                program,
                labels=_labels.made_now(run, folder),
                folder=folder,
                gpus=self._gpus,
            )
            name = f"entangle-{secrets.token_hex(6)}"
            with _refusals(engine, image):
                made = engine.api.create_container_from_config(config, name)
            shown = f"the container {name} of {image.name}"
            container = Container(engine, watch, str(made["Id"]), shown)
            return self._start(engine, watch, image, container, door)
        finally:
            if door is not None:
                door.close()

    def _start(
        self,
        engine: Engine,
        watch: Watch,
        image: Image,
        container: Container,
        door: Door | None,
    ) -> Stream | None:
        watch.expect(container.id, container.name)
        attached: Attached | None = None
        stream: Stream | None = None
        try:
            attached = Attached(engine, container.id, stdin=door is None)
            with _refusals(engine, image):
                engine.api.start(container.id)
            with self._aborts.by(attached.close):
                stream = self._connected(container, attached, door)
            if stream is None:
                self._explain(engine, image, container, watch)
        finally:
            if stream is None:
                if attached is not None:
                    attached.close()
                container.end(kill=True)
        return stream

    def _connected(
        self, container: Container, attached: Attached, door: Door | None
    ) -> Stream | None:
        if door is None:
            stream = AttachedStream(container, attached)
            return stream if stream.begun() else None
        connection = door.wait(attached, container.said, lambda: self._aborts.aborted)
        return (
            None
            if connection is None
            else SocketStream(container, connection, attached)
        )

    def _explain(
        self, engine: Engine, image: Image, container: Container, watch: Watch
    ) -> None:
        """A container has ended before its Python has connected: say why.

        Returns if there is another way to try.

        Raises:
            DockerError: there is none.
        """
        fate = watch.fate(container.id, 1.0)
        said = str(container.said)
        if fate.exit_code == NO_WAY:
            log.info("no socket can be reached from containers: %s", said)
            self._by_socket = False
            return
        unfit = "exec format error" in said.lower()
        if unfit or fate.exit_code in {_NOT_FOUND, _NOT_RUN}:
            # Of a program for another processor, too, it may be said that it is not
            # there: its loader isn't.
            if _images.fits(image, engine.platform()):
                missing = fate.exit_code == _NOT_FOUND
                if missing and not self._settings.python and not self._python:
                    self._python = 1
                    return
                reason = _no_python(self._settings, image, said)
            else:
                reason = (
                    f"the image {image.name!r} is for {image.platform}, which the "
                    f"engine's machine, {engine.platform()}, can't run: choose a tag "
                    "for that, or have emulation installed there"
                )
            raise ImageError(reason, image=image.name, said=said)
        how = "was ended because memory ran out" if fate.out_of_memory else "ended"
        raise ContainerError(
            f"{container.name} {how} before its Python was there (exit code "
            f"{fate.exit_code})",
            image=image.name,
            exit_code=fate.exit_code,
            said=said,
        )


@contextmanager
def _refusals(engine: Engine, image: Image) -> Iterator[None]:
    """Have it said what is to be done about what the engine refuses."""
    try:
        with engine.asked(image.name):
            yield
    except ContainerError as error:
        reason = refusal(image.name, error.reason)
        raise ContainerError(reason, image=image.name) from None


def _no_python(settings: Settings, image: Image, said: str) -> str:
    lower = said.lower()
    names = settings.python or " or ".join(PYTHONS)
    if "permission denied" in lower:
        user = _settings.user_of(settings, image)
        return (
            f"the user {user} may not run {names} in the image {image.name!r}: say who "
            "may with user=, or user='root'"
        )
    through = " through its entry point (entrypoint=False leaves that out)"
    how = through if image.entrypoint and settings.entrypoint else ""
    return (
        f"the image {image.name!r} has no {names} that can be run{how}: choose an image "
        "with CPython 3.9 or newer, or say by python= where it is"
    )


def provide(engine: Engine, settings: Settings, aborts: Aborts) -> Image:
    """Return the image that a place's containers are made of; blocks.

    Raises:
        DockerError: it can't be had.
    """
    image = _images.provide(
        engine,
        settings.image,
        platform=settings.platform,
        pull=settings.pull,
        aborts=aborts,
    )
    if not settings.packages:
        return image
    network = settings.network if settings.network != "none" else "bridge"
    return _packages.provide(
        engine,
        image,
        settings.packages,
        python=settings.python,
        aborts=aborts,
        network=network,
    )


def grants_gpus(engine: Engine, image: Image) -> bool:
    """Tell whether an image wants GPUs that the engine can give."""
    if image.environment.get(_settings.GPU_WISH, "") in _NO_GPUS:
        return False
    with engine.asked():
        runtimes: Any = engine.api.info().get("Runtimes") or {}
    return _GPU_RUNTIME in runtimes


