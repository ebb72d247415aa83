"""Packages for another machine: wheels that pip finds for its Python and processor."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

_PLATFORMS: Final = {
    "x86_64": ("manylinux_2_28_x86_64", "manylinux2014_x86_64"),
    "arm64": ("manylinux_2_28_aarch64", "manylinux2014_aarch64"),
}
_LINES: Final = 5  # of what pip says


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
        for platform in _PLATFORMS[architecture]:
            command += ["--platform", platform]
        done = subprocess.run(  # noqa: S603 - pip, with what the user asks for
            [*command, "--", *packages], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = "\n".join(done.stderr.strip().splitlines()[-_LINES:])
            raise AwsError(
                f"pip can't install {', '.join(packages)} for Python "
                f"{'.'.join(map(str, version))} on {architecture}:\n{said}"
            )
        yield Path(name)
