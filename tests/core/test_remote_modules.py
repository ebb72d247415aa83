"""The caller's own modules travel to places that have nothing of them."""

import sys
import zipfile
from pathlib import Path

import pytest
from life_kit import end, program
from remote_kit import HereExecutor

from entangle.errors import TaskError
from entangle.task import task

pytestmark = pytest.mark.process

FILES = {
    "plain_part.py": "from package_part.inner import deep\n"
    "def add(a, b):\n    return deep(a) + b\n"
    "class Point:\n    def __init__(self, x):\n        self.x = x\n"
    "    def moved(self):\n        return Point(self.x + 1)\n",
    "package_part/__init__.py": "from . import inner\nKIND = __name__\n",
    "package_part/inner.py": "def deep(a):\n    return a * 10\n",
    "lonely_part/only.py": "VALUE = 'namespace'\n",
    "later_part.py": "NAME = __name__\n",
    "latin_part.py": b"# -*- coding: latin-1 -*-\nTEXT = '\xe9'\n",
    "compiled_part/__init__.py": "from . import fast\n",
    "compiled_part/fast.abi3.so": b"\x7fELF",
    "broken_part.py": "def f(:\n",
    "raising_part.py": "raise LookupError('at import')\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder of modules that is on this process's path alone."""
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if type(content) is bytes else content.encode())
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in list(sys.modules):
        if name.partition(".")[0].endswith("_part"):
            del sys.modules[name]


@pytest.fixture
def there():
    # Not in the folder of the tests.
    with HereExecutor(cwd="/") as executor:
        yield task(executor=executor)


def test_functions_go_by_name_with_what_they_import(project, there):
    import plain_part

    assert there(plain_part.add)(1, 2)() == 12


def test_instances_are_of_the_callers_class(project, there):
    import plain_part

    moved = there(plain_part.Point.moved)(plain_part.Point(1))()
    assert type(moved) is plain_part.Point
    assert moved.x == 2


def test_what_a_body_imports(project, there):
    """Nothing of it is imported here."""

    def look(name):
        import importlib

        module = importlib.import_module(name)
        return {k: v for k, v in vars(module).items() if k.isupper()}

    look = there(look)
    assert look("package_part")() == {"KIND": "package_part"}
    assert look("latin_part")() == {"TEXT": "é"}
    assert look("lonely_part.only")() == {"VALUE": "namespace"}
    assert "package_part" not in sys.modules


def test_a_namespace_that_is_in_use(project, there):
    import lonely_part.only

    assert there(lambda: lonely_part.only.VALUE)()() == "namespace"


def test_modules_that_come_later(project, there):
    """A worker that is warm learns of them."""
    assert there(abs)(-1)() == 1
    (project / "fresh_part.py").write_text("VALUE = 7\n")
    import fresh_part

    def use():
        from fresh_part import VALUE

        return VALUE

    assert there(use)()() == fresh_part.VALUE


def test_sources_can_be_looked_at(project, there):
    def look():
        import inspect

        import plain_part

        return inspect.getsource(plain_part.add), plain_part.__file__

    source, file = there(look)()()
    assert source.startswith("def add(a, b):")
    assert file == str(project / "plain_part.py")


def test_modules_in_an_archive(tmp_path):
    """Tracebacks show lines of files that no machine has."""
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped_part.py", "def fail():\n    raise KeyError('zip')\n")
    # Importlib's metadata keep an archive open that is on the path.
    running = program(f"""
import sys
sys.path[:0] = [{str(archive)!r}, {str(Path(__file__).parents[1])!r}]
import zipped_part
from remote_kit import HereExecutor
with HereExecutor(cwd="/") as executor:
    print(executor.submit(zipped_part.fail).exception(20).__notes__[0])
""")
    code, out, err = end(running)
    assert (code, err) == (0, "")
    assert "raise KeyError('zip')" in out


def test_modules_that_cannot_be_imported(project, there):
    def use(name):
        __import__(name)

    use = there(use)
    with pytest.raises(SyntaxError) as caught:
        use("broken_part")()
    assert caught.value.filename == str(project / "broken_part.py")
    with pytest.raises(LookupError, match="at import"):
        use("raising_part")()
    with pytest.raises(ModuleNotFoundError, match="nowhere_part"):
        use("nowhere_part")()
    with pytest.raises(ImportError, match="install it there"):
        use("compiled_part")()


def test_what_is_installed_is_not_sent(there):
    """A library has to be in the place, with all that belongs to it."""

    def use():
        import json

        return type(json.__loader__).__name__, json.__name__

    def path():
        import hypothesis

        return hypothesis.__file__

    assert there(use)()() == ("SourceFileLoader", "json")
    assert "site-packages" in there(path)()()


def test_folders_that_are_called_like_libraries(project, there):
    """As in any Python: a folder of files hides no module that is one."""
    for name in ("typing", "statistics", "json"):
        (project / name).mkdir()
        (project / name / "notes.py").write_text("")

    def use():
        import statistics
        import typing

        return statistics.mean([1, 3]), typing.__file__ is not None

    assert there(use)()() == (2, True)


def test_decorated_modules_bring_their_decorators(project, there):
    (project / "tasks_part.py").write_text(
        "from entangle.process import process\n"
        "from entangle.thread import thread\n"
        "def helper(n):\n    return n + 1\n"
        "@thread\n@process\n".replace("@thread\n", "")
        + "def decorated(n):\n    return helper(n)\n"
    )
    import tasks_part

    assert there(tasks_part.decorated.fn)(1)() == 2


def test_threads_of_a_body_import_too(project, there):
    def use():
        import threading

        found = []

        def load(name):
            found.append(__import__(name).__name__)

        names = ["package_part", "plain_part", "later_part"]
        threads = [threading.Thread(target=load, args=(name,)) for name in names]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return sorted(found)

    assert there(use)()() == ["later_part", "package_part", "plain_part"]


def test_a_stranger_gets_what_is_in_use_alone(project):
    import plain_part

    with HereExecutor(cwd="/", trust=False) as executor:
        assert executor.submit(plain_part.add, 1, 2).result(20) == 12
        with pytest.raises(TaskError, match="No module named 'later_part'"):
            executor.submit(__import__, "later_part").result(20)
