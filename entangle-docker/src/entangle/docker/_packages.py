"""Images with packages added: built once for each image and list, and kept."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import _labels, _pip
from ._attached import Attached, Tail
from ._errors import ContainerError, DockerError, PackagesError
from ._images import Image, as_image
from ._log import log

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._abort import Aborts
    from ._engine import Engine

REPOSITORY: Final = "entangle/packages"
PACKAGES: Final = "entangle.packages"
BASE: Final = "entangle.base"
PYTHONS: Final = ("python3", "python")
"""The names that an interpreter is looked for by, unless the user says one."""
NO_PYTHON: Final = 127
NO_PIP: Final = 97
"""Exit code: there is no pip in the image, nor can there be."""
_FOLDER: Final = "/run/entangle"
_TURN: Final = 0.05

# In the container, as root. The settings come by standard input and are kept in memory
# alone, so that nothing of them can get into the image. If the caller goes, it ends.
_INSTALL: Final = """
import json, os, subprocess, sys, threading
wanted = json.loads(sys.stdin.buffer.readline().decode())
for name, text in wanted["files"].items():
    path = os.path.join(sys.argv[1], name)
    with open(path, "w") as file:
        file.write(text)
    os.environ[name] = path
os.environ.update(wanted["variables"])
os.environ["HOME"] = sys.argv[1]
pip = [sys.executable, "-m", "pip"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
if subprocess.call(pip + ["--version"], **quiet):
    if subprocess.call([sys.executable, "-m", "ensurepip"], **quiet):
        sys.exit(97)
process = subprocess.Popen(pip + [
    "install", "--no-cache-dir", "--no-input", "--disable-pip-version-check",
    "--progress-bar=off", "--"] + wanted["packages"])
def watch():
    sys.stdin.buffer.read()
    process.kill()
threading.Thread(target=watch, daemon=True).start()
code = process.wait()
sys.stdout.flush()
os._exit(1 if code else 0)
"""


def tag_of(image: Image, packages: Sequence[str], python: str) -> str:
    """Return the name of the image that the packages are added to an image in."""
    made_of: list[object] = [image.id, python, sorted(set(packages))]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return f"{REPOSITORY}:{digest[:32]}"


def provide(
    engine: Engine,
    image: Image,
    packages: Sequence[str],
    *,
    python: str,
    aborts: Aborts,
    network: str,
) -> Image:
    """Return an image with the packages added, built if there is none yet; blocks.

    Raises:
        PackagesError: pip can't install them, or there is no pip.
        DockerError: the engine can't do it.
    """
    tag = tag_of(image, packages, python)
    with _alone(tag, aborts):
        found = engine.describe(tag)
        if found is None:
            for name in (python,) if python else PYTHONS:
                if _build(engine, image, packages, tag, name, aborts, network):
                    break
            else:
                raise PackagesError(
                    f"the image {image.name!r} has no {python or ' or '.join(PYTHONS)} "
                    "that could install packages: say by python= where one is",
                    image=image.name,
                    packages=packages,
                )
            found = engine.describe(tag)
    if found is None:
        raise ContainerError(f"{tag} was built, and is gone already", image=tag)
    return as_image(image.name, found)


@contextmanager
def _alone(tag: str, aborts: Aborts) -> Iterator[None]:
    """Let one process of this user at a time build an image, and one thread in it."""
    cache = os.environ.get("ENTANGLE_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "entangle"
    )
    folder = Path(cache, "docker")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The lock lies in memory and dies with its process; the empty file stays.
    with (folder / f"{tag.rpartition(':')[2]}.lock").open("w") as file:
        told = False
        while True:
            with aborts.by(bool):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if not told:
                        told = True
                        log.info("waiting for another run that builds the same image")
                    time.sleep(_TURN)
                else:
                    break
        yield


def _build(
    engine: Engine,
    image: Image,
    packages: Sequence[str],
    tag: str,
    python: str,
    aborts: Aborts,
    network: str,
) -> bool:
    """Build the image; False if there is no such interpreter in the first one."""
    wanted = " ".join(packages)
    log.info("adding %s to the image %s", wanted, image.name)
    begun = time.monotonic()
    settings = _pip.settings()
    labels = _labels.made_now("")
    mounts = [
        {"Type": "bind", "Source": folder, "Target": folder, "ReadOnly": True}
        for folder in (settings.folders if engine.local else ())
    ]
    host = {
        "Init": True,
        "Mounts": mounts,
        # A server of this machine can be reached through its own network alone.
        "NetworkMode": "host" if settings.loopback and engine.local else network,
        "SecurityOpt": ["no-new-privileges"],
        "Tmpfs": {_FOLDER: "mode=0700"},
    }
    config = {
        "Image": image.id,
        "Entrypoint": [python, "-c", _INSTALL, _FOLDER],
        "Cmd": [],
        "User": "0:0",
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Labels": labels,
        "HostConfig": host,
    }
    with engine.asked(image.name):
        container = str(engine.api.create_container_from_config(config)["Id"])
    try:
        with aborts.by(lambda: engine.remove(container)):
            if not _install(engine, container, image, packages, settings):
                return False
            _commit(engine, container, image, tag, wanted)
    except ContainerError as error:
        raise PackagesError(
            f"can't add {wanted} to the image {image.name!r}: {error.reason}",
            image=image.name,
            packages=packages,
        ) from error
    finally:
        engine.remove(container)
    took = time.monotonic() - begun
    log.info("added %s to the image %s in %.1f s", wanted, image.name, took)
    return True


def _install(
    engine: Engine,
    container: str,
    image: Image,
    packages: Sequence[str],
    settings: _pip.PipSettings,
) -> bool:
    """Run pip in the container; False if its interpreter is not there."""
    said = Tail()
    attached = Attached(engine, container, stdin=True)
    try:
        with engine.asked(image.name):
            engine.api.start(container)
        wanted = {
            "packages": list(packages),
            "variables": dict(settings.variables),
            "files": dict(settings.files),
        }
        try:
            attached.write(json.dumps(wanted).encode() + b"\n")
        except OSError:
            log.debug("the container ended before it was told what to install")
        while data := attached.frame(1 << 16)[1]:
            said.add(data)
            log.debug("pip: %s", data.decode(errors="replace").rstrip())
        with engine.asked(image.name):
            code = int(engine.api.wait(container)["StatusCode"])
    finally:
        attached.close()
    if code == NO_PYTHON:
        return False
    if code == NO_PIP:
        raise PackagesError(
            f"the image {image.name!r} has no pip, and its Python can't bring one: "
            "choose an image with pip, or build one that has the packages",
            image=image.name,
            packages=packages,
        )
    if code:
        raise PackagesError(
            f"pip can't install {' '.join(packages)} into the image {image.name!r} "
            f"(exit code {code})",
            image=image.name,
            packages=packages,
            said=str(said),
        )
    return True


def _commit(
    engine: Engine, container: str, image: Image, tag: str, packages: str
) -> None:
    """Keep what the container holds as an image that runs as the first one did."""
    found = engine.describe(image.id)
    if found is None:
        raise DockerError(f"the image {image.name!r} was removed meanwhile")
    config = dict(found.get("Config") or {})
    # What is left out is taken from the container, whose labels and program are no
    # business of the image's.
    config["Labels"] = {
        **dict.fromkeys(_labels.OURS, ""),
        **(config.get("Labels") or {}),
        PACKAGES: packages,
        BASE: image.id,
    }
    config["Entrypoint"] = config.get("Entrypoint") or []
    config["Cmd"] = config.get("Cmd") or ["python3"]
    config["User"] = config.get("User") or "root"
    repository, _, name = tag.partition(":")
    with engine.asked(image.name):
        engine.api.commit(container, repository, name, conf=config)
