"""What a place's options mean to the engine: one request, made without asking anybody."""

from __future__ import annotations

import os
import re
from pathlib import Path
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

    @property
    def wants_gpus(self) -> bool:
        """Whether it asks for GPUs, whatever the image says."""
        return self.gpus is not None or self.consume_gpu is not None


def split_mode(target: str) -> tuple[str, bool]:
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
    path, writable = split_mode(target)
    made: dict[str, Any] = {"Target": path, "ReadOnly": not writable}
    if _VOLUME.fullmatch(source):
        return made | {"Type": "volume", "Source": source}
    # Links stay links: the engine may see another file system.
    here = Path(source).expanduser().absolute()
    return made | {"Type": "bind", "Source": os.path.normpath(here)}


def _gpus(wanted: int | str | tuple[str, ...] | None) -> dict[str, Any]:
    request: dict[str, Any] = {"Driver": "", "Capabilities": [["gpu"]]}
    if isinstance(wanted, int):
        return request | {"Count": wanted}
    if wanted is None or wanted == "all":
        return request | {"Count": -1}
    names = wanted.split(",") if isinstance(wanted, str) else wanted
    return request | {"DeviceIDs": list(names)}
