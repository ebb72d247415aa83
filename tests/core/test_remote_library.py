"""A place whose own library is not compiled, as in images that were made small."""

import marshal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from entangle._remote import bootstrap
from entangle._remote.handshake import Handshake
from entangle._worker.importer import CompiledLibrary
from entangle.backend import CommandStream, StreamExecutor

LIBRARY = Path(sysconfig.get_path("stdlib"))
TAG = sys.implementation.cache_tag


def test_the_place_is_sent_what_it_lacks():
    """One that has its library compiled, or says nothing of it, is not."""
    with_it, without = (
        answer(b"3.11.0 %s %s" % (TAG.encode(), said)) for said in (b"1", b"0")
    )
    assert len(with_it) < len(without)
    assert answer(b"3.11.0 %s" % TAG.encode()) == with_it
    other = answer(b"3.9.0 cpython-39 0")
    assert other == answer(b"3.9.0 cpython-39 1"), "not of another version"


def answer(line):
    found = Handshake(b"\nmark ").feed(b"\nmark " + line + b"\n")
    assert found is not None
    return found[0]


@pytest.mark.process
def test_a_place_says_whether_its_library_is_compiled(tmp_path):
    for there in (True, False):
        command, marker = bootstrap.command(sys.executable)
        cache = LIBRARY / "__pycache__" / f"inspect.{TAG}.pyc"
        # A library of its own: that of the tests may have either.
        library = tmp_path / str(there)
        library.mkdir()
        if there:
            (library / "__pycache__").mkdir()
            (library / "__pycache__" / cache.name).touch()
        program = f"import os; os.__file__ = {str(library / 'os.py')!r}\n{command[-1]}"
        ran = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        line = ran.stdout.partition(marker)[2].decode().split()
        assert line[1:] == [TAG, str(int(there))]


def codes():
    """Return what is sent of the library."""
    return dict(bootstrap._compiled_library())


def test_code_that_fits_the_source_is_not_compiled_again(monkeypatch):
    sent = codes()
    key, _ = sent["textwrap"]
    code = compile("mark = 'ours'", "elsewhere.py", "exec")
    finder = CompiledLibrary({"textwrap": (key, marshal.dumps(code))})
    spec = finder.find_spec("textwrap")
    found = spec.loader.get_code("textwrap")
    assert found.co_names == ("mark",)
    assert found.co_filename == spec.origin == str(LIBRARY / "textwrap.py")


def test_code_of_another_source_is_not_used():
    code = marshal.dumps(compile("mark = 'ours'", "elsewhere.py", "exec"))
    finder = CompiledLibrary({"textwrap": (b"x" * 8, code)})
    found = finder.find_spec("textwrap").loader.get_code("textwrap")
    assert "dedent" in found.co_names


def test_other_modules_are_found_as_ever():
    finder = CompiledLibrary(codes())
    assert finder.find_spec("json") is None
    assert finder.find_spec("entangle") is None


@pytest.mark.process
def test_a_place_with_and_without_it_runs_the_same(monkeypatch):
    """Whatever a place says of its library, what runs there is the same."""

    class HereExecutor(StreamExecutor):
        def open(self, command):
            program = "import os; os.__file__ = '/nowhere/os.py'\n" + command[-1]
            return CommandStream([sys.executable, "-c", program])

    with HereExecutor() as executor:

        def look():
            import inspect
            import sys

            return type(inspect.__spec__.loader).__name__, len(sys.meta_path)

        loader, _ = executor.submit(look).result(30)
    assert loader == "_Compiled"
