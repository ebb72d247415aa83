"""The wheel holds what it must, and works alone."""

import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "entangle-core"
SOURCE = CORE / "src"

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel by way of the sdist, so that both are complete."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, CORE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def alone(wheel, tmp_path_factory):
    """A Python that sees the wheel and its dependencies, and no source tree."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet",
        "--no-index", "--no-deps", wheel)  # fmt: skip
    # The dependencies come from here, so that no index is asked.
    site = Path(sysconfig.get_path("purelib", vars={"base": folder}))
    for name in ("cloudpickle", "pluggy"):
        found = Path(__import__(name).__file__).parent
        (site / name).symlink_to(found)
        for metadata in found.parent.glob(f"{name}-*.dist-info"):
            (site / metadata.name).symlink_to(metadata)
    return python


def run(*command, cwd="/"):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_files_are_the_sources(wheel):
    """Every source file is in it, nothing else is, and no entangle/__init__.py."""
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    wanted = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == wanted
    assert "entangle/__init__.py" not in names
    assert "entangle/py.typed" in names


def test_metadata(wheel):
    """Name, licence, Python and dependencies are what pip should see."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert metadata["Name"] == "entangle-core"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    needed = {
        line.partition(">")[0]
        for line in metadata.get_all("Requires-Dist")
        if "extra ==" not in line
    }
    assert needed == {"cloudpickle", "pluggy"}
    assert metadata.get_payload().startswith("# entangle-core")


def test_command_works_alone(alone):
    """The console script answers, and knows its version."""
    script = alone.parent / "entangle"
    assert "demo" in run(script, "--help")
    assert "entangle 0.1.0" in run(script, "--version")
    assert run(alone, "-m", "entangle", "--version") == run(script, "--version")


def test_graph_runs_alone(alone, tmp_path):
    """A script runs a graph on the installed wheel, without any source tree."""
    script = tmp_path / "script.py"
    script.write_text(
        "from entangle.process import process\n"
        "import entangle\n"
        "assert '/src' not in str(entangle.__path__)\n"
        "@process\n"
        "def twice(x):\n"
        "    return 2 * x\n"
        "print(twice(twice(1))())\n"
    )
    assert run(alone, script) == "4\n"


def test_the_first_minute(alone, tmp_path):
    """Three commands: installed, shown, run. stdout is exactly the result."""
    entangle = alone.parent / "entangle"
    begun = time.monotonic()
    assert run(entangle, "demo", cwd=tmp_path) == "5\n"
    assert list(tmp_path.iterdir()) == []
    assert run(entangle, "new", "hello", cwd=tmp_path) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["hello.py"]
    assert len((tmp_path / "hello.py").read_text().splitlines()) <= 12
    assert run(alone, "hello.py", cwd=tmp_path) == "5\n"
    # It is meant to take five seconds; machines that run tests are busy.
    assert time.monotonic() - begun < 60


def test_every_module_imports_alone(alone):
    """No module needs another to have been imported, nor warns, nor starts a thread.

    One process tries them all: each import starts from the modules that Python itself
    has loaded.
    """
    program = """
import importlib, pkgutil, sys, threading, entangle
bare = set(sys.modules)
PLAIN = {f"entangle.testing.{part}" for part in ("bodies", "fakes", "leaks")}
names = [m.name for m in pkgutil.walk_packages(entangle.__path__, "entangle.")]
assert len(names) > 10, names
for name in names:
    if name.endswith("__main__"):
        continue
    if name.startswith("entangle.testing.") and name not in PLAIN:
        continue  # needs pytest, which only authors of backends have
    for loaded in [m for m in sys.modules if m not in bare and "entangle" in m]:
        del sys.modules[loaded]
    importlib.import_module(name)
    assert threading.active_count() == 1, name
print(len(names))
"""
    assert int(run(alone, "-W", "error", "-c", program)) > 10
