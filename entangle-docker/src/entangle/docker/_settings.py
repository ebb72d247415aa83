"""What a place's options mean to the engine: one request, made without asking anybody."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ._sizes import in_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._images import Image

Pull = Literal["missing", "always", "never"]

NOBODY: Final = "65534:65534"
"""Who processes are in images that would have them be root."""
HOME: Final = "/tmp"  # noqa: S108 - of nobody, in a container of its own
DOOR: Final = "/run/entangle"
"""Where the folder with the worker's socket is mounted."""
ON_DEMAND: Final = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
"""Has TensorFlow and JAX take a GPU's memory as they need it; PyTorch does anyway."""
GPU_WISH: Final = "NVIDIA_VISIBLE_DEVICES"
"""The variable by which an image says that it wants GPUs."""

_ROOT: Final = frozenset({"", "0", "root", "0:0", "root:root", "0:root", "root:0"})
_VOLUME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_PLATFORM: Final = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+){0,2}", re.IGNORECASE)
_REFERENCE: Final = re.compile(
    r"(?:[a-zA-Z0-9.-]+(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@[a-zA-Z0-9_+.-]+:[0-9a-fA-F]{32,})?"
)


class Settings(NamedTuple):
    """The options of a place, as `DockerExecutor` describes them."""

    image: str
    packages: tuple[str, ...] = ()
    python: str = ""
    gpus: int | str | tuple[str, ...] | None = None
    consume_gpu: bool | None = None
    mounts: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}
    user: str | int | None = None
    workdir: str = ""
    network: str = "bridge"
    memory: float | str | None = None
    cpus: float | None = None
    shm_size: float | str | None = None
    tmpfs: Mapping[str, float | str] = {}
    read_only: bool = False
    platform: str = ""
    pull: Pull = "missing"
    entrypoint: bool = True

    def check(self) -> None:
        """Refuse what types can't say.

        Raises:
            ValueError: an option has a value that can't be meant.
        """
        if not _REFERENCE.fullmatch(self.image):
            raise ValueError(
                f"image={self.image!r} is no name of an image, as 'python:3.12-slim' is"
            )
        _check_packages(self.packages)
        if self.platform and not _PLATFORM.fullmatch(self.platform):
            raise ValueError(
                f"platform={self.platform!r} is none, as 'linux/arm64' is"
            )
        for option in ("memory", "shm_size"):
            size = getattr(self, option)
            if size is not None:
                in_bytes(size, option)
        if self.cpus is not None and not self.cpus > 0:
            raise ValueError(f"cpus={self.cpus!r} must be more than none")
        if isinstance(self.gpus, int) and self.gpus < 1:
            raise ValueError(f"gpus={self.gpus!r}: say how many, 'all', or leave it out")
        if not self.network:
            raise ValueError("network='' is none: 'none' is a container without one")
        for path, size in self.tmpfs.items():
            _absolute(path, "tmpfs")
            in_bytes(size, f"tmpfs[{path!r}]")
        for source, target in self.mounts.items():
            if not source:
                raise ValueError("mounts: '' is neither a folder nor a volume")
            _absolute(_mode(target)[0], f"mounts[{source!r}]")
        if self.workdir:
            _absolute(self.workdir, "workdir")
        for name in self.environment:
            if not name or "=" in name or "\0" in name:
                raise ValueError(f"environment: {name!r} is no name of a variable")

    @property
    def wants_gpus(self) -> bool:
        """Whether it asks for GPUs, whatever the image says."""
        return self.gpus is not None or self.consume_gpu is not None


def _check_packages(packages: Sequence[str]) -> None:
    """Refuse what is no requirement.

    Raises:
        ValueError: one is an option of pip's or a path; the message says which.
    """
    for package in packages:
        if not package.strip() or package.strip().startswith("-"):
            raise ValueError(
                f"packages: {package!r} is no requirement, as 'numpy' or 'numpy>=2' is; "
                "options belong into pip's own configuration"
            )
        if package.startswith((".", "/", "~")):
            raise ValueError(
                f"packages: {package!r} is a path: build an image with it, or a wheel "
                "in a folder that find-links of pip's configuration names"
            )


def _absolute(path: str, option: str) -> None:
    if not path.startswith("/"):
        raise ValueError(f"{option}: {path!r} must be an absolute path in the container")


def _mode(target: str) -> tuple[str, bool]:
    """Split the end off a mount's target that says whether it may be written to."""
    path, _, mode = target.rpartition(":")
    if path and mode in {"ro", "rw"}:
        return path, mode == "rw"
    return target, False


def user_of(settings: Settings, image: Image) -> str:
    """Say who the processes in the container are."""
    if settings.user is not None:
        return str(settings.user)
    return NOBODY if image.user in _ROOT else image.user


def request(
    settings: Settings,
    image: Image,
    command: Sequence[str],
    *,
    labels: Mapping[str, str],
    folder: str = "",
    gpus: bool = False,
) -> dict[str, Any]:
    """Return what the engine is asked to make.

    Args:
        settings: The options.
        image: What it is made of.
        command: What is run in it.
        labels: Whose it is.
        folder: What is mounted at `DOOR`; without one, standard input is open.
        gpus: Whether it gets GPUs although the options don't say so.
    """
    environment = dict(settings.environment)
    if settings.consume_gpu is False:
        environment = ON_DEMAND | environment
    user = user_of(settings, image)
    if user == NOBODY:
        environment = {"HOME": HOME} | environment
    made: dict[str, Any] = {
        "Image": image.id,
        "Cmd": list(command),
        "User": user,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": dict(labels),
        "OpenStdin": not folder,
        "StdinOnce": not folder,
        "AttachStdin": not folder,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": _limits(settings, folder, gpus=gpus),
        # The image's checks of its own service would only cost.
        "Healthcheck": {"Test": ["NONE"]},
    }
    if not settings.entrypoint:
        made |= {"Entrypoint": [command[0]], "Cmd": list(command[1:])}
    if settings.workdir:
        made["WorkingDir"] = settings.workdir
    return made


def _limits(settings: Settings, folder: str, *, gpus: bool) -> dict[str, Any]:
    mounts = [_mount(*entry) for entry in settings.mounts.items()]
    if folder:
        mounts.append(
            {"Type": "bind", "Source": folder, "Target": DOOR, "ReadOnly": True}
        )
    host: dict[str, Any] = {
        "AutoRemove": True,
        "CapDrop": ["ALL"],
        "Init": True,
        # What is of interest comes through the stream; nobody looks into a log.
        "LogConfig": {"Type": "none", "Config": {}},
        "Mounts": mounts,
        "NetworkMode": settings.network,
        "ReadonlyRootfs": settings.read_only,
        "SecurityOpt": ["no-new-privileges"],
    }
    if settings.memory is not None:
        memory = in_bytes(settings.memory, "memory")
        # Without swap: what it may have is what it may have.
        host |= {"Memory": memory, "MemorySwap": memory}
    if settings.cpus is not None:
        host["NanoCpus"] = int(settings.cpus * 1e9)
    if settings.shm_size is not None:
        host["ShmSize"] = in_bytes(settings.shm_size, "shm_size")
    if settings.tmpfs:
        host["Tmpfs"] = {
            path: f"size={in_bytes(size, path)},mode=1777"
            for path, size in settings.tmpfs.items()
        }
    if settings.wants_gpus or gpus:
        host["DeviceRequests"] = [_gpus(settings.gpus)]
    return host


def _mount(source: str, target: str) -> dict[str, Any]:
    path, writable = _mode(target)
    made: dict[str, Any] = {"Target": path, "ReadOnly": not writable}
    if _VOLUME.fullmatch(source):
        return made | {"Type": "volume", "Source": source}
    here = os.path.abspath(os.path.expanduser(source))
    return made | {"Type": "bind", "Source": here}


def _gpus(wanted: int | str | tuple[str, ...] | None) -> dict[str, Any]:
    request: dict[str, Any] = {"Driver": "", "Capabilities": [["gpu"]]}
    if isinstance(wanted, int):
        return request | {"Count": wanted}
    if wanted is None or wanted == "all":
        return request | {"Count": -1}
    names = wanted.split(",") if isinstance(wanted, str) else wanted
    return request | {"DeviceIDs": list(names)}
