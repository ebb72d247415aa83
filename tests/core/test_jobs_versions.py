"""Jobs in Pythons of other versions, with the caller's own modules."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from entangle.testing import RecordedCall, SpoolExecutor

pytestmark = pytest.mark.process

OWN = """
from entangle.process import process
import own_helper

FACTOR = 5

@process
def scaled(number):
    return FACTOR * own_helper.kept(number)

def plain(number):
    return own_helper.kept(number) + 1
"""


def pythons():
    """Find the interpreters of other versions that this machine has."""
    found = {}
    candidates = [*Path.home().glob(".pyenv/versions/*/bin/python3")]
    candidates += [
        Path(path)
        for minor in range(9, 16)
        if (path := shutil.which(f"python3.{minor}"))
    ]
    for path in candidates:
        code = "import sys; print(*sys.version_info[:2])"
        done = subprocess.run([path, "-c", code], capture_output=True, check=False)
        if done.returncode == 0:
            major, minor = map(int, done.stdout.split())
            if major == 3 and minor >= 9 and minor != sys.version_info.minor:
                found[minor] = str(path)
    return sorted(found.items())


@pytest.fixture
def own(tmp_path, monkeypatch):
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "own_module.py").write_text(OWN)
    (folder / "own_helper.py").write_text("def kept(number):\n    return number\n")
    monkeypatch.syspath_prepend(folder)
    import own_module

    yield own_module
    for name in ("own_module", "own_helper"):
        sys.modules.pop(name, None)


def run(executor, function, *args):
    call = RecordedCall(function, *args)
    executor.start(call)
    end = call.end(60)
    if end.kind == "failed":
        raise end.detail
    return end.detail


def test_there_is_another_python():
    if not pythons():
        pytest.skip("this machine has no other Python")


@pytest.mark.parametrize("python", [*pythons(), (0, "")], ids=str)
def test_functions_of_the_programs_own(own, tmp_path, python):
    minor, path = python

    def where(number):
        return own.plain(number), sys.version_info[1]

    with SpoolExecutor(folder=str(tmp_path / "spool"), python=path) as executor:
        minor = minor or sys.version_info.minor
        if minor < 11:
            with pytest.raises(ImportError, match="imports Entangle"):
                run(executor, where, 2)
        else:
            assert run(executor, where, 2) == (3, minor)
        assert run(executor, own.plain, 1) == 2
        assert run(executor, own.scaled.fn, 2) == 10
        assert run(executor, max, [1, 3]) == 3
        assert run(executor, lambda text: text * 2, "ab") == "abab"
