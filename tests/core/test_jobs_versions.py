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


class Counting(SpoolExecutor):
    """Notes the jobs that are made, and how many at once before any has answered."""

    def create(self, job):
        self.__dict__.setdefault("made", []).append(job.name)
        return super().create(job)


def of_program(number):
    return number * 2


of_program.__module__ = "__main__"  # so that it goes by value


@pytest.mark.parametrize("python", [*pythons(), (0, "")], ids=str)
def test_one_call_finds_out_for_many(tmp_path, python):
    """Which Python a place has: whatever it is, one job at most is made in vain."""
    minor, path = python
    with Counting(folder=str(tmp_path / "spool"), python=path) as place:
        futures = [place.submit(of_program, number) for number in range(8)]
        assert [each.result(100) for each in futures] == [*range(0, 16, 2)]
        assert len(place.made) == (9 if minor else 8)
        assert place.python == (3, minor or sys.version_info.minor)


@pytest.mark.skipif(not pythons(), reason="this machine has no other Python")
def test_what_is_said_of_the_version_may_be_wrong(tmp_path):
    minor, path = pythons()[0]
    with Counting(folder=str(tmp_path / "spool")) as place:
        place.python = (3, minor)
        assert place.submit(of_program, 4).result(100) == 8
        assert place.submit(max, 4, 5).result(100) == 5
        assert len(place.made) == 3
    with Counting(folder=str(tmp_path / "other"), python=path) as place:
        place.python = (3, minor)
        assert place.submit(of_program, 4).result(100) == 8
        assert len(place.made) == 1


@pytest.mark.skipif(not pythons(), reason="this machine has no other Python")
def test_decorators_are_not_sent_along(tmp_path):
    """Nor anything else around a function that goes by source: it may hold keys."""
    from entangle._jobs.packing import pack

    def decorated(_):
        return lambda function: function

    @decorated("KEY-THAT-STAYS-HERE")
    def square(number):
        return number * number

    half = decorated("KEY-THAT-STAYS-HERE")(
        lambda number: (
            number
            // 2
        )
    )  # fmt: skip
    minor, path = pythons()[-1]
    for function in (square, half):
        made = pack(RecordedCall(function, 4), (3, minor), "spool")
        assert not any(b"STAYS-HERE" in bytes(part) for part in made.parts)
    with SpoolExecutor(folder=str(tmp_path / "spool"), python=path) as executor:
        assert run(executor, square, 3) == 9
        assert run(executor, half, 8) == 4
