"""The executor behind `@docker`: streams to Pythons in containers."""

from __future__ import annotations

# The types of options are looked at when the decorator is used.
from collections.abc import Mapping, Sequence  # noqa: TC003
from typing import TYPE_CHECKING, Any, Final

from entangle.backend import StreamExecutor

from ._settings import Pull, Settings

if TYPE_CHECKING:
    from entangle.backend import Call, Stream

    from ._containers import Containers

_OF_THE_STREAM: Final = frozenset({"containers", "calls", "idle", "trust"})


class DockerExecutor(StreamExecutor):
    """Runs calls in Docker containers that stay warm.

    The image needs a CPython 3.9 or newer, and nothing else: no shell, no Entangle, no
    network, nothing that can be written to. Containers are made when calls need them,
    reused by all runs of the program, and removed when they are idle and at its end.
    The processes in them are not root unless you say so, have no capabilities and can't
    gain any; nothing of this machine is to be seen there but what `mounts` names.

    Args:
        image: The image, as `docker run` takes it. It is pulled if the engine has none.
        packages: What pip is to add to the image, as ``['numpy>=2']``. It is done once
            for each image and list, with your pip configuration; the result is kept by
            the engine as an image ``entangle/packages``.
        python: The interpreter in the image: a name or a path; by default ``python3``,
            else ``python``.
        consume_gpu: True gives all GPUs to the container, and a framework may take all
            of their memory as it starts; False gives them, too, and has frameworks
            allocate on demand, so that several tasks can share them. By default GPUs
            are given if the image asks for them and the engine has any.
        gpus: Which GPUs, if not all: how many, or their names.
        mounts: Folders, files or volumes of the engine's machine, and where they are
            in the container: ``{'data': '/data'}``. They can't be written to unless
            ``:rw`` is added: ``{'out': '/out:rw'}``.
        environment: Variables for the processes in the container.
        user: Whose they are: a name or a number, with ``:group`` if you like. By
            default the image's user, or nobody (65534) if that is root.
        workdir: Their working directory; by default the image's.
        network: ``'bridge'`` (they reach the network, nobody reaches them), ``'none'``,
            ``'host'``, or a network of the engine's.
        memory: What all processes of a container may use together: bytes, or a text as
            ``'512m'``.
        cpus: How many processors' time it gets: 0.5, 2.
        shm_size: The size of its ``/dev/shm``, as `memory`; by default 64 MB.
        tmpfs: Folders in memory, and their sizes: ``{'/scratch': '1g'}``.
        read_only: Whether nothing can be written to its root file system.
        platform: For which platform the image is to be, as ``'linux/arm64'``.
        pull: Whether the image is pulled if it is ``'missing'``, ``'always'`` when a
            place is first used, or ``'never'``.
        entrypoint: Whether the image's entry point is run, which has to run what it is
            given. False leaves it out.
        containers: How many containers there are at once, at most.
        calls: How many calls one runs at once, each in a process of its own; by default
            as many as it has processors.
        idle: Seconds after which an unused container is removed; by default what
            ``ENTANGLE_IDLE`` says, or 10.
        trust: Whether the container is trusted with this account, as pickles are. If
            not, nothing that comes out of it is unpickled.
    """

    def __init__(
        self,
        *,
        image: str,
        packages: Sequence[str] = (),
        python: str = "",
        consume_gpu: bool | None = None,
        gpus: int | str | Sequence[str] | None = None,
        mounts: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        user: str | int | None = None,
        workdir: str = "",
        network: str = "bridge",
        memory: float | str | None = None,
        cpus: float | None = None,
        shm_size: float | str | None = None,
        tmpfs: Mapping[str, float | str] | None = None,
        read_only: bool = False,
        platform: str = "",
        pull: Pull = "missing",
        entrypoint: bool = True,
        containers: int = 1,
        calls: int | None = None,
        idle: float | None = None,
        trust: bool = True,
    ) -> None:
        super().__init__(places=containers, calls=calls, idle=idle, trust=trust)
        self._settings = Settings(
            image=image,
            packages=tuple(packages),
            python=python,
            gpus=gpus if gpus is None or isinstance(gpus, (int, str)) else tuple(gpus),
            consume_gpu=consume_gpu,
            mounts=dict(mounts or {}),
            environment=dict(environment or {}),
            user=user,
            workdir=workdir,
            network=network,
            memory=memory,
            cpus=cpus,
            shm_size=shm_size,
            tmpfs=dict(tmpfs or {}),
            read_only=read_only,
            platform=platform,
            pull=pull,
            entrypoint=entrypoint,
        )
        self._settings.check()
        self._containers: Containers | None = None
        self._run = ""

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse what types can't say, where the decorator is written.

        Raises:
            ValueError: an option has a value that can't be meant.
        """
        own = {
            name: value
            for name, value in options.items()
            if name not in _OF_THE_STREAM and value is not None
        }
        if "image" in own:
            Settings(**own).check()
        for name in ("containers", "calls"):
            number = options.get(name)
            if number is not None and number < 1:
                raise ValueError(f"{name}={number}: it must be at least 1")
        idle = options.get("idle")
        if idle is not None and not idle >= 0:
            raise ValueError(f"idle={idle}: it must be a number of seconds")

    @property
    def label(self) -> str:
        """What the place is called in messages."""
        return f"docker(image={self._settings.image!r})"

    def start(self, call: Call) -> None:
        """Queue the call; a container is made for it if there is none."""
        self._run = self._run or call.name
        super().start(call)

    def open(self, command: Sequence[str]) -> Stream:
        """Start a Python in a new container.

        Raises:
            DockerError: it can't be done; which kind says whose fault it is.
        """
        if self._containers is None:
            self._containers = _containers(self._settings)
        return self._containers.open(command, self._run)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base class
        """Take no more calls, remove the containers, and let go of the engine."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if self._containers is not None and wait:
            self._containers.close()


def _containers(settings: Settings) -> Containers:
    # Imported here: a program may be decorated and never run.
    from ._containers import Containers

    return Containers(settings)
