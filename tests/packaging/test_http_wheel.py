"""The wheel of entangle-http holds what it must, beside the core in one namespace."""

import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

HTTP = Path(__file__).parents[2] / "entangle-http"
SOURCE = HTTP / "src"

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Build the wheel by way of the sdist, so that both are complete."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, HTTP],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_files_are_the_sources(archive):
    """Every source file, nothing else, and no entangle/__init__.py."""
    names = {n for n in archive.namelist() if ".dist-info/" not in n}
    wanted = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == wanted
    assert "entangle/__init__.py" not in names
    assert "entangle/http/py.typed" in names


def test_metadata(archive):
    """Dependencies, extra and entry point; the version is the core's."""
    (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert metadata["Name"] == "entangle-http"
    assert metadata["License-Expression"] == "MIT"
    assert f"entangle-core=={metadata['Version']}" in metadata.get_all("Requires-Dist")
    assert metadata["Provides-Extra"] == "cache"
    (name,) = (n for n in archive.namelist() if n.endswith("entry_points.txt"))
    assert archive.read(name).decode().split() == [
        *("[entangle]", "http", "=", "entangle.http.plugin")
    ]


def test_importing_it_is_light():
    """Neither requests nor urllib3 is imported before one is made."""
    program = "import sys, entangle.http; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not {"requests", "urllib3", "cachecontrol", "ssl", "asyncio"} & loaded
