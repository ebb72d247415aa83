"""The guard around every test finds what is left behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

LEAKS = {
    "thread": """
import threading, time
def test():
    threading.Thread(target=time.sleep, args=(4,), daemon=True).start()
""",
    "process": """
import subprocess, sys, pytest
child = []
def test():
    child.append(subprocess.Popen(["sleep", "4"]))
def test_end():
    child[0].kill()
    child[0].wait()
""",
    "orphan": """
import subprocess, sys
def test():
    # Its parent is gone, its session is its own: only the mark tells whose it is.
    program = "import subprocess as s; s.Popen(['sleep', '4'], start_new_session=True)"
    subprocess.run([sys.executable, "-c", program], check=True)
""",
    "zombie": """
import os
pids = []
def test():
    pids.append(os.fork())
    if not pids[-1]:
        os._exit(0)
def test_end():
    os.waitpid(pids[0], 0)
""",
    "descriptor": """
import os
def test():
    os.open("/dev/null", os.O_RDONLY)
""",
    "shared memory": """
from pathlib import Path
def test():
    Path("/dev/shm/entangle-guard-test").touch()
def test_end():
    Path("/dev/shm/entangle-guard-test").unlink()
""",
    "temporary file": """
import os, tempfile
def test():
    number, name = tempfile.mkstemp()
    os.close(number)
""",
}
NAMES = {"orphan": "process", "zombie": "process"}

pytestmark = pytest.mark.process


def guarded(folder, source):
    for name in ("conftest.py", "leaks.py"):
        shutil.copy(TESTS / name, folder)
    path = folder / "test_guarded.py"
    path.write_text(source)
    environment = {k: v for k, v in os.environ.items() if "COV" not in k}
    environment["LEAK_GUARD_GRACE"] = "0.1"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("leak", LEAKS)
def test_leak_is_found(tmp_path, leak):
    """Each kind of leak fails the test that made it, by name."""
    done = guarded(tmp_path, LEAKS[leak])
    assert done.returncode == 1, done.stdout
    assert "left behind by test:" in done.stdout
    assert f"{NAMES.get(leak, leak)} " in done.stdout


def test_clean_test_passes(tmp_path):
    """A test that cleans up is left in peace."""
    done = guarded(tmp_path, "def test(tmp_path):\n    (tmp_path / 'x').touch()\n")
    assert done.returncode == 0, done.stdout
