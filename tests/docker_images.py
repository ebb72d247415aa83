"""Images for the tests, made of the Pythons of this machine: no registry is asked.

    python tests/docker_images.py [NAME…]      make them, print their tags

The engine is the one that `DOCKER_HOST` names, else Docker's default. An image is made
once and kept until this file or the Python that it is made of changes:

    entangle-test/python:3.11   and every other CPython 3 that is found here (`pythons`):
                                interpreter, standard library, pip, busybox's shell and
                                commands, users root and nobody (65534)
    entangle-test/python:2.7    the same with an interpreter that is called `python` only
    entangle-test/numpy         the tests' Python with their numpy
    entangle-test/shellless     the tests' Python and nothing else that can be run
    entangle-test/pythonless    busybox alone
    entangle-test/user          the tests' Python, `USER worker` (1234)
    entangle-test/noisy         an entry point that prints a banner, then runs its arguments
    entangle-test/foreign       built for another processor

The interpreter inside is the very one that runs the tests, so that calls travel by value.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

PREFIX = "entangle-test"
RECIPE = "entangle-test.recipe"
"""The label with the digest of what an image was made from."""

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
LOCALE = Path("/usr/lib/locale/C.utf8")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
PIP = "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\nroot-user-action = ignore\n"
SKIPPED = {
    "EXTERNALLY-MANAGED",  # pip may install, it is a container
    "__pycache__",
    "dist-packages",
    "ensurepip",
    "idlelib",
    "site-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
}
ASKED = """
import json, sys, sysconfig
print(json.dumps({
    "binary": sys.executable,
    "version": sys.version,
    "stdlib": sysconfig.get_path("stdlib"),
    "platlib": sysconfig.get_path("platstdlib"),
    "site": sysconfig.get_path("purelib"),
}))
"""


class Python(NamedTuple):
    """An interpreter of this machine, and what it says of itself."""

    minor: str
    binary: str
    version: str
    stdlib: str
    platlib: str
    site: str


def asked(binary: str | Path) -> Python | None:
    """Ask an interpreter for what an image of it needs; None if it doesn't run."""
    # Without the environment: a virtual one would answer for itself.
    found = subprocess.run(
        [os.path.realpath(binary), "-s", "-c", ASKED],
        capture_output=True,
        check=False,
        env={"PATH": os.defpath},
        text=True,
    )
    if found.returncode:
        return None
    said = json.loads(found.stdout)
    return Python(".".join(said["version"].split(".")[:2]), **said)


@cache
def pythons() -> dict[str, Python]:
    """Find the CPythons of this machine: the tests' own, pyenv's, and those on the path."""
    found: dict[str, Python] = {}
    own = asked(sys.executable)
    assert own is not None
    found[own.minor] = own
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = sorted(root.glob("versions/*/bin/python[23].[0-9]*"))
    candidates += [
        Path(folder, name)
        for folder in ("/usr/local/bin", "/usr/bin")
        for name in ("python2.7", *(f"python3.{minor}" for minor in range(6, 20)))
    ]
    for candidate in candidates:
        if candidate.name.removeprefix("python").replace(".", "").isdigit():
            minor = candidate.name.removeprefix("python")
            if (
                minor not in found
                and candidate.exists()
                and (python := asked(candidate))
            ):
                found[minor] = python
    return found


# -- an image's files ------------------------------------------------------------------


def libraries(files: list[Path]) -> set[Path]:
    """Return the shared libraries that the files are linked to."""
    listed = subprocess.run(
        ["ldd", *map(str, files)], capture_output=True, check=False, text=True
    )
    found = set()
    for line in listed.stdout.splitlines():
        path = line.rpartition("=>")[2].split("(")[0].strip()
        if path.startswith("/") and not path.endswith(":"):
            found.add(Path(path))
    return found


def common_libraries() -> set[Path]:
    """Return what wheels expect to find: all of the C library, and those of C++."""
    listed = subprocess.run(
        ["ldconfig", "-p"], capture_output=True, check=True, text=True
    )
    wanted = ("libc.", "libm.", "libdl.", "libpthread.", "librt.", "libutil.")
    wanted += ("libresolv.", "libnss_", "libgcc_s.", "libstdc++.", "libgomp.")
    found = set()
    for line in listed.stdout.splitlines():
        name, _, path = line.strip().partition(" ")
        if name.startswith(wanted) and "x32" not in path:
            found.add(Path(path.rpartition("=>")[2].strip()))
    return found


class Root:
    """A root file system that is being written to an archive."""

    def __init__(self, file: Any) -> None:
        self.archive = tarfile.open(fileobj=file, mode="w")  # noqa: SIM115 - see close
        self.folders: set[str] = set()
        self.files: set[str] = set()
        self.folder("tmp", 0o1777)

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder and those that it is in."""
        path = path.strip("/")
        if path and path not in self.folders:
            self.folders.add(path)
            self.folder(os.path.dirname(path))
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            self.archive.addfile(entry)

    def _new(self, path: str) -> str:
        path = os.path.normpath(path).strip("/")
        self.folder(os.path.dirname(path))
        known = path in self.files
        self.files.add(path)
        return "" if known else path

    def text(self, path: str, text: str, mode: int = 0o644) -> None:
        """Add a file with a text."""
        if name := self._new(path):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), mode
            self.archive.addfile(entry, io.BytesIO(text.encode()))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        if name := self._new(path):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            self.archive.addfile(entry)

    def copy(self, source: Path, path: str = "") -> None:
        """Add a file of this machine, readable by all and owned by root."""
        if name := self._new(path or str(source)):
            with source.open("rb") as file:
                entry = self.archive.gettarinfo(arcname=name, fileobj=file)
                # What is a hard link here would point to nowhere there.
                entry.type, entry.size = (
                    tarfile.REGTYPE,
                    os.fstat(file.fileno()).st_size,
                )
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = ""
                entry.mode = 0o755 if entry.mode & 0o111 else 0o644
                self.archive.addfile(entry, file)

    def tree(self, source: Path, path: str = "") -> list[Path]:
        """Add a folder of this machine; return the shared objects in it."""
        objects = []
        base = path or str(source)
        for folder, folders, files in os.walk(source):
            folders[:] = sorted(
                name
                for name in folders
                if name not in SKIPPED and not name.startswith("config-")
            )
            below = os.path.relpath(folder, source)
            for name in sorted(files):
                file = Path(folder, name)
                if name in SKIPPED or name.startswith(
                    ("_tkinter", "_test", "_ctypes_test")
                ):
                    continue
                if not file.is_file() or name.endswith((".a", ".pyc")):
                    continue
                self.copy(file, os.path.join(base, below, name))
                if ".so" in name:
                    objects.append(file)
        return objects

    def programs(self) -> None:
        """Add busybox, as a shell and all the commands it knows."""
        busybox = shutil.which("busybox")
        if busybox is None:
            raise LookupError("busybox is missing: install busybox-static")
        self.copy(Path(busybox), "bin/busybox")
        listed = subprocess.run(
            [busybox, "--list"], capture_output=True, check=True, text=True
        )
        for name in listed.stdout.split():
            if name != "busybox":
                self.link(f"bin/{name}", "busybox")

    def system(self) -> None:
        """Add what every root has: users, certificates, a locale."""
        for name in ("proc", "sys", "dev", "root", "run", "etc"):
            self.folder(name)
        self.text("etc/passwd", PASSWD)
        self.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
        self.text("etc/nsswitch.conf", "hosts: files dns\n")
        if CERTIFICATES.exists():
            self.copy(CERTIFICATES)
            self.text("etc/pip.conf", PIP)
        if LOCALE.is_dir():
            self.tree(LOCALE)

    def python(self, python: Python) -> None:
        """Add an interpreter with its standard library, pip, and what they link to."""
        binary = Path(os.path.realpath(python.binary))
        self.copy(binary, python.binary)
        objects = [binary, *self.tree(Path(python.stdlib))]
        if python.platlib != python.stdlib:
            objects += self.tree(Path(python.platlib))
        # A folder that is asked for at start-up and may be empty.
        self.folder(python.site)
        bundled = [*Path(python.stdlib).glob("ensurepip/_bundled/*.whl")]
        bundled += Path("/usr/share/python-wheels").glob("*.whl")
        with tempfile.TemporaryDirectory() as folder:
            for wheel in bundled:
                if wheel.name.startswith("pip-"):
                    shutil.unpack_archive(wheel, folder, "zip")
            self.tree(Path(folder), python.site)
        for library in libraries(objects) | common_libraries():
            self.copy(Path(os.path.realpath(library)), str(library))
        names = ["python", f"python{python.minor}"]
        if python.minor.startswith("3"):
            names.append("python3")
        for name in names:
            self.link(f"usr/local/bin/{name}", python.binary)

    def close(self) -> None:
        """Write the archive's end."""
        self.archive.close()


# -- images ----------------------------------------------------------------------------


def pythonless_root(root: Root) -> None:
    """Fill a root without any Python."""
    root.system()
    root.programs()


def shellless_root(root: Root) -> None:
    """Fill a root in which only Python can be run."""
    root.system()
    root.python(pythons()[HERE])


def python_root(root: Root, minor: str = HERE) -> None:
    """Fill a root with a Python and a shell."""
    root.system()
    root.python(pythons()[minor])
    root.programs()


def numpy_root(root: Root) -> None:
    """Fill a root with the tests' Python and numpy."""
    import numpy as np

    site = Path(np.__file__).parent.parent
    python_root(root)
    for name in ("numpy", "numpy.libs"):
        if (site / name).is_dir():
            root.tree(site / name, os.path.join(pythons()[HERE].site, name))


def foreign_root(root: Root) -> None:
    """Fill a root whose Python is a program for another kind of processor."""
    # A 64-bit little-endian executable for a processor that nobody has any more.
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + bytes([2, 0, 22, 0, 1, 0, 0, 0])
    for name in ("usr/local/bin/python3", "bin/sh"):
        root.text(name, header.ljust(4096, b"\0").decode(), 0o755)
    root.system()


def user_root(root: Root) -> None:
    """Fill a root with a user of its own."""
    root.text("etc/passwd", f"{PASSWD}worker:x:1234:1234::/home/worker:/bin/sh\n")
    python_root(root)


def noisy_root(root: Root) -> None:
    """Fill a root whose entry point talks first."""
    banner = (
        '#!/bin/sh\necho "Welcome to the noisy image"\necho "warned" >&2\nexec "$@"\n'
    )
    root.text("entry point.sh", banner, 0o755)
    python_root(root)


ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "SSL_CERT_FILE": str(CERTIFICATES),
    "PYTHONDONTWRITEBYTECODE": "1",
}
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(
    platform.machine(), platform.machine()
)
OTHER = "amd64" if MACHINE == "arm64" else "arm64"
RECIPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "numpy": (numpy_root, {}),
    "shellless": (shellless_root, {}),
    "pythonless": (pythonless_root, {}),
    "user": (user_root, {"User": "worker"}),
    "noisy": (noisy_root, {"Entrypoint": ["/entry point.sh"]}),
    "foreign": (foreign_root, {}),
}


def recipe(name: str) -> str:
    """Return the digest of what an image is made from."""
    made_of: list[object] = [Path(__file__).read_bytes(), platform.machine()]
    minor = name.removeprefix("python:") if name.startswith("python:") else HERE
    made_of += pythons()[minor]
    return hashlib.sha256(repr(made_of).encode()).hexdigest()


def build(client: Any, name: str) -> str:
    """Make an image, unless it is there already, and return its tag.

    Raises:
        LookupError: what it is made of is not on this machine.
    """
    from docker.errors import ImageNotFound

    repository, _, tag = f"{PREFIX}/{name}".partition(":")
    full = f"{repository}:{tag or 'latest'}"
    if name.startswith("python:"):
        if tag not in pythons():
            raise LookupError(f"there is no Python {tag} on this machine")
        fill, config = (lambda root: python_root(root, tag)), {}
    else:
        fill, config = RECIPES[name]
    made_from = recipe(name)
    with Lock(name):
        try:
            if client.images.get(full).labels.get(RECIPE) == made_from:
                return full
        except ImageNotFound:
            pass
        described = {
            "Cmd": ["python3"],
            "Env": [f"{key}={value}" for key, value in ENVIRONMENT.items()],
            "Labels": {RECIPE: made_from},
        }
        machine = OTHER if name == "foreign" else MACHINE
        with tempfile.TemporaryFile() as layer, tempfile.TemporaryFile() as whole:
            root = Root(layer)
            fill(root)
            root.close()
            pack(whole, layer, full, described | config, machine)
            whole.seek(0)
            client.images.load(whole)
    return full


def pack(
    whole: Any, layer: Any, tag: str, config: dict[str, Any], machine: str
) -> None:
    """Write an image of one layer as `docker load` takes it."""
    layer.seek(0)
    digest = hashlib.file_digest(layer, "sha256").hexdigest()
    about = {
        "architecture": machine,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in (("config.json", about), ("manifest.json", manifest)):
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        entry = tarfile.TarInfo("layer.tar")
        entry.size = layer.seek(0, os.SEEK_END)
        layer.seek(0)
        archive.addfile(entry, layer)


class Lock:
    """Let one process at a time make an image."""

    def __init__(self, name: str) -> None:
        name = name.replace(":", "-")
        # Not in TMPDIR, which each process of the tests has for itself.
        self.path = Path("/tmp") / f"entangle-test-image-{name}-{os.getuid()}.lock"  # noqa: S108

    def __enter__(self) -> None:
        self.file = self.path.open("w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self.file.close()


def names() -> list[str]:
    """Return the names of all images that can be made here."""
    return [*(f"python:{minor}" for minor in sorted(pythons())), *RECIPES]


def main() -> None:
    """Make the images that are named, or all."""
    import docker

    client = docker.from_env(timeout=300)
    for name in sys.argv[1:] or names():
        tag = build(client, name)
        size = client.images.get(tag).attrs["Size"] / 1e6
        print(f"{tag}  {size:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
