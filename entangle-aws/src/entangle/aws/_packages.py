"""Packages for another machine: wheels that pip finds for its Python and processor."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

_MACHINES: Final = {"x86_64": "x86_64", "arm64": "aarch64"}
# The C library of Lambda's images: Amazon Linux 2023 from Python 3.12 on, else 2.
_NEW, _NEW_LIBRARY, _OLD_LIBRARY = (3, 12), 34, 26
_OLDEST_LIBRARY: Final = 17
_ARCHIVES: Final = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
_BUILT: Final = frozenset(("build", "dist"))  # beside a package, by who builds it
_LINES: Final = 5  # of what pip says
_NO_WHEEL: Final = "No matching distribution found"


def identity(package: str) -> str:
    """Return what a package is known by.

    That is what pip is told; of a file or folder of this machine it is what is in it.

    Args:
        package: What pip takes: a name with a version, a path, an address.
    """
    text = package.partition(";")[0].strip()
    address = text.partition("@")[2].strip()
    if address.startswith("file:"):
        text = address
    text = text.partition("[")[0].strip()
    # As pip tells a path from a name.
    if not ("/" in text or text.startswith(".") or text.endswith(_ARCHIVES)):
        return package
    path = Path(url2pathname(urlsplit(text).path) if text[:5] == "file:" else text)
    if not path.exists():
        return package  # pip says so
    return f"{package.replace(text, path.name)} {_digest(path)}"


def _digest(path: Path) -> str:
    """Return what says what is in a file or a folder."""
    digest = hashlib.sha256()
    if path.is_file():
        digest.update(path.read_bytes())
        return digest.hexdigest()
    for each in sorted(path.rglob("*")):
        inside = each.relative_to(path)
        if each.is_file() and not _left_by_builds(inside):
            data = each.read_bytes()
            digest.update(f"{inside.as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _left_by_builds(inside: Path) -> bool:
    return inside.parts[0] in _BUILT or any(
        part == "__pycache__" or part.startswith(".") or part.endswith(".egg-info")
        for part in inside.parts
    )


@contextlib.contextmanager
def installed(
    packages: Sequence[str], version: tuple[int, int], architecture: str
) -> Generator[Path]:
    """Install packages into a folder that is removed afterwards.

    The caller's own configuration of pip counts: its index, its certificates.

    Args:
        packages: What pip takes: names with versions.
        version: Of the Python that they are for.
        architecture: Of the machine.

    Raises:
        AwsError: pip can't.
    """
    with tempfile.TemporaryDirectory(prefix="entangle-packages-") as name:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input"]
        command += ["--disable-pip-version-check", "--no-compile", "--target", name]
        command += ["--only-binary=:all:", "--implementation", "cp"]
        command += ["--python-version", ".".join(map(str, version))]
        for platform in platforms(version, architecture):
            command += ["--platform", platform]
        done = subprocess.run(  # noqa: S603 - pip, with what the user asks for
            [*command, "--", *packages], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = "\n".join(done.stderr.strip().splitlines()[-_LINES:])
            where = f"Python {'.'.join(map(str, version))} on {architecture}"
            if _NO_WHEEL in done.stderr:
                said += (
                    f"\nOnly wheels for {where} count, since what is only there as "
                    "source would be built for this machine: build a wheel elsewhere, "
                    "and have pip find it (PIP_FIND_LINKS=FOLDER)"
                )
            raise AwsError(
                f"pip can't install {', '.join(packages)} for {where}:\n{said}"
            )
        yield Path(name)


def platforms(version: tuple[int, int], architecture: str) -> Iterator[str]:
    """Yield the tags of wheels that a function can import, the newest first."""
    machine = _MACHINES[architecture]
    newest = _NEW_LIBRARY if version >= _NEW else _OLD_LIBRARY
    for library in range(newest, _OLDEST_LIBRARY - 1, -1):
        yield f"manylinux_2_{library}_{machine}"
    yield f"manylinux2014_{machine}"
